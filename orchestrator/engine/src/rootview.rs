//! A container's or image's root as the engine sees it: a private, detached overlay mount without devices. It is in no
//! other mount namespace, and is unmounted when its descriptor is closed. Paths below it are resolved as inside a
//! container.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hoist_image::{Writable, mount_overlay};
use hoist_object::{ContainerDoc, MountDoc, MountKind};
use hoist_runtime::copy_of_folder;
use hoist_spec::local::LocalMount;
use hoist_tree::{ResolvedPath, open_in_root, resolve};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, mount_remount,
    move_mount, open_tree,
};

use crate::driver::Opened;
use crate::lower::{Exposed, Source};
use crate::store::Layout;

#[derive(Debug)]
pub(crate) struct RootView {
    root: OwnedFd,
    /// The mounts below the root live as long as this.
    _namespace: Option<OwnedFd>,
}

impl RootView {
    /// Read-only, of layers alone; top layer first.
    pub(crate) fn of_layers(lowers: &[PathBuf]) -> io::Result<Self> {
        // overlayfs takes no single layer without one to write to.
        let root = match lowers {
            [single] => copy_of_folder(single)?,
            _ => mount_overlay(lowers, None)?,
        };
        Ok(Self::new(root))
    }

    /// A folder as it is.
    #[cfg(test)]
    pub(crate) fn of_folder(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Writable. The container must not run.
    pub(crate) fn of_container(lowers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<Self> {
        Ok(Self::new(mount_overlay(
            lowers,
            Some(Writable {
                upper,
                work,
                layer: false,
            }),
        )?))
    }

    /// The root of a running container: its init's, through /proc.
    pub(crate) fn of_process(pid: i32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(rustix::fs::open(
            format!("/proc/{pid}/root"),
            flags,
            Mode::empty(),
        )?))
    }

    fn new(root: OwnedFd) -> Self {
        Self {
            root,
            _namespace: None,
        }
    }

    /// Includes the container's volumes and binds at their targets. A missing source is left out.
    pub(crate) fn with_mounts(
        self,
        doc: &ContainerDoc,
        volumes: &Opened,
        layout: &Layout,
        read_only: bool,
    ) -> io::Result<Self> {
        let mut mounts: Vec<&MountDoc> = doc
            .mounts
            .iter()
            .filter(|mount| !matches!(mount.kind, MountKind::Tmpfs { .. }))
            .collect();
        if mounts.is_empty() && !read_only {
            return Ok(self);
        }
        // A mount on a folder must come before the mounts below it.
        mounts.sort_by_key(|mount| mount.target.trim_end_matches('/').matches('/').count());
        let place = layout.container(&doc.id);
        // Namespaces are a thread's own: this one's goes with the thread and the descriptor that it leaves.
        std::thread::scope(|scope| {
            let assembled = std::thread::Builder::new()
                .name("root-view".to_owned())
                .spawn_scoped(scope, move || {
                    unshare(CloneFlags::CLONE_NEWNS)?;
                    mount_change(
                        "/",
                        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
                    )?;
                    move_mount(
                        &self.root,
                        "",
                        CWD,
                        &place,
                        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
                    )?;
                    let exposed = volumes.exposed();
                    volumes.mount()?;
                    for mount in mounts {
                        attach(
                            self.root.as_fd(),
                            mount,
                            &exposed,
                            layout,
                            read_only_of(mount, volumes),
                        )?;
                    }
                    if read_only {
                        remount(self.root.as_fd(), true)?;
                    }
                    let namespace = rustix::fs::open(
                        "/proc/thread-self/ns/mnt",
                        OFlags::RDONLY | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                    Ok::<_, io::Error>(Self {
                        root: self.root,
                        _namespace: Some(namespace),
                    })
                })?;
            assembled
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        open_in_root(self.root.as_fd(), path, flags)
    }

    /// Where a path leads; a link in its last part only when it is to be followed.
    pub(crate) fn resolve(&self, path: &Path, follow: bool) -> io::Result<ResolvedPath> {
        resolve(self.root.as_fd(), path, follow)
    }
}

fn source(mount: &MountDoc, exposed: &Exposed<'_>, layout: &Layout) -> io::Result<OwnedFd> {
    match &mount.kind {
        MountKind::Volume { name, subpath, .. } => {
            let subpath = subpath.as_deref().unwrap_or(".");
            Source::of_volume(layout.volume_data(name), Path::new(subpath)).find()
        }
        MountKind::Bind { path, .. } => exposed.split(path)?.find(),
        MountKind::Tmpfs { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// As the container has it.
fn read_only_of(mount: &MountDoc, volumes: &Opened) -> bool {
    let by_options = match &mount.kind {
        MountKind::Volume { name, .. } => {
            volumes.options(name).is_some_and(LocalMount::is_read_only)
        }
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => false,
    };
    mount.read_only || by_options
}

fn attach(
    root: BorrowedFd<'_>,
    mount: &MountDoc,
    exposed: &Exposed<'_>,
    layout: &Layout,
    read_only: bool,
) -> io::Result<()> {
    let source = match source(mount, exposed, layout) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let is_folder =
        FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode) == FileType::Directory;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(&source, "", flags)?;
    let point = mount_point(root, Path::new(&mount.target), is_folder)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &point, "", flags)?;
    remount(tree.as_fd(), read_only)
}

/// Without devices and set-id programs: the engine only reads and writes there.
fn remount(mount: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    let mut flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID;
    flags.set(MountFlags::RDONLY, read_only);
    Ok(mount_remount(
        format!("/proc/thread-self/fd/{}", mount.as_raw_fd()),
        flags,
        c"",
    )?)
}

/// Made where it is missing, as the container's start does it.
fn mount_point(root: BorrowedFd<'_>, target: &Path, is_folder: bool) -> io::Result<OwnedFd> {
    let mut partial = PathBuf::new();
    let parts: Vec<_> = target.components().collect();
    for (index, part) in parts.iter().enumerate() {
        partial.push(part);
        let place = resolve(root, &partial, true)?;
        if place.stat.is_some() {
            continue;
        }
        if is_folder || index + 1 < parts.len() {
            mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o755))?;
        } else {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(
                &place.folder,
                &place.name,
                flags,
                Mode::from_raw_mode(0o644),
            )?;
        }
    }
    open_in_root(root, target, OFlags::PATH)
}

#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a test says why it is skipped")]
mod tests {
    use rustix::fs::{FileType, makedev, mknodat};

    use super::*;

    /// Whatever the layers are: the node is there, and leads nowhere.
    #[test]
    fn no_device_of_a_layer_can_be_opened() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: no device of a layer can be opened: needs root");
        }
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let layers: Vec<PathBuf> = folders
            .iter()
            .map(|folder| folder.path().to_owned())
            .collect();
        mknodat(
            CWD,
            layers[0].join("full"),
            FileType::CharacterDevice,
            Mode::RWXU,
            makedev(1, 7),
        )
        .unwrap();
        assert!(
            std::fs::File::open(layers[0].join("full")).is_ok(),
            "it is a device"
        );
        for layers in [&layers[..1], &layers[..]] {
            let view = RootView::of_layers(layers).unwrap();
            let place = view.resolve(Path::new("/full"), false).unwrap();
            assert!(place.stat.is_some());
            let opened = view.open(Path::new("/full"), OFlags::RDONLY);
            assert_eq!(
                opened.unwrap_err().kind(),
                io::ErrorKind::PermissionDenied,
                "{} layers",
                layers.len()
            );
            let written = openat(
                view.root(),
                "new",
                OFlags::CREATE | OFlags::WRONLY,
                Mode::RWXU,
            );
            assert_eq!(
                written.unwrap_err(),
                rustix::io::Errno::ROFS,
                "{} layers",
                layers.len()
            );
        }
    }
}
