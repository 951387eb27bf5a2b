//! The shared memory of another container: who joins its ipc namespace sees the files of its /dev/shm.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::launch::LaunchError;
use crate::wire::{FdRole, MountConfig, MountKind};

const PLACE: &str = "/dev/shm";

/// The mount to make, with a copy of the owner's among `fds`; none where the spec has something else in its place.
pub(super) fn of(
    owner: i32,
    mounts: &[MountConfig],
    fds: &mut Vec<(FdRole, OwnedFd)>,
) -> Result<Option<MountConfig>, LaunchError> {
    if mounts.iter().any(|mount| mount.target == PLACE) {
        return Ok(None);
    }
    let path = format!("/proc/{owner}/ns/mnt");
    let namespace = File::open(&path).map_err(|source| LaunchError::Bundle { path: path.into(), source })?;
    // A thread's namespace changes for good, so it is a thread of its own.
    let copied = std::thread::scope(|scope| scope.spawn(|| copy(&namespace)).join());
    let copied = copied.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let tree = copied.map_err(|source| LaunchError::Bundle { path: PLACE.into(), source })?;
    fds.push((FdRole::SharedMemory, tree));
    Ok(Some(MountConfig {
        target: PLACE.to_owned(),
        kind: MountKind::SharedMemory,
        set: 0,
        clear: 0,
        recursive_attributes: false,
        propagation: 0,
    }))
}

/// Only who is in a mount namespace may copy a mount of it; the copy can then be attached anywhere.
fn copy(namespace: &File) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_FS)?;
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    // The paths are the container's from here on: nothing of its making is followed.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, PLACE, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let copy = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(folder, "", copy)?)
}
