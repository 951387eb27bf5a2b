//! Owns the side-by-side measurements: hoist, docker compose and podman-compose do the same work in turn, in one run.
//!
//! Absolute times of a shared machine mean little; the table gives medians with their range and the ratios of this run.

mod adoption;
mod build;
mod config;
mod layers;
mod pull;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::peers::{Peers, proportional_memory};
use crate::report::{Case, Measured, Unit};
use crate::shell::{command, output, root, run as run_to_end, say};
use crate::{artifacts, packages, report};

const ROUNDS: usize = 7;
const SERVICES: [usize; 2] = [1, 10];
const HOIST_RUN_DIR: &str = "/run/hoist-bench";
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

pub(crate) fn run(chosen: &[String]) -> Result<ExitCode> {
    packages::ensure(&[packages::DEMO, packages::TEST])?;
    let hoist = artifacts::release()?;
    let mut cases = Vec::new();
    if ["up-1", "up-10", "config", "memory"]
        .iter()
        .any(|case| wanted(chosen, case))
    {
        cases.extend(beside_peers(&hoist, chosen)?);
    }
    if wanted(chosen, "adoption") {
        cases.push(adoption::measure(&Tool::hoist(&hoist)?)?);
    }
    cases.extend(build::cases(&hoist, |name| wanted(chosen, name))?);
    if pull::NAMES.iter().any(|case| wanted(chosen, case)) {
        cases.extend(pull::measure(&hoist, chosen)?);
    }
    if cases.is_empty() {
        let more = [&build::NAMES[..], &pull::NAMES[..]].concat().join(", ");
        bail!("no such case; there are: up-1, up-10, config, memory, adoption, {more}");
    }
    say(&report::table(&cases));
    if chosen.is_empty() {
        report::write(&root().join("docs"), &cases)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn beside_peers(hoist: &Path, chosen: &[String]) -> Result<Vec<Case>> {
    let peers = Peers::start()?;
    let tools = [
        Tool::hoist(hoist)?,
        Tool::docker(&peers)?,
        Tool::podman(&peers)?,
    ];
    let mut cases = Vec::new();
    for services in SERVICES {
        if wanted(chosen, &format!("up-{services}")) {
            cases.extend(up_and_down(&tools, services)?);
        }
    }
    if wanted(chosen, "config") {
        for services in config::SERVICES {
            cases.push(config::measure(&tools, services)?);
        }
    }
    if wanted(chosen, "memory") {
        cases.push(memory(&tools, 10)?);
    }
    Ok(cases)
}

fn wanted(chosen: &[String], case: &str) -> bool {
    chosen.is_empty() || chosen.iter().any(|name| name == case)
}

/// Builds a command that runs `args` on the stack file of this name.
type Compose<'a> = Box<dyn Fn(&str, &[&str]) -> Command + 'a>;

/// One way to type compose commands.
struct Tool<'a> {
    name: &'static str,
    compose: Compose<'a>,
    /// Resident memory now, in KiB.
    memory: Box<dyn Fn() -> Result<u64> + 'a>,
}

impl<'a> Tool<'a> {
    fn hoist(hoist: &'a Path) -> Result<Self> {
        let dir = PathBuf::from("/var/tmp/hoist-bench");
        stack_files(&dir)?;
        let data_root = dir.join("data");
        let run_dir = PathBuf::from(HOIST_RUN_DIR);
        let settings = move |command: &mut Command| {
            command
                .env("HOIST_DATA_ROOT", &data_root)
                .env("HOIST_RUN_DIR", &run_dir);
        };
        let mut build = command(hoist);
        settings(
            build
                .args(["image", "build", "--quiet", "-t", "bench/busybox"])
                .arg(&dir),
        );
        output(&mut build)?;
        Ok(Self {
            name: "hoist",
            compose: Box::new(move |file, args| {
                let mut command = command(hoist);
                settings(command.arg("-f").arg(dir.join(file)).args(args));
                command
            }),
            memory: Box::new(|| proportional_memory(|_, name| name.starts_with("hoist"))),
        })
    }

    fn docker(peers: &'a Peers) -> Result<Self> {
        stack_files(&peers.path("bench"))?;
        run_to_end(
            peers
                .command("docker")
                .args(["build", "--quiet", "-t", "bench/busybox", "/bench"])
                .stdout(Stdio::null()),
        )?;
        Ok(Self {
            name: "docker compose",
            compose: Box::new(|file, args| {
                let mut command = peers.command("docker");
                command
                    .arg("compose")
                    .arg("-f")
                    .arg(format!("/bench/{file}"))
                    .args(args);
                command
            }),
            memory: Box::new(|| peers.memory(&["dockerd", "containerd"])),
        })
    }

    fn podman(peers: &'a Peers) -> Result<Self> {
        run_to_end(
            peers
                .command("podman")
                .args([
                    "build",
                    "--quiet",
                    "--ulimit",
                    "nofile=1024:1024",
                    "--ulimit",
                    "nproc=1024:1024",
                ])
                .args(["-t", "bench/busybox", "/bench"])
                .stdout(Stdio::null()),
        )?;
        Ok(Self {
            name: "podman-compose",
            compose: Box::new(|file, args| {
                let mut command = peers.command("podman-compose");
                command.arg("-f").arg(format!("/bench/{file}")).args(args);
                command
            }),
            memory: Box::new(|| peers.memory(&["conmon"])),
        })
    }

    fn timed(&self, file: &str, args: &[&str]) -> Result<f64> {
        let mut command = (self.compose)(file, args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let output = command
            .output()
            .with_context(|| format!("run {}", self.name))?;
        let seconds = start.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!(
                "{} {} failed: {}",
                self.name,
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(seconds)
    }
}

/// The tools take turns, so that a drift of the machine's speed meets all of them.
fn up_and_down(tools: &[Tool<'_>], services: usize) -> Result<Vec<Case>> {
    let titles = ["`up -d`", "`up -d` again, nothing to do", "`down`"]
        .map(|verb| format!("{verb}, {services} idle"));
    let mut cases: Vec<Case> = titles
        .into_iter()
        .map(|title| Case {
            title,
            unit: Unit::Seconds,
            measured: tools.iter().map(|tool| Measured::new(tool.name)).collect(),
        })
        .collect();
    for round in 0..=ROUNDS {
        for (index, tool) in tools.iter().enumerate() {
            let times = [&["up", "-d"][..], &["up", "-d"], &["down", "-t", "0"]]
                .into_iter()
                .map(|args| tool.timed(&stack_name(services), args))
                .collect::<Result<Vec<_>>>()?;
            // The first round warms caches up.
            if round > 0 {
                for (case, seconds) in cases.iter_mut().zip(times) {
                    case.measured[index].values.push(seconds);
                }
            }
        }
    }
    Ok(cases)
}

/// What the tool keeps resident for its containers: engines, monitors and shims, not the containers themselves.
fn memory(tools: &[Tool<'_>], services: usize) -> Result<Case> {
    let mut case = Case {
        title: format!("resident memory (PSS) with {services} idle"),
        unit: Unit::Mebibytes,
        measured: Vec::new(),
    };
    for tool in tools {
        tool.timed(&stack_name(services), &["up", "-d"])?;
        let kibibytes = (tool.memory)()?;
        tool.timed(&stack_name(services), &["down", "-t", "0"])?;
        let mut measured = Measured::new(tool.name);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 KiB")]
        measured.values.push(kibibytes as f64 / 1024.0);
        case.measured.push(measured);
    }
    Ok(case)
}

fn stack_name(services: usize) -> String {
    format!("idle-{services}.yaml")
}

fn stack_files(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    fs::copy("/bin/busybox", dir.join("busybox")).context("copy /bin/busybox")?;
    fs::write(dir.join("Dockerfile"), DOCKERFILE)?;
    for services in SERVICES {
        let mut text = format!("name: bench{services}\nservices:\n");
        for number in 1..=services {
            text.push_str(&format!(
                "  s{number}: {{ image: bench/busybox, command: [sleep, \"1000000\"] }}\n"
            ));
        }
        fs::write(dir.join(stack_name(services)), text)?;
    }
    for services in config::SERVICES {
        fs::write(
            dir.join(config::stack_name(services)),
            config::stack(services),
        )?;
    }
    Ok(())
}
