//! Owns building hoist's two binaries so that they find each other: `hoist`, and `hoist-shim` beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{command, run, target};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the release `hoist` with the static shim beside it and returns the path of `hoist`.
pub(crate) fn release() -> Result<PathBuf> {
    let shim = shim()?;
    run(command("cargo").args(["build", "--quiet", "--release", "--package", "hoist", "--bin", "hoist"]))?;
    let hoist = target().join("release/hoist");
    put_beside(&shim, &hoist)?;
    Ok(hoist)
}

/// Builds the shim as users get it: static, size-optimised, aborting. The explicit target keeps the flags away from
/// build scripts.
pub(crate) fn shim() -> Result<PathBuf> {
    run(command("cargo").env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static").args([
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

/// A running engine may execute the old file, so it is replaced, not overwritten.
fn put_beside(shim: &Path, hoist: &Path) -> Result<()> {
    let place = hoist.with_file_name("hoist-shim");
    let fresh = hoist.with_file_name("hoist-shim.new");
    std::fs::copy(shim, &fresh).with_context(|| format!("copy {} to {}", shim.display(), fresh.display()))?;
    std::fs::rename(&fresh, &place).with_context(|| format!("rename {} to {}", fresh.display(), place.display()))
}
