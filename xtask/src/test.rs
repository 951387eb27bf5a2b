//! Owns what "all tests pass" means. CI runs `everything` and nothing else.

use std::process::ExitCode;

use anyhow::Result;

use crate::shell::{command, run, say};
use crate::{artifacts, packages, vm};

pub(crate) fn everything() -> Result<ExitCode> {
    packages::ensure(&[packages::DEMO, packages::TEST, packages::VM])?;
    lint()?;
    let shim = artifacts::shim()?;
    step("unit and mechanism tests");
    let tests = || {
        let mut tests = command("cargo");
        tests.env("HOIST_SHIM", &shim).args(["test", "--quiet", "--no-fail-fast"]);
        tests
    };
    run(tests().args(["--workspace", "--exclude", "hoist"]))?;
    run(tests().args(["--package", "hoist", "--bins", "--test", "tidy", "--test", "cli"]))?;
    step("end-to-end tests");
    // They wait for processes and the kernel more than they compute.
    let threads = (2 * std::thread::available_parallelism()?.get()).to_string();
    run(tests().args(["--package", "hoist", "--test", "e2e", "--", "--test-threads", &threads]))?;
    step("the same engine on cgroup v2, in an emulated machine");
    vm::smoke()?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn quick() -> Result<ExitCode> {
    packages::ensure(&[packages::DEMO])?;
    lint()?;
    step("tests that need no containers");
    run(command("cargo").args(["test", "--quiet", "-p", "hoist-spec", "-p", "hoist-scheduler"]))?;
    run(command("cargo").args(["test", "--quiet", "-p", "hoist", "--test", "tidy", "--test", "cli"]))?;
    Ok(ExitCode::SUCCESS)
}

fn lint() -> Result<()> {
    step("format");
    run(command("cargo").args(["fmt", "--all", "--check"]))?;
    step("lints");
    run(command("cargo").args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn step(name: &str) {
    say(&format!("\n== {name}"));
}
