//! hoist-runtime: an OCI bundle becomes processes.
//!
//! Owns namespaces, mounts, cgroups, seccomp, users, exec, logs and the shim. Everything is synchronous: callers with
//! an async loop wrap the file descriptors of [`Shim`] and [`ExecHandle`].
//!
//! Must not know: services, stacks, images, networks (a network namespace arrives as a descriptor), restart policies.

mod capabilities;
pub mod cgroup;
mod client;
pub mod descriptors;
mod detached;
pub mod engine_lock;
mod exec;
mod init;
mod launch;
pub mod log;
mod lower;
pub mod oci;
mod procfs;
mod runtime;
pub mod seccomp;
#[doc(hidden)]
pub mod shim;
pub mod spec_defaults;
mod status;
mod sys;
mod wire;

pub use client::{Attach, Call, Event, Shim, ShimError, ShimState};
pub use detached::{DetachedError, copy_of_folder, mount_of, open_mount};
pub use exec::{ExecHandle, ExecRequest, ExecStdio};
pub use init::owner_of;
pub use launch::{InjectedFile, Join, Launch, LaunchError, Netns, Rootfs, Seccomp, Tree};
pub use log::LogConfig;
pub use lower::TREE;
pub use runtime::{EngineRestart, Runtime, RuntimeConfig, RuntimeError, SweepError, Swept};
pub use status::ExitStatus;
