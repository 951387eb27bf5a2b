//! What the files hold. Fields are only ever added; an absent one means its default.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use hoist_image::{Digest, Execution};
use hoist_scheduler::{PREDEFINED_NETWORK, Record, Timestamp, restart};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The stack as it was last applied.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StackDoc {
    pub(crate) name: String,
    /// The canonical model.
    pub(crate) stack: Value,
    pub(crate) project_dir: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    /// Digests of the contents of secrets and configs by key.
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) applied: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetworkDoc {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) project: String,
    pub(crate) key: String,
    pub(crate) config_hash: String,
    pub(crate) subnet: Ipv4Net,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) range: Ipv4Net,
    #[serde(default)]
    pub(crate) reserved: BTreeSet<Ipv4Addr>,
    #[serde(default)]
    pub(crate) internal: bool,
    #[serde(default)]
    pub(crate) driver_opts: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Docker's option for the name of a network's bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

impl NetworkDoc {
    /// The network of `network_mode: bridge`, which belongs to no project.
    pub(crate) fn is_predefined(&self) -> bool {
        self.project.is_empty() && self.name == PREDEFINED_NETWORK
    }

    /// What the kernel needs to know of it.
    pub(crate) fn spec(&self) -> hoist_network::NetworkSpec {
        hoist_network::NetworkSpec {
            id: self.id.clone(),
            subnet: self.subnet,
            gateway: self.gateway,
            internal: self.internal,
            bridge: self.driver_opts.get(BRIDGE_NAME).cloned(),
            mtu: self.driver_opts.get("com.docker.network.driver.mtu").and_then(|mtu| mtu.parse().ok()),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VolumeDoc {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) project: String,
    pub(crate) key: String,
    pub(crate) config_hash: String,
    pub(crate) anonymous: bool,
    pub(crate) driver_opts: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl VolumeDoc {
    pub(super) fn recovered(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// What was decided when the container was made; never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerDoc {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    pub(crate) image_id: String,
    /// Diff ids, first layer first.
    pub(crate) layers: Vec<Digest>,
    /// What the image says, kept because the image may be removed.
    pub(crate) image: Execution,
    pub(crate) record: Record,
    /// A canonical stack with this one service, overrides folded in.
    pub(crate) service: Value,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) mounts: Vec<MountDoc>,
    /// Anonymous volumes by target.
    pub(crate) anonymous: BTreeMap<String, String>,
    pub(crate) files: Vec<FileDoc>,
    /// `run --rm`.
    #[serde(default)]
    pub(crate) remove: bool,
    /// `run`: the start waits for a client to attach.
    #[serde(default)]
    pub(crate) attach: bool,
}

impl ContainerDoc {
    /// Paths of the host that it has, and whether only for reading.
    pub(crate) fn binds(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { path, .. } => Some((path.as_path(), mount.read_only)),
            _ => None,
        })
    }

    pub(crate) fn unknown(id: &str) -> Self {
        let record = Record {
            project: String::new(),
            name: crate::engine::short(id).to_owned(),
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
            restart: restart::Policy::default(),
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
            image: Execution::default(),
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

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountDoc {
    pub(crate) target: String,
    pub(crate) read_only: bool,
    #[serde(flatten)]
    pub(crate) kind: MountKind,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum MountKind {
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileDoc {
    /// `secret "x"` or `config "x"`, for messages.
    pub(crate) label: String,
    pub(crate) target: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) content: FileContent,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileContent {
    /// Read at every start.
    Path(PathBuf),
    /// Part of the stack.
    Text(String),
    /// From the environment of whoever ran `up`: only kept in the run directory, under this name, never on disk.
    Volatile { name: String, variable: String },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// Never started.
    #[default]
    Created,
    Running,
    /// Somebody stopped it.
    Stopped,
}

/// What changes in a container's life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StateDoc {
    pub(crate) wanted: Wanted,
    /// Boot in which it was last started.
    pub(crate) boot: String,
    pub(crate) started: Option<Timestamp>,
    /// The same by the steady clock of that boot.
    pub(crate) began: Option<Timestamp>,
    pub(crate) history: restart::History,
    /// How it last ended, when that is not in the shim's exit record.
    pub(crate) exit: Option<ExitDoc>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExitDoc {
    pub(crate) code: i32,
    pub(crate) at: Timestamp,
    /// The same by the steady clock of the boot in which it was started.
    pub(crate) ended: Option<Timestamp>,
    pub(crate) oom: bool,
    /// Why it could not be started.
    pub(crate) error: String,
}
