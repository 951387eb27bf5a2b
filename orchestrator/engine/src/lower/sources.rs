//! Bind mount sources below a folder that a container can write.
//!
//! A path is trusted up to the first container-writable folder; the rest may be exchanged for a symbolic link at any
//! moment, so it is resolved with that folder as its root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::LowerError;
use crate::store::Layout;
use hoist_tree::open_in_root;

/// As the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// A folder of the host that a container has with the right to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writable {
    pub(crate) path: PathBuf,
    /// The container's name.
    pub(crate) by: String,
}

/// All folders that containers can write.
#[derive(Debug)]
pub(crate) struct Exposed<'a> {
    /// With their file systems' and inodes' numbers: one folder has many paths.
    folders: Vec<((u64, u64), &'a Writable)>,
    layout: Layout,
}

/// Where a path leads: `root` cannot be changed by containers, and `below` must not lead out of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) root: PathBuf,
    pub(crate) below: Option<PathBuf>,
    /// Who can write below the root.
    by: String,
}

impl<'a> Exposed<'a> {
    pub(crate) fn new(writable: &'a [Writable], layout: &Layout) -> Self {
        let identity = |folder: &'a Writable| {
            let metadata = folder
                .path
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_dir)?;
            Some(((metadata.dev(), metadata.ino()), folder))
        };
        // Paths are compared with links resolved.
        let root = layout
            .root
            .canonicalize()
            .unwrap_or_else(|_| layout.root.clone());
        Self {
            folders: writable.iter().filter_map(identity).collect(),
            layout: Layout { root },
        }
    }

    /// Follows the path as far as it can be trusted.
    pub(crate) fn split(&self, path: &Path) -> io::Result<Source> {
        let mut done = PathBuf::from("/");
        let mut pending: VecDeque<OsString> = parts(path).collect();
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            let metadata = match next.symlink_metadata() {
                Ok(metadata) => metadata,
                // The rest does not exist yet, or is an error when it is used.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Source {
                        root: join(next, pending),
                        below: None,
                        by: String::new(),
                    });
                }
                Err(error) => return Err(error),
            };
            if metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = std::fs::read_link(&next)?;
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                parts(&target)
                    .rev()
                    .for_each(|part| pending.push_front(part));
                continue;
            }
            done = next;
            if !pending.is_empty()
                && let Some(by) = self.writer(&done, (metadata.dev(), metadata.ino()))
            {
                return Ok(Source {
                    root: done,
                    below: Some(join(PathBuf::new(), pending)),
                    by,
                });
            }
        }
        Ok(Source {
            root: done,
            below: None,
            by: String::new(),
        })
    }

    /// Who writes in a folder.
    fn writer(&self, folder: &Path, identity: (u64, u64)) -> Option<String> {
        if let Some((_, found)) = self.folders.iter().find(|(known, _)| *known == identity) {
            return Some(format!("container {}", found.by));
        }
        let name = folder
            .parent()
            .and_then(Path::file_name)
            .and_then(OsStr::to_str)?;
        if folder == self.layout.volume_data(name) {
            Some(format!("a container with the volume {name}"))
        } else if folder == self.layout.upper(name) {
            Some(format!("container {name}"))
        } else {
            None
        }
    }
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    use std::path::Component;
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn join(mut path: PathBuf, rest: VecDeque<OsString>) -> PathBuf {
    path.extend(rest);
    path
}

impl Source {
    /// A part of a volume.
    pub(crate) fn of_volume(data: PathBuf, subpath: &Path) -> Self {
        Self {
            root: data,
            below: Some(subpath.to_owned()),
            by: String::new(),
        }
    }

    /// A part of what it is.
    pub(crate) fn part(self, part: Option<&Path>) -> Self {
        let Some(part) = part else { return self };
        Self {
            below: Some(
                self.below
                    .map_or_else(|| part.to_owned(), |below| below.join(part)),
            ),
            ..self
        }
    }

    fn root(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// What it is now, as a path descriptor.
    pub(crate) fn find(&self) -> io::Result<OwnedFd> {
        match &self.below {
            None => Ok(rustix::fs::open(
                &self.root,
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )?),
            Some(below) => open_in_root(self.root()?.as_fd(), below, OFlags::PATH),
        }
    }

    /// Makes the folder where nothing is.
    pub(crate) fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let Some(below) = &self.below else {
            return std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&self.root);
        };
        let mut folder = self.root()?;
        let mut path = PathBuf::new();
        for part in parts(below) {
            path.push(&part);
            folder = match open_in_root(
                self.root()?.as_fd(),
                &path,
                OFlags::PATH | OFlags::DIRECTORY,
            ) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&folder, &part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    open_in_root(
                        self.root()?.as_fd(),
                        &path,
                        OFlags::PATH | OFlags::DIRECTORY,
                    )?
                }
                result => result?,
            };
        }
        Ok(())
    }

    /// Refuses a path that the host would resolve differently: its meaning must not depend on who can write there.
    pub(crate) fn check(&self, written: &Path) -> Result<(), LowerError> {
        let Some(_) = &self.below else { return Ok(()) };
        let Ok(by_path) = written.metadata() else {
            return Ok(());
        };
        let same = self.find().and_then(|found| Ok(rustix::fs::fstat(&found)?));
        match same {
            Ok(stat) if (stat.st_dev, stat.st_ino) == (by_path.dev(), by_path.ino()) => Ok(()),
            _ => Err(LowerError::LedOut {
                path: written.to_owned(),
                folder: self.root.clone(),
                by: self.by.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Host {
        folder: tempfile::TempDir,
        writable: Vec<Writable>,
    }

    impl Host {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            for path in [
                "shared/sub",
                "elsewhere/sub",
                "data/volumes/v/_data/sub",
                "data/containers/c/upper/sub",
            ] {
                std::fs::create_dir_all(root.join(path)).unwrap();
            }
            symlink(root.join("shared"), root.join("alias")).unwrap();
            symlink(root.join("elsewhere"), root.join("shared/out")).unwrap();
            let writable = vec![Writable {
                path: root.join("shared"),
                by: "web".into(),
            }];
            Self { folder, writable }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join(path)
        }

        fn split(&self, path: &str) -> Source {
            let layout = Layout {
                root: self.path("data"),
            };
            Exposed::new(&self.writable, &layout)
                .split(&self.path(path))
                .unwrap()
        }
    }

    #[test]
    fn a_path_is_trusted_up_to_what_a_container_writes() {
        let host = Host::new();
        for (written, root, below) in [
            ("shared/sub", "shared", Some("sub")),
            ("alias/sub/../sub", "shared", Some("sub/../sub")),
            ("elsewhere/../alias/sub", "shared", Some("sub")),
            ("shared", "shared", None),
            ("elsewhere/sub", "elsewhere/sub", None),
            ("elsewhere/new/one", "elsewhere/new/one", None),
            (
                "data/volumes/v/_data/sub",
                "data/volumes/v/_data",
                Some("sub"),
            ),
            (
                "data/containers/c/upper/sub",
                "data/containers/c/upper",
                Some("sub"),
            ),
        ] {
            let source = host.split(written);
            assert_eq!(source.root, host.path(root), "{written}");
            assert_eq!(source.below.as_deref(), below.map(Path::new), "{written}");
        }
    }

    #[test]
    fn a_link_out_of_what_a_container_writes_is_refused_and_named() {
        let host = Host::new();
        let written = host.path("shared/out/sub");
        let error = host
            .split("shared/out/sub")
            .check(&written)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("container web") && error.contains("symbolic link"),
            "{error}"
        );
        host.split("shared/sub")
            .check(&host.path("shared/sub"))
            .unwrap();
    }

    #[test]
    fn missing_folders_are_made_inside() {
        let host = Host::new();
        let source = host.split("shared/new/one");
        source.make().unwrap();
        assert!(host.path("shared/new/one").is_dir());
        assert!(host.split("shared/out/new").make().is_err());
        assert!(!host.path("elsewhere/new").exists());
    }
}
