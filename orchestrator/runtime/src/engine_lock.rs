//! The lock that makes engines of one run folder exclusive, and its passage from shim to engine.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::sys;

/// Set by a shim that starts an engine: the number of the inherited, locked descriptor.
pub const INHERITED: &str = "HOIST_LOCK_FD";

/// Takes the lock: the inherited descriptor when a shim passed one, else by flock. `None`: another engine has it.
/// Hold the result for the engine's life. Call it once, before threads start.
pub fn acquire(path: &Path) -> io::Result<Option<OwnedFd>> {
    if let Some(lock) = inherited(path) {
        fcntl_setfd(&lock, FdFlags::CLOEXEC)?;
        return Ok(Some(lock));
    }
    let lock = open(path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The lock's file, made when it is missing.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?
        .into())
}

/// Believed only when it is open on the very lock file: the variable may be left over from an ancestor.
fn inherited(path: &Path) -> Option<OwnedFd> {
    let number = std::env::var(INHERITED)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 2)?;
    let same = |fd: &OwnedFd| -> io::Result<bool> {
        let (have, want) = (rustix::fs::fstat(fd)?, rustix::fs::stat(path)?);
        Ok((have.st_dev, have.st_ino) == (want.st_dev, want.st_ino))
    };
    let lock = sys::take_inherited(number).ok()?;
    match same(&lock) {
        Ok(true) => {
            // Held already through the shim's open file; asking again is free and proves it.
            flock(&lock, FlockOperation::NonBlockingLockExclusive)
                .ok()
                .map(|()| lock)
        }
        _ => {
            // Not ours to close either.
            std::mem::forget(lock);
            None
        }
    }
}
