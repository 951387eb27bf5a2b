//! The container's root mount: made detached, put on a host folder of this mount namespace, then pivoted to.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::path::Arg as _;

use super::stages::Setup;
use super::{Fault, On as _, inside};
use crate::sys;
use crate::wire::{MountKind, RootConfig};

/// fsconfig refuses longer strings.
const FSCONFIG_LIMIT: usize = 255;

/// Nothing that is mounted here may reach the host.
pub(super) fn isolate(setup: &mut Setup<'_>) -> Result<(), Fault> {
    let kind = if setup.config.propagation == libc::MS_SLAVE {
        MountPropagationFlags::DOWNSTREAM
    } else {
        MountPropagationFlags::PRIVATE
    };
    mount_change("/", kind | MountPropagationFlags::REC).on("/")
}

pub(super) fn mount_root(setup: &mut Setup<'_>) -> Result<(), Fault> {
    let config = setup.config;
    let point = &config.mount_point;
    let named = point.display().to_string();
    let mut target = rustix::fs::open(
        point,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .on(&named)?;
    if !config.files.is_empty()
        || config
            .mounts
            .iter()
            .any(|mount| matches!(mount.kind, MountKind::Tree { .. }))
    {
        // The files' tmpfs must be attached somewhere to be bound from; it carries the root, and leaves with the old tree.
        // Some are for the container to change, which must not be a way to fill the host's memory.
        let content: u64 = config
            .files
            .iter()
            .map(|file| file.content.len.next_multiple_of(4096))
            .sum();
        let size = (content + (1 << 20)).to_string();
        let options = [("mode", "0700"), ("size", size.as_str())];
        let scratch = tmpfs(
            &options,
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )
        .on("tmpfs for files")?;
        attach(&scratch, &target).on(&named)?;
        rustix::fs::mkdirat(&scratch, "root", Mode::RWXU).on("tmpfs for files")?;
        target = inside::find(&scratch, "root", OFlags::PATH).on("tmpfs for files")?;
        setup.scratch = Some(scratch);
    }
    let root = match &config.root {
        RootConfig::Dir(path) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            open_tree(CWD, path, flags).on(path.display().to_string())?
        }
        RootConfig::Overlay {
            lowers,
            upper,
            work,
        } => overlay(lowers, upper, work)?,
    };
    attach(&root, &target).on(&named)?;
    setup.root = Some(root);
    Ok(())
}

/// A detached tmpfs.
pub(super) fn tmpfs(
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", "tmpfs")?;
    for (key, value) in options {
        fsconfig_set_string(fs.as_fd(), *key, *value)?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Puts a detached mount on a folder or file that is open.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", target.as_fd(), "", flags)
}

fn overlay(lowers: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, Fault> {
    let mut short = Short::default();
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).on("overlay")?;
    let set = |key: &str, path: &Path, value: &str| {
        fsconfig_set_string(fs.as_fd(), key, value).on(format!("{key}={}", path.display()))
    };
    fsconfig_set_string(fs.as_fd(), "source", "overlay").on("overlay")?;
    let values = lowers
        .iter()
        .map(|lower| short.name(lower))
        .collect::<Result<Vec<_>, _>>()?;
    let joined = values
        .iter()
        .map(|value| value.replace('\\', "\\\\").replace(':', "\\:"))
        .collect::<Vec<_>>()
        .join(":");
    if joined.len() <= FSCONFIG_LIMIT {
        fsconfig_set_string(fs.as_fd(), "lowerdir", joined.as_str())
            .on(format!("lowerdir={joined}"))?;
    } else {
        for (lower, value) in lowers.iter().zip(&values) {
            set("lowerdir+", lower, value)?;
        }
    }
    set("upperdir", upper, &short.name(upper)?)?;
    set("workdir", work, &short.name(work)?)?;
    // The upper folder may become a layer. With these, which some kernels have on, it would mean something only above the
    // layers that it was made on (Documentation/filesystems/overlayfs.rst).
    for feature in ["index", "metacopy", "redirect_dir"] {
        fsconfig_set_string(fs.as_fd(), feature, "off").on(format!("{feature}=off"))?;
    }
    fsconfig_create(fs.as_fd()).on(format!(
        "overlay on {} layers, upper {}",
        lowers.len(),
        upper.display()
    ))?;
    fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .on("overlay")
}

/// Names for paths that fsconfig takes: long ones go by descriptor, which must stay open until the mount exists.
#[derive(Default)]
struct Short {
    open: Vec<OwnedFd>,
}

impl Short {
    fn name(&mut self, path: &Path) -> Result<String, Fault> {
        let text = path.as_str().on(path.display().to_string())?;
        if text.len() <= FSCONFIG_LIMIT {
            return Ok(text.to_owned());
        }
        let fd = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .on(text)?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        self.open.push(fd);
        Ok(name)
    }
}

pub(super) fn pivot(setup: &mut Setup<'_>) -> Result<(), Fault> {
    let root = setup.root();
    rustix::process::fchdir(root).on("root")?;
    // Stacks the old root under the new one, so that no folder for it is needed.
    rustix::process::pivot_root(".", ".").on("root")?;
    unmount(".", UnmountFlags::DETACH).on("old root")?;
    rustix::process::chdir("/").on("/")?;
    if setup.config.root_propagation != 0 {
        sys::mount_setattr(root.as_fd(), false, 0, 0, setup.config.root_propagation)
            .on("root propagation")?;
    }
    if setup.config.root_readonly {
        sys::mount_setattr(root.as_fd(), false, sys::MOUNT_ATTR_RDONLY, 0, 0)
            .on("read-only root")?;
    }
    // Descriptors of mounts must not be around when the program runs; exec closes them, but the reaper does not exec.
    setup.root = None;
    setup.scratch = None;
    Ok(())
}
