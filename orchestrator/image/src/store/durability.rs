//! When what was written is on the disk: one syncfs for all that waits, outside every caller's way.

use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{create, failed};
use super::records::Records;
use super::{MARK, StoreError};

/// Turns `extracted` layers into `durable` ones, and lets the records that wait for them be written.
#[derive(Debug)]
pub(super) struct Durability {
    root: File,
    records: Arc<Records>,
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
    pub(super) fn new(root: &Path, records: Arc<Records>) -> Result<Self, StoreError> {
        let root = File::open(root).map_err(failed("opening", root))?;
        Ok(Self {
            root,
            records,
            waiting: Mutex::default(),
            syncing: Mutex::default(),
        })
    }

    /// A layer's folder has its final name; it becomes durable with the next [`Durability::start`]. Not at once: a
    /// syncfs in the middle of a pull or build would hold up the layers that are being written.
    pub(super) fn queue(&self, folder: PathBuf) {
        self.waiting().folders.push(folder);
    }

    /// Makes what waits durable in the background.
    pub(super) fn start(self: &Arc<Self>) {
        let mut waiting = self.waiting();
        if waiting.worker || waiting.folders.is_empty() && self.records.due().is_empty() {
            return;
        }
        waiting.worker = true;
        let this = Arc::clone(self);
        let worker = std::thread::Builder::new()
            .name("image-sync".to_owned())
            .spawn(move || {
                loop {
                    let settled = this.settle();
                    let mut waiting = this.waiting();
                    if let Err(error) = &settled {
                        // What was not marked is looked at when the store opens on another generation.
                        tracing::warn!(
                            error = error as &dyn std::error::Error,
                            "layers could not be made durable"
                        );
                    }
                    if settled.is_err()
                        || waiting.folders.is_empty() && this.records.due().is_empty()
                    {
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
        let due = self.records.due();
        let folders = std::mem::take(&mut self.waiting().folders);
        if folders.is_empty() && due.is_empty() {
            return Ok(());
        }
        // A layer that is collected and comes again during the sync is another folder of the same name.
        let folders: Vec<_> = folders
            .into_iter()
            .filter_map(|folder| Some((File::open(&folder).ok()?, folder)))
            .collect();
        rustix::fs::syncfs(&self.root).map_err(|errno| {
            failed("syncing the file system of", Path::new("the image store"))(errno.into())
        })?;
        for (synced, folder) in folders {
            mark(&synced, &folder)?;
        }
        self.records.settle(due)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By path: what was collected in the meantime is being removed under another name and must not get new entries.
fn mark(synced: &File, folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(MARK);
    match create(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
            return Ok(());
        }
        Err(error) => return Err(failed("marking", &path)(error)),
        Ok(_) => {}
    }
    let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let same = fs::metadata(folder).map(inode).ok() == synced.metadata().map(inode).ok();
    if same {
        Ok(())
    } else {
        super::disk::remove(&path)
    }
}
