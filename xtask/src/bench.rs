//! placeholder
use anyhow::{Result, bail};
use std::process::ExitCode;
pub(crate) fn run(_cases: &[String]) -> Result<ExitCode> {
    bail!("not yet")
}
