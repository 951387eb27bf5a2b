//! What the engine asks for when it starts a container, and how that can fail.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Spec;

use crate::log::LogConfig;

/// One container start. The bundle folder is made (0700) when missing; it holds `shim.sock` while the shim lives.
#[derive(Debug)]
pub struct Launch {
    pub id: String,
    /// `<run>/containers/<id>`.
    pub bundle: PathBuf,
    /// Process, mounts, namespaces, resources, masked paths. `root.path` is ignored in favour of `rootfs`; see
    /// `spec_defaults::spec` for what docker gives a container.
    pub spec: Spec,
    pub rootfs: Rootfs,
    pub netns: Netns,
    /// `name`, `uid`, `name:group`, `uid:gid`; looked up inside the root. `None` takes `spec.process.user`.
    pub user: Option<String>,
    /// Supplementary groups, names or numbers, looked up inside the root.
    pub group_add: Vec<String>,
    /// `None`: output goes only to attached clients.
    pub log: Option<LogConfig>,
    /// Written durably before anybody hears of the exit; read it with [`crate::ExitStatus::read`].
    pub exit_record: PathBuf,
    pub tty: bool,
    /// Keep standard input open for attached clients; otherwise it is `/dev/null`.
    pub stdin_open: bool,
    /// Close the container's standard input when the first attached client that had it leaves.
    pub stdin_once: bool,
    pub files: Vec<InjectedFile>,
    /// Mounts that entries of the spec with the type [`crate::TREE`] name as their source.
    pub trees: Vec<Tree>,
    /// A small reaper as process 1.
    pub init: bool,
    pub join: Join,
    pub seccomp: Seccomp,
    pub privileged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    Dir(PathBuf),
    /// Lowers: top first, as in overlay's own option. `upper` and `work` must exist on one file system; owner and
    /// mode of `upper` become those of the container's `/` (0755, or nobody but root gets anywhere).
    Overlay {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
    },
}

#[derive(Debug)]
pub enum Netns {
    Host,
    /// A fresh one with only `lo`, up.
    New,
    Fd(OwnedFd),
    Path(PathBuf),
}

/// A mount without a place yet. It lives as long as what it is attached to, and nothing else holds it.
#[derive(Debug)]
pub struct Tree {
    pub name: String,
    pub mount: OwnedFd,
}

/// A file that lives in memory only: secrets, configs, hosts, resolv.conf.
#[derive(Clone, PartialEq, Eq)]
pub struct InjectedFile {
    /// Absolute path inside the root.
    pub path: String,
    pub content: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// The container may change it (until it stops).
    pub writable: bool,
}

impl std::fmt::Debug for InjectedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The content is often a secret.
        f.debug_struct("InjectedFile")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// Namespaces of other containers to join, by the process id of their init (`pid: service:x`, `ipc: container:y`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Join {
    pub pid: Option<i32>,
    pub ipc: Option<i32>,
    pub uts: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seccomp {
    /// Docker's default profile for the container's capabilities.
    Default,
    Unconfined,
    /// What `spec.linux.seccomp` says.
    FromSpec,
}

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("invalid container spec: {0}")]
    Spec(String),
    #[error("preparing {path}")]
    Bundle {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("starting the shim")]
    Spawn(#[source] std::io::Error),
    #[error("talking to the shim during start")]
    Protocol(#[source] std::io::Error),
    #[error("compiling the seccomp profile: {0}")]
    Seccomp(String),
    /// A stage of the container's or the shim's set-up failed. `object` says on what.
    #[error("{stage}: {object}")]
    Stage {
        stage: String,
        object: String,
        exit_code: u8,
        /// `None`: the object says it all (an unknown user).
        #[source]
        source: Option<std::io::Error>,
    },
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error("container {0} is paused")]
    Paused(String),
}

impl LaunchError {
    /// Docker's exit code for it: 127 command not found, 126 not executable, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stage { exit_code, .. } => *exit_code,
            _ => 125,
        }
    }

    #[must_use]
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::Stage { stage, .. } => Some(stage),
            _ => None,
        }
    }
}
