//! Runs the nft command.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use super::apply::{FirewallError, Writers};

/// One transaction.
pub(crate) fn run_script(script: &str, writers: &Writers) -> Result<(), FirewallError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(FirewallError::Start)?;
    // The kernel numbers a process's first netlink socket like the process.
    let port = child.id();
    writers.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    let written = stdin.write_all(script.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(FirewallError::Talk)?;
    if !output.status.success() {
        return Err(FirewallError::Refused { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
    }
    written.map_err(FirewallError::Talk)
}

/// What nft prints about `arguments`, as JSON.
pub(crate) fn list(arguments: &[&str]) -> Result<serde_json::Value, FirewallError> {
    let output = Command::new("nft").args(["-j", "-a"]).args(arguments).output().map_err(FirewallError::Start)?;
    if !output.status.success() {
        return Err(FirewallError::Refused { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
    }
    serde_json::from_slice(&output.stdout).map_err(FirewallError::Listing)
}
