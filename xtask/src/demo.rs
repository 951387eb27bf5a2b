//! Owns `cargo xtask demo`: the newcomer's first five minutes, typed for them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::shell::{self, command, output, say};
use crate::{artifacts, packages};

const BASE: &str = "debian:trixie-slim";

fn raise(hoist: &Path) -> Result<()> {
    if output(command(hoist).args(["image", "inspect", BASE])).is_err() {
        say(&format!("\n$ hoist image pull {BASE}"));
        if shell::run(command(hoist).args(["image", "pull", BASE])).is_err() {
            say("its registry cannot be reached: making it from Debian's signed packages instead");
            say(&format!("\n$ hoist image bootstrap {BASE}"));
            shell::run(command(hoist).args(["image", "bootstrap", BASE]))?;
        }
    }
    say("\n$ hoist -f examples/stack.yaml up --wait");
    shell::run(command(hoist).args(["-f", "examples/stack.yaml", "up", "--wait"]))
}

pub(crate) fn run() -> Result<ExitCode> {
    packages::ensure(&[packages::DEMO, &["curl"]])?;
    let hoist = artifacts::release()?;
    raise(&hoist)?;
    say("\n$ curl http://127.0.0.1:8080/");
    shell::run(command("curl").args([
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "30",
        "http://127.0.0.1:8080/",
    ]))?;
    say("\n$ hoist -f examples/stack.yaml ps");
    shell::run(command(&hoist).args(["-f", "examples/stack.yaml", "ps"]))?;
    say(&format!(
        "
The stack is running. Look around:
  alias hoist={hoist}
  hoist -f examples/stack.yaml logs -f
  hoist -f examples/stack.yaml exec backend sh
  hoist -f examples/stack.yaml plan
Change examples/backend/backend.py, then:
  hoist -f examples/stack.yaml up --build --wait
Take it down, with its volume:
  hoist -f examples/stack.yaml down -v",
        hoist = hoist.display()
    ));
    Ok(ExitCode::SUCCESS)
}
