//! Everything on the root: mounts in the spec's order, device nodes, injected files, masked and read-only paths.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::inside::{self, Kind};
use super::root::{attach, tmpfs};
use super::stages::Setup;
use super::{Fault, Inheritance, On as _};
use crate::sys;
use crate::wire::{FdRole, FileConfig, MountConfig, MountKind, NodeConfig};

type Options = Vec<(String, Option<String>)>;

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);
/// A copy of the mount that an open descriptor is on.
const CLONE_FD: OpenTreeFlags = CLONE.union(OpenTreeFlags::AT_EMPTY_PATH);

pub(super) fn mount_all(setup: &mut Setup<'_>) -> Result<(), Fault> {
    let config = setup.config;
    for mount in &config.mounts {
        mount_one(setup, mount)?;
    }
    Ok(())
}

fn mount_one(setup: &mut Setup<'_>, mount: &MountConfig) -> Result<(), Fault> {
    let target = &mount.target;
    match &mount.kind {
        MountKind::Bind {
            source,
            below,
            recursive,
        } => {
            let whole = below
                .as_ref()
                .map_or_else(|| source.clone(), |below| source.join(below));
            let named = format!("{} on {target}", whole.display());
            let flags = if *recursive {
                CLONE | OpenTreeFlags::AT_RECURSIVE
            } else {
                CLONE
            };
            let tree =
                source_tree(source, below.as_deref(), flags).on(whole.display().to_string())?;
            mount_tree(setup, mount, &tree, &named)
        }
        MountKind::Filesystem {
            name,
            source,
            options,
        } => mount_filesystem(setup, mount, name, source, options),
        MountKind::SharedMemory => {
            let point = inside::find_or_make(setup.root(), target, Kind::Folder).on(target)?;
            let missing = || Fault::plain(format!("no mount for {target}"));
            attach(
                setup
                    .inheritance
                    .fd(FdRole::SharedMemory)
                    .ok_or_else(missing)?,
                &point,
            )
            .on(target)
        }
        MountKind::Tree { index, below } => {
            let named = format!("{} on {target}", below.as_deref().unwrap_or("volume"));
            let tree = tree_part(setup, *index, below.as_deref()).on(&named)?;
            mount_tree(setup, mount, &tree, &named)
        }
        MountKind::Cgroup => mount_cgroup(setup, mount),
    }
}

/// Attaches an open tree on a mount point of its own kind; `named` says in errors which mount it is.
fn mount_tree(
    setup: &Setup<'_>,
    mount: &MountConfig,
    tree: &OwnedFd,
    named: &str,
) -> Result<(), Fault> {
    let kind = if inside::is_folder(tree).on(named)? {
        Kind::Folder
    } else {
        Kind::File
    };
    let point = inside::find_or_make(setup.root(), &mount.target, kind).on(&mount.target)?;
    attributes(tree, mount).on(named)?;
    attach(tree, &point).on(named)
}

fn mount_filesystem(
    setup: &mut Setup<'_>,
    mount: &MountConfig,
    name: &str,
    source: &str,
    options: &Options,
) -> Result<(), Fault> {
    let target = &mount.target;
    let options = &kept_mode(setup, target, name, options)?;
    let fs = filesystem(
        name,
        source,
        options,
        MountAttrFlags::from_bits_retain(sys::attr_bits(mount.set)),
    )
    .on(format!("{name} on {target}"))?;
    let point = inside::find_or_make(setup.root(), target, Kind::Folder).on(target)?;
    // A symlink that an image put here would have been followed; the pseudo file systems must be where they claim to be,
    // or masking would look elsewhere.
    if matches!(name, "proc" | "sysfs") && is_link(setup, target)? {
        return Err(Fault::plain(format!(
            "{target} is a symbolic link in the image"
        )));
    }
    if mount.propagation != 0 {
        sys::mount_setattr(fs.as_fd(), false, 0, 0, mount.propagation).on(target)?;
    }
    attach(&fs, &point).on(format!("{name} on {target}"))?;
    if name == "proc" && setup.proc.is_none() {
        setup.proc = Some(fs);
    }
    Ok(())
}

/// A copy of a tree or of a part of it. Only what has a place in this namespace can be copied, so the tree gets one that
/// leaves with the old root.
fn tree_part(setup: &mut Setup<'_>, index: u16, below: Option<&str>) -> io::Result<OwnedFd> {
    let inheritance = setup.inheritance;
    let tree = inheritance
        .fd(FdRole::Tree(index))
        .ok_or(io::ErrorKind::NotFound)?;
    if setup.trees.insert(index) {
        let scratch = setup.scratch.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let name = format!("tree-{index}");
        rustix::fs::mkdirat(scratch, name.as_str(), Mode::RWXU)?;
        attach(tree, &inside::find(scratch, &name, OFlags::PATH)?)?;
    }
    let found = inside::find(tree, below.unwrap_or("."), OFlags::PATH)?;
    Ok(open_tree(
        found.as_fd(),
        "",
        CLONE_FD | OpenTreeFlags::AT_RECURSIVE,
    )?)
}

/// A copy of the mount at a source. What is below it is looked up once, by the kernel and with the source as its limit;
/// the copy is made of what was found, not of the path.
fn source_tree(source: &Path, below: Option<&str>, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let Some(below) = below else {
        return Ok(open_tree(CWD, source, flags)?);
    };
    let root = rustix::fs::open(
        source,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = inside::find(&root, below, OFlags::PATH)?;
    Ok(open_tree(
        found.as_fd(),
        "",
        flags | OpenTreeFlags::AT_EMPTY_PATH,
    )?)
}

/// A tmpfs on a folder of the image has that folder's mode, unless it was given another.
fn kept_mode(
    setup: &Setup<'_>,
    target: &str,
    name: &str,
    options: &Options,
) -> Result<Options, Fault> {
    let mut options = options.clone();
    if name == "tmpfs"
        && !options.iter().any(|(key, _)| key == "mode")
        && let Some(folder) = existing(setup, target)?
        && inside::is_folder(&folder).on(target)?
    {
        let mode = rustix::fs::fstat(&folder).on(target)?.st_mode & 0o7777;
        options.push(("mode".to_owned(), Some(format!("{mode:o}"))));
    }
    Ok(options)
}

fn is_link(setup: &Setup<'_>, target: &str) -> Result<bool, Fault> {
    let (parent, name) = inside::parent(setup.root(), target).on(target)?;
    let stat =
        rustix::fs::statat(parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).on(target)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn attributes(tree: &OwnedFd, mount: &MountConfig) -> io::Result<()> {
    if mount.set == 0 && mount.clear == 0 && mount.propagation == 0 {
        return Ok(());
    }
    sys::mount_setattr(
        tree.as_fd(),
        mount.recursive_attributes,
        mount.set,
        mount.clear,
        mount.propagation,
    )
}

pub(super) fn filesystem(
    name: &str,
    source: &str,
    options: &Options,
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let fs = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", source)?;
    for (key, value) in options {
        let result = match value {
            Some(value) => fsconfig_set_string(fs.as_fd(), key.as_str(), value.as_str()),
            None => fsconfig_set_flag(fs.as_fd(), key.as_str()),
        };
        let value = value.as_deref().unwrap_or_default();
        result.map_err(|error| {
            io::Error::other(format!("option {key}={value}: {}", io::Error::from(error)))
        })?;
    }
    fsconfig_create(fs.as_fd())?;
    Ok(fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// v2: the container's own cgroup namespace, mounted. v1: a tmpfs with a bind of each of the container's own folders.
fn mount_cgroup(setup: &Setup<'_>, mount: &MountConfig) -> Result<(), Fault> {
    let target = &mount.target;
    let attr = MountAttrFlags::from_bits_retain(sys::attr_bits(mount.set));
    let point = inside::find_or_make(setup.root(), target, Kind::Folder).on(target)?;
    let view = &setup.config.cgroup_view;
    if view.is_empty() {
        let fs = filesystem("cgroup2", "cgroup", &Vec::new(), attr)
            .on(format!("cgroup2 on {target}"))?;
        return attach(&fs, &point).on(format!("cgroup2 on {target}"));
    }
    let writable = attr - MountAttrFlags::MOUNT_ATTR_RDONLY;
    let base = tmpfs(&[("mode", "755")], writable).on(target)?;
    attach(&base, &point).on(target)?;
    for (controller, folder) in view {
        let named = || format!("{} on {target}/{controller}", folder.display());
        let tree = open_tree(CWD, folder, CLONE).on(named())?;
        sys::mount_setattr(tree.as_fd(), false, mount.set, 0, 0).on(named())?;
        rustix::fs::mkdirat(&base, controller.as_str(), Mode::from_raw_mode(0o755)).on(named())?;
        let point = inside::find(&base, controller, OFlags::PATH).on(named())?;
        attach(&tree, &point).on(named())?;
    }
    sys::mount_setattr(base.as_fd(), false, mount.set, 0, 0).on(target)
}

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

pub(super) fn make_nodes(setup: &mut Setup<'_>) -> Result<(), Fault> {
    for node in &setup.config.nodes {
        make_node(setup.root(), node).on(&node.path)?;
    }
    for (target, link) in LINKS {
        let (parent, name) = inside::parent(setup.root(), link).on(link)?;
        match rustix::fs::symlinkat(target, parent, name.as_str()) {
            // A bind mount of the user's, or an image's own without a fresh /dev.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Fault::new(link, error)),
        }
    }
    Ok(())
}

fn make_node(root: &OwnedFd, node: &NodeConfig) -> io::Result<()> {
    let (parent, name) = inside::parent(root, &node.path)?;
    let mode = Mode::from_raw_mode(node.mode & 0o7777);
    let device = rustix::fs::makedev(node.major, node.minor);
    match rustix::fs::mknodat(
        &parent,
        name.as_str(),
        FileType::from_raw_mode(node.kind),
        mode,
        device,
    ) {
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(
                &parent,
                name.as_str(),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )?;
            let same = FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(node.kind)
                && (stat.st_rdev == device || node.kind == libc::S_IFIFO);
            return if same {
                Ok(())
            } else {
                Err(Errno::EXIST.into())
            };
        }
        result => result?,
    }
    let owner = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    let no_follow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    if owner != (Uid::ROOT, Gid::ROOT) {
        rustix::fs::chownat(
            &parent,
            name.as_str(),
            Some(owner.0),
            Some(owner.1),
            no_follow,
        )?;
    }
    Ok(())
}

pub(super) fn inject_files(setup: &mut Setup<'_>) -> Result<(), Fault> {
    let Some(scratch) = &setup.scratch else {
        return Ok(());
    };
    for (index, file) in setup.config.files.iter().enumerate() {
        let name = index.to_string();
        write_file(scratch, &name, file, setup.inheritance).on(&file.path)?;
        let tree = open_tree(scratch.as_fd(), name.as_str(), CLONE).on(&file.path)?;
        let readonly = if file.writable {
            0
        } else {
            sys::MOUNT_ATTR_RDONLY
        };
        sys::mount_setattr(tree.as_fd(), false, readonly, 0, 0).on(&file.path)?;
        let point = inside::find_or_make(setup.root(), &file.path, Kind::File).on(&file.path)?;
        attach(&tree, &point).on(&file.path)?;
    }
    Ok(())
}

fn write_file(
    folder: &OwnedFd,
    name: &str,
    file: &FileConfig,
    inheritance: &Inheritance,
) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::RUSR)?;
    inheritance.copy(file.content, &fd)?;
    rustix::fs::fchown(
        &fd,
        Some(Uid::from_raw(file.uid)),
        Some(Gid::from_raw(file.gid)),
    )?;
    // After the owner: chown takes set-id bits away.
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(file.mode & 0o7777))?;
    Ok(())
}

pub(super) fn mask_paths(setup: &mut Setup<'_>) -> Result<(), Fault> {
    for path in &setup.config.readonly {
        let Some(point) = existing(setup, path)? else {
            continue;
        };
        let tree = open_tree(point.as_fd(), "", CLONE_FD | OpenTreeFlags::AT_RECURSIVE).on(path)?;
        sys::mount_setattr(tree.as_fd(), true, sys::MOUNT_ATTR_RDONLY, 0, 0).on(path)?;
        attach(&tree, &point).on(path)?;
    }
    let mut null = None;
    let mut empty: Option<OwnedFd> = None;
    for path in &setup.config.masked {
        let Some(point) = existing(setup, path)? else {
            continue;
        };
        let cover = if inside::is_folder(&point).on(path)? {
            match &empty {
                // One empty tmpfs covers them all.
                Some(first) => open_tree(first.as_fd(), "", CLONE_FD).on(path)?,
                None => {
                    let fs = tmpfs(
                        &[("mode", "755"), ("nr_inodes", "1")],
                        MountAttrFlags::MOUNT_ATTR_RDONLY,
                    )
                    .on(path)?;
                    attach(&fs, &point).on(path)?;
                    empty = Some(fs);
                    continue;
                }
            }
        } else {
            if null.is_none() {
                null = Some(inside::host_null().on(path)?);
            }
            let null = null.as_ref().expect("opened above");
            open_tree(null.as_fd(), "", CLONE_FD).on(path)?
        };
        attach(&cover, &point).on(path)?;
    }
    Ok(())
}

fn existing(setup: &Setup<'_>, path: &str) -> Result<Option<OwnedFd>, Fault> {
    match inside::find(setup.root(), path, OFlags::PATH) {
        Ok(point) => Ok(Some(point)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            Ok(None)
        }
        Err(error) => Err(Fault::new(path, error)),
    }
}
