//! A container's or image's root as a private, detached overlay mount: it is in no mount namespace, and goes with its
//! descriptor. Paths below it are resolved as inside a container (`RESOLVE_IN_ROOT`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

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
        Self::mount(lowers, None)
    }

    /// Writable. The container must not run.
    pub(crate) fn of_container(lowers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<Self> {
        Self::mount(lowers, Some((upper, work)))
    }

    fn mount(lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> io::Result<Self> {
        let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&fs, "source", "hoist")?;
        for lower in lowers {
            rustix::mount::fsconfig_set_string(&fs, "lowerdir+", lower)?;
        }
        if let Some((upper, work)) = upper {
            rustix::mount::fsconfig_set_string(&fs, "upperdir", upper)?;
            rustix::mount::fsconfig_set_string(&fs, "workdir", work)?;
        }
        rustix::mount::fsconfig_create(&fs)?;
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        if upper.is_none() {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        Ok(Self { root: rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)? })
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
