//! Owns finding hoist's engine of a run directory, and ending it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{command, run};

/// Its process id: the one whose environment names this run directory.
pub(crate) fn of(run_dir: &str) -> Result<String> {
    let variable = format!("HOIST_RUN_DIR={run_dir}");
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        // A process may end between the listing and the reading.
        let Ok(arguments) = fs::read(process.join("cmdline")) else {
            continue;
        };
        let Ok(environment) = fs::read(process.join("environ")) else {
            continue;
        };
        let is_engine = arguments.split(|byte| *byte == 0).nth(1) == Some(b"engine");
        if is_engine
            && environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == variable.as_bytes())
        {
            return Ok(process
                .file_name()
                .context("a process has an id")?
                .to_string_lossy()
                .into_owned());
        }
    }
    bail!("no engine runs")
}

/// Sends the signal and waits until the process is gone.
pub(crate) fn end(process: &str, signal: &str) -> Result<()> {
    run(command("kill").args([signal, process]))?;
    let start = Instant::now();
    while Path::new("/proc").join(process).exists() {
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "process {process} does not end"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}
