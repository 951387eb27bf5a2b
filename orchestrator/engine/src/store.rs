//! State on disk: one JSON file an object, replaced atomically, written in order by one thread.
//!
//! A file is in place (safe against the death of the engine) once [`Store::written`] returns, and on the disk (safe
//! against the death of the machine) once [`Store::durable`] does. The second is waited for before a request is
//! answered, not before every step: all files of a wave are then synced side by side. A file that replaces another is
//! synced before the rename, so that a power cut never costs the old value too.
//!
//! A write that fails is an error of the requests that are about its object, and of no other; what the world knows and
//! the disk does not is tried again until it is written or its object is gone. Disk space for the state of a started
//! container is reserved beforehand ([`spare`]), so that it can be taken down even if the disk is full.
//!
//! Documents of older forms are written again in today's when the store is opened ([`form`]); those of a newer hoist are
//! reported and left as they are.
//!
//! Must not know: what the objects mean.

mod declared;
mod files;
pub(crate) mod kept;
mod spare;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use hoist_object::{ContainerDoc, NetworkDoc, StackDoc, StateDoc, VolumeDoc, form};
use serde::Serialize;
use tokio::sync::oneshot;

use files::Content;
use writer::Job;

pub(crate) use declared::volume_record;
pub use files::make_folder;
pub(crate) use files::{Loaded, patiently};

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
    #[error("listing {path}")]
    List {
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

    pub(crate) fn volume_records(&self, name: &str) -> [PathBuf; 2] {
        VOLUME_RECORDS.map(|record| self.volume(name).join(record))
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

    /// The files of /etc that are the engine's.
    pub(crate) fn etc(&self, id: &str) -> PathBuf {
        self.container(id).join("etc")
    }

    pub(crate) fn upper(&self, id: &str) -> PathBuf {
        self.container(id).join("upper")
    }

    pub(crate) fn work(&self, id: &str) -> PathBuf {
        self.container(id).join("work")
    }
}

/// The record of a volume and its copy: a volume whose record is lost would lose its project, too.
pub(crate) const VOLUME_RECORDS: [&str; 2] = ["volume.json", "volume.copy"];

/// Files and folders that a request is about.
pub(crate) type Concern = Vec<PathBuf>;

/// A handle on the writer.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) layout: Layout,
    /// Unbounded, and bounded by what fills it: the world puts the state of a container at most once for each change
    /// of its phase, requests wait for what they put, and restarts back off to one in a minute.
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the data root and reads every object. `lives` answers whether something of a container runs.
    pub(crate) fn open(
        root: &Path,
        lives: &dyn Fn(&str) -> bool,
    ) -> Result<(Self, Loaded), StoreError> {
        let layout = Layout {
            root: root.to_owned(),
        };
        let mut damaged = files::make_folders(root)?;
        damaged.extend(crate::staging::recover(&layout));
        let mut loaded = files::load(&layout, lives)?;
        loaded.damaged.splice(0..0, damaged);
        let (jobs, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || writer::run(&inbox))
            .map_err(|source| StoreError::Create {
                path: root.to_owned(),
                source,
            })?;
        let store = Self { layout, jobs };
        for (path, content) in std::mem::take(&mut loaded.outdated) {
            store.send(Job::Put(path, content));
        }
        for volume in loaded
            .volumes
            .iter()
            .filter(|volume| loaded.unrecorded.contains(&volume.name))
        {
            store.put_volume(volume);
        }
        Ok((store, loaded))
    }

    fn send(&self, job: Job) {
        // The writer lives as long as this handle; a failed send shows up as `Gone` at the next wait.
        let _ = self.jobs.send(job);
    }

    fn put<T: Serialize>(&self, path: PathBuf, document: &T, lasting: bool) {
        self.send(Job::Put(
            path,
            Content {
                bytes: form::write(document),
                lasting,
            },
        ));
    }

    pub(crate) fn put_stack(&self, stack: &StackDoc) {
        self.put(self.layout.stack(&stack.name), stack, false);
    }

    pub(crate) fn put_network(&self, network: &NetworkDoc) {
        self.put(self.layout.network(&network.id), network, false);
    }

    pub(crate) fn put_volume(&self, volume: &VolumeDoc) {
        for path in self.layout.volume_records(&volume.name) {
            self.put(path, volume, false);
        }
    }

    pub(crate) fn put_container(&self, container: &ContainerDoc) {
        self.put(
            self.layout.container(&container.id).join("container.json"),
            container,
            false,
        );
    }

    pub(crate) fn put_state(&self, id: &str, state: &StateDoc) {
        self.put(self.layout.container(id).join("state.json"), state, true);
    }

    /// Removes a file or a whole folder.
    pub(crate) fn delete(&self, path: PathBuf) {
        self.send(Job::Delete(path));
    }

    /// Everything that was put or deleted before is in place, as far as these are concerned.
    pub(crate) async fn written(&self, concern: Concern) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Written(concern, reply));
        answer.await.map_err(|_| StoreError::Gone)?
    }

    /// These new files are in place; if one could not be written, none is left.
    pub(crate) async fn created(&self, files: Concern) -> Result<(), StoreError> {
        self.written(files.clone())
            .await
            .inspect_err(|_| files.into_iter().for_each(|path| self.delete(path)))
    }

    /// Everything that was put or deleted before is on the disk, as far as these are concerned.
    pub(crate) async fn durable(&self, concern: Concern) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Durable(concern, reply));
        answer.await.map_err(|_| StoreError::Gone)?
    }
}

#[cfg(test)]
mod tests {
    use hoist_object::Wanted;

    use super::*;

    fn stack(name: &str) -> StackDoc {
        StackDoc {
            name: name.to_owned(),
            ..StackDoc::default()
        }
    }

    #[tokio::test]
    async fn what_was_put_is_loaded_again() {
        let root = tempfile::tempdir().unwrap();
        let (store, loaded) = Store::open(root.path(), &|_| false).unwrap();
        assert!(loaded.stacks.is_empty());
        store.put_stack(&stack("shop"));
        store.put_stack(&stack("blog"));
        store.delete(store.layout.stack("blog"));
        store.durable(Vec::new()).await.unwrap();
        let (_, loaded) = Store::open(root.path(), &|_| false).unwrap();
        assert_eq!(
            loaded
                .stacks
                .iter()
                .map(|stack| stack.name.as_str())
                .collect::<Vec<_>>(),
            ["shop"]
        );
        assert!(loaded.damaged.is_empty());
    }

    #[tokio::test]
    async fn damaged_file_costs_only_its_own_object() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path(), &|_| false).unwrap();
        store.put_stack(&stack("shop"));
        store.put_stack(&stack("blog"));
        store.written(Vec::new()).await.unwrap();
        std::fs::write(store.layout.stack("blog"), b"{\"name\":").unwrap();
        let (_, loaded) = Store::open(root.path(), &|_| false).unwrap();
        assert_eq!(loaded.stacks.len(), 1);
        assert_eq!(loaded.damaged.len(), 1);
        assert!(!store.layout.stack("blog").exists(), "moved aside");
        let (_, again) = Store::open(root.path(), &|_| false).unwrap();
        assert!(again.damaged.is_empty(), "reported once");
    }

    /// Each of these is what is left of a volume's two records.
    #[tokio::test]
    async fn a_volume_whose_record_is_lost_keeps_its_project() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path(), &|_| false).unwrap();
        let stack_of = |key: &str| serde_json::json!({ "name": "shop", "services": {}, "volumes": { key: { "name": "data" } } });
        let [record, copy] = store.layout.volume_records("data");
        let volume = VolumeDoc {
            name: "data".to_owned(),
            project: "shop".to_owned(),
            key: "db".to_owned(),
            ..VolumeDoc::default()
        };
        let other = serde_json::to_vec(&VolumeDoc {
            name: "other".to_owned(),
            ..volume.clone()
        })
        .unwrap();
        std::fs::create_dir_all(store.layout.volume_data("data")).unwrap();
        std::fs::write(store.layout.volume_data("data").join("file"), b"").unwrap();
        type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
        let break_all: [Damage<'_>; 5] = [
            ("missing", &|path| std::fs::remove_file(path).unwrap()),
            ("truncated", &|path| {
                std::fs::write(path, b"{\"name\":").unwrap()
            }),
            ("another's", &|path| std::fs::write(path, &other).unwrap()),
            ("a folder", &|path| {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(path).unwrap();
            }),
            ("whole", &|_| {}),
        ];
        for declared in [false, true] {
            for (first, damage) in &break_all {
                for (second, damage_copy) in &break_all {
                    store.put_stack(&StackDoc {
                        stack: if declared {
                            stack_of("db")
                        } else {
                            stack_of("else")
                        },
                        ..stack("shop")
                    });
                    store.put_volume(&volume);
                    store
                        .durable(vec![store.layout.root.clone()])
                        .await
                        .unwrap();
                    damage(&record);
                    damage_copy(&copy);
                    let (again, loaded) = Store::open(root.path(), &|_| false).unwrap();
                    again
                        .durable(vec![again.layout.root.clone()])
                        .await
                        .unwrap();
                    let told = format!(
                        "{first}, copy {second}, declared {declared}: {:?}",
                        loaded.damaged
                    );
                    let [found] = &loaded.volumes[..] else {
                        panic!("{told}")
                    };
                    let known = [first, second].contains(&&"whole");
                    let key = if known || declared { "db" } else { "else" };
                    assert_eq!(
                        (found.project.as_str(), found.key.as_str()),
                        ("shop", key),
                        "{told}"
                    );
                    assert_eq!(
                        loaded.damaged.iter().any(|text| text.contains("was lost")),
                        *first != "whole",
                        "{told}"
                    );
                    assert!(record.is_file() && copy.is_file(), "{told}");
                }
            }
        }
        store.delete(store.layout.stack("shop"));
        store
            .written(vec![store.layout.root.clone()])
            .await
            .unwrap();
        [record, copy]
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
        let (_, loaded) = Store::open(root.path(), &|_| false).unwrap();
        assert_eq!(loaded.volumes[0].project, "", "nothing says whose it was");
    }

    #[tokio::test]
    async fn what_a_killed_engine_was_writing_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path(), &|_| false).unwrap();
        let layout = &store.layout;
        store.put_stack(&stack("shop"));
        store.put_volume(&VolumeDoc {
            name: "kept.new".to_owned(),
            ..VolumeDoc::default()
        });
        store.written(Vec::new()).await.unwrap();
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
        let (store, loaded) = Store::open(root.path(), &|_| false).unwrap();
        for path in &half {
            assert!(!path.exists(), "{}", path.display());
        }
        assert!(!store.layout.volume("begun").exists() && !store.layout.container("0123").exists());
        assert_eq!(
            loaded
                .volumes
                .iter()
                .map(|volume| volume.name.as_str())
                .collect::<Vec<_>>(),
            ["kept.new"]
        );
        assert!(loaded.damaged.is_empty());
    }

    fn copy(from: &Path, to: &Path) {
        make_folder(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &to),
                false => assert!(std::fs::copy(entry.path(), to).is_ok()),
            }
        }
    }

    #[tokio::test]
    async fn documents_of_an_older_form_are_written_again() {
        let root = tempfile::tempdir().unwrap();
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../object/tests/forms/4a142bb"),
            root.path(),
        );
        let (store, loaded) = Store::open(root.path(), &|_| false).unwrap();
        assert_eq!(
            (
                loaded.containers.len(),
                loaded.networks.len(),
                loaded.volumes.len()
            ),
            (5, 3, 6)
        );
        assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
        store.durable(vec![root.path().to_owned()]).await.unwrap();
        let id = &loaded.containers[0].0.id;
        for path in [
            store.layout.stack("kept"),
            store.layout.container(id).join("state.json"),
        ] {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("{\"version\":1,"),
                "{}: {text}",
                path.display()
            );
        }
        let (_, again) = Store::open(root.path(), &|_| false).unwrap();
        assert!(again.outdated.is_empty() && again.damaged.is_empty());
        assert_eq!(again.containers, loaded.containers);
    }

    #[tokio::test]
    async fn documents_of_a_newer_hoist_are_reported_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path(), &|_| false).unwrap();
        let newer = br#"{"version":9,"name":{"of":"another kind"}}"#;
        std::fs::write(store.layout.stack("shop"), newer).unwrap();
        make_folder(&store.layout.container("0123")).unwrap();
        std::fs::write(store.layout.container("0123").join("container.json"), newer).unwrap();
        let (store, loaded) = Store::open(root.path(), &|_| false).unwrap();
        assert_eq!(loaded.damaged.len(), 2, "{:?}", loaded.damaged);
        assert!(
            loaded.damaged[0]
                .ends_with("a newer hoist wrote it (form 9, and this one reads up to 1)")
        );
        assert_eq!(std::fs::read(store.layout.stack("shop")).unwrap(), newer);
        assert_eq!(
            std::fs::read(store.layout.container("0123").join("container.json")).unwrap(),
            newer
        );
    }

    /// A small file system of its own, unless this machine makes none.
    struct Small(tempfile::TempDir);

    impl Small {
        fn new() -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let options = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "none"];
            let mounted = std::process::Command::new("mount")
                .args(options)
                .arg(folder.path())
                .output();
            mounted
                .is_ok_and(|output| output.status.success())
                .then_some(Self(folder))
        }

        /// Takes every block, as a container would; the result gives them back.
        fn fill(&self) -> PathBuf {
            use std::io::Write;
            let path = self.0.path().join("fill");
            let mut file = std::fs::File::create(&path).unwrap();
            while file.write_all(&[1; 4096]).is_ok() {}
            path
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount")
                .arg(self.0.path())
                .output();
        }
    }

    fn stopped() -> StateDoc {
        StateDoc {
            wanted: Wanted::Stopped,
            boot: "b".repeat(36),
            ..StateDoc::default()
        }
    }

    #[tokio::test]
    async fn a_full_disk_costs_new_objects_only() {
        let Some(disk) = Small::new() else { return };
        let (store, _) = Store::open(disk.0.path(), &|_| false).unwrap();
        let layout = &store.layout;
        store.put_state(
            "one",
            &StateDoc {
                wanted: Wanted::Running,
                ..StateDoc::default()
            },
        );
        store.put_stack(&stack("shop"));
        store.durable(vec![layout.root.clone()]).await.unwrap();
        let fill = disk.fill();
        store.put_stack(&stack("blog"));
        let failed = store.written(vec![layout.stack("blog")]).await.unwrap_err();
        assert!(
            crate::error::chain(&failed).contains("No space left"),
            "{failed:?}"
        );
        store
            .written(vec![layout.stack("shop")])
            .await
            .expect("what fails is nobody else's");
        let read = || {
            serde_json::from_slice::<StateDoc>(
                &std::fs::read(layout.container("one").join("state.json")).unwrap(),
            )
        };
        for wanted in [Wanted::Stopped, Wanted::Running, Wanted::Stopped] {
            store.put_state(
                "one",
                &StateDoc {
                    wanted,
                    ..stopped()
                },
            );
            store
                .durable(vec![layout.container("one")])
                .await
                .expect("its room was taken beforehand");
            assert_eq!(read().unwrap().wanted, wanted);
        }
        assert!(
            store.created(vec![layout.stack("news")]).await.is_ok(),
            "nothing was put there"
        );
        std::fs::remove_file(fill).unwrap();
        store
            .written(vec![layout.stack("blog")])
            .await
            .expect("it is written as soon as there is room");
        assert!(layout.stack("blog").exists());
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_could_not_be_created() {
        let Some(disk) = Small::new() else { return };
        let (store, _) = Store::open(disk.0.path(), &|_| false).unwrap();
        disk.fill();
        store.put_stack(&stack("blog"));
        store
            .created(vec![store.layout.stack("blog")])
            .await
            .unwrap_err();
        store
            .written(vec![store.layout.root.clone()])
            .await
            .expect("it is forgotten");
        assert_eq!(
            std::fs::read_dir(store.layout.root.join("stacks"))
                .unwrap()
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn folders_are_for_root_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("build")).unwrap();
        std::fs::set_permissions(
            root.path().join("build"),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let _store = Store::open(root.path(), &|_| false).unwrap();
        for entry in std::fs::read_dir(root.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(
                path.metadata().unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                path.display()
            );
        }
    }

    #[tokio::test]
    async fn folder_without_a_record_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(root.path(), &|_| false).unwrap();
        std::fs::create_dir_all(store.layout.upper("half")).unwrap();
        let (store, _) = Store::open(root.path(), &|_| false).unwrap();
        assert!(!store.layout.container("half").exists());
    }
}
