//! A container's or image's root as a private, detached overlay mount: it is in no mount namespace, and goes with its
//! descriptor. Paths below it are resolved as inside a container (`RESOLVE_IN_ROOT`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hoist_image::{Writable, mount_overlay};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

#[derive(Debug)]
pub(crate) struct RootView {
    root: OwnedFd,
}

impl RootView {
    /// Read-only, of layers alone; top layer first.
    pub(crate) fn of_layers(lowers: &[PathBuf]) -> io::Result<Self> {
        if let [single] = lowers {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return Ok(Self { root: rustix::fs::open(single, flags, Mode::empty())? });
        }
        Ok(Self { root: mount_overlay(lowers, None)? })
    }

    /// Writable. The container must not run.
    pub(crate) fn of_container(lowers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<Self> {
        Ok(Self { root: mount_overlay(lowers, Some(Writable { upper, work, layer: false }))? })
    }

    /// The root of a running container: its init's, through /proc.
    pub(crate) fn of_process(pid: i32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())? })
    }

    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        open_in(self.root.as_fd(), path, flags)
    }
}

/// Opens a path that cannot lead out of `root`, whatever its links say.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    loop {
        match openat2(root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename at the wrong moment; the kernel asks to try again.
            Err(rustix::io::Errno::AGAIN) if attempts < 16 => attempts += 1,
            other => return Ok(other?),
        }
    }
}
