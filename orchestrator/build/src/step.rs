//! The interface to what runs a process in a root file system: one RUN step as plain data.
//!
//! The build decides everything (arguments, user, mounts, cache keys); the implementation starts the process, waits, and
//! says how it ended. It knows nothing of Dockerfiles.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use hoist_image::Platform;

use crate::request::{NetworkMode, SecretBytes};

/// What an asynchronous method of a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a step could not be run at all (a step that ran and failed is an exit code).
pub type RunError = Box<dyn std::error::Error + Send + Sync>;

/// Runs one process to its end. Steps of independent stages run at the same time.
pub trait RunStep: Send + Sync {
    /// Whether the programs of another machine can be run here; if not, why, and what is to be done about it.
    fn can_run(&self, platform: &Platform) -> Result<(), RunError>;

    /// Mounts the overlay (privately: nothing may stay mounted; with `index`, `metacopy` and `redirect_dir` off, since
    /// the upper folder becomes a layer of its own), runs the process as the first one of a container of
    /// its own, streams its output and returns its exit code (128 + signal for a killed one, 126 and 127 as a shell).
    ///
    /// When the future is dropped, the process and everything it started must be gone before `upper` is used again.
    fn run(&self, step: RunRequest) -> BoxFuture<'_, Result<i32, RunError>>;
}

/// One RUN step (Dockerfile reference, "RUN").
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// For naming kernel objects and logs: unique among all steps that run now. `[0-9a-f]+`.
    pub id: String,
    /// Overlay lower directories, topmost first; never empty (a scratch stage has one empty directory).
    pub lowers: Vec<PathBuf>,
    /// Overlay upper directory: what the process writes becomes the layer.
    pub upper: PathBuf,
    /// Overlay work directory: empty, on the same file system.
    pub work: PathBuf,
    /// The program and its arguments; the program is looked up in PATH inside the root.
    pub argv: Vec<String>,
    /// `NAME=value`, in order; the last of two equal names counts. PATH is always there; HOME only when the Dockerfile
    /// sets it, otherwise it is for the implementation to take from the user's entry.
    pub env: Vec<String>,
    /// Absolute; exists in the root.
    pub cwd: String,
    /// `user[:group]`, names or numbers, to be looked up inside the root. `None`: root.
    pub user: Option<String>,
    pub mounts: Vec<RunMount>,
    /// Files laid over the root for this step only (tmpfs, never in the layer).
    pub files: Vec<RunFile>,
    pub network: NetworkMode,
    /// Name and address, for /etc/hosts.
    pub extra_hosts: Vec<(String, String)>,
    /// Bytes of /dev/shm; `None`: as containers have it.
    pub shm_size: Option<u64>,
    /// Name, soft, hard; -1 is none.
    pub ulimits: Vec<(String, i64, i64)>,
    /// With every right of the caller's, and without the filters.
    pub insecure: bool,
    /// `os/arch`, when it is not that of the machine: an emulator has to run it.
    pub platform: Option<String>,
    pub output: OutputSink,
}

/// A mount of `RUN --mount`. Targets are absolute paths inside the root, to be resolved there; a missing target is
/// created, and what was created must not stay in `upper`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMount {
    pub target: String,
    pub kind: RunMountKind,
}

/// What is mounted (Dockerfile reference, "RUN --mount").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMountKind {
    /// A folder or file of the host's (a cache, or one layer's folder), bound.
    Bind { source: PathBuf, read_only: bool },
    /// Several layers seen as one folder. With `scratch` (upper, work) it can be written and the writes are thrown away.
    Overlay {
        lowers: Vec<PathBuf>,
        scratch: Option<(PathBuf, PathBuf)>,
    },
    /// Empty, in memory; `size` in bytes.
    Tmpfs { size: Option<u64>, read_only: bool },
}

/// A secret (Dockerfile reference, "RUN --mount=type=secret") or the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// Absolute, inside the root.
    pub path: String,
    pub content: SecretBytes,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// Of a step's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

type WriteOutput = dyn Fn(OutputStream, &[u8]) + Send + Sync;

/// Where the bytes of a step's stdout and stderr go, in any portions, from any thread.
#[derive(Clone)]
pub struct OutputSink(Arc<WriteOutput>);

impl OutputSink {
    /// One that hands everything to `write`.
    pub fn new(write: impl Fn(OutputStream, &[u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Passes bytes on.
    pub fn write(&self, stream: OutputStream, bytes: &[u8]) {
        (self.0)(stream, bytes);
    }
}

impl fmt::Debug for OutputSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputSink")
    }
}
