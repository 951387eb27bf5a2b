//! Reading and replacing single files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::documents::{ContainerDoc, NetworkDoc, StackDoc, StateDoc, VolumeDoc};
use super::{Layout, StoreError, spare};

/// Every object that could be read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) stacks: Vec<StackDoc>,
    pub(crate) networks: Vec<NetworkDoc>,
    pub(crate) volumes: Vec<VolumeDoc>,
    pub(crate) containers: Vec<(ContainerDoc, StateDoc)>,
    /// One sentence for each file that could not.
    pub(crate) damaged: Vec<String>,
}

const FOLDERS: [&str; 7] = ["stacks", "networks", "volumes", "containers", "damaged", "staging", "build"];

/// For root alone: images hold set-id programs, volumes and logs hold what is nobody else's business.
pub(super) fn make_folders(root: &Path) -> Result<(), StoreError> {
    for folder in std::iter::once(root.to_owned()).chain(FOLDERS.map(|name| root.join(name))) {
        let made = make_folder(&folder).and_then(|()| match fs::metadata(&folder)?.permissions().mode() & 0o7777 {
            0o700 => Ok(()),
            _ => fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)),
        });
        made.map_err(|source| StoreError::Create { path: folder, source })?;
    }
    Ok(())
}

/// With its parents, 0700.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
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
        Err(error) if lasting && spare::no_room(&error) => {
            spare::replace(path, bytes).map(|()| true).map_err(|_| error)
        }
        Ok(synced) if lasting => spare::keep(path, bytes.len()).map(|()| synced),
        written => written,
    };
    written.map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let temporary = temporary(path);
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    let put = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        let replaces = path.exists();
        if replaces {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
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
        other => other.map_err(|source| StoreError::Write { path: path.to_owned(), source }),
    }
}

fn has_entries(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

pub(super) fn load(layout: &Layout) -> Loaded {
    let mut reader = Reader { layout, damaged: Vec::new() };
    let stacks = reader.folder("stacks");
    let networks = reader.folder("networks");
    let volumes = reader.volumes();
    let containers = reader.containers();
    Loaded { stacks, networks, volumes, containers, damaged: reader.damaged }
}

struct Reader<'a> {
    layout: &'a Layout,
    damaged: Vec<String>,
}

impl Reader<'_> {
    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.layout.root.join(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// `None`: damaged (then moved aside) or not there.
    fn document<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.damaged.push(format!("{} cannot be read: {error}", path.display()));
                return None;
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(document) => Some(document),
            Err(error) => {
                self.set_aside(path, &error.to_string());
                None
            }
        }
    }

    fn set_aside(&mut self, path: &Path, reason: &str) {
        let name = path.strip_prefix(&self.layout.root).unwrap_or(path).to_string_lossy().replace('/', "-");
        let aside = self.layout.root.join("damaged").join(name);
        let outcome = match fs::rename(path, &aside) {
            Ok(()) => format!("moved to {}", aside.display()),
            Err(error) => format!("not moved aside: {error}"),
        };
        self.damaged.push(format!("{} is damaged ({reason}); {outcome}", path.display()));
    }

    fn folder<T: DeserializeOwned>(&mut self, folder: &str) -> Vec<T> {
        let path = self.layout.root.join(folder);
        let (unfinished, names): (Vec<_>, Vec<_>) =
            self.names(folder).into_iter().partition(|name| name.ends_with(".new"));
        for name in unfinished {
            let _ = hoist_tree::remove(&path.join(name));
        }
        names.iter().filter(|name| name.ends_with(".json")).filter_map(|name| self.document(&path.join(name))).collect()
    }

    /// A record in the folder of its object.
    fn record<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        let _ = hoist_tree::remove(&temporary(path));
        self.document(path)
    }

    /// A folder without a record keeps its data: it is a user's. It gets a record of its own again. One without data was
    /// just being made.
    fn volumes(&mut self) -> Vec<VolumeDoc> {
        let mut volumes = Vec::new();
        for name in self.names("volumes") {
            let path = self.layout.volume(&name).join("volume.json");
            if let Some(volume) = self.record::<VolumeDoc>(&path) {
                volumes.push(volume);
            } else if has_entries(&self.layout.volume_data(&name)) {
                volumes.push(VolumeDoc::recovered(&name));
            } else {
                let _ = hoist_tree::remove(&self.layout.volume(&name));
            }
        }
        volumes
    }

    fn containers(&mut self) -> Vec<(ContainerDoc, StateDoc)> {
        let mut containers = Vec::new();
        for id in self.names("containers") {
            let folder = self.layout.container(&id);
            let Some(container) = self.record::<ContainerDoc>(&folder.join("container.json")) else {
                // Half made or half removed, or its record is damaged: nobody can use what is left.
                let _ = hoist_tree::remove(&folder);
                continue;
            };
            let state = self.record(&folder.join("state.json")).unwrap_or_default();
            containers.push((container, state));
        }
        containers
    }
}
