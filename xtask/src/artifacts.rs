//! Owns building hoist's two binaries so that they find each other: `hoist`, and `hoist-shim` beside it; and finding what
//! the end-to-end tests consist of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell::{command, output, run, target};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the release `hoist` with the static shim beside it and returns the path of `hoist`.
pub(crate) fn release() -> Result<PathBuf> {
    let shim = shim()?;
    run(command("cargo").args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "hoist",
        "--bin",
        "hoist",
    ]))?;
    let hoist = target().join("release/hoist");
    put_beside(&shim, &hoist)?;
    Ok(hoist)
}

/// Builds the shim as users get it: static, size-optimised, aborting. The explicit target keeps the flags away from
/// build scripts.
pub(crate) fn shim() -> Result<PathBuf> {
    run(command("cargo")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .args([
            "build",
            "--quiet",
            "--package",
            "hoist-runtime",
            "--bin",
            "hoist-shim",
            "--no-default-features",
            "--profile",
            "shim",
            "--target",
            TRIPLE,
        ]))?;
    Ok(target().join(TRIPLE).join("shim/hoist-shim"))
}

/// The end-to-end tests as cargo builds them, and the `hoist` that they were built with.
#[derive(Debug)]
pub(crate) struct EndToEnd {
    pub(crate) tests: PathBuf,
    pub(crate) hoist: PathBuf,
}

pub(crate) fn end_to_end() -> Result<EndToEnd> {
    let report = output(
        command("cargo")
            .args([
                "test",
                "--quiet",
                "--package",
                "hoist",
                "--test",
                "e2e",
                "--no-run",
            ])
            .args(["--message-format", "json-render-diagnostics"]),
    )?;
    let artifacts: Vec<Value> = report
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let executable = |kind: &str, name: &str| -> Result<PathBuf> {
        let wanted = |artifact: &&Value| {
            artifact["target"]["kind"][0] == kind && artifact["target"]["name"] == name
        };
        let mut paths = artifacts
            .iter()
            .filter(wanted)
            .filter_map(|artifact| artifact["executable"].as_str());
        paths
            .next()
            .map(PathBuf::from)
            .with_context(|| format!("cargo built no {kind} {name}"))
    };
    Ok(EndToEnd {
        tests: executable("test", "e2e")?,
        hoist: executable("bin", "hoist")?,
    })
}

/// A running engine may execute the old file, so it is replaced, not overwritten.
fn put_beside(shim: &Path, hoist: &Path) -> Result<()> {
    let place = hoist.with_file_name("hoist-shim");
    let fresh = hoist.with_file_name("hoist-shim.new");
    std::fs::copy(shim, &fresh)
        .with_context(|| format!("copy {} to {}", shim.display(), fresh.display()))?;
    std::fs::rename(&fresh, &place)
        .with_context(|| format!("rename {} to {}", fresh.display(), place.display()))
}
