//! The lock that makes engines of one run folder exclusive, and its passage from shim to engine.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Set by a shim that starts an engine: the number of the inherited, locked descriptor.
pub const INHERITED: &str = "HOIST_LOCK_FD";

/// Takes the lock: the inherited descriptor when a shim passed one, else by flock. `None`: another engine has it.
/// Hold the result for the engine's life. Call it once, before threads start.
pub fn acquire(_path: &Path) -> io::Result<Option<OwnedFd>> {
    todo!()
}
