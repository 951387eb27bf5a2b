//! Owns the peers that hoist is measured beside: docker with compose, podman with podman-compose, from Debian trixie.
//!
//! They live in a Debian root of their own and in mount, network and pid namespaces of their own, so neither their
//! firewall rules nor their processes reach the host. Needs root.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{cache, command, root, run, say};

/// Raise when the package list changes: the name of the cached root carries it.
const RECIPE: u32 = 2;
const PACKAGES: &str = "docker.io,docker-cli,docker-compose,docker-buildx,podman,podman-compose,crun,buildah,skopeo,\
                        iptables,nftables,iproute2,busybox-static,ca-certificates,procps,util-linux,netavark,\
                        aardvark-dns";

pub(crate) struct Peers {
    /// `unshare`, which takes the whole pid namespace with it when it ends.
    holder: Child,
    /// First process of the namespaces, seen from the host.
    init: u32,
    root: PathBuf,
}

impl Peers {
    pub(crate) fn start() -> Result<Self> {
        let root_dir = peers_root()?;
        let mut holder = command("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh"])
            .arg(root().join("xtask/peers/start.sh"))
            .arg(&root_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run unshare")?;
        let mut answer = String::new();
        BufReader::new(holder.stdout.take().expect("stdout is piped")).read_line(&mut answer)?;
        if answer.trim() != "ready" {
            bail!(
                "the peers' engines did not start; see {}",
                root_dir.join("run").display()
            );
        }
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()))?;
        let init = children
            .trim()
            .parse()
            .context("the peers' first process")?;
        Ok(Self {
            holder,
            init,
            root: root_dir,
        })
    }

    /// A command inside the peers' namespaces.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut inside = command("nsenter");
        inside.args([
            "--target",
            &self.init.to_string(),
            "--mount",
            "--net",
            "--pid",
            "--root",
            "--wd",
            program,
        ]);
        inside
    }

    /// A command of the host on the peers' loopback.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let mut beside = command("nsenter");
        beside.args(["--target", &self.init.to_string(), "--net", program]);
        beside
    }

    /// Where a path of the peers' root lies on the host.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Where a path inside is seen from the host, with what is mounted there.
    pub(crate) fn seen(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init)).join(inside.trim_start_matches('/'))
    }

    /// Proportional memory of all processes inside whose names begin with one of `names`, in KiB.
    pub(crate) fn memory(&self, names: &[&str]) -> Result<u64> {
        let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", self.init))?;
        proportional_memory(|pid, name| {
            names.iter().any(|wanted| name.starts_with(wanted))
                && std::fs::read_link(format!("/proc/{pid}/ns/pid"))
                    .is_ok_and(|theirs| theirs == namespace)
        })
    }

    /// Peak memory of the one process inside with this name, in MiB.
    pub(crate) fn peak(&self, name: &str) -> Result<f64> {
        let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", self.init))?;
        for entry in std::fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().into_string() else {
                continue;
            };
            if std::fs::read_link(format!("/proc/{pid}/ns/pid"))
                .is_ok_and(|theirs| theirs == namespace)
                && std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm.trim() == name)
            {
                return peak_memory(&pid);
            }
        }
        bail!("no {name} runs")
    }
}

/// The most that a process had resident so far, in MiB.
pub(crate) fn peak_memory(pid: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("a process has a peak")?;
    let kibibytes: f64 = line
        .split_whitespace()
        .next()
        .context("VmHWM has a value")?
        .parse()?;
    Ok(kibibytes / 1024.0)
}

/// A dockerd beside the one that every peer has, over a data root of its own.
pub(crate) struct Dockerd<'a> {
    peers: &'a Peers,
    /// `nsenter`, whose child it is.
    child: Child,
}

const SOCKET: &str = "unix:///run/peers/own.sock";

impl Peers {
    pub(crate) fn dockerd(&self, data_root: &str) -> Result<Dockerd<'_>> {
        let mut serve = self.command("dockerd");
        serve
            .args([
                "--containerd",
                "/run/containerd/containerd.sock",
                "--bridge",
                "none",
                "--iptables=false",
            ])
            .args([
                "--exec-root",
                "/run/peers/own",
                "--pidfile",
                "/run/peers/own.pid",
                "-H",
                SOCKET,
            ])
            .args(["--data-root", data_root]);
        let child = serve
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut daemon = Dockerd { peers: self, child };
        let start = Instant::now();
        let quiet =
            |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        while !quiet(daemon.docker(&["version"]))?.success() {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("a second dockerd does not start: {status}");
            }
            ensure!(
                start.elapsed() < Duration::from_secs(60),
                "a second dockerd does not answer"
            );
            std::thread::yield_now();
        }
        Ok(daemon)
    }
}

impl Dockerd<'_> {
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = self.peers.command("docker");
        command.args(["-H", SOCKET]).args(args);
        command
    }

    /// Its number as the host sees it.
    pub(crate) fn process(&self) -> Result<String> {
        child_of(self.child.id())
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.end("-TERM")
    }

    pub(crate) fn kill(self) -> Result<()> {
        self.end("-KILL")
    }

    fn end(mut self, signal: &str) -> Result<()> {
        run(command("kill").args([signal, &self.process()?]))?;
        self.child.wait()?;
        Ok(())
    }
}

pub(crate) fn child_of(process: u32) -> Result<String> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(children
        .split_whitespace()
        .next()
        .context("it has no child")?
        .to_owned())
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Err(error) = self
            .holder
            .kill()
            .and_then(|()| self.holder.wait().map(drop))
        {
            say(&format!("xtask: end the peers: {error}"));
        }
        // Their engines were killed, so their cgroups are ours to remove; deepest first, empty ones only.
        for name in ["docker", "libpod_parent", "machine.slice"] {
            let found = command("find")
                .args([
                    "/sys/fs/cgroup",
                    "-depth",
                    "-type",
                    "d",
                    "-path",
                    &format!("*/{name}*"),
                ])
                .output();
            for dir in found
                .map(|found| String::from_utf8_lossy(&found.stdout).into_owned())
                .unwrap_or_default()
                .lines()
            {
                // One that others still use stays: rmdir refuses it.
                let _ = std::fs::remove_dir(dir);
            }
        }
    }
}

/// Sum of the proportional set sizes of the chosen processes, in KiB.
pub(crate) fn proportional_memory(chosen: impl Fn(u32, &str) -> bool) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // A process may end between the listing and the reading.
        let Ok(name) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else {
            continue;
        };
        if !chosen(pid, name.trim()) {
            continue;
        }
        let Ok(rollup) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        sum += pss
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}

fn peers_root() -> Result<PathBuf> {
    let dir = cache()?.join(format!("peers-{RECIPE}"));
    if dir.exists() {
        return Ok(dir);
    }
    say("making the peers' root from Debian's packages (once)");
    let fresh = cache()?.join(format!("peers-{RECIPE}.new-{}", std::process::id()));
    run(command("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--format=directory"])
        .arg(format!("--include={PACKAGES}"))
        .args(["--aptopt=Acquire::Languages \"none\"", "trixie"])
        .arg(&fresh)
        .arg("http://deb.debian.org/debian"))?;
    std::fs::rename(&fresh, &dir)
        .with_context(|| format!("rename {} to {}", fresh.display(), dir.display()))?;
    Ok(dir)
}
