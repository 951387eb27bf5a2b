//! Owns what "all tests pass" means. CI runs `everything` and nothing else.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use crate::shell::{command, output, run, say};
use crate::{artifacts, packages, vm};

/// The end-to-end scenarios that run in the emulated machine, too: what a kernel with cgroup v2 does in its own way (limits,
/// a full memory, pauses, statistics, devices, restarts).
const ON_CGROUP_V2: &[&str] = &[
    "attributes::a_container_is_confined_as_the_file_says",
    "attributes::limits_reach_the_cgroup",
    "cgroups::a_pause_stops_every_process_and_outlives_the_engine",
    "cgroups::devices_are_open_to_those_who_were_given_them",
    "cgroups::limits_act_and_ends_tell_their_cause",
    "lifecycle::a_killed_container_is_restarted",
    "looking::processes_use_and_events_can_be_looked_at",
];

pub(crate) fn tests(args: &[String]) -> Result<ExitCode> {
    match args {
        [] => everything(),
        [only] if only == "--machine" => {
            packages::ensure(&[packages::DEMO, packages::VM])?;
            machine(&artifacts::shim()?)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage: cargo xtask test [--machine]"),
    }
}

fn everything() -> Result<ExitCode> {
    packages::ensure(&[packages::DEMO, packages::TEST, packages::VM])?;
    lint()?;
    let shim = artifacts::shim()?;
    step("unit and mechanism tests");
    let tests = || {
        let mut tests = command("cargo");
        tests
            .env("HOIST_SHIM", &shim)
            .args(["test", "--quiet", "--no-fail-fast"]);
        tests
    };
    run(tests().args(["--workspace", "--exclude", "hoist"]))?;
    run(tests().args([
        "--package",
        "hoist",
        "--bins",
        "--test",
        "tidy",
        "--test",
        "cli",
    ]))?;
    step("end-to-end tests");
    // They wait for processes and the kernel more than they compute.
    let threads = (2 * std::thread::available_parallelism()?.get()).to_string();
    run(tests().args([
        "--package",
        "hoist",
        "--test",
        "e2e",
        "--",
        "--test-threads",
        &threads,
    ]))?;
    machine(&shim)?;
    Ok(ExitCode::SUCCESS)
}

fn machine(shim: &Path) -> Result<()> {
    step("the same engine on cgroup v2, in an emulated machine");
    let built = artifacts::end_to_end()?;
    // A name that matches nothing would be passed over in silence.
    let known = output(command(&built.tests).arg("--list"))?;
    for scenario in ON_CGROUP_V2 {
        ensure!(
            known
                .lines()
                .any(|line| line == format!("{scenario}: test")),
            "there is no scenario {scenario}"
        );
    }
    vm::tests(&built, shim, ON_CGROUP_V2)
}

pub(crate) fn quick() -> Result<ExitCode> {
    packages::ensure(&[packages::DEMO])?;
    lint()?;
    step("tests that need no containers");
    run(command("cargo").args([
        "test",
        "--quiet",
        "-p",
        "hoist-spec",
        "-p",
        "hoist-scheduler",
    ]))?;
    run(command("cargo").args([
        "test", "--quiet", "-p", "hoist", "--test", "tidy", "--test", "cli",
    ]))?;
    Ok(ExitCode::SUCCESS)
}

fn lint() -> Result<()> {
    step("format");
    run(command("cargo").args(["fmt", "--all", "--check"]))?;
    step("lints");
    run(command("cargo").args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn step(name: &str) {
    say(&format!("\n== {name}"));
}
