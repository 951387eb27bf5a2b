//! What `image build` reads from standard input: all of a context (`-`), or its Dockerfile (`-f -`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use hoist_tree::Scratch;

use crate::error::{Failure, Result};

/// Standard input as the only file of a folder, which is gone with it. It is called as a context's Dockerfile is, so that
/// it is one when it turns out to be no archive.
#[derive(Debug)]
pub(super) struct Kept(Scratch);

impl Kept {
    pub(super) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("Dockerfile")
    }
}

pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A context: an archive, compressed or not, or a Dockerfile alone.
pub(super) fn context() -> Result<Kept> {
    let keep = || -> anyhow::Result<Kept> {
        let kept = Kept(
            Scratch::with_prefix_in("hoist-context-", &std::env::temp_dir())
                .context("making a temporary folder")?,
        );
        let mut file = File::create_new(kept.path()).context("making a temporary file")?;
        io::copy(&mut io::stdin().lock(), &mut file)
            .context("reading the build context from standard input")?;
        Ok(kept)
    };
    keep().map_err(Failure::from)
}

pub(super) fn dockerfile() -> Result<String> {
    let mut text = String::new();
    let read = io::stdin()
        .lock()
        .read_to_string(&mut text)
        .context("reading the Dockerfile from standard input");
    read.map_err(Failure::from)?;
    Ok(text)
}
