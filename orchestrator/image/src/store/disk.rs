//! How the store writes: atomically, and durably where something was promised.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{Damage, StoreError};

pub(super) fn failed(
    attempt: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io {
        attempt,
        path,
        source,
    }
}

/// The disk is full.
pub(super) fn no_room(error: &StoreError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, StoreError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}

/// Images hold set-id programs: only root may enter the store.
pub(super) fn create_private(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("creating", path))
}

/// A folder of the store. What else has its name is damage, and moved aside: it must not keep the store from opening.
/// Returns the moved entry, if any.
pub(super) fn claim_folder(root: &Path, path: &Path) -> Result<Option<Damage>, StoreError> {
    match create_private(path) {
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) => {
            let moved = set_aside(root, path, "it is not a folder")?;
            create_private(path).map(|()| Some(moved))
        }
        made => made.map(|()| None),
    }
}

/// Where a file of the store belongs; a folder of its name is damage.
pub(super) fn claim_file(root: &Path, path: &Path) -> Result<Option<Damage>, StoreError> {
    match fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        true => set_aside(root, path, "it is a folder").map(Some),
        false => Ok(None),
    }
}

/// Moves damaged entries to `<data root>/damaged`.
pub(super) fn set_aside(root: &Path, path: &Path, reason: &str) -> Result<Damage, StoreError> {
    let object = path
        .strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string();
    let folder = root.parent().unwrap_or(root).join("damaged");
    create_private(&folder)?;
    let name = format!("image-{}", object.replace('/', "-"));
    let free = (0..1000).map(|number| folder.join(format!("{name}.{number}")));
    let aside = free
        .into_iter()
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .unwrap_or_else(|| folder.join(name));
    fs::rename(path, &aside).map_err(failed("moving aside", path))?;
    tracing::warn!(object, reason, moved_to = %aside.display(), "damaged object in the image store");
    Ok(Damage {
        object,
        reason: format!("{reason}; moved to {}", aside.display()),
    })
}

/// The result of checking a file.
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// There is no such file, or something else has its name.
    Missing,
    /// Says nothing about the file: out of descriptors or memory, a disk that fails.
    Unreadable(std::io::Error),
}

/// Looks again before a failure counts.
pub(super) fn read(path: &Path) -> Content {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    const TRIES: u32 = 3;
    for tries_left in (0..TRIES).rev() {
        match fs::read(path) {
            Ok(bytes) => return Content::Bytes(bytes),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | IsADirectory) => {
                return Content::Missing;
            }
            Err(error) if tries_left == 0 => return Content::Unreadable(error),
            Err(_) => {}
        }
    }
    Content::Missing
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(failed("setting the mode of", path))
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

/// A unique name in `tmp`.
pub(super) fn temporary(root: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    // Unique in this process, and `tmp` is emptied before a new process uses it.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    root.join("tmp").join(format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ))
}

/// Replaces a file so that after a power cut it has its old or its new content.
pub(super) fn replace(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_after(root, path, bytes, Vec::new())
}

/// The same after `others`, which were written before, are on the disk too.
pub(super) fn replace_after(
    root: &Path,
    path: &Path,
    bytes: &[u8],
    others: Vec<PathBuf>,
) -> Result<(), StoreError> {
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
    let written = create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(failed("writing", path));
    let named = written
        .and_then(|()| sync(&temporary))
        .and_then(|()| claim_file(root, path))
        .and_then(|_| fs::rename(&temporary, path).map_err(failed("writing", path)));
    named.inspect_err(|_| {
        // The error to report is the first one; a leftover in tmp is removed when the store opens.
        let _ = fs::remove_file(&temporary);
    })
}

/// Brings files and folders to the disk side by side: the file system joins them into few commits of its journal.
pub(super) fn sync_together(paths: &[PathBuf]) -> Result<(), StoreError> {
    let sync = |path: &Path| {
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(failed("syncing", path))
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = paths
            .iter()
            .skip(1)
            .map(|path| scope.spawn(move || sync(path)))
            .collect();
        let first = paths.first().map_or(Ok(()), |path| sync(path));
        let join = |other: std::thread::ScopedJoinHandle<'_, _>| {
            other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(join).fold(first, Result::and)
    })
}

pub(super) fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().expect("paths of the store have a parent");
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("syncing", parent))
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
