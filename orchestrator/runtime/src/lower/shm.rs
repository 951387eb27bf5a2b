//! The shared memory of another container: who joins its ipc namespace sees the files of its /dev/shm.

use std::os::fd::OwnedFd;

use crate::detached::copy_from;
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
    let tree = copy_from(owner, PLACE).map_err(|source| LaunchError::Bundle {
        path: PLACE.into(),
        source,
    })?;
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
