//! Which files a COPY or ADD takes, from the context or from a tree of layers, and the digest of all of them.
//!
//! What counts: names, kinds, modes, contents, attributes, and owners where they are kept. Times do not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hoist_image::{Digest, Hasher, MAX_DEPTH, MAX_PATH, fits_layer};

use crate::fs::{Kind, MAX_TEXT, Node, View, ViewError, shown};
use crate::glob::{Glob, GlobError};
use crate::ignore::Ignore;
use crate::stamps::{HashError, Stamps};

#[derive(Debug, thiserror::Error)]
pub(crate) enum PickError {
    #[error("{0} is not there")]
    Missing(String),
    #[error("{0} is excluded by the ignore file")]
    Ignored(String),
    #[error("nothing matches {0}")]
    NoMatch(String),
    #[error(
        "{0} is too deep: an image holds no paths of more than {MAX_PATH} bytes or {MAX_DEPTH} names; exclude it by the \
         ignore file or --exclude"
    )]
    TooDeep(String),
    #[error(transparent)]
    Pattern(#[from] GlobError),
    #[error(transparent)]
    View(#[from] ViewError),
}

/// One source: a file, or a folder with everything below it.
#[derive(Debug, Clone)]
pub(crate) struct Picked {
    /// Its name when it goes into a folder.
    pub(crate) name: OsString,
    /// Parents before children; the first is the source itself, with an empty path.
    pub(crate) entries: Vec<PickedEntry>,
}

#[derive(Debug, Clone)]
pub(crate) struct PickedEntry {
    /// From the source.
    pub(crate) path: PathBuf,
    pub(crate) node: Node,
}

impl Picked {
    pub(crate) fn is_folder(&self) -> bool {
        self.entries
            .first()
            .is_some_and(|entry| entry.node.is_folder())
    }
}

/// Where to look, and what not to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Picker<'a> {
    pub(crate) view: &'a View,
    /// By path from the root of the view.
    pub(crate) ignore: &'a Ignore,
    /// By path from the source.
    pub(crate) exclude: &'a Ignore,
}

impl Picker<'_> {
    /// `pattern`: relative to the root; may hold wildcards.
    pub(crate) fn pick(&self, pattern: &str) -> Result<Vec<Picked>, PickError> {
        if !Glob::has_wildcards(pattern) {
            return self.one(Path::new(pattern)).map(|picked| vec![picked]);
        }
        let mut matches = vec![PathBuf::new()];
        for part in pattern.split('/') {
            let glob = Glob::new(part, false)?;
            let mut next = Vec::new();
            for parent in &matches {
                next.extend(self.matching(parent, part, &glob)?);
            }
            matches = next;
        }
        let mut picked = Vec::new();
        for path in &matches {
            match self.one(path) {
                Ok(source) => picked.push(source),
                Err(PickError::Ignored(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if picked.is_empty() {
            Err(PickError::NoMatch(pattern.to_owned()))
        } else {
            Ok(picked)
        }
    }

    fn matching(&self, parent: &Path, part: &str, glob: &Glob) -> Result<Vec<PathBuf>, PickError> {
        let walk = self.view.walk(parent, true)?;
        let Some(folder) = walk.found.filter(Node::is_folder) else {
            return Ok(Vec::new());
        };
        if !Glob::has_wildcards(part) {
            let there = self.view.child(&folder, OsStr::new(part))?.is_some();
            return Ok(there.then(|| parent.join(part)).into_iter().collect());
        }
        let children = self.view.children(&folder, &mut { MAX_TEXT })?;
        let names = children.into_iter().map(|(name, _)| name);
        Ok(names
            .filter(|name| glob.matches(&name.to_string_lossy()))
            .map(|name| parent.join(name))
            .collect())
    }

    /// A path that means itself, wildcards and all.
    pub(crate) fn literal(&self, path: &str) -> Result<Picked, PickError> {
        self.one(Path::new(path))
    }

    /// `--parents`: what matches, in the folders that it is in. `base/./rest` keeps those of the rest.
    pub(crate) fn with_parents(&self, pattern: &str) -> Result<Picked, PickError> {
        let (base, rest) = pattern.split_once("/./").unwrap_or((".", pattern));
        let glob = Glob::new(rest, true)?;
        let root = self.one_folder(base)?;
        let mut entries = vec![root.clone()];
        self.below(&root, &mut entries)?;
        let mut matched: Option<PathBuf> = None;
        let kept: Vec<bool> = entries[1..]
            .iter()
            .map(|entry| {
                if rest != "."
                    && matched
                        .as_ref()
                        .is_none_or(|top| !entry.path.starts_with(top))
                {
                    matched = glob
                        .matches(&entry.path.to_string_lossy())
                        .then(|| entry.path.clone());
                }
                rest == "." || matched.is_some()
            })
            .collect();
        drop_empty_ways(&mut entries, 1, &kept);
        if entries.len() == 1 && rest != "." {
            let shown = pattern.to_owned();
            return Err(if Glob::has_wildcards(rest) {
                PickError::NoMatch(shown)
            } else {
                PickError::Missing(shown)
            });
        }
        Ok(Picked {
            name: OsString::new(),
            entries,
        })
    }

    fn one_folder(&self, path: &str) -> Result<PickedEntry, PickError> {
        let found = self.view.walk(Path::new(path), true)?.found;
        let node = found
            .filter(Node::is_folder)
            .ok_or_else(|| PickError::Missing(path.to_owned()))?;
        Ok(PickedEntry {
            path: PathBuf::new(),
            node,
        })
    }

    fn one(&self, path: &Path) -> Result<Picked, PickError> {
        let shown = || path.display().to_string();
        let walk = self.view.walk(path, true)?;
        let Some(node) = walk.found else {
            return Err(PickError::Missing(shown()));
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        let root = PickedEntry {
            path: PathBuf::new(),
            node,
        };
        let ignored = !root.node.path.as_os_str().is_empty()
            && self.ignore.excludes(&root.node.path.to_string_lossy());
        if !root.node.is_folder() {
            let excluded = self.exclude.excludes(&name.to_string_lossy());
            return match ignored {
                true => Err(PickError::Ignored(shown())),
                false if excluded => Err(PickError::NoMatch(shown())),
                false => Ok(Picked {
                    name,
                    entries: vec![root],
                }),
            };
        }
        let mut entries = vec![root.clone()];
        self.below(&root, &mut entries)?;
        if ignored && entries.len() == 1 {
            return Err(PickError::Ignored(shown()));
        }
        Ok(Picked { name, entries })
    }

    /// Everything below a folder. An explicit stack: a deep tree must not overflow ours.
    fn below(&self, root: &PickedEntry, entries: &mut Vec<PickedEntry>) -> Result<(), PickError> {
        let base = entries.len();
        let mut room = MAX_TEXT;
        let mut open = self.children_reversed(root, &mut room)?;
        let mut kept: Vec<bool> = Vec::new();
        while let Some(entry) = open.pop() {
            let seen =
                !excluded(self.ignore, &entry.node.path) && !excluded(self.exclude, &entry.path);
            let back =
                |rules: &Ignore, path: &Path| rules.may_include_below(&path.to_string_lossy());
            let enter = entry.node.is_folder()
                && (seen || back(self.ignore, &entry.node.path) || back(self.exclude, &entry.path));
            if (seen || enter) && !fits_layer(entry.path.as_os_str().as_bytes()) {
                return Err(PickError::TooDeep(shown(&entry.path)));
            }
            if enter {
                open.extend(self.children_reversed(&entry, &mut room)?);
            }
            if seen || enter {
                entries.push(entry);
                kept.push(seen);
            }
        }
        drop_empty_ways(entries, base, &kept);
        Ok(())
    }

    fn children_reversed(
        &self,
        folder: &PickedEntry,
        room: &mut usize,
    ) -> Result<Vec<PickedEntry>, ViewError> {
        let children = self.view.children(&folder.node, room)?;
        let mut entries: Vec<_> = children
            .into_iter()
            .map(|(name, node)| PickedEntry {
                path: folder.path.join(name),
                node,
            })
            .collect();
        entries.reverse();
        Ok(entries)
    }
}

fn excluded(rules: &Ignore, path: &Path) -> bool {
    !rules.is_empty() && rules.excludes(&path.to_string_lossy())
}

/// A folder that was only entered for what might be below it goes when nothing was.
fn drop_empty_ways(entries: &mut Vec<PickedEntry>, base: usize, kept: &[bool]) {
    if kept.iter().all(|kept| *kept) {
        return;
    }
    let mut keep = kept.to_vec();
    // Backwards: children come after their folder.
    let mut needed: Option<PathBuf> = None;
    for index in (0..keep.len()).rev() {
        let path = &entries[base + index].path;
        keep[index] |= needed
            .as_ref()
            .is_some_and(|needed| needed.starts_with(path));
        if keep[index] {
            needed = Some(path.clone());
        }
    }
    let mut index = 0;
    entries.retain(|_| {
        let keeps = index < base || keep[index - base];
        index += 1;
        keeps
    });
}

/// Digest of everything that was picked. `owners`: whether the sources' owners are kept by the copy.
pub(crate) fn digest(
    view: &View,
    stamps: &Stamps,
    picked: &[Picked],
    owners: bool,
) -> Result<Digest, HashError> {
    let mut hasher = Hasher::new();
    for source in picked {
        field(&mut hasher, b"source");
        if !source.is_folder() {
            field(&mut hasher, source.name.as_bytes());
        }
        let files: Vec<&PickedEntry> = source
            .entries
            .iter()
            .filter(|entry| entry.node.kind() == Kind::File)
            .collect();
        let mut contents = stamps.digests(view, &files)?.into_iter();
        // The looks of a folder itself go nowhere: only what is in it is copied.
        for entry in source.entries.iter().skip(usize::from(source.is_folder())) {
            field(&mut hasher, entry.path.as_os_str().as_bytes());
            let stat = &entry.node.stat;
            hasher.update(&stat.st_mode.to_le_bytes());
            if owners {
                hasher.update(&stat.st_uid.to_le_bytes());
                hasher.update(&stat.st_gid.to_le_bytes());
            }
            match entry.node.kind() {
                Kind::File => {
                    let content = contents.next().expect("one digest for each file");
                    hasher.update(content.hex().as_bytes());
                }
                Kind::Symlink => field(&mut hasher, view.read_link(&entry.node)?.as_bytes()),
                Kind::Other(_) => hasher.update(&stat.st_rdev.to_le_bytes()),
                Kind::Folder => {}
            }
        }
    }
    Ok(hasher.finish())
}

/// With its length, so that two neighbours cannot be taken for other two.
pub(crate) fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
