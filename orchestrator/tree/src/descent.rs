//! Descends into a tree and back up, with a bounded number of descriptors.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// Folders whose descriptors are kept open: real trees are not deeper. Further up, `..` leads back.
const HELD: usize = 64;
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A position in a tree, initially the root.
#[derive(Debug)]
pub struct Descent<'r> {
    root: BorrowedFd<'r>,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// `None`: closed in favour of deeper ones.
    folder: Option<OwnedFd>,
    identity: (u64, u64),
}

fn identity(folder: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl<'r> Descent<'r> {
    pub fn new(root: BorrowedFd<'r>) -> Self {
        Self {
            root,
            levels: Vec::new(),
        }
    }

    /// The current folder.
    pub fn folder(&self) -> BorrowedFd<'_> {
        match self.levels.last() {
            Some(level) => level
                .folder
                .as_ref()
                .expect("the deepest folder is always held")
                .as_fd(),
            None => self.root,
        }
    }

    /// Levels below the root.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Enters a subfolder. Does not follow symlinks.
    pub fn enter(&mut self, name: &CStr) -> io::Result<()> {
        let folder = rustix::fs::openat(self.folder(), name, FOLDER, Mode::empty())?;
        let identity = identity(&folder)?;
        if let Some(far) = self.levels.len().checked_sub(HELD) {
            self.levels[far].folder = None;
        }
        self.levels.push(Level {
            folder: Some(folder),
            identity,
        });
        Ok(())
    }

    /// Returns to the parent folder. An error if the folder was moved to another parent since.
    pub fn leave(&mut self) -> io::Result<()> {
        let Some(left) = self.levels.pop() else {
            return Ok(());
        };
        if let Some(above) = self.levels.last_mut()
            && above.folder.is_none()
        {
            let left = left
                .folder
                .as_ref()
                .expect("the deepest folder is always held");
            let folder = rustix::fs::openat(left, c"..", FOLDER, Mode::empty())?;
            if identity(&folder)? != above.identity {
                return Err(io::Error::other(
                    "a folder was moved elsewhere while it was walked",
                ));
            }
            above.folder = Some(folder);
        }
        Ok(())
    }
}
