//! Temporary folders.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that is removed recursively on drop, whatever its depth.
#[derive(Debug)]
pub struct Scratch(Option<TempDir>);

impl Scratch {
    pub fn with_prefix_in(prefix: &str, folder: &Path) -> io::Result<Self> {
        TempDir::with_prefix_in(prefix, folder).map(|made| Self(Some(made)))
    }

    pub fn path(&self) -> &Path {
        self.0
            .as_ref()
            .expect("it is taken in keep() and drop() only")
            .path()
    }

    /// Keeps the folder.
    pub fn keep(mut self) -> PathBuf {
        self.0
            .take()
            .expect("it is taken here and in drop() only")
            .keep()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(made) = self.0.take() {
            // As usual for temporary folders, a failed removal is ignored.
            let _ = crate::remove(&made.keep());
        }
    }
}
