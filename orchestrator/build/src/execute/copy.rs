//! COPY and ADD: from what was picked to a layer's folder.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_image::{TarFile, UnpackError, Writable, mount_overlay};
use hoist_tree::Scratch;
use rustix::fs::FileType;

use crate::dockerfile::Chmod;
use crate::fs::{
    Kind, Metadata, Node, Owner, UserError, View, ViewError, WriteError, Writer, copy_content,
    find_owner, metadata_of,
};
use crate::source::{Picked, PickedEntry};
use crate::stamps::same_file;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error("{path}")]
    Unpack { path: String, source: UnpackError },
    #[error("looking at the image as one tree")]
    Mount(#[source] io::Error),
}

/// One source, looked up.
#[derive(Debug, Clone)]
pub(crate) enum Ready {
    Picked {
        view: Arc<View>,
        picked: Picked,
        /// Downloaded: an archive is unpacked only when that is asked for.
        remote: bool,
    },
    Inline {
        name: String,
        content: String,
    },
}

/// How and where to.
#[derive(Debug, Clone)]
pub(crate) struct Target<'a> {
    pub(crate) destination: &'a Path,
    pub(crate) into_folder: bool,
    pub(crate) chown: Option<&'a str>,
    pub(crate) chmod: Option<&'a Chmod>,
    pub(crate) unpack: bool,
    pub(crate) unpack_remote: bool,
    /// Whether the sources' owners count: files of the context belong to root.
    pub(crate) keep_owners: bool,
}

/// What a new layer lies on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LowerLayers<'a> {
    /// Topmost first; never empty.
    pub(crate) lowers: &'a [PathBuf],
    /// For the kernel's use, on the same file system as the layer.
    pub(crate) work: &'a Path,
}

/// Writes what the sources bring to `upper`, which is empty. `below`: `None` when nothing is.
pub(crate) fn copy(
    sources: &[Ready],
    target: &Target<'_>,
    upper: &Path,
    below: Option<LowerLayers<'_>>,
) -> Result<(), CopyError> {
    let writer = Writer::new(upper, below.map_or(&[], |below| below.lowers))?;
    let owner = target
        .chown
        .map(|owner| find_owner(writer.view(), owner))
        .transpose()?;
    let mut copier = Copier {
        target,
        owner,
        writer,
        upper,
        below,
        links: HashMap::new(),
    };
    for source in sources {
        match source {
            Ready::Picked { view, picked, .. } if picked.is_folder() => {
                copier.folder(view, picked)?
            }
            Ready::Picked {
                view,
                picked,
                remote,
            } => {
                let unpack = if *remote {
                    target.unpack_remote
                } else {
                    target.unpack
                };
                copier.file(view, picked, unpack)?;
            }
            Ready::Inline { name, content } => copier.inline(name, content)?,
        }
    }
    copier.writer.finish()?;
    Ok(())
}

struct Copier<'a> {
    target: &'a Target<'a>,
    owner: Option<Owner>,
    writer: Writer,
    upper: &'a Path,
    below: Option<LowerLayers<'a>>,
    /// Where a file with several names went first, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    /// Folders that no source describes.
    fn plain_folder(&self) -> Metadata {
        Metadata {
            mode: 0o755,
            owner: self.owner.unwrap_or_default(),
            ..Metadata::default()
        }
    }

    fn metadata(&self, view: &View, node: &Node) -> Result<Metadata, CopyError> {
        let mut metadata = metadata_of(view, node)?;
        if let Some(owner) = self.owner {
            metadata.owner = owner;
        } else if !self.target.keep_owners {
            metadata.owner = Owner::default();
        }
        if let Some(chmod) = self.target.chmod {
            metadata.mode = chmod.apply(metadata.mode, node.is_folder());
        }
        Ok(metadata)
    }

    /// A folder's contents go into the destination, which is nothing but a place: it takes nothing of the source's looks.
    fn folder(&mut self, view: &View, picked: &Picked) -> Result<(), CopyError> {
        let top = self
            .writer
            .make_folders(self.target.destination, &self.plain_folder())?;
        let mut folders: Vec<(PathBuf, Node)> = vec![(PathBuf::new(), top)];
        for entry in &picked.entries[1..] {
            let parent_path = entry.path.parent().unwrap_or(Path::new(""));
            // Entries come in order, so their folder is the innermost that still fits.
            while folders.len() > 1 && folders.last().is_some_and(|(path, _)| path != parent_path) {
                folders.pop();
            }
            let parent = folders
                .last()
                .map(|(_, node)| node.clone())
                .expect("the top is never popped");
            let name = entry.path.file_name().unwrap_or_default();
            if entry.node.is_folder() {
                let metadata = self.metadata(view, &entry.node)?;
                let node = self.writer.put_folder(&parent, name, &metadata)?;
                folders.push((entry.path.clone(), node));
            } else {
                self.entry(view, entry, &parent, name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, view: &View, picked: &Picked, unpack: bool) -> Result<(), CopyError> {
        let entry = &picked.entries[0];
        if unpack && entry.node.kind() == Kind::File {
            let file = view.open_file(&entry.node)?;
            if let Some(archive) = TarFile::open(file) {
                return self.unpack(archive, &entry.node.path);
            }
        }
        let (parent, name) = self.place_for(&picked.name)?;
        self.entry(view, entry, &parent, &name)
    }

    /// Lays an archive over the image as the kernel shows it, so that its paths follow what is there.
    fn unpack(&mut self, archive: TarFile, shown: &Path) -> Result<(), CopyError> {
        let base = self
            .writer
            .make_folders(self.target.destination, &self.plain_folder())?
            .path;
        let (upper, below) = (self.upper, self.below);
        self.writer.lend(|| {
            let tree = match below {
                Some(LowerLayers { lowers, work }) => {
                    // Each mount wants a folder of its own.
                    let work = Scratch::with_prefix_in("mount-", work).map_err(CopyError::Mount)?;
                    let writable = Writable {
                        upper,
                        work: work.path(),
                        layer: true,
                    };
                    let tree = mount_overlay(lowers, Some(writable)).map_err(CopyError::Mount)?;
                    (tree, Some(work))
                }
                None => (File::open(upper).map_err(CopyError::Mount)?.into(), None),
            };
            archive
                .unpack_over(tree.0.as_fd(), &base)
                .map_err(|source| CopyError::Unpack {
                    path: shown.display().to_string(),
                    source,
                })?;
            Ok(())
        })
    }

    fn inline(&mut self, name: &str, content: &str) -> Result<(), CopyError> {
        let metadata = Metadata {
            mode: self
                .target
                .chmod
                .map_or(0o644, |chmod| chmod.apply(0o644, false)),
            owner: self.owner.unwrap_or_default(),
            ..Metadata::default()
        };
        let (parent, name) = self.place_for(OsStr::new(name))?;
        self.writer
            .put_file(&parent, &name, &metadata, &mut |file| {
                io::Write::write_all(file, content.as_bytes())
            })?;
        Ok(())
    }

    /// A file's folder and name: in the destination when that is a folder, else as the destination.
    fn place_for(&mut self, own_name: &OsStr) -> Result<(Node, OsString), CopyError> {
        let is_folder = self.target.into_folder
            || self
                .writer
                .view()
                .walk(self.target.destination, true)?
                .found
                .is_some_and(|node| node.is_folder());
        if is_folder {
            let folder = self
                .writer
                .make_folders(self.target.destination, &self.plain_folder())?;
            return Ok((folder, own_name.to_owned()));
        }
        self.place()
    }

    /// The destination's folder, made where it is missing, and its last name, symlinks followed.
    fn place(&mut self) -> Result<(Node, OsString), CopyError> {
        let walk = self.writer.view().walk(self.target.destination, true)?;
        let deepest = walk
            .folders
            .last()
            .expect("a walk starts at the root")
            .path
            .clone();
        let mut parent = Path::new("/").join(deepest);
        let name = match walk.found {
            Some(found) => found.path.file_name().unwrap_or_default().to_owned(),
            None => {
                let (last, between) = walk
                    .missing
                    .split_last()
                    .expect("what is not found has a missing part");
                parent.extend(between);
                last.clone()
            }
        };
        let folder = self.writer.make_folders(&parent, &self.plain_folder())?;
        Ok((folder, name))
    }

    fn entry(
        &mut self,
        view: &View,
        entry: &PickedEntry,
        parent: &Node,
        name: &OsStr,
    ) -> Result<(), CopyError> {
        let stat = &entry.node.stat;
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity) {
                let first = self.writer.view().walk(first, false)?.found;
                if let Some(first) = first {
                    return Ok(self.writer.put_hard_link(parent, name, &first)?);
                }
            }
            self.links.insert(identity, parent.path.join(name));
        }
        let metadata = self.metadata(view, &entry.node)?;
        match entry.node.kind() {
            Kind::File => {
                let source = view.open_file(&entry.node)?;
                let expected = entry.node.stat;
                self.writer.put_file(parent, name, &metadata, &mut |file| {
                    copy_unchanged(&source, file, &expected)
                })?;
            }
            Kind::Symlink => {
                let target = view.read_link(&entry.node)?;
                self.writer.put_symlink(parent, name, &target, &metadata)?;
            }
            // A socket without its process is nothing.
            Kind::Other(FileType::Socket) | Kind::Folder => {}
            Kind::Other(kind) => {
                self.writer
                    .put_special(parent, name, kind, stat.st_rdev, &metadata)?
            }
        }
        Ok(())
    }
}

/// The layer must hold what its key was made from.
fn copy_unchanged(source: &File, target: &mut File, expected: &rustix::fs::Stat) -> io::Result<()> {
    copy_content(source, target)?;
    if same_file(&rustix::fs::fstat(source)?, expected) {
        Ok(())
    } else {
        Err(io::Error::other("it changed during the build"))
    }
}
