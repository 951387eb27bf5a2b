//! Writes a new layer's folder (the upper one) as seen together with the layers below it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hoist_tree::open_beneath;
use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::attributes::content_attributes;
use super::users::Owner;
use super::view::{Kind, Node, View, ViewError};

/// Index of the upper folder in a writer's view.
const UPPER: usize = 0;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("{attempt} /{path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("/{0} is a folder, and a file cannot take its place")]
    FolderInTheWay(PathBuf),
    #[error("/{0} is there already, and is not a folder")]
    NotAFolder(PathBuf),
}

/// What a file has besides its content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    /// Seconds and nanoseconds; `None`: now.
    pub(crate) modified: Option<(i64, i64)>,
    pub(crate) attributes: Vec<(CString, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    view: View,
    upper: OwnedFd,
    /// Set at the end: everything put into a folder changes its time.
    times: BTreeMap<PathBuf, (i64, i64)>,
    /// The folder that was asked for last: most files follow a sibling.
    last: Option<Node>,
}

impl Writer {
    /// A fresh upper folder, which takes the looks of the root below it. `lowers`: topmost first.
    pub(crate) fn new(upper: &Path, lowers: &[PathBuf]) -> Result<Self, WriteError> {
        let mut writer = Self::resume(upper, lowers)?;
        if !lowers.is_empty() {
            writer.inherit_root(lowers)?;
        }
        Ok(writer)
    }

    /// An upper folder that something was written to already.
    pub(crate) fn resume(upper: &Path, lowers: &[PathBuf]) -> Result<Self, WriteError> {
        let mut layers = vec![upper.to_owned()];
        layers.extend(lowers.iter().cloned());
        let view = View::of_layers(&layers)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(upper, flags, Mode::empty())
            .map_err(failed("opening", Path::new("")))?;
        Ok(Self {
            view,
            upper: root,
            times: BTreeMap::new(),
            last: None,
        })
    }

    fn inherit_root(&mut self, lowers: &[PathBuf]) -> Result<(), WriteError> {
        let below = View::of_layers(lowers)?;
        let root = below.root()?;
        let metadata = metadata_of(&below, &root)?;
        describe(&self.upper, &metadata).map_err(failed("describing", Path::new("")))?;
        self.times.insert(
            PathBuf::new(),
            (root.stat.st_mtime, nanoseconds(root.stat.st_mtime_nsec)),
        );
        Ok(())
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The folder at a path, symlinks followed inside the root. What is missing is made.
    pub(crate) fn make_folders(
        &mut self,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<Node, WriteError> {
        let walk = self.view.walk(path, true)?;
        let mut folder = match walk.found {
            Some(node) if node.is_folder() => node,
            Some(node) => return Err(WriteError::NotAFolder(node.path)),
            None => walk
                .folders
                .last()
                .cloned()
                .expect("a walk starts at the root"),
        };
        for name in &walk.missing {
            folder = self.put_folder(&folder, name, metadata)?;
        }
        self.enter(&folder)
    }

    /// The folder as it is once it is part of the new layer: what is put into it later is seen through the result.
    pub(crate) fn enter(&mut self, folder: &Node) -> Result<Node, WriteError> {
        if folder.layers[0] == UPPER {
            return Ok(folder.clone());
        }
        self.copy_up(&folder.path)?;
        let walk = self.view.walk(&folder.path, false)?;
        walk.found
            .ok_or_else(|| WriteError::NotAFolder(folder.path.clone()))
    }

    /// A folder under a name: a new one, or the one that is there with other looks.
    pub(crate) fn put_folder(
        &mut self,
        parent: &Node,
        name: &OsStr,
        metadata: &Metadata,
    ) -> Result<Node, WriteError> {
        let path = parent.path.join(name);
        match self.view.child(parent, name)? {
            Some(node) if node.is_folder() && node.layers[0] == UPPER => {}
            Some(node) if node.is_folder() => {
                let parent = self.enter(parent)?;
                self.raise(&parent, name, &node)?;
            }
            Some(node) => return Err(WriteError::NotAFolder(node.path)),
            None => self.new_folder(parent, name)?,
        }
        let fd = self.open_upper(&path)?;
        describe(&fd, metadata).map_err(failed("describing", &path))?;
        match metadata.modified {
            Some(modified) => drop(self.times.insert(path.clone(), modified)),
            None => drop(self.times.remove(&path)),
        }
        self.look(parent, name)
    }

    pub(crate) fn put_file(
        &mut self,
        parent: &Node,
        name: &OsStr,
        metadata: &Metadata,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let path = parent.path.join(name);
        let folder = self.make_room(parent, name)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(failed("creating", &path))?;
        let mut file = File::from(file);
        fill(&mut file).map_err(|source| WriteError::Io {
            attempt: "writing",
            path: path.clone(),
            source,
        })?;
        describe(&file, metadata).map_err(failed("describing", &path))?;
        if let Some(modified) = metadata.modified {
            rustix::fs::futimens(&file, &times(modified)).map_err(failed("dating", &path))?;
        }
        Ok(())
    }

    pub(crate) fn put_symlink(
        &mut self,
        parent: &Node,
        name: &OsStr,
        target: &OsStr,
        metadata: &Metadata,
    ) -> Result<(), WriteError> {
        let path = parent.path.join(name);
        let folder = self.make_room(parent, name)?;
        rustix::fs::symlinkat(target, &folder, name).map_err(failed("creating", &path))?;
        self.describe_by_name(&folder, name, metadata, &path)
    }

    /// A device, pipe or socket.
    pub(crate) fn put_special(
        &mut self,
        parent: &Node,
        name: &OsStr,
        kind: FileType,
        device: Dev,
        metadata: &Metadata,
    ) -> Result<(), WriteError> {
        let path = parent.path.join(name);
        let folder = self.make_room(parent, name)?;
        let mode = Mode::from_raw_mode(metadata.mode);
        rustix::fs::mknodat(&folder, name, kind, mode, device)
            .map_err(failed("creating", &path))?;
        self.describe_by_name(&folder, name, metadata, &path)?;
        rustix::fs::chmodat(&folder, name, mode, AtFlags::empty())
            .map_err(failed("describing", &path))
    }

    /// A second name for a file that the view has; one of a lower layer is copied up first.
    pub(crate) fn put_hard_link(
        &mut self,
        parent: &Node,
        name: &OsStr,
        target: &Node,
    ) -> Result<(), WriteError> {
        let path = parent.path.join(name);
        if target.layers[0] != UPPER {
            self.copy_up_file(target)?;
        }
        let folder = self.make_room(parent, name)?;
        let (source, source_name) = self.parent_of(&target.path)?;
        rustix::fs::linkat(&source, source_name, &folder, name, AtFlags::empty())
            .map_err(failed("linking", &path))
    }

    /// Takes away whatever this layer itself has at a path: what comes in its place hides the rest.
    pub(crate) fn remove_own(&mut self, path: &Path) -> Result<(), WriteError> {
        self.last = None;
        let (folder, name) = self.parent_of(path)?;
        self.times.retain(|known, _| !known.starts_with(path));
        let removed = CString::new(name.as_bytes())
            .map_err(io::Error::other)
            .and_then(|name| hoist_tree::remove_at(folder.as_fd(), &name));
        removed.map_err(|source| WriteError::Io {
            attempt: "removing",
            path: path.to_owned(),
            source,
        })
    }

    /// Sets the folders' times. Comes last.
    pub(crate) fn finish(&mut self) -> Result<(), WriteError> {
        for (path, modified) in &self.times {
            let fd = self.open_upper(path)?;
            rustix::fs::futimens(&fd, &times(*modified)).map_err(failed("dating", path))?;
        }
        Ok(())
    }

    /// Lets other code write to the upper folder, which must leave the folders' times as they should be.
    pub(crate) fn lend<E: From<WriteError>>(
        &mut self,
        write: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.finish()?;
        self.last = None;
        write()?;
        for path in std::mem::take(&mut self.times).into_keys() {
            let Some(node) = self
                .view
                .walk(&path, false)
                .map_err(WriteError::from)?
                .found
            else {
                continue;
            };
            // Something else may have taken the folder's place.
            if node.is_folder() && node.path == path {
                self.times.insert(
                    path,
                    (node.stat.st_mtime, nanoseconds(node.stat.st_mtime_nsec)),
                );
            }
        }
        Ok(())
    }

    /// A place for something that is not a folder, in a folder of the upper layer.
    fn make_room(&mut self, parent: &Node, name: &OsStr) -> Result<OwnedFd, WriteError> {
        let path = parent.path.join(name);
        let folder = self.upper_folder(parent)?;
        match self.view.child(parent, name)? {
            Some(node) if node.is_folder() => {
                return Err(WriteError::FolderInTheWay(node.path));
            }
            Some(node) if node.layers[0] == UPPER => {
                rustix::fs::unlinkat(&folder, name, AtFlags::empty())
                    .map_err(failed("replacing", &path))?;
            }
            _ => {}
        }
        Ok(folder)
    }

    fn new_folder(&mut self, parent: &Node, name: &OsStr) -> Result<(), WriteError> {
        let folder = self.upper_folder(parent)?;
        rustix::fs::mkdirat(&folder, name, Mode::RWXU)
            .map_err(failed("creating", &parent.path.join(name)))
    }

    fn upper_folder(&mut self, folder: &Node) -> Result<OwnedFd, WriteError> {
        let up = |known: &Node| known.path == folder.path;
        if folder.layers[0] != UPPER && !self.last.as_ref().is_some_and(up) {
            self.copy_up(&folder.path)?;
            self.last = Some(folder.clone());
        }
        self.open_upper(&folder.path)
    }

    /// Makes the folders on the way to a path exist in the upper layer, looking as they do below.
    fn copy_up(&mut self, path: &Path) -> Result<(), WriteError> {
        let mut folder = self.view.root()?;
        for name in path.iter() {
            let mut node = self.look(&folder, name)?;
            if node.layers[0] != UPPER {
                self.raise(&folder, name, &node)?;
                node = self.look(&folder, name)?;
            }
            folder = node;
        }
        Ok(())
    }

    /// Makes a folder of a lower layer exist in the upper one, where its parent is already.
    fn raise(&mut self, parent: &Node, name: &OsStr, node: &Node) -> Result<(), WriteError> {
        let metadata = metadata_of(&self.view, node)?;
        let above = self.open_upper(&parent.path)?;
        rustix::fs::mkdirat(&above, name, Mode::RWXU).map_err(failed("creating", &node.path))?;
        let fd = self.open_upper(&node.path)?;
        describe(&fd, &metadata).map_err(failed("describing", &node.path))?;
        if let Some(modified) = metadata.modified {
            self.times.insert(node.path.clone(), modified);
        }
        // The parent's time was another one before this.
        let modified = (parent.stat.st_mtime, nanoseconds(parent.stat.st_mtime_nsec));
        self.times.entry(parent.path.clone()).or_insert(modified);
        Ok(())
    }

    fn copy_up_file(&mut self, node: &Node) -> Result<(), WriteError> {
        let name = node.path.file_name().expect("a file has a name");
        let parent_path = node.path.parent().unwrap_or(Path::new(""));
        let walk = self.view.walk(parent_path, false)?;
        let parent = walk
            .found
            .ok_or_else(|| WriteError::NotAFolder(parent_path.to_owned()))?;
        let metadata = metadata_of(&self.view, node)?;
        match node.kind() {
            Kind::File => {
                let source = self.view.open_file(node)?;
                self.put_file(&parent, name, &metadata, &mut |file| {
                    copy_content(&source, file)
                })
            }
            Kind::Symlink => {
                let target = self.view.read_link(node)?;
                self.put_symlink(&parent, name, &target, &metadata)
            }
            Kind::Other(kind) => {
                self.put_special(&parent, name, kind, node.stat.st_rdev, &metadata)
            }
            Kind::Folder => Err(WriteError::FolderInTheWay(node.path.clone())),
        }
    }

    fn look(&self, parent: &Node, name: &OsStr) -> Result<Node, WriteError> {
        let found = match parent.layers[0] {
            UPPER => self.view.child(parent, name)?,
            // The parent may have come up since it was looked at: its layers are asked for again.
            _ => {
                let walk = self.view.walk(&parent.path, false)?;
                let parent = walk
                    .found
                    .ok_or_else(|| WriteError::NotAFolder(parent.path.clone()))?;
                self.view.child(&parent, name)?
            }
        };
        match found {
            Some(node) if node.is_folder() => Ok(node),
            _ => Err(WriteError::NotAFolder(parent.path.join(name))),
        }
    }

    fn open_upper(&self, path: &Path) -> Result<OwnedFd, WriteError> {
        open_beneath(
            self.upper.as_fd(),
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        )
        .map_err(|source| WriteError::Io {
            attempt: "opening",
            path: path.to_owned(),
            source,
        })
    }

    fn parent_of<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), WriteError> {
        let name = path
            .file_name()
            .ok_or_else(|| WriteError::NotAFolder(path.to_owned()))?;
        Ok((
            self.open_upper(path.parent().unwrap_or(Path::new("")))?,
            name,
        ))
    }

    fn describe_by_name(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        metadata: &Metadata,
        path: &Path,
    ) -> Result<(), WriteError> {
        let (uid, gid) = (
            Uid::from_raw(metadata.owner.uid),
            Gid::from_raw(metadata.owner.gid),
        );
        rustix::fs::chownat(
            folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed("describing", path))?;
        if let Some(modified) = metadata.modified {
            rustix::fs::utimensat(folder, name, &times(modified), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("dating", path))?;
        }
        Ok(())
    }
}

pub(crate) fn metadata_of(view: &View, node: &Node) -> Result<Metadata, WriteError> {
    let attributes = match node.kind() {
        Kind::Symlink => Vec::new(),
        _ => {
            let fd = view.open_path(node)?;
            content_attributes(fd.as_fd()).map_err(|source| WriteError::Io {
                attempt: "reading attributes of",
                path: node.path.clone(),
                source,
            })?
        }
    };
    Ok(Metadata {
        mode: node.mode(),
        owner: Owner {
            uid: node.stat.st_uid,
            gid: node.stat.st_gid,
        },
        modified: Some((node.stat.st_mtime, nanoseconds(node.stat.st_mtime_nsec))),
        attributes,
    })
}

/// Shares the blocks where the file system can, else copies inside the kernel.
pub(crate) fn copy_content(mut source: &File, target: &mut File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(&*target, source).is_ok() {
        return Ok(());
    }
    io::copy(&mut source, target).map(drop)
}

/// Owner first: changing it clears setuid.
fn describe(fd: impl AsFd, metadata: &Metadata) -> Result<(), Errno> {
    let (uid, gid) = (
        Uid::from_raw(metadata.owner.uid),
        Gid::from_raw(metadata.owner.gid),
    );
    rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(metadata.mode))?;
    for (name, value) in &metadata.attributes {
        match rustix::fs::fsetxattr(&fd, name.as_c_str(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn nanoseconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(0)
}

fn times((seconds, nanoseconds): (i64, i64)) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        },
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(Errno) -> WriteError {
    let path = path.to_owned();
    move |errno| WriteError::Io {
        attempt,
        path,
        source: errno.into(),
    }
}
