//! The container child: from a fresh clone to execve.
//!
//! Runs in the single-threaded shim's clone. It is an ordered list of named stages, so a failure says which stage and
//! what it was about. Everything it does was decided by the engine; paths inside the root are resolved by `inside`
//! only. Must not know logs, sockets of the engine, exit records.

mod identity;
mod inside;
mod mounts;
mod process;
mod reaper;
mod renew;
mod root;
mod stages;

use std::io;
use std::os::fd::OwnedFd;

use crate::wire::{ChildReport, Failure, FdRole, Head, Payload, send};

pub use identity::owner_of;
pub(crate) use renew::renew;
pub(crate) use stages::{run_container, run_exec};

/// Why a stage failed, and on what.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) object: String,
    pub(crate) source: io::Error,
    pub(crate) exit_code: u8,
}

impl Fault {
    fn new(object: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            object: object.into(),
            source: source.into(),
            exit_code: 125,
        }
    }

    fn plain(object: impl Into<String>) -> Self {
        Self::new(object, io::Error::from_raw_os_error(0))
    }

    pub(crate) fn failure(&self, stage: &str) -> Failure {
        // The packet must hold it, whatever paths are in it.
        let object = self.object.chars().take(1500).collect();
        Failure {
            stage: stage.to_owned(),
            object,
            errno: self.source.raw_os_error().unwrap_or(libc::EIO),
            exit_code: self.exit_code,
        }
    }
}

/// Names the object of a failed call.
trait On<T> {
    fn on(self, object: impl Into<String>) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> On<T> for Result<T, E> {
    fn on(self, object: impl Into<String>) -> Result<T, Fault> {
        self.map_err(|source| Fault::new(object, source))
    }
}

/// What the child was handed: the payload and descriptors by role.
#[derive(Debug)]
pub(crate) struct Inheritance {
    payload: OwnedFd,
    head: Head,
    fds: Vec<(FdRole, OwnedFd)>,
}

impl Inheritance {
    /// `fds`: as received, the payload first.
    pub(crate) fn new(head: Head, fds: Vec<OwnedFd>) -> io::Result<Self> {
        let mut fds = fds.into_iter();
        let payload = fds.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let fds: Vec<_> = head.fds.iter().copied().zip(fds).collect();
        if fds.len() != head.fds.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { payload, head, fds })
    }

    pub(crate) fn fd(&self, role: FdRole) -> Option<&OwnedFd> {
        self.fds
            .iter()
            .find_map(|(have, fd)| (*have == role).then_some(fd))
    }

    pub(crate) fn take(&mut self, role: FdRole) -> Option<OwnedFd> {
        let index = self.fds.iter().position(|(have, _)| *have == role)?;
        Some(self.fds.remove(index).1)
    }

    /// The shim's or exec helper's part.
    pub(crate) fn shim_json(&self) -> io::Result<Vec<u8>> {
        Payload::read(&self.payload, 0, self.head.shim)
    }

    fn child_json(&self) -> io::Result<Vec<u8>> {
        Payload::read(&self.payload, self.head.shim, self.head.child)
    }

    fn bytes(&self, range: crate::wire::Range) -> io::Result<Vec<u8>> {
        Payload::read(&self.payload, self.start_of(range), range.len)
    }

    /// Within the kernel: the reaper is a copy of this process, and a secret's text must not be in its memory.
    fn copy(&self, range: crate::wire::Range, to: &OwnedFd) -> io::Result<()> {
        let mut offset = self.start_of(range);
        let end = offset + range.len;
        while offset < end {
            let count = usize::try_from(end - offset).map_err(io::Error::other)?;
            if rustix::fs::sendfile(to, &self.payload, Some(&mut offset), count)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn start_of(&self, range: crate::wire::Range) -> u64 {
        self.head.shim + self.head.child + range.start
    }
}

/// Tells the shim and ends; the shim reports it.
fn fail(sync: &OwnedFd, stage: &str, fault: &Fault) -> ! {
    let _ = send(sync, &ChildReport::Failed(fault.failure(stage)), &[]);
    leave(i32::from(fault.exit_code))
}

/// Ends without running anything that belongs to the shim's copy of this process.
#[expect(clippy::exit, reason = "a clone of the shim has nothing to return to")]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}
