//! Pulls of a large image from a registry on loopback into stores that nothing was in before, then of the same image
//! with one layer changed.
//!
//! Every pull gets a new file system: ext4 looks for free inodes very slowly for minutes after files were deleted.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::layers::{self, REPOSITORY};
use super::wanted;
use crate::disk::{Disk, Kind};
use crate::engine;
use crate::peers::{self, Peers};
use crate::registry::Registry;
use crate::report::{Case, Measured, Unit};
use crate::shell::{command, say};

pub(super) const NAMES: [&str; 2] = ["pull", "pull-one-layer"];
const ROUNDS: usize = 3;
const HERE: &str = "/var/tmp/hoist-bench-pull";
const RUN_DIR: &str = "/run/hoist-bench-pull";
/// Of the sparse file that holds a store.
const DISK: u64 = 12 << 30;

pub(super) fn measure(hoist: &Path, chosen: &[String]) -> Result<Vec<Case>> {
    let storage = layers::storage()?;
    let peers = Peers::start()?;
    let here = Registry::start(&storage, None)?;
    let there = Registry::start(&storage, Some(&peers))?;
    let title = |what: &str| format!("pull 8 layers, 599 MiB gzip (1.4 GB, 20k files){what}");
    let mut cases = [
        (title(", fresh store"), Unit::Seconds),
        (title(", peak memory of the engine"), Unit::Mebibytes),
        (title(" again, one layer changed"), Unit::Seconds),
        (
            title(" again, one layer changed: sent by the registry"),
            Unit::Mebibytes,
        ),
    ]
    .map(|(title, unit)| Case {
        title,
        unit,
        measured: ["hoist", "docker", "podman"].map(Measured::new).into(),
    });
    for round in 1..=ROUNDS {
        let pulls = [
            pull_by_hoist(hoist, &here)?,
            pull_by_docker(&peers, &there)?,
            pull_by_podman(&peers, &there)?,
        ];
        say(&format!("round {round}: {pulls:?}"));
        for (index, pull) in pulls.into_iter().enumerate() {
            let values = [pull.seconds, pull.peak, pull.again, pull.sent];
            for (case, value) in cases.iter_mut().zip(values) {
                case.measured[index].values.push(value);
            }
        }
    }
    let [cold, memory, again, sent] = cases;
    let mut kept = Vec::new();
    if wanted(chosen, "pull") {
        kept.extend([cold, memory]);
    }
    if wanted(chosen, "pull-one-layer") {
        kept.extend([again, sent]);
    }
    Ok(kept)
}

#[derive(Debug)]
struct Pull {
    seconds: f64,
    /// MiB.
    peak: f64,
    again: f64,
    /// MiB of layers that went over the wire the second time.
    sent: f64,
}

fn pull_by_hoist(hoist: &Path, registry: &Registry) -> Result<Pull> {
    let disk = Disk::fresh(Kind::Ext4, DISK, PathBuf::from(HERE), HERE, command)?;
    let run_hoist = |args: &[&str]| {
        let mut command = command(hoist);
        command
            .env("HOIST_DATA_ROOT", format!("{}/data", disk.mount))
            .env("HOIST_RUN_DIR", RUN_DIR)
            .args(args);
        command
    };
    timed(run_hoist(&["image", "ls"]))?;
    let name = |tag: u32| format!("127.0.0.1:{}/{REPOSITORY}:{tag}", registry.port);
    let engine = engine::of(RUN_DIR)?;
    let result = both(
        registry,
        |tag| run_hoist(&["image", "pull", "-q", &name(tag)]),
        |_| peak(&engine),
    );
    engine::end(&engine, "-TERM")?;
    result
}

fn pull_by_docker(peers: &Peers, registry: &Registry) -> Result<Pull> {
    let disk = Disk::fresh(
        Kind::Ext4,
        DISK,
        peers.path("bench/pull"),
        "/bench/pull",
        |program| peers.command(program),
    )?;
    let daemon = peers.dockerd(&format!("{}/data", disk.mount))?;
    let name = |tag: u32| format!("127.0.0.1:{}/{REPOSITORY}:{tag}", registry.port);
    let memory = |_: &Child| Ok(peak(&daemon.process()?)? + peers.peak("containerd")?);
    let result = both(
        registry,
        |tag| daemon.docker(&["pull", "-q", &name(tag)]),
        memory,
    );
    daemon.stop()?;
    result
}

fn pull_by_podman(peers: &Peers, registry: &Registry) -> Result<Pull> {
    let disk = Disk::fresh(
        Kind::Ext4,
        DISK,
        peers.path("bench/pull"),
        "/bench/pull",
        |program| peers.command(program),
    )?;
    let pull = |tag: u32| {
        let mut podman = peers.command("podman");
        podman
            .args([
                "--storage-driver",
                "overlay",
                "--root",
                &format!("{}/data", disk.mount),
            ])
            .args([
                "--runroot",
                &format!("{}/run", disk.mount),
                "pull",
                "-q",
                "--tls-verify=false",
            ])
            .arg(format!("127.0.0.1:{}/{REPOSITORY}:{tag}", registry.port));
        podman
    };
    // podman is its own engine and ends with the pull.
    let result = both(registry, pull, |client| {
        peak(&peers::child_of(client.id())?)
    });
    // What it mounts over its own store would keep the disk busy.
    let _ = peers
        .command("umount")
        .arg(format!("{}/data/overlay", disk.mount))
        .stderr(Stdio::null())
        .status();
    result
}

/// The cold pull and the one with a changed layer.
fn both(
    registry: &Registry,
    pull: impl Fn(u32) -> Command,
    memory: impl Fn(&Child) -> Result<f64>,
) -> Result<Pull> {
    let (seconds, peak) = watched(pull(1), memory)?;
    let (_, mark) = registry.sent_since(0)?;
    let again = timed(pull(2))?;
    let (sent, _) = registry.sent_since(mark)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    Ok(Pull {
        seconds,
        peak,
        again,
        sent: sent as f64 / f64::from(1 << 20),
    })
}

fn timed(command: Command) -> Result<f64> {
    Ok(watched(command, |_| Ok(0.0))?.0)
}

/// The time of a command, and the last memory that was seen while it ran: a peak never falls.
fn watched(mut command: Command, memory: impl Fn(&Child) -> Result<f64>) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut peak = 0.0;
    loop {
        // Between two looks the processors belong to the pull.
        std::thread::park_timeout(Duration::from_millis(20));
        let ended = child.try_wait()?.is_some();
        let seconds = start.elapsed().as_secs_f64();
        // A process may end between the two looks.
        if let Ok(now) = memory(&child) {
            peak = now.max(peak);
        }
        if ended {
            let output = child.wait_with_output()?;
            ensure!(
                output.status.success(),
                "{command:?} failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            return Ok((seconds, peak));
        }
    }
}

/// MiB at most of a process.
fn peak(process: &str) -> Result<f64> {
    peers::peak_memory(process)
}
