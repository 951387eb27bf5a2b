//! Another process in a running container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::client::ShimError;
use crate::status::ExitStatus;

#[derive(Debug)]
pub struct ExecRequest {
    /// The running container.
    pub id: String,
    /// Its init, in the host's numbers ([`crate::Shim::pid`]).
    pub pid: i32,
    pub argv: Vec<String>,
    /// `NAME=value`, the whole environment. HOME is added from the root's passwd when missing.
    pub env: Vec<String>,
    /// Absolute; empty means `/`.
    pub cwd: String,
    /// As in [`crate::Launch::user`]; `None` is root.
    pub user: Option<String>,
    pub group_add: Vec<String>,
    /// Capability names as in the runtime spec (`CAP_CHOWN`, …).
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: crate::launch::Seccomp,
    pub privileged: bool,
    pub stdio: ExecStdio,
}

#[derive(Debug)]
pub enum ExecStdio {
    /// `None` is `/dev/null`.
    Fds { stdin: Option<OwnedFd>, stdout: Option<OwnedFd>, stderr: Option<OwnedFd> },
    /// The handle then has the master end.
    Tty { rows: u16, columns: u16 },
}

/// A process started by [`crate::Runtime::exec`]. Becomes readable when there is news: then call `try_wait`.
/// Dropping it leaves the process alone.
#[derive(Debug)]
pub struct ExecHandle {
    socket: OwnedFd,
}

impl ExecHandle {
    /// In the host's numbers.
    #[must_use]
    pub fn pid(&self) -> i32 {
        todo!()
    }

    /// The terminal's master end, once; `None` without a tty.
    pub fn take_terminal(&self) -> Option<OwnedFd> {
        todo!()
    }

    pub fn resize(&self, _rows: u16, _columns: u16) -> Result<(), ShimError> {
        todo!()
    }

    /// The exit status if it has ended. Never blocks.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, ShimError> {
        todo!()
    }

    pub fn wait(&self) -> Result<ExitStatus, ShimError> {
        todo!()
    }

    pub fn kill(&self, _signal: i32) -> Result<(), ShimError> {
        todo!()
    }

    /// SIGKILL to the process and everything it started, however deep it hid.
    pub fn kill_tree(&self) -> Result<(), ShimError> {
        todo!()
    }
}

impl AsFd for ExecHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ExecHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
