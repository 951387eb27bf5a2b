//! Owns the developer commands: `cargo xtask demo | test | check | bench | power-cut | vm`.
//!
//! Everything that CI runs is `cargo xtask test`; nothing here is needed by a user of hoist. Must not know hoist's
//! insides: it builds the binaries and runs them like anybody else.
#![forbid(unsafe_code)]

mod artifacts;
mod bench;
mod cut;
mod demo;
mod disk;
mod engine;
mod image;
mod packages;
mod peers;
mod registry;
mod report;
mod shell;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <command>

  demo           install what is missing, build hoist, raise examples/stack.yaml, ask its published port
  test           everything that CI runs: format, lints, unit, mechanism and end-to-end tests, the cgroup v2 machine
  test --machine the last step of it alone: tests in the emulated machine with cgroup v2
  check          the quick half of it: format, lints, tests that need no containers
  bench [CASE…]  measure hoist beside docker compose and podman-compose, write docs/benchmarks.md
  power-cut [hoist|docker|podman…] [--fs ext4|xfs] [--rounds N] [--program HOIST]
                 cut the power of a store seconds after a pull, a build and more; look at every file afterwards
  vm -- CMD…     boot a Debian machine with cgroup v2 under emulation and run CMD in it with the built binaries";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            shell::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    let Some((command, rest)) = args.split_first() else {
        bail!("{USAGE}")
    };
    match command.as_str() {
        "demo" => demo::run(),
        "test" => test::tests(rest),
        "check" => test::quick(),
        "bench" => bench::run(rest),
        "power-cut" => cut::run(rest),
        "vm" => vm::run(rest),
        _ => bail!("unknown command {command:?}\n{USAGE}"),
    }
}
