//! Developer commands: `cargo xtask test`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command line tool")]
            {
                eprintln!("xtask: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("test") => {
            let status = Command::new("cargo").args(["test", "--workspace"]).status().context("cargo test")?;
            if !status.success() {
                bail!("tests failed");
            }
            Ok(())
        }
        _ => bail!("usage: cargo xtask test"),
    }
}
