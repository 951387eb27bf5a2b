//! One tree seen through a stack of folders, topmost first, by overlayfs's rules; or one plain folder.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hoist_tree::{open_beneath, regular};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::is_opaque;

/// Symlinks followed for one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Bytes that the paths of one source may take, each of which is kept whole: those of some millions of files.
pub(crate) const MAX_TEXT: usize = 256 << 20;

/// For messages: an untrusted path can have any length.
pub(crate) fn shown(path: &Path) -> String {
    const MOST: usize = 300;
    let path = path.as_os_str().as_bytes();
    match path.len() {
        0..=MOST => String::from_utf8_lossy(path).into_owned(),
        _ => format!("{}…", String::from_utf8_lossy(&path[..MOST])),
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("opening layer {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("reading /{path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("/{0} is not a folder")]
    NotAFolder(PathBuf),
    #[error(
        "the paths of the files down to /{folder} take more than {} MiB: exclude what is not needed, or copy it in parts",
        MAX_TEXT >> 20
    )]
    TooMuch { folder: String },
    #[error("too many symlinks on the way to {0}")]
    TooManyLinks(String),
}

#[derive(Debug)]
pub(crate) struct View {
    layers: Vec<Layer>,
    /// Whether the layers are in overlay form. The build context is not: a device 0:0 there is a device.
    overlay: bool,
}

#[derive(Debug)]
struct Layer {
    path: PathBuf,
    root: OwnedFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Symlink,
    /// Devices, pipes, sockets.
    Other(FileType),
}

/// Something that is there.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// From the root, without symlinks on the way; empty for the root.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// The layers that make it up: for a folder every one that contributes, topmost first; else the one that has it.
    pub(crate) layers: Vec<usize>,
}

impl Node {
    pub(crate) fn kind(&self) -> Kind {
        match FileType::from_raw_mode(self.stat.st_mode) {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            other => Kind::Other(other),
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.kind() == Kind::Folder
    }

    /// Permission bits with setuid, setgid and sticky.
    pub(crate) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }
}

/// Where a path led.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The folders on the way, from the root to the deepest that is there.
    pub(crate) folders: Vec<Node>,
    /// What the path names, when it is there.
    pub(crate) found: Option<Node>,
    /// The rest of the path, below the deepest folder, that is not there.
    pub(crate) missing: Vec<OsString>,
}

impl View {
    /// Layers in overlay form, topmost first.
    pub(crate) fn of_layers<P: AsRef<Path>>(layers: &[P]) -> Result<Self, ViewError> {
        let layers = layers
            .iter()
            .map(|path| Layer::open(path.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            layers,
            overlay: true,
        })
    }

    /// A folder that is nothing but itself.
    pub(crate) fn of_folder(path: &Path) -> Result<Self, ViewError> {
        Ok(Self {
            layers: vec![Layer::open(path)?],
            overlay: false,
        })
    }

    pub(crate) fn root(&self) -> Result<Node, ViewError> {
        let top = self.layers.first().map(|layer| layer.root.as_fd());
        let stat = match top {
            Some(fd) => rustix::fs::fstat(fd).map_err(|errno| read_error(Path::new(""), errno))?,
            None => return Err(ViewError::NotAFolder(PathBuf::new())),
        };
        Ok(Node {
            path: PathBuf::new(),
            stat,
            layers: (0..self.layers.len()).collect(),
        })
    }

    /// What a folder has under one name; symlinks are not followed.
    pub(crate) fn child(&self, folder: &Node, name: &OsStr) -> Result<Option<Node>, ViewError> {
        let path = folder.path.join(name);
        let mut found: Option<Node> = None;
        for &index in &folder.layers {
            let Some(fd) = self.open_in(index, &path, OFlags::PATH)? else {
                continue;
            };
            let stat = rustix::fs::fstat(&fd).map_err(|errno| read_error(&path, errno))?;
            if self.is_whiteout(&stat) {
                break;
            }
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut found {
                None => {
                    found = Some(Node {
                        path: path.clone(),
                        stat,
                        layers: vec![index],
                    })
                }
                // Something else below a folder ends the merge.
                Some(_) if !is_folder => break,
                Some(node) => node.layers.push(index),
            }
            if !is_folder
                || (self.overlay
                    && is_opaque(fd.as_fd()).map_err(|source| read_failed(&path, source))?)
            {
                break;
            }
        }
        Ok(found)
    }

    /// Names in a folder, sorted, each with what it is. `room`: what their paths may take, less what they take.
    pub(crate) fn children(
        &self,
        folder: &Node,
        room: &mut usize,
    ) -> Result<Vec<(OsString, Node)>, ViewError> {
        if let [only] = folder.layers[..] {
            return self.children_of_one(folder, only, room);
        }
        let mut names: BTreeSet<OsString> = BTreeSet::new();
        for &index in &folder.layers {
            names.extend(self.names(index, &folder.path)?);
        }
        take_room(room, folder, names.iter())?;
        let mut children = Vec::with_capacity(names.len());
        for name in names {
            if let Some(node) = self.child(folder, &name)? {
                children.push((name, node));
            }
        }
        Ok(children)
    }

    /// A folder in one layer only: its entries need no merging.
    fn children_of_one(
        &self,
        folder: &Node,
        index: usize,
        room: &mut usize,
    ) -> Result<Vec<(OsString, Node)>, ViewError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Some(fd) = self.open_in(index, &folder.path, flags)? else {
            return Ok(Vec::new());
        };
        let names = names_in(&fd, &folder.path)?;
        take_room(room, folder, names.iter())?;
        let mut children = Vec::with_capacity(names.len());
        for name in names {
            let path = folder.path.join(&name);
            let stat = match rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(read_error(&path, errno)),
            };
            if !self.is_whiteout(&stat) {
                children.push((
                    name,
                    Node {
                        path,
                        stat,
                        layers: vec![index],
                    },
                ));
            }
        }
        children.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(children)
    }

    fn names(&self, index: usize, path: &Path) -> Result<Vec<OsString>, ViewError> {
        match self.open_in(index, path, OFlags::RDONLY | OFlags::DIRECTORY)? {
            Some(fd) => names_in(&fd, path),
            None => Ok(Vec::new()),
        }
    }

    /// Follows a path inside the root. The last part is followed, too, when `follow` is set and it is a symlink.
    pub(crate) fn walk(&self, path: &Path, follow: bool) -> Result<Walk, ViewError> {
        self.walk_from(vec![self.root()?], path, follow)
    }

    pub(crate) fn walk_from(
        &self,
        start: Vec<Node>,
        path: &Path,
        follow: bool,
    ) -> Result<Walk, ViewError> {
        let mut walk = Walk {
            folders: start,
            found: None,
            missing: Vec::new(),
        };
        let mut links = 0;
        let mut open: VecDeque<OsString> = parts(path.as_os_str());
        if path.is_absolute() {
            walk.folders.truncate(1);
        }
        while let Some(part) = open.pop_front() {
            if part == ".." {
                if walk.missing.pop().is_none() && walk.folders.len() > 1 {
                    walk.folders.pop();
                }
                continue;
            }
            if !walk.missing.is_empty() {
                walk.missing.push(part);
                continue;
            }
            let deepest = walk.folders.last().expect("the root is never popped");
            let Some(node) = self.child(deepest, &part)? else {
                walk.missing.push(part);
                continue;
            };
            match node.kind() {
                Kind::Folder => walk.folders.push(node),
                Kind::Symlink if follow || !open.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ViewError::TooManyLinks(path.display().to_string()));
                    }
                    let target = self.read_link(&node)?;
                    if target.as_bytes().first() == Some(&b'/') {
                        walk.folders.truncate(1);
                    }
                    for part in parts(&target).into_iter().rev() {
                        open.push_front(part);
                    }
                }
                _ if open.is_empty() => {
                    walk.found = Some(node);
                    return Ok(walk);
                }
                _ => return Err(ViewError::NotAFolder(node.path)),
            }
        }
        if walk.missing.is_empty() {
            walk.found = walk.folders.last().cloned();
        }
        Ok(walk)
    }

    pub(crate) fn open_file(&self, node: &Node) -> Result<File, ViewError> {
        // What was a file when it was looked at may be a device by now.
        let (file, _) =
            regular(&self.open_path(node)?).map_err(|source| read_failed(&node.path, source))?;
        Ok(file)
    }

    /// A descriptor to ask for metadata.
    pub(crate) fn open_path(&self, node: &Node) -> Result<OwnedFd, ViewError> {
        self.open_in(node.layers[0], &node.path, OFlags::PATH)?
            .ok_or_else(|| read_error(&node.path, Errno::NOENT))
    }

    pub(crate) fn read_link(&self, node: &Node) -> Result<OsString, ViewError> {
        let fd = self.open_path(node)?;
        let target = rustix::fs::readlinkat(&fd, c"", Vec::new())
            .map_err(|errno| read_error(&node.path, errno))?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Host folders of a node's layers, topmost first.
    pub(crate) fn host_paths(&self, node: &Node) -> Vec<PathBuf> {
        node.layers
            .iter()
            .map(|index| self.layers[*index].path.join(&node.path))
            .collect()
    }

    /// Opens below one layer; no symlink is followed, not even the last.
    fn open_in(
        &self,
        index: usize,
        path: &Path,
        flags: OFlags,
    ) -> Result<Option<OwnedFd>, ViewError> {
        // With O_PATH and O_NOFOLLOW the last part may be a symlink; those on the way are still forbidden.
        match open_beneath(
            self.layers[index].root.as_fd(),
            path,
            flags | OFlags::NOFOLLOW,
        ) {
            Ok(fd) => Ok(Some(fd)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(read_failed(path, error)),
        }
    }

    fn is_whiteout(&self, stat: &Stat) -> bool {
        self.overlay
            && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == 0
    }
}

impl Layer {
    fn open(path: &Path) -> Result<Self, ViewError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| ViewError::Open {
                path: path.to_owned(),
                source: errno.into(),
            })?;
        Ok(Self {
            path: path.to_owned(),
            root,
        })
    }
}

fn names_in(fd: &OwnedFd, path: &Path) -> Result<Vec<OsString>, ViewError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd).map_err(|errno| read_error(path, errno))? {
        let entry = entry.map_err(|errno| read_error(path, errno))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn take_room<'n>(
    room: &mut usize,
    folder: &Node,
    names: impl ExactSizeIterator<Item = &'n OsString>,
) -> Result<(), ViewError> {
    let above = names
        .len()
        .saturating_mul(folder.path.as_os_str().len() + 1);
    let wanted = above.saturating_add(names.map(|name| name.len()).sum());
    *room = room.checked_sub(wanted).ok_or_else(|| ViewError::TooMuch {
        folder: shown(&folder.path),
    })?;
    Ok(())
}

fn parts(path: &OsStr) -> VecDeque<OsString> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

fn read_error(path: &Path, errno: Errno) -> ViewError {
    read_failed(path, errno.into())
}

fn read_failed(path: &Path, source: io::Error) -> ViewError {
    ViewError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn paths_take_no_more_memory_than_they_may() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for (folder, name) in folders.iter().zip(["x", "y"]) {
            std::fs::create_dir(folder.path().join("folder")).unwrap();
            std::fs::write(folder.path().join("folder").join(name), "").unwrap();
        }
        for (layers, files) in [(&folders[..1], 1), (&folders[..], 2)] {
            let layers: Vec<_> = layers.iter().map(|folder| folder.path()).collect();
            let view = View::of_layers(&layers).unwrap();
            let folder = view
                .walk(Path::new("folder"), false)
                .unwrap()
                .found
                .unwrap();
            let mut room = files * "folder/x".len();
            assert_eq!(view.children(&folder, &mut room).unwrap().len(), files);
            assert_eq!(room, 0);
            let error = view
                .children(&folder, &mut { files * "folder/x".len() - 1 })
                .unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("the paths of the files down to /folder take more than"),
                "{error}"
            );
        }
    }
}
