//! The launch: everything that shim and child need, lowered by the engine so that they decide nothing.
//!
//! It travels in a sealed memfd (`Payload`): the shim's JSON, the child's JSON, then raw bytes that the child's JSON
//! points into. Shim and child read their own part only, so the long-lived shim never holds the child's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::cgroup::Plan;
use crate::descriptors::SoftLimit;
use crate::log::LogConfig;

/// The first packet to a shim; with the payload and the descriptors named in `fds`, in that order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) shim: u64,
    pub(crate) child: u64,
    pub(crate) fds: Vec<FdRole>,
    /// What shim and container get in place of the engine's own; `None`: they inherit that.
    pub(crate) descriptors: Option<SoftLimit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FdRole {
    Netns,
    JoinPid,
    JoinIpc,
    JoinUts,
    /// A copy of the mount on /dev/shm of the container whose ipc namespace is joined.
    SharedMemory,
    /// A mount prepared for the container: a volume with driver options.
    Tree(u16),
    Stdin,
    Stdout,
    Stderr,
    /// exec: the container's init and its root folder.
    Init,
    Root,
    /// A mount for a running container.
    Renewed,
    /// `oci create --console-socket`.
    ConsoleSocket,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) exit_record: PathBuf,
    pub(crate) log: Option<LogConfig>,
    pub(crate) tty: bool,
    pub(crate) stdin_open: bool,
    pub(crate) stdin_once: bool,
    /// Pass the shim's own stdio on to the container (`oci`): they are in the head.
    pub(crate) inherit_stdio: bool,
    /// Wait for `Request::Start` before the program (`oci create`).
    pub(crate) hold: bool,
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    pub(crate) cgroup: Plan,
    /// `engine.json`; `None`: an engine's death is none of our business.
    pub(crate) engine: Option<PathBuf>,
}

/// An exec, for its helper process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecConfig {
    pub(crate) process: ProcessConfig,
    /// Folders of the container's cgroup to enter; the first is the tracking folder's parent on v2.
    pub(crate) cgroup: Plan,
    /// `CLONE_NEW*` to enter by the init's pidfd.
    pub(crate) namespaces: u64,
}

/// A mount that takes the place of another one in a running container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RenewConfig {
    pub(crate) target: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitConfig {
    pub(crate) process: ProcessConfig,
    pub(crate) root: RootConfig,
    pub(crate) root_readonly: bool,
    /// `MS_PRIVATE` or `MS_SLAVE`, for the copy of the host's tree.
    pub(crate) propagation: u64,
    /// `MS_*` for the container's own root afterwards; 0 leaves it.
    pub(crate) root_propagation: u64,
    pub(crate) mounts: Vec<MountConfig>,
    pub(crate) nodes: Vec<NodeConfig>,
    pub(crate) files: Vec<FileConfig>,
    pub(crate) masked: Vec<String>,
    pub(crate) readonly: Vec<String>,
    /// Path below /proc/sys and value.
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// A new empty network namespace: bring `lo` up.
    pub(crate) loopback: bool,
    /// Process 1 stays ours and reaps.
    pub(crate) reaper: bool,
    /// v1: cgroup folders to show, by controller.
    pub(crate) cgroup_view: Vec<(String, PathBuf)>,
    /// An empty folder of the host that the new root is put on.
    pub(crate) mount_point: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProcessConfig {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    /// A working folder that is not there is made; otherwise it is an error.
    pub(crate) make_cwd: bool,
    pub(crate) user: UserConfig,
    pub(crate) group_add: Vec<String>,
    /// Bit masks.
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
    pub(crate) rlimits: Vec<RlimitConfig>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) umask: Option<u32>,
    pub(crate) personality: Option<u64>,
    pub(crate) tty: bool,
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) seccomp: Option<SeccompConfig>,
    /// Names the session keyring.
    pub(crate) id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum UserConfig {
    /// Looked up inside the root.
    Named(String),
    Numeric {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RlimitConfig {
    pub(crate) resource: i32,
    pub(crate) name: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeccompConfig {
    pub(crate) program: Range,
    pub(crate) flags: u64,
}

/// Bytes of the payload, counted from the end of the child's JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RootConfig {
    Dir(PathBuf),
    Overlay {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountConfig {
    pub(crate) target: String,
    pub(crate) kind: MountKind,
    /// `MOUNT_ATTR_*`.
    pub(crate) set: u64,
    pub(crate) clear: u64,
    /// The attributes hold for what is mounted below the source, too.
    pub(crate) recursive_attributes: bool,
    /// `MS_*`; 0 leaves it.
    pub(crate) propagation: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum MountKind {
    Bind {
        source: PathBuf,
        /// A path below the source, which something untrusted can change: resolved with the source as its root.
        below: Option<String>,
        recursive: bool,
    },
    Filesystem {
        name: String,
        source: String,
        options: Vec<(String, Option<String>)>,
    },
    /// What [`FdRole::SharedMemory`] holds.
    SharedMemory,
    /// What [`FdRole::Tree`] of this number holds, or a part of it.
    Tree { index: u16, below: Option<String> },
    /// The container's own cgroup: a cgroup2 mount, or a tmpfs with a bind of each v1 folder.
    Cgroup,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeConfig {
    pub(crate) path: String,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub(crate) kind: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileConfig {
    pub(crate) path: String,
    pub(crate) content: Range,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) writable: bool,
}

/// Builds and reads the memfd.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Range {
        let range = Range {
            start: self.bytes.len() as u64,
            len: bytes.len() as u64,
        };
        self.bytes.extend_from_slice(bytes);
        range
    }

    /// The memfd and its head (without descriptors).
    pub(crate) fn seal(
        self,
        shim: &impl Serialize,
        child: &impl Serialize,
    ) -> io::Result<(OwnedFd, Head)> {
        let (shim, child) = (serde_json::to_vec(shim)?, serde_json::to_vec(child)?);
        let memfd = rustix::fs::memfd_create(
            "hoist-launch",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        let mut file = std::fs::File::from(memfd);
        for part in [&shim, &child, &self.bytes] {
            io::Write::write_all(&mut file, part)?;
        }
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, all)?;
        let head = Head {
            shim: shim.len() as u64,
            child: child.len() as u64,
            fds: Vec::new(),
            descriptors: None,
        };
        Ok((file.into(), head))
    }

    /// One part of a payload.
    pub(crate) fn read(memfd: impl AsFd, start: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pread(&memfd, &mut bytes[done..], start + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(bytes)
    }
}
