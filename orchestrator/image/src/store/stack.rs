//! Layers on top of each other.
//!
//! A layer is unpacked without knowing what is below it. Where its tar names `tmp/x` without describing `tmp`, a directory
//! had to be made up, and in an overlay that directory would decide: `/tmp` would lose its mode, and a `bin/x` above the
//! usual `bin -> usr/bin` would replace the link and hide every program. For such a layer the store keeps, per stack that
//! it is used in, a twin of hard links in which made-up directories are what the layers below say they are.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use super::{LayerRecord, Store, StoreError, disk};
use crate::Digest;

/// The kernel's own limit.
const MAX_LINKS: usize = 40;
const OPAQUE: &str = "trusted.overlay.opaque";
/// The twins of a layer, beside its `fs`.
pub(super) const TWINS: &str = "twins";

impl Store {
    /// overlayfs lower directories for a list of diff ids (first layer first): top layer first, and never empty.
    pub fn lowers_of(&self, layers: &[Digest]) -> Result<Vec<PathBuf>, StoreError> {
        let records: Vec<LayerRecord> = {
            let state = self.state();
            let record = |id: &Digest| {
                state
                    .layers
                    .get(id)
                    .cloned()
                    .ok_or(StoreError::LayerMissing(*id))
            };
            layers.iter().map(record).collect::<Result<_, _>>()?
        };
        // Top first, as overlayfs wants them.
        let mut lowers: VecDeque<PathBuf> = VecDeque::with_capacity(records.len().max(1));
        for (index, record) in records.iter().enumerate() {
            // overlayfs refuses one directory twice; the upper one of two equal layers says all that both say.
            if layers[index + 1..].contains(&record.diff_id) {
                continue;
            }
            let lower = self.layer_folder(&record.diff_id).join("fs");
            let lower = if record.implicit.is_empty() || lowers.is_empty() {
                lower
            } else {
                self.twin(&lower, record, lowers.make_contiguous(), &layers[..index])?
            };
            lowers.push_front(lower);
        }
        if lowers.is_empty() {
            lowers.push_front(self.root.join("empty"));
        }
        Ok(lowers.into())
    }

    fn twin(
        &self,
        layer: &Path,
        record: &LayerRecord,
        below: &[PathBuf],
        below_ids: &[Digest],
    ) -> Result<PathBuf, StoreError> {
        let failed = || disk::failed("stacking", layer);
        let mut differs = false;
        for path in &record.implicit {
            let path = Path::new(path);
            differs |= !is_as_made_up(path, &look(below, path).map_err(failed())?);
        }
        if !differs {
            return Ok(layer.to_owned());
        }
        let stack: String = below_ids.iter().map(Digest::hex).collect();
        let twins = self.layer_folder(&record.diff_id).join(TWINS);
        let twin = twins.join(Digest::of(stack.as_bytes()).short());
        if twin.exists() {
            return Ok(twin);
        }
        disk::create_private(&twins)?;
        let draft = disk::temporary(&self.root);
        fs::create_dir(&draft).map_err(disk::failed("creating", &draft))?;
        let copied = LayerClone {
            below,
            from: layer,
            to: &draft,
            implicit: &record.implicit,
        }
        .copy();
        let named = copied.and_then(|()| match fs::rename(&draft, &twin) {
            // Another caller was as fast.
            Err(_) if twin.exists() => hoist_tree::remove(&draft),
            other => other,
        });
        named.map_err(failed())?;
        Ok(twin)
    }
}

/// What a stack of layers has under a path.
enum Found {
    Nothing,
    Directory {
        /// Without symlinks, relative to the root.
        resolved: PathBuf,
        on_disk: PathBuf,
    },
    Other,
}

/// Whether the directory that was made up at `path` hides nothing of what is below.
fn is_as_made_up(path: &Path, found: &Found) -> bool {
    match found {
        Found::Nothing | Found::Other => true,
        Found::Directory { resolved, on_disk } => {
            resolved == path
                && fs::symlink_metadata(on_disk).is_ok_and(|meta| {
                    meta.mode() & 0o7777 == 0o755 && meta.uid() == 0 && meta.gid() == 0
                })
        }
    }
}

/// Follows a path through the merged view of layers (top first), symlinks included, never out of the root.
fn look(below: &[PathBuf], path: &Path) -> io::Result<Found> {
    let mut pending = names(path);
    let mut links = 0;
    'again: loop {
        let mut visible: Vec<&PathBuf> = below.iter().collect();
        let mut resolved = PathBuf::new();
        let mut on_disk = None;
        let mut rest = pending.iter();
        while let Some(name) = rest.next() {
            let candidate = resolved.join(name);
            let mut next = Vec::new();
            for layer in visible {
                let place = layer.join(&candidate);
                let meta = match fs::symlink_metadata(&place) {
                    Ok(meta) => meta,
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::NotFound | ErrorKind::NotADirectory
                        ) =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if meta.is_dir() {
                    if next.is_empty() {
                        on_disk = Some(place.clone());
                    }
                    next.push(layer);
                    if is_opaque(&place) {
                        break;
                    }
                    continue;
                }
                if !next.is_empty() || is_whiteout(&meta) {
                    break;
                }
                if !meta.is_symlink() {
                    return Ok(Found::Other);
                }
                links += 1;
                if links > MAX_LINKS {
                    return Ok(Found::Other);
                }
                let target = fs::read_link(&place)?;
                let base = if target.is_absolute() {
                    PathBuf::new()
                } else {
                    resolved
                };
                let mut whole = base.join(target.strip_prefix("/").unwrap_or(&target));
                whole.extend(rest);
                pending = names(&whole);
                continue 'again;
            }
            if next.is_empty() {
                return Ok(Found::Nothing);
            }
            visible = next;
            resolved = candidate;
        }
        return Ok(match on_disk {
            Some(on_disk) => Found::Directory { resolved, on_disk },
            None => Found::Other,
        });
    }
}

/// The names of a path, `..` resolved by name: the part before it holds no symlink when it is used.
fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    names
}

fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(directory, OPAQUE, &mut value[..])
        .is_ok_and(|length| length == 1 && value == *b"y")
}

/// Copies a layer by hard links, made-up directories moved and described as the layers below say.
struct LayerClone<'a> {
    below: &'a [PathBuf],
    from: &'a Path,
    to: &'a Path,
    implicit: &'a BTreeSet<String>,
}

/// A step of the copy; paths are relative to the roots.
enum Task {
    /// Copies the children of a directory.
    Fill { source: PathBuf, target: PathBuf },
    /// Describes a directory that has all its children.
    Describe { source: PathBuf, target: PathBuf },
    /// Gives a directory the time back that it had before.
    Date { target: PathBuf, before: Metadata },
}

impl LayerClone<'_> {
    fn copy(&self) -> io::Result<()> {
        // Depth first with a stack of our own: a deep tree must not exhaust ours.
        let mut open = vec![Task::Fill {
            source: PathBuf::new(),
            target: PathBuf::new(),
        }];
        while let Some(task) = open.pop() {
            match task {
                Task::Fill { source, target } => {
                    open.push(Task::Describe {
                        source: source.clone(),
                        target: target.clone(),
                    });
                    self.fill(&source, &target, &mut open)?;
                }
                Task::Describe { source, target } => {
                    if !self.is_implicit(&source) || source.as_os_str().is_empty() {
                        describe(&self.from.join(source), &self.to.join(target), Marks::Keep)?;
                    }
                }
                Task::Date { target, before } => set_time(&self.to.join(target), &before)?,
            }
        }
        Ok(())
    }

    fn fill(&self, source: &Path, target: &Path, open: &mut Vec<Task>) -> io::Result<()> {
        for entry in fs::read_dir(self.from.join(source))? {
            let entry = entry?;
            let (source, target) = (
                source.join(entry.file_name()),
                target.join(entry.file_name()),
            );
            if !entry.file_type()?.is_dir() {
                let place = self.to.join(&target);
                match fs::remove_file(&place) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                rustix::fs::linkat(CWD, self.from.join(&source), CWD, &place, AtFlags::empty())?;
                continue;
            }
            if !self.is_implicit(&source) {
                self.make(&target)?;
                open.push(Task::Fill { source, target });
                continue;
            }
            match look(self.below, &target)? {
                Found::Directory { resolved, .. } => {
                    self.make_as_below(&resolved)?;
                    if is_opaque(&self.from.join(&source)) {
                        rustix::fs::lsetxattr(
                            self.to.join(&resolved),
                            OPAQUE,
                            b"y",
                            XattrFlags::empty(),
                        )?;
                    }
                    let before = fs::symlink_metadata(self.to.join(&resolved))?;
                    open.push(Task::Date {
                        target: resolved.clone(),
                        before,
                    });
                    open.push(Task::Fill {
                        source,
                        target: resolved,
                    });
                }
                Found::Nothing | Found::Other => {
                    self.make(&target)?;
                    open.push(Task::Fill { source, target });
                }
            }
        }
        Ok(())
    }

    fn is_implicit(&self, path: &Path) -> bool {
        path.to_str()
            .is_some_and(|path| self.implicit.contains(path))
    }

    fn make(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(self.to.join(path)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Err(_) => Ok(()),
            Ok(()) => fs::set_permissions(self.to.join(path), fs::Permissions::from_mode(0o755)),
        }
    }

    /// Makes a directory and its parents, each as it is below.
    fn make_as_below(&self, path: &Path) -> io::Result<()> {
        let mut partial = PathBuf::new();
        for name in path {
            partial.push(name);
            let place = self.to.join(&partial);
            if place.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                continue;
            }
            self.make(&partial)?;
            if let Found::Directory { on_disk, .. } = look(self.below, &partial)? {
                describe(&on_disk, &place, Marks::Drop)?;
            }
        }
        Ok(())
    }
}

/// overlayfs's marks on a directory: a layer's own count, those of the layers below speak of what is below them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    Keep,
    Drop,
}

/// Gives a directory the owner, mode, attributes and time of another.
fn describe(like: &Path, directory: &Path, marks: Marks) -> io::Result<()> {
    let meta = fs::symlink_metadata(like)?;
    std::os::unix::fs::chown(directory, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    let mut buffer = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(like, &mut buffer[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut value = vec![0; 1 << 16];
    for name in buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if marks == Marks::Drop && name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let length = rustix::fs::lgetxattr(like, name, &mut value[..])?;
        rustix::fs::lsetxattr(directory, name, &value[..length], XattrFlags::empty())?;
    }
    set_time(directory, &meta)
}

fn set_time(directory: &Path, meta: &Metadata) -> io::Result<()> {
    let time = Timespec {
        tv_sec: meta.mtime(),
        tv_nsec: meta.mtime_nsec(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        directory,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
