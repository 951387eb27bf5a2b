//! Owns the closed set of things that can be done. Everything is decided here: whoever executes an action has no choice
//! left but the ids of new objects. Objects are named by their names, which are unique within an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use hoist_spec::model;
use ipnet::Ipv4Net;

use hoist_object::Record;

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    PullImage {
        reference: String,
        /// Empty: the host's.
        platform: String,
    },
    BuildImage {
        reference: String,
        service: String,
        /// Options of the command line are folded in.
        build: Box<model::Build>,
        platform: String,
    },
    RemoveImage {
        reference: String,
    },
    CreateNetwork(Box<NetworkSpec>),
    RemoveNetwork {
        network: String,
    },
    CreateVolume(Box<VolumeSpec>),
    RemoveVolume {
        volume: String,
    },
    CreateContainer(Box<ContainerSpec>),
    StartContainer {
        container: String,
    },
    StopContainer {
        container: String,
        signal: String,
        grace: Duration,
    },
    KillContainer {
        container: String,
        signal: String,
    },
    PauseContainer {
        container: String,
    },
    UnpauseContainer {
        container: String,
    },
    RemoveContainer {
        container: String,
        /// Anonymous volumes that go with it; all others stay.
        volumes: BTreeSet<String>,
    },
    /// Done when every one of them is in that condition; failed when one of them no longer can be. With `required:
    /// false` a failure is a warning, and [`crate::Progress`] goes on.
    Await {
        containers: BTreeSet<String>,
        until: Readiness,
        required: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// Running.
    Started,
    /// The healthcheck passes; without a healthcheck this fails.
    Healthy,
    /// Exited with 0.
    Completed,
    /// What `--wait` wants: healthy if there is a healthcheck, else running or exited with 0.
    Ready,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    pub name: String,
    pub project: String,
    pub key: String,
    pub config_hash: String,
    pub subnet: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub range: Ipv4Net,
    pub reserved: BTreeSet<Ipv4Addr>,
    pub internal: bool,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VolumeSpec {
    pub name: String,
    pub project: String,
    pub key: String,
    pub config_hash: String,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A container, wholly decided. `record` is what the engine stores with it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    pub record: Record,
    pub image: ImageSource,
    /// The service, with one-off overrides folded in. Where `record` or `mounts` say the same thing in resolved form
    /// (networks, ports, mounts, namespaces), they win.
    pub service: Box<model::Service>,
    /// All labels: the stack's and the com.docker.compose.* ones.
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<MountPoint>,
    /// Containers whose volumes and binds it has, too, where it has nothing of its own.
    pub volumes_from: Vec<VolumesFrom>,
    /// VOLUME targets of the image get a new anonymous volume unless a mount covers them or they are carried over here
    /// from the container that this one replaces (target → volume).
    pub carried: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// In the store, with this id.
    Stored { id: String },
    /// Whatever the reference means after the pull or build step that this one comes after.
    Fetched,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    pub container: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    pub target: String,
    pub read_only: bool,
    pub source: MountSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// `volume` is the real name.
    Named {
        volume: String,
        nocopy: bool,
        subpath: Option<String>,
    },
    Anonymous {
        volume: AnonymousVolume,
        nocopy: bool,
    },
    Bind {
        path: PathBuf,
        create_host_path: bool,
        propagation: Option<String>,
        selinux: Option<String>,
    },
    Tmpfs {
        size: Option<u64>,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        options: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnonymousVolume {
    /// Made with the container; its name is an id, which the engine draws.
    New,
    /// Taken over from the container that this one replaces.
    Carried { volume: String },
}

impl Action {
    /// Order of kinds among steps that could be done at the same time.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::StopContainer { .. }
            | Self::KillContainer { .. }
            | Self::PauseContainer { .. } => 0,
            Self::RemoveContainer { .. } => 1,
            Self::RemoveNetwork { .. } => 2,
            Self::RemoveVolume { .. } => 3,
            Self::RemoveImage { .. } => 4,
            Self::PullImage { .. } => 5,
            Self::BuildImage { .. } => 6,
            Self::CreateNetwork(_) => 7,
            Self::CreateVolume(_) => 8,
            Self::CreateContainer(_) => 9,
            Self::StartContainer { .. } | Self::UnpauseContainer { .. } => 10,
            Self::Await { .. } => 11,
        }
    }

    /// Name of what it acts on; for `Await` the names.
    pub fn object(&self) -> String {
        match self {
            Self::PullImage { reference, .. }
            | Self::BuildImage { reference, .. }
            | Self::RemoveImage { reference } => reference.clone(),
            Self::CreateNetwork(spec) => spec.name.clone(),
            Self::CreateVolume(spec) => spec.name.clone(),
            Self::CreateContainer(spec) => spec.record.name.clone(),
            Self::RemoveNetwork { network } => network.clone(),
            Self::RemoveVolume { volume } => volume.clone(),
            Self::StartContainer { container }
            | Self::StopContainer { container, .. }
            | Self::KillContainer { container, .. }
            | Self::PauseContainer { container }
            | Self::UnpauseContainer { container }
            | Self::RemoveContainer { container, .. } => container.clone(),
            Self::Await { containers, .. } => containers
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}
