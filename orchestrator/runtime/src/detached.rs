//! Mounts that are in no mount namespace, until a container takes them: nothing on the host has to be unmounted, and a
//! killed engine leaves none behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, openat2, statx,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::lower::attribute;
use crate::sys;

#[derive(Debug, thiserror::Error)]
pub enum DetachedError {
    #[error("this kernel has no file system {kind:?}")]
    Kind {
        kind: String,
        #[source]
        source: io::Error,
    },
    #[error("{kind} refuses the option {option:?}{said}")]
    Option {
        kind: String,
        option: String,
        /// What the kernel says of it.
        said: String,
        #[source]
        source: io::Error,
    },
    #[error("mounting {device} as {kind} with the options {options:?}{said}")]
    Mount {
        kind: String,
        device: String,
        options: String,
        said: String,
        #[source]
        source: io::Error,
    },
}

/// As mount(8) would, but nowhere. Blocks as long as the file system takes (a server may not answer).
pub fn open_mount(kind: &str, device: &str, options: &[String]) -> Result<OwnedFd, DetachedError> {
    let named = || kind.to_owned();
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| DetachedError::Kind {
        kind: named(),
        source: error.into(),
    })?;
    let refused = |option: &str, error: rustix::io::Errno| DetachedError::Option {
        kind: named(),
        option: option.to_owned(),
        said: said(&fs),
        source: error.into(),
    };
    fsconfig_set_string(fs.as_fd(), "source", device).map_err(|error| refused("device", error))?;
    let (mut set, mut read_only) = (0, false);
    for option in options {
        let word = option.as_str();
        if word == "defaults" {
            continue;
        }
        if let Some((bits, cleared)) = attribute(word) {
            set = (set & !cleared) | bits;
            read_only = set & sys::MOUNT_ATTR_RDONLY != 0;
            continue;
        }
        let result = match word.split_once('=') {
            Some((key, value)) => fsconfig_set_string(fs.as_fd(), key, value),
            None => fsconfig_set_flag(fs.as_fd(), word),
        };
        result.map_err(|error| refused(word, error))?;
    }
    if read_only {
        // Also read-only at the file system level: it may be damaged, or on a read-only server.
        fsconfig_set_flag(fs.as_fd(), "ro").map_err(|error| refused("ro", error))?;
    }
    let failed = |error: rustix::io::Errno| DetachedError::Mount {
        kind: named(),
        device: device.to_owned(),
        options: options.join(","),
        said: said(&fs),
        source: error.into(),
    };
    fsconfig_create(fs.as_fd()).map_err(failed)?;
    let attributes = MountAttrFlags::from_bits_retain(sys::attr_bits(set));
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
}

/// What the file system wrote about its options: lines of a letter and a text.
fn said(fs: &OwnedFd) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = rustix::io::read(fs, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
        text += &format!(" ({})", line.get(2..).unwrap_or_default());
    }
    text
}

/// A read-only copy of what is mounted on a folder and below it, on which no device can be opened and no program run.
pub fn copy_of_folder(path: &Path) -> io::Result<OwnedFd> {
    let copy = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, copy)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let private = u64::from(MountPropagationFlags::PRIVATE.bits());
    sys::mount_setattr(tree.as_fd(), true, u64::from(attributes.bits()), 0, private)?;
    Ok(tree)
}

/// A copy of the mount on a path of a running container; `None` when nothing is mounted there.
pub fn mount_of(pid: i32, path: &str) -> io::Result<Option<OwnedFd>> {
    let tree = copy_from(pid, path)?;
    let attributes = statx(&tree, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?.stx_attributes;
    Ok(attributes
        .contains(StatxAttributes::MOUNT_ROOT)
        .then_some(tree))
}

/// A mount can only be copied from inside its mount namespace; the copy can then be attached anywhere.
pub(crate) fn copy_from(pid: i32, path: &str) -> io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    // A thread's namespace changes for good, so use a separate thread.
    let copied = std::thread::scope(|scope| scope.spawn(|| copy(&namespace, path)).join());
    copied.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn copy(namespace: &File, path: &str) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_FS)?;
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    // From here on the container controls the paths: no symlink is followed.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let copy = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(folder, "", copy)?)
}
