//! Directories that become layers.

use std::path::{Path, PathBuf};

use super::{LayerInfo, Store, StoreError, disk};

/// A writable directory pair inside the store's file system. Dropped without [`Store::commit_layer`], it is removed.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    upper: PathBuf,
    work: PathBuf,
}

impl Scratch {
    /// What becomes the layer: empty, mode 0755.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// overlayfs's work directory: on the same file system, empty.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store opens.
        let _ = disk::remove(&self.folder);
    }
}

impl Store {
    /// A directory pair for an overlay mount whose upper directory becomes a layer. Mount with `redirect_dir=off` and
    /// `metacopy=off`: a layer cannot express those.
    pub fn begin_layer(&self) -> Result<Scratch, StoreError> {
        let folder = disk::temporary(&self.root);
        let scratch = Scratch {
            upper: folder.join("fs"),
            work: folder.join("work"),
            folder,
        };
        for path in [&scratch.folder, &scratch.upper, &scratch.work] {
            disk::create_private(path)?;
        }
        disk::set_mode(&scratch.upper, 0o755)?;
        Ok(scratch)
    }

    /// Turns the upper directory (overlay form, nothing mounted on it any more) into a layer. Reads all its bytes.
    pub fn commit_layer(&self, scratch: Scratch) -> Result<LayerInfo, StoreError> {
        disk::remove(&scratch.work)?;
        self.ingest_folder(&scratch.folder)
            .map_err(|error| StoreError::Layer(Box::new(error)))
    }
}
