//! A container's record: what was decided when it was made, which never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::image::ImageDefaults;
use crate::record::Record;
use crate::restart::Policy;
use crate::short;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerDoc {
    pub id: String,
    pub created: Timestamp,
    pub image_id: String,
    /// Digests of its image's layers, first layer first.
    pub layers: Vec<String>,
    #[serde(default)]
    pub image: ImageDefaults,
    pub record: Record,
    /// A canonical stack with this one service, overrides folded in.
    pub service: Value,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub mounts: Vec<MountDoc>,
    /// Anonymous volumes by target.
    #[serde(default)]
    pub anonymous: BTreeMap<String, String>,
    #[serde(default)]
    pub files: Vec<FileDoc>,
    /// `run --rm`.
    #[serde(default)]
    pub remove: bool,
    /// `run`: the start waits for a client to attach.
    #[serde(default)]
    pub attach: bool,
}

impl ContainerDoc {
    /// Paths of the host that it has, and whether only for reading.
    pub fn binds(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { path, .. } => Some((path.as_path(), mount.read_only)),
            _ => None,
        })
    }

    /// One that runs and whose record is lost: nothing but its id is known.
    #[must_use]
    pub fn unknown(id: &str) -> Self {
        let record = Record {
            project: String::new(),
            name: short(id).to_owned(),
            service: String::new(),
            number: 0,
            oneoff: true,
            config_hash: String::new(),
            fields: BTreeMap::new(),
            image: String::new(),
            networks: Vec::new(),
            ports: Vec::new(),
            volumes: BTreeSet::new(),
            sharing: Vec::new(),
            depends_on: BTreeMap::new(),
            restart: Policy::default(),
            stop_signal: None,
            stop_grace: std::time::Duration::from_secs(10),
            healthcheck: None,
            working_dir: String::new(),
            files: Vec::new(),
        };
        Self {
            id: id.to_owned(),
            created: Timestamp::default(),
            image_id: String::new(),
            layers: Vec::new(),
            image: ImageDefaults::default(),
            record,
            service: Value::Null,
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            anonymous: BTreeMap::new(),
            files: Vec::new(),
            remove: false,
            attach: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountDoc {
    pub target: String,
    pub read_only: bool,
    #[serde(flatten)]
    pub kind: MountKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MountKind {
    Volume {
        name: String,
        nocopy: bool,
        subpath: Option<String>,
    },
    Bind {
        path: PathBuf,
        create_host_path: bool,
        propagation: Option<String>,
    },
    Tmpfs {
        size: Option<u64>,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        #[serde(default)]
        options: Vec<String>,
    },
}

/// A secret or config as a file in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileDoc {
    /// `secret "x"` or `config "x"`, for messages.
    pub label: String,
    pub target: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub content: FileContent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileContent {
    /// Read at every start.
    Path(PathBuf),
    /// Part of the stack.
    Text(String),
    /// From the environment of the client that ran `up`: only kept in the run directory, under this name, never on disk.
    Volatile { name: String, variable: String },
}
