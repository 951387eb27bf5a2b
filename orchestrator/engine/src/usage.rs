//! How much of the disk is whose.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes that a folder's files have allocated, each file once however many names it has. What cannot be read, or goes in
/// the meantime, counts nothing.
pub(crate) fn of_folder(folder: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let mut pending: Vec<PathBuf> = vec![folder.to_owned()];
    let mut total = 0;
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
            if meta.is_dir() {
                pending.push(entry.path());
            } else if meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
                // Without holes, and without what the file system adds to a small file.
                total += meta.len().min(meta.blocks() * 512);
            }
        }
    }
    total
}
