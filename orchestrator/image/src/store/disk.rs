//! How the store writes: atomically, and durably where something was promised.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::StoreError;

pub(super) fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { attempt, path, source }
}

/// The disk is full.
pub(super) fn no_room(error: &StoreError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, StoreError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}

/// Images hold set-id programs: nobody but root may walk into the store.
pub(super) fn create_private(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("creating", path))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("setting the mode of", path))
}

pub(super) fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("opening", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(root.to_owned())),
        Err(errno) => Err(failed("locking", &path)(errno.into())),
    }
}

/// A name in `tmp` that nobody else has.
pub(super) fn temporary(root: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    // Unique in this process, and `tmp` is emptied before a new process uses it.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    root.join("tmp").join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Replaces a file so that after a power cut it has its old or its new content.
pub(super) fn replace(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_after(root, path, bytes, Vec::new())
}

/// The same after `others`, which were written before, are on the disk too.
pub(super) fn replace_after(root: &Path, path: &Path, bytes: &[u8], others: Vec<PathBuf>) -> Result<(), StoreError> {
    replace_with(root, path, bytes, |temporary| {
        let mut all = others;
        all.push(temporary.to_owned());
        sync_together(&all)
    })?;
    sync_parent(path)
}

/// Replaces a file atomically for other processes only.
pub(super) fn replace_lazily(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_with(root, path, bytes, |_| Ok(()))
}

fn replace_with(
    root: &Path,
    path: &Path,
    bytes: &[u8],
    sync: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let temporary = temporary(root);
    let written = create(&temporary).and_then(|mut file| file.write_all(bytes)).map_err(failed("writing", path));
    let named = written
        .and_then(|()| sync(&temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(failed("writing", path)));
    named.inspect_err(|_| {
        // The error to report is the first one; a leftover in tmp is removed when the store opens.
        let _ = fs::remove_file(&temporary);
    })
}

/// Brings files and folders to the disk side by side: the file system joins them into few commits of its journal.
pub(super) fn sync_together(paths: &[PathBuf]) -> Result<(), StoreError> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(failed("syncing", path));
    std::thread::scope(|scope| {
        let others: Vec<_> = paths.iter().skip(1).map(|path| scope.spawn(move || sync(path))).collect();
        let first = paths.first().map_or(Ok(()), |path| sync(path));
        let join = |other: std::thread::ScopedJoinHandle<'_, _>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(join).fold(first, Result::and)
    })
}

pub(super) fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().expect("paths of the store have a parent");
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed("syncing", parent))
}

pub(super) fn empty(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(failed("listing", folder))? {
        let path = entry.map_err(failed("listing", folder))?.path();
        remove(&path)?;
    }
    Ok(())
}

/// Removes a file or a tree.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    hoist_tree::remove(path).map_err(failed("removing", path))
}
