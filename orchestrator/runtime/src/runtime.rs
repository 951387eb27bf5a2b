//! The engine's entry: open once, then start, exec, sweep.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Stats;
use crate::client::Shim;
use crate::exec::{ExecHandle, ExecRequest};
use crate::launch::{Launch, LaunchError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// `/run/hoist`.
    pub run_dir: PathBuf,
    /// Empty for the default data root.
    pub instance: String,
    /// `None`: `$HOIST_SHIM`, then beside the current executable, then `/usr/libexec/hoist/hoist-shim`.
    pub shim: Option<PathBuf>,
    /// `None`: shims leave a dead engine alone. Otherwise written to `<run_dir>/engine.json` (0600) by `open`.
    pub engine: Option<EngineRestart>,
}

/// How a shim starts the engine again.
///
/// The new engine inherits the lock: the descriptor's number is in `HOIST_LOCK_FD`; [`crate::engine_lock::acquire`]
/// takes it over. Exactly one shim can hold it, so exactly one engine starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRestart {
    pub argv: Vec<String>,
    /// The engine's whole environment.
    pub env: Vec<(String, String)>,
    /// `<run_dir>/engine.lock`.
    pub lock: PathBuf,
    /// Where the new engine's stderr goes (appended); `None` is `/dev/null`.
    pub log: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("no hoist-shim executable (looked at {})", .0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoShim(Vec<PathBuf>),
    #[error("copying {path} into memory")]
    SealShim {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("writing {path}")]
    EngineRecord {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("finding the cgroup hierarchies")]
    Cgroups(#[source] io::Error),
}

#[derive(Debug, thiserror::Error)]
#[error("removing {path}")]
pub struct SweepError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

#[derive(Debug)]
pub struct Runtime {}

impl Runtime {
    pub fn open(_config: RuntimeConfig) -> Result<Self, RuntimeError> {
        todo!()
    }

    /// Blocks (a few milliseconds) until the container's program runs or has failed to.
    pub fn start(&self, _launch: &Launch) -> Result<Shim, LaunchError> {
        todo!()
    }

    /// Blocks until the program runs or has failed to.
    pub fn exec(&self, _request: ExecRequest) -> Result<ExecHandle, LaunchError> {
        todo!()
    }

    pub fn stats(&self, _id: &str) -> io::Result<Stats> {
        todo!()
    }

    /// SIGKILL to everything in the container's cgroup, also when its shim is gone. No such cgroup is fine.
    pub fn kill_all(&self, _id: &str) -> io::Result<()> {
        todo!()
    }

    /// Process ids (the host's) in the container's cgroup.
    pub fn processes(&self, _id: &str) -> io::Result<Vec<i32>> {
        todo!()
    }

    /// Takes the kernel's first slow cgroup attach (some 10 ms on cgroup v1) before a container has to wait for it.
    /// Call it from a thread of its own at the start of a wave; costs nothing on v2.
    pub fn warm_up(&self) {
        todo!()
    }

    /// Removes cgroups (killing what is in them) and `<run_dir>/containers/*` folders of ours whose id is not known.
    pub fn sweep(&self, _known: &BTreeSet<String>) -> Vec<SweepError> {
        todo!()
    }
}
