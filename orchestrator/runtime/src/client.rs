//! The engine's side of `shim.sock`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use crate::status::ExitStatus;

/// A connection to a container's shim. All methods take `&self` and may be called from several threads. It is
/// non-blocking for reading events: wrap it (it is `AsRawFd`) and call [`Shim::try_event`] until `None` when readable.
///
/// Dropping the last connection of all without [`Shim::detach`] tells the shim that the engine died: it starts another.
#[derive(Debug)]
pub struct Shim {
    socket: OwnedFd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Started {
        pid: i32,
    },
    /// The record is on disk, the cgroup is gone and `shim.sock` is free again when this arrives.
    Exited(ExitStatus),
    /// The kernel killed something in the container for memory.
    Oom,
    /// The shim closed the connection; nothing more will come.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimState {
    pub id: String,
    /// The container's init, in the host's numbers.
    pub pid: i32,
    pub shim_pid: i32,
    pub paused: bool,
    pub tty: bool,
    /// Set when the container ended before this question came.
    pub exited: Option<ExitStatus>,
    /// Log records lost because the disk was full or broken.
    pub dropped_log_records: u64,
}

/// What an attached client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// `true`: a client that does not read holds the program back, as a pipe does (`hoist run … | less`).
    /// `false`: a client that is too slow is dropped.
    pub lossless: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("connecting to {path}")]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{attempt} through the shim")]
    Io {
        attempt: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the shim refused to {attempt}: {reason}")]
    Refused { attempt: &'static str, reason: String },
    #[error("the shim is gone")]
    Gone,
}

impl Shim {
    pub fn connect(_bundle: &Path) -> Result<Self, ShimError> {
        todo!()
    }

    /// The container's init, in the host's numbers.
    #[must_use]
    pub fn pid(&self) -> i32 {
        todo!()
    }

    /// The next event, if one has arrived. Never blocks.
    pub fn try_event(&self) -> Result<Option<Event>, ShimError> {
        todo!()
    }

    /// Blocks until the next event.
    pub fn next_event(&self) -> Result<Event, ShimError> {
        todo!()
    }

    /// Blocks until the container has ended.
    pub fn wait(&self) -> Result<ExitStatus, ShimError> {
        todo!()
    }

    pub fn state(&self) -> Result<ShimState, ShimError> {
        todo!()
    }

    /// To the container's init. A container that has just ended is not an error.
    pub fn kill(&self, _signal: i32) -> Result<(), ShimError> {
        todo!()
    }

    /// SIGKILL to every process of the container's cgroup.
    pub fn kill_all(&self) -> Result<(), ShimError> {
        todo!()
    }

    pub fn pause(&self) -> Result<(), ShimError> {
        todo!()
    }

    pub fn resume(&self) -> Result<(), ShimError> {
        todo!()
    }

    pub fn resize(&self, _rows: u16, _columns: u16) -> Result<(), ShimError> {
        todo!()
    }

    /// Copies output to `stream` (a connected stream socket) from now on: docker's frames (`[stream,0,0,0,len be32]`)
    /// without a tty, raw bytes with one. What arrives on it goes to standard input; its end closes standard input.
    pub fn attach(&self, _stream: BorrowedFd<'_>, _want: Attach) -> Result<(), ShimError> {
        todo!()
    }

    /// Says goodbye: this connection's end is no death of the engine.
    pub fn detach(self) -> Result<(), ShimError> {
        todo!()
    }

    /// Kills the container and ends the shim.
    pub fn shutdown(&self) -> Result<(), ShimError> {
        todo!()
    }
}

impl AsFd for Shim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Shim {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
