//! One mount of a running container replaced by another, from inside of its mount namespace.

use std::os::fd::AsFd as _;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};

use super::root::attach;
use super::stages::enter;
use super::{Fault, Inheritance, On as _, inside};
use crate::wire::{FdRole, RenewConfig};

/// Must run in a separate process: it stays in the container afterwards.
pub(crate) fn renew(config: &RenewConfig, inheritance: &Inheritance) -> Result<(), Fault> {
    let target = &config.target;
    let tree = inheritance
        .fd(FdRole::Renewed)
        .ok_or_else(|| Fault::plain("no mount came along"))?;
    enter(inheritance, libc::CLONE_NEWNS as u64)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("/")?;
    let there = inside::find(&root, target, OFlags::PATH).on(target)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(there.as_fd()).on(target)?.st_mode);
    drop(there);
    if kind == FileType::Socket {
        // The dead one. If it cannot be taken away it is covered.
        let _ = unmount(
            target.as_str(),
            UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
        );
    }
    let point = inside::find(&root, target, OFlags::PATH).on(target)?;
    attach(tree, &point).on(target)
}
