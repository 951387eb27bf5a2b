//! Reading and replacing single files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hoist_object::form::{self, FormError};
use hoist_object::{ContainerDoc, NetworkDoc, StackDoc, StateDoc, VolumeDoc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Layout, StoreError, declared, spare};

/// Every object that could be read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) stacks: Vec<StackDoc>,
    pub(crate) networks: Vec<NetworkDoc>,
    pub(crate) volumes: Vec<VolumeDoc>,
    /// Names of volumes that lack a record, or its copy.
    pub(crate) unrecorded: Vec<String>,
    pub(crate) containers: Vec<(ContainerDoc, StateDoc)>,
    /// Ids of containers without a record that run.
    pub(crate) strays: Vec<String>,
    /// One sentence for each file that could not.
    pub(crate) damaged: Vec<String>,
    /// Files of older forms, with their content in today's.
    pub(super) outdated: Vec<(PathBuf, Content)>,
}

/// What a file is to hold.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// It must be replaceable even when the disk is full.
    pub(super) lasting: bool,
}

/// A document that has a file of its own.
trait Stored: Serialize + DeserializeOwned {
    /// Whether room for its next content is kept.
    const LASTING: bool = false;
}

impl Stored for StackDoc {}
impl Stored for NetworkDoc {}
impl Stored for VolumeDoc {}
impl Stored for ContainerDoc {}
impl Stored for StateDoc {
    const LASTING: bool = true;
}

const FOLDERS: [&str; 7] = [
    "damaged",
    "stacks",
    "networks",
    "volumes",
    "containers",
    "staging",
    "build",
];

/// Accessible to root only: images hold set-id programs, volumes and logs hold private data. Returns what was in the
/// way and was moved aside.
pub(super) fn make_folders(root: &Path) -> Result<Vec<String>, StoreError> {
    let mut moved = Vec::new();
    private(root).map_err(|source| StoreError::Create {
        path: root.to_owned(),
        source,
    })?;
    for folder in FOLDERS.map(|name| root.join(name)) {
        let made = match private(&folder) {
            Err(error) if is_no_folder(&folder) => {
                if folder.ends_with("damaged") {
                    let _ = fs::rename(&folder, folder.with_extension("file"));
                }
                moved.push(move_aside(root, &folder, &error.to_string()));
                private(&folder)
            }
            made => made,
        };
        made.map_err(|source| StoreError::Create {
            path: folder,
            source,
        })?;
    }
    Ok(moved)
}

fn private(folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    match fs::metadata(folder)?.permissions().mode() & 0o7777 {
        0o700 => Ok(()),
        _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o700)),
    }
}

fn is_no_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir() && !found.is_symlink())
}

/// Moves damaged files aside, and reports them. Damaged files are never deleted.
pub(crate) fn move_aside(root: &Path, path: &Path, reason: &str) -> String {
    let name = path
        .strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .replace('/', "-");
    let folder = root.join("damaged");
    // Of an earlier damage of the same object only the newest is kept apart by its number.
    let free = (0..).map(|number| match number {
        0 => folder.join(&name),
        number => folder.join(format!("{name}.{number}")),
    });
    let aside = free
        .take(1000)
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .unwrap_or_else(|| folder.join(&name));
    let outcome = match fs::rename(path, &aside) {
        Ok(()) => format!("moved to {}", aside.display()),
        Err(error) => format!("not moved aside: {error}"),
    };
    format!("{} is damaged ({reason}); {outcome}", path.display())
}

/// Retries a check whose failure says nothing about the object: out of descriptors or memory, a transient disk error.
pub(crate) fn patiently<T>(mut look: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const TRIES: u32 = 3;
    for _ in 1..TRIES {
        match look() {
            Err(error) if !says_something(&error) => {}
            answer => return answer,
        }
    }
    look()
}

fn says_something(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(
        error.kind(),
        NotFound | IsADirectory | NotADirectory | InvalidData | UnexpectedEof
    )
}

/// With its parents, 0700.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where the next content of a file is written; an engine that is killed may leave it behind.
fn temporary(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Replaces a file atomically. Answers whether it is on the disk already: a new file is not, one that replaces another
/// is. `lasting`: room for the next content is kept, and used when there is no other.
pub(super) fn replace(path: &Path, bytes: &[u8], lasting: bool) -> Result<bool, StoreError> {
    let written = match write(path, bytes) {
        Err(error) if lasting && spare::no_room(&error) => spare::replace(path, bytes)
            .map(|()| true)
            .map_err(|_| error),
        Ok(synced) if lasting => spare::keep(path, bytes.len()).map(|()| synced),
        written => written,
    };
    written.map_err(|source| StoreError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let temporary = temporary(path);
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    let put = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        let replaces = path.exists();
        if replaces {
            file.sync_all()?;
        }
        match fs::rename(&temporary, path) {
            // Any folder at this path is moved aside for the object's file.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                fs::rename(path, path.with_extension("folder"))?;
                fs::rename(&temporary, path)?;
            }
            renamed => renamed?,
        }
        Ok(replaces)
    };
    put().inspect_err(|_| {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    })
}

/// A file or folder that has gone in the meantime needs no syncing.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| StoreError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Known to have no content: a failed check does not prove it.
fn is_empty(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// `lives` answers whether something of a container runs; only asked about those without a record.
pub(super) fn load(layout: &Layout, lives: &dyn Fn(&str) -> bool) -> Result<Loaded, StoreError> {
    let mut reader = Reader {
        layout,
        unrecorded: Vec::new(),
        damaged: Vec::new(),
        outdated: Vec::new(),
    };
    let stacks = reader.folder("stacks")?;
    let networks = reader.folder("networks")?;
    let (containers, strays) = reader.containers(lives)?;
    let volumes = reader.volumes(&stacks, &containers)?;
    let Reader {
        unrecorded,
        damaged,
        outdated,
        ..
    } = reader;
    Ok(Loaded {
        stacks,
        networks,
        volumes,
        unrecorded,
        containers,
        strays,
        damaged,
        outdated,
    })
}

/// What became of a file that should hold an object.
enum Document<T> {
    Read(T),
    Missing,
    /// Moved aside.
    Damaged,
    /// Still where it was.
    Unreadable,
}

struct Reader<'a> {
    layout: &'a Layout,
    unrecorded: Vec<String>,
    damaged: Vec<String>,
    outdated: Vec<(PathBuf, Content)>,
}

impl Reader<'_> {
    /// A folder that cannot be listed stops the start: its objects would seem not to exist.
    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let path = self.layout.root.join(folder);
        let list = || {
            fs::read_dir(&path)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        };
        let names = patiently(list).map_err(|source| StoreError::List {
            path: path.clone(),
            source,
        })?;
        let mut names: Vec<String> = names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn document<T: Stored>(&mut self, path: &Path) -> Document<T> {
        let bytes = match patiently(|| fs::read(path)) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Document::Missing;
            }
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.set_aside(path, "it is a folder");
                return Document::Damaged;
            }
            Err(error) => {
                self.damaged
                    .push(format!("{} cannot be read: {error}", path.display()));
                return Document::Unreadable;
            }
        };
        match form::read::<T>(&bytes) {
            Ok(read) => {
                if read.outdated {
                    let content = Content {
                        bytes: form::write(&read.document),
                        lasting: T::LASTING,
                    };
                    self.outdated.push((path.to_owned(), content));
                }
                Document::Read(read.document)
            }
            Err(error @ FormError::Newer { .. }) => {
                self.damaged
                    .push(format!("{} cannot be read: {error}", path.display()));
                Document::Unreadable
            }
            Err(error) => {
                self.set_aside(path, &error.to_string());
                Document::Damaged
            }
        }
    }

    fn set_aside(&mut self, path: &Path, reason: &str) {
        self.damaged
            .push(move_aside(&self.layout.root, path, reason));
    }

    fn folder<T: Stored>(&mut self, folder: &str) -> Result<Vec<T>, StoreError> {
        let path = self.layout.root.join(folder);
        let (unfinished, names): (Vec<_>, Vec<_>) = self
            .names(folder)?
            .into_iter()
            .partition(|name| name.ends_with(".new"));
        for name in unfinished {
            let _ = hoist_tree::remove(&path.join(name));
        }
        let names = names.iter().filter(|name| name.ends_with(".json"));
        Ok(names
            .filter_map(|name| self.document(&path.join(name)).read())
            .collect())
    }

    /// A record in the folder of its object.
    fn record<T: Stored>(&mut self, path: &Path) -> Document<T> {
        let _ = hoist_tree::remove(&temporary(path));
        self.document(path)
    }

    /// A folder without a record keeps its data: it is a user's. One without data was just being made, unless a
    /// container has it.
    fn volumes(
        &mut self,
        stacks: &[StackDoc],
        containers: &[(ContainerDoc, StateDoc)],
    ) -> Result<Vec<VolumeDoc>, StoreError> {
        let used = |name: &String| {
            containers.iter().any(|(container, _)| {
                container.record.volumes.contains(name)
                    || container.anonymous.values().any(|volume| volume == name)
            })
        };
        let mut volumes = Vec::new();
        for name in self.names("volumes")? {
            let folder = self.layout.volume(&name);
            if is_no_folder(&folder) {
                self.set_aside(&folder, "it is no folder");
                continue;
            }
            let records = self
                .layout
                .volume_records(&name)
                .map(|path| self.volume_record(&path, &name));
            let unknown = records
                .iter()
                .all(|record| matches!(record, Document::Missing));
            if unknown && is_empty(&self.layout.volume_data(&name)) && !used(&name) {
                let _ = hoist_tree::remove(&folder);
                continue;
            }
            volumes.push(self.volume(&name, records, stacks));
        }
        Ok(volumes)
    }

    /// By its record, else by the copy, else as the stack that declares it has it, else without an owner.
    fn volume(
        &mut self,
        name: &str,
        records: [Document<VolumeDoc>; 2],
        stacks: &[StackDoc],
    ) -> VolumeDoc {
        // What cannot be read now may be there all the same, and is not written over.
        let lost = |record: &Document<_>| matches!(record, Document::Missing | Document::Damaged);
        let unreadable = records
            .iter()
            .any(|record| matches!(record, Document::Unreadable));
        if records.iter().any(lost) && !unreadable {
            self.unrecorded.push(name.to_owned());
        }
        let [record, copy] = records;
        if let Document::Read(volume) = record {
            return volume;
        }
        let of_stack = || {
            stacks
                .iter()
                .find_map(|stack| declared::volume(stack, name))
        };
        let found = match copy {
            Document::Read(volume) => Some((volume, "restored from its copy")),
            _ => of_stack().map(|volume| (volume, "restored from its stack")),
        };
        let (volume, how) =
            found.unwrap_or_else(|| (VolumeDoc::recovered(name), "it belongs to no project now"));
        self.damaged
            .push(format!("the record of volume {name} was lost; {how}"));
        volume
    }

    /// A record of another volume is none of this one.
    fn volume_record(&mut self, path: &Path, name: &str) -> Document<VolumeDoc> {
        match self.record::<VolumeDoc>(path) {
            Document::Read(volume) if volume.name != name => {
                self.set_aside(path, "it is of another volume");
                Document::Damaged
            }
            document => document,
        }
    }

    fn containers(&mut self, lives: &dyn Fn(&str) -> bool) -> Result<Containers, StoreError> {
        let mut containers = Vec::new();
        let mut strays = Vec::new();
        for id in self.names("containers")? {
            let folder = self.layout.container(&id);
            match self.record::<ContainerDoc>(&folder.join("container.json")) {
                Document::Read(container) => {
                    let state = self
                        .record(&folder.join("state.json"))
                        .read()
                        .unwrap_or_default();
                    containers.push((container, state));
                }
                // Its files are in use.
                _ if lives(&id) => strays.push(id),
                // Partly created or partly removed: the rest is unusable.
                Document::Missing => drop(hoist_tree::remove(&folder)),
                // It may be the only copy.
                Document::Damaged => self.set_aside(&folder, "its record is damaged"),
                Document::Unreadable => {}
            }
        }
        Ok((containers, strays))
    }
}

type Containers = (Vec<(ContainerDoc, StateDoc)>, Vec<String>);

impl<T> Document<T> {
    fn read(self) -> Option<T> {
        match self {
            Self::Read(document) => Some(document),
            Self::Missing | Self::Damaged | Self::Unreadable => None,
        }
    }
}
