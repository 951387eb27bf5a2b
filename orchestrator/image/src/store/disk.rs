//! How the store writes: atomically, and durably where something was promised.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FlockOperation;

use super::StoreError;

pub(super) fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { attempt, path, source }
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
    write_and_rename(root, path, bytes, true)?;
    sync_parent(path)
}

/// Replaces a file atomically for other processes only.
pub(super) fn replace_lazily(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_and_rename(root, path, bytes, false)
}

fn write_and_rename(root: &Path, path: &Path, bytes: &[u8], durably: bool) -> Result<(), StoreError> {
    let temporary = temporary(root);
    let written = create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        if durably { file.sync_all() } else { Ok(()) }
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    renamed.map_err(|source| {
        // The error to report is the first one; a leftover in tmp is removed when the store opens.
        let _ = fs::remove_file(&temporary);
        failed("writing", path)(source)
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

/// Removes a file or a tree. `remove_dir_all` works with descriptors and follows no symlink.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Turns `extracted` layers into `durable` ones: one syncfs for all that are waiting, outside every caller's way.
#[derive(Debug)]
pub(super) struct Durability {
    root: File,
    waiting: Mutex<Waiting>,
    /// Held during a syncfs, so that [`Durability::settle`] can wait for a running one.
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    folders: Vec<PathBuf>,
    worker: bool,
}

impl Durability {
    pub(super) fn new(root: &Path) -> Result<Self, StoreError> {
        let root = File::open(root).map_err(failed("opening", root))?;
        Ok(Self { root, waiting: Mutex::default(), syncing: Mutex::default() })
    }

    /// A layer's folder has its final name; it becomes durable with the next [`Durability::start`]. Not at once: a
    /// syncfs in the middle of a pull or build would hold up the layers that are being written.
    pub(super) fn queue(&self, folder: PathBuf) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).folders.push(folder);
    }

    /// Makes the waiting layers durable in the background.
    pub(super) fn start(self: &Arc<Self>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.worker || waiting.folders.is_empty() {
            return;
        }
        waiting.worker = true;
        let this = Arc::clone(self);
        let worker = std::thread::Builder::new().name("image-sync".to_owned()).spawn(move || {
            loop {
                if let Err(error) = this.settle() {
                    tracing::warn!(error = &error as &dyn std::error::Error, "layers could not be made durable");
                }
                let mut waiting = this.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.folders.is_empty() {
                    waiting.worker = false;
                    return;
                }
            }
        });
        if worker.is_err() {
            // No thread to be had: the layer stays `extracted`, which the next opening knows how to treat.
            waiting.worker = false;
        }
    }

    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).folders);
        if folders.is_empty() {
            return Ok(());
        }
        rustix::fs::syncfs(&self.root)
            .map_err(|errno| failed("syncing the file system of", Path::new("the image store"))(errno.into()))?;
        for folder in folders {
            let mark = folder.join("durable");
            match create(&mark) {
                // Collected in the meantime, or marked already.
                Err(error)
                    if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists) => {}
                Err(error) => return Err(failed("marking", &mark)(error)),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}
