//! The one thread that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::files::Content;
use super::{Concern, StoreError, files};

type Reply = oneshot::Sender<Result<(), StoreError>>;

pub(super) enum Job {
    Put(PathBuf, Content),
    Delete(PathBuf),
    Written(Concern, Reply),
    Durable(Concern, Reply),
}

/// What could not be done.
#[derive(Debug)]
struct Failed {
    /// To be written; `None`: to be removed.
    content: Option<Content>,
    error: StoreError,
}

/// What the thread remembers between jobs.
#[derive(Default)]
struct Writer {
    /// In place, not yet known to be on the disk.
    dirty: BTreeSet<PathBuf>,
    /// Folders whose entries changed.
    folders: BTreeSet<PathBuf>,
    /// At most one for each object.
    failed: BTreeMap<PathBuf, Failed>,
}

/// Between two tries of what failed.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(inbox: &mpsc::Receiver<Job>) {
    let mut writer = Writer::default();
    loop {
        let job = match writer.failed.is_empty() {
            true => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => inbox.recv_timeout(AGAIN),
        };
        match job {
            Ok(Job::Put(path, content)) => writer.put(path, content),
            Ok(Job::Delete(path)) => writer.delete(path),
            Ok(Job::Written(concern, reply)) => drop(reply.send(writer.check(&concern))),
            Ok(Job::Durable(concern, reply)) => {
                let checked = writer.check(&concern);
                let sync = writer.take_dirty();
                // In its own thread: the files of the next batch must not wait for the disk.
                let work = move || drop(reply.send(checked.and_then(|()| sync.run())));
                if let Err(error) = thread::Builder::new()
                    .name("store-sync".to_owned())
                    .spawn(work)
                {
                    // Its request has lost its reply, and learns from that.
                    tracing::error!(%error, "cannot start a thread to sync state");
                }
            }
            Err(RecvTimeoutError::Timeout) => writer.try_again(|_| true),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Writer {
    fn put(&mut self, path: PathBuf, content: Content) {
        match files::replace(&path, &content.bytes, content.lasting) {
            Ok(synced) => {
                self.failed.remove(&path);
                self.folders.extend(path.parent().map(Path::to_owned));
                // The folder of a container or volume is itself an entry that must last.
                self.folders
                    .extend(path.parent().and_then(Path::parent).map(Path::to_owned));
                if !synced {
                    self.dirty.insert(path);
                }
            }
            Err(error) => self.failed(path, Some(content), error, "cannot write state"),
        }
    }

    fn delete(&mut self, path: PathBuf) {
        self.dirty.retain(|dirty| !dirty.starts_with(&path));
        self.folders.retain(|folder| !folder.starts_with(&path));
        self.failed.retain(|failed, _| !failed.starts_with(&path));
        match hoist_tree::remove(&path) {
            Ok(()) => self.folders.extend(path.parent().map(Path::to_owned)),
            Err(source) => {
                let error = StoreError::Write {
                    path: path.clone(),
                    source,
                };
                self.failed(path, None, error, "cannot remove state");
            }
        }
    }

    fn failed(&mut self, path: PathBuf, content: Option<Content>, error: StoreError, what: &str) {
        // Reported once, not on every retry.
        if !self.failed.contains_key(&path) {
            tracing::error!(path = %path.display(), error = crate::error::chain(&error), "{what}");
        }
        self.failed.insert(path, Failed { content, error });
    }

    /// There may be room again.
    fn try_again(&mut self, of: impl Fn(&Path) -> bool) {
        let due: Vec<PathBuf> = self
            .failed
            .keys()
            .filter(|path| of(path))
            .cloned()
            .collect();
        for path in due {
            // Left in place, so that it is not reported again as new.
            let Some(failed) = self.failed.get_mut(&path) else {
                continue;
            };
            match failed.content.take() {
                Some(content) => self.put(path, content),
                None => self.remove_again(path),
            }
        }
    }

    fn remove_again(&mut self, path: PathBuf) {
        if hoist_tree::remove(&path).is_ok() {
            self.failed.remove(&path);
            self.folders.extend(path.parent().map(Path::to_owned));
        }
    }

    /// What is still not done of what these are about.
    fn check(&mut self, concern: &[PathBuf]) -> Result<(), StoreError> {
        let about = |path: &Path| concern.iter().any(|concern| path.starts_with(concern));
        self.try_again(about);
        let found = self.failed.iter().find(|(path, _)| about(path));
        found.map_or(Ok(()), |(_, failed)| Err(failed.error.again()))
    }

    fn take_dirty(&mut self) -> Sync {
        Sync {
            files: std::mem::take(&mut self.dirty),
            folders: std::mem::take(&mut self.folders),
        }
    }
}

impl StoreError {
    /// The same for one more who asks.
    fn again(&self) -> Self {
        let same = |source: &io::Error| match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::Create { path, source } => Self::Create {
                path: path.clone(),
                source: same(source),
            },
            Self::Write { path, source } => Self::Write {
                path: path.clone(),
                source: same(source),
            },
            Self::List { path, source } => Self::List {
                path: path.clone(),
                source: same(source),
            },
            Self::Gone => Self::Gone,
        }
    }
}

/// Files and folders to bring to the disk.
struct Sync {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Sync {
    /// Side by side: the file system joins them into few journal commits.
    fn run(self) -> Result<(), StoreError> {
        const LANES: usize = 16;
        let paths: Vec<PathBuf> = self.files.into_iter().chain(self.folders).collect();
        let lanes = paths.len().div_ceil(LANES).max(1);
        let sync = |chunk: &[PathBuf]| chunk.iter().try_for_each(|path| files::sync(path));
        thread::scope(|scope| {
            let spawn = |chunk| {
                (
                    chunk,
                    thread::Builder::new().spawn_scoped(scope, move || sync(chunk)),
                )
            };
            let running: Vec<_> = paths.chunks(lanes).map(spawn).collect();
            running
                .into_iter()
                .try_for_each(|(chunk, lane)| match lane {
                    Ok(lane) => lane.join().unwrap_or(Err(StoreError::Gone)),
                    // No thread available: one after the other.
                    Err(_) => sync(chunk),
                })
        })
    }
}
