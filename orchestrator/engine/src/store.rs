//! State on disk: one JSON file an object, replaced atomically, written in order by one thread.
//!
//! A file is in place (safe against the death of the engine) once [`Store::written`] returns, and on the disk (safe
//! against the death of the machine) once [`Store::durable`] does. The second is waited for before a request is
//! answered, not before every step: all files of a wave are then synced side by side. A file that replaces another is
//! synced before the rename, so that a power cut never costs the old value too.
//!
//! Must not know: what the objects mean.

mod documents;
mod files;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use serde::Serialize;
use tokio::sync::oneshot;

pub(crate) use documents::{
    ContainerDoc, ExitDoc, FileContent, FileDoc, MountDoc, MountKind, NetworkDoc, StackDoc, StateDoc, VolumeDoc, Wanted,
};
pub(crate) use files::{Loaded, make_folder};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("creating {path}")]
    Create {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("writing {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the state writer is gone")]
    Gone,
}

/// Paths of everything below the data root.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn stack(&self, name: &str) -> PathBuf {
        self.root.join("stacks").join(format!("{name}.json"))
    }

    pub(crate) fn network(&self, id: &str) -> PathBuf {
        self.root.join("networks").join(format!("{id}.json"))
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.volume(name).join("_data")
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    pub(crate) fn exit_record(&self, id: &str) -> PathBuf {
        self.container(id).join("exit.json")
    }

    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.container(id).join("log").join("current.log")
    }

    pub(crate) fn upper(&self, id: &str) -> PathBuf {
        self.container(id).join("upper")
    }

    pub(crate) fn work(&self, id: &str) -> PathBuf {
        self.container(id).join("work")
    }
}

enum Job {
    Put { path: PathBuf, bytes: Vec<u8> },
    Delete { path: PathBuf },
    Written(oneshot::Sender<Result<(), StoreError>>),
    Durable(oneshot::Sender<Result<(), StoreError>>),
}

/// A handle on the writer.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) layout: Layout,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the data root and reads every object.
    pub(crate) fn open(root: &Path) -> Result<(Self, Loaded), StoreError> {
        let layout = Layout { root: root.to_owned() };
        files::make_folders(root)?;
        crate::staging::recover(&layout).map_err(|source| StoreError::Create { path: root.to_owned(), source })?;
        let loaded = files::load(&layout);
        let (jobs, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write_all(&inbox))
            .map_err(|source| StoreError::Create { path: root.to_owned(), source })?;
        Ok((Self { layout, jobs }, loaded))
    }

    fn send(&self, job: Job) {
        // The writer lives as long as this handle; a failed send shows up as `Gone` at the next wait.
        let _ = self.jobs.send(job);
    }

    fn put<T: Serialize>(&self, path: PathBuf, document: &T) {
        let bytes = serde_json::to_vec(document).expect("documents have string keys and no failing serialisers");
        self.send(Job::Put { path, bytes });
    }

    pub(crate) fn put_stack(&self, stack: &StackDoc) {
        self.put(self.layout.stack(&stack.name), stack);
    }

    pub(crate) fn put_network(&self, network: &NetworkDoc) {
        self.put(self.layout.network(&network.id), network);
    }

    pub(crate) fn put_volume(&self, volume: &VolumeDoc) {
        self.put(self.layout.volume(&volume.name).join("volume.json"), volume);
    }

    pub(crate) fn put_container(&self, container: &ContainerDoc) {
        self.put(self.layout.container(&container.id).join("container.json"), container);
    }

    pub(crate) fn put_state(&self, id: &str, state: &StateDoc) {
        self.put(self.layout.container(id).join("state.json"), state);
    }

    /// Removes a file or a whole folder.
    pub(crate) fn delete(&self, path: PathBuf) {
        self.send(Job::Delete { path });
    }

    /// Everything that was put or deleted before is in place.
    pub(crate) async fn written(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Written(reply));
        answer.await.map_err(|_| StoreError::Gone)?
    }

    /// Everything that was put or deleted before is on the disk.
    pub(crate) async fn durable(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Durable(reply));
        answer.await.map_err(|_| StoreError::Gone)?
    }
}

/// What one writer thread remembers between jobs.
#[derive(Default)]
struct Writer {
    /// In place, not yet known to be on the disk.
    dirty: BTreeSet<PathBuf>,
    /// Folders whose entries changed.
    folders: BTreeSet<PathBuf>,
    failure: Option<StoreError>,
}

fn write_all(inbox: &mpsc::Receiver<Job>) {
    let mut writer = Writer::default();
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Put { path, bytes } => writer.put(path, &bytes),
            Job::Delete { path } => writer.delete(path),
            Job::Written(reply) => drop(reply.send(writer.failure.take().map_or(Ok(()), Err))),
            Job::Durable(reply) => {
                let sync = writer.take_dirty();
                let failure = writer.failure.take();
                // In a thread of its own: the files of the next wave must not wait for the disk.
                let run = move || drop(reply.send(failure.map_or_else(|| sync.run(), Err)));
                if let Err(error) = thread::Builder::new().name("store-sync".to_owned()).spawn(run) {
                    tracing::error!(%error, "cannot start a thread to sync state");
                }
            }
        }
    }
}

impl Writer {
    fn put(&mut self, path: PathBuf, bytes: &[u8]) {
        match files::replace(&path, bytes) {
            Ok(synced) => {
                self.folders.extend(path.parent().map(Path::to_owned));
                // The folder of a container or volume is itself an entry that must last.
                self.folders.extend(path.parent().and_then(Path::parent).map(Path::to_owned));
                if !synced {
                    self.dirty.insert(path);
                }
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot write state");
                self.failure.get_or_insert(error);
            }
        }
    }

    fn delete(&mut self, path: PathBuf) {
        self.dirty.retain(|dirty| !dirty.starts_with(&path));
        self.folders.retain(|folder| !folder.starts_with(&path));
        if let Err(source) = hoist_tree::remove(&path) {
            tracing::error!(path = %path.display(), error = %source, "cannot remove state");
            self.failure.get_or_insert(StoreError::Write { path, source });
            return;
        }
        self.folders.extend(path.parent().map(Path::to_owned));
    }

    fn take_dirty(&mut self) -> Sync {
        Sync { files: std::mem::take(&mut self.dirty), folders: std::mem::take(&mut self.folders) }
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
        thread::scope(|scope| {
            let running: Vec<_> = paths
                .chunks(lanes)
                .map(|chunk| scope.spawn(|| chunk.iter().try_for_each(|path| files::sync(path))))
                .collect();
            running.into_iter().try_for_each(|lane| lane.join().unwrap_or(Err(StoreError::Gone)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(name: &str) -> StackDoc {
        StackDoc { name: name.to_owned(), ..StackDoc::default() }
    }

    #[tokio::test]
    async fn what_was_put_is_loaded_again() {
        let root = tempfile::tempdir().unwrap();
        let (store, loaded) = Store::open(root.path()).unwrap();
        assert!(loaded.stacks.is_empty());
        store.put_stack(&stack("shop"));
        store.put_stack(&stack("blog"));
        store.delete(store.layout.stack("blog"));
        store.durable().await.unwrap();
        let (_, loaded) = Store::open(root.path()).unwrap();
        assert_eq!(loaded.stacks.iter().map(|stack| stack.name.as_str()).collect::<Vec<_>>(), ["shop"]);
        assert!(loaded.damaged.is_empty());
    }

    #[tokio::test]
    async fn damaged_file_costs_only_its_own_object() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path()).unwrap();
        store.put_stack(&stack("shop"));
        store.put_stack(&stack("blog"));
        store.written().await.unwrap();
        std::fs::write(store.layout.stack("blog"), b"{\"name\":").unwrap();
        let (_, loaded) = Store::open(root.path()).unwrap();
        assert_eq!(loaded.stacks.len(), 1);
        assert_eq!(loaded.damaged.len(), 1);
        assert!(!store.layout.stack("blog").exists(), "moved aside");
        let (_, again) = Store::open(root.path()).unwrap();
        assert!(again.damaged.is_empty(), "reported once");
    }

    #[tokio::test]
    async fn what_a_killed_engine_was_writing_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path()).unwrap();
        let layout = &store.layout;
        store.put_stack(&stack("shop"));
        store.put_volume(&VolumeDoc { name: "kept.new".to_owned(), ..VolumeDoc::default() });
        store.written().await.unwrap();
        std::fs::create_dir_all(layout.volume_data("begun")).unwrap();
        let half = [
            layout.stack("blog").with_extension("new"),
            layout.network("0123").with_extension("new"),
            layout.volume("kept.new").join("volume.new"),
            layout.container("0123").join("container.new"),
            layout.volume("begun").join("volume.new"),
        ];
        for path in &half {
            make_folder(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"{\"na").unwrap();
        }
        let (store, loaded) = Store::open(root.path()).unwrap();
        for path in &half {
            assert!(!path.exists(), "{}", path.display());
        }
        assert!(!store.layout.volume("begun").exists() && !store.layout.container("0123").exists());
        assert_eq!(loaded.volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["kept.new"]);
        assert!(loaded.damaged.is_empty());
    }

    #[tokio::test]
    async fn folder_without_a_record_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path()).unwrap();
        std::fs::create_dir_all(store.layout.upper("half")).unwrap();
        let (store, _) = Store::open(root.path()).unwrap();
        assert!(!store.layout.container("half").exists());
    }
}
