//! Iterates over a tree's entries, depth first, sorted by name.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::Descent;

/// A step of a walk.
#[derive(Debug)]
pub enum Visit {
    /// An entry of the current folder.
    Entry { name: CString, stat: Stat },
    /// The end of the current folder. The next step leaves it.
    End,
}

/// Descends only into folders given to [`enter`](Self::enter). Entries removed during the walk are skipped.
#[derive(Debug)]
pub struct Walk<'r> {
    descent: Descent<'r>,
    /// The remaining names of each folder on the path, the next one last.
    pending: Vec<Vec<CString>>,
    /// From the root to the current folder, joined by slashes.
    path: Vec<u8>,
    ended: bool,
}

impl<'r> Walk<'r> {
    pub fn new(root: BorrowedFd<'r>) -> io::Result<Self> {
        Ok(Self {
            descent: Descent::new(root),
            pending: vec![names(root)?],
            path: Vec::new(),
            ended: false,
        })
    }

    /// The current folder.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.descent.folder()
    }

    /// Levels below the root.
    pub fn depth(&self) -> usize {
        self.descent.depth()
    }

    /// The path of a name in the current folder, from the root, without a leading slash.
    pub fn path_of(&self, name: &CStr) -> Vec<u8> {
        match self.path.is_empty() {
            true => name.to_bytes().to_owned(),
            false => [&self.path[..], b"/", name.to_bytes()].concat(),
        }
    }

    /// The path of the current folder; empty for the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Enters a subfolder of the current folder. `false`: it is gone, or no longer a folder.
    pub fn enter(&mut self, name: &CStr) -> io::Result<bool> {
        match self.descent.enter(name) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.pending.push(names(self.descent.folder())?);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        Ok(true)
    }

    /// The next step; `None` after the end of the root.
    pub fn step(&mut self) -> io::Result<Option<Visit>> {
        if std::mem::take(&mut self.ended) && !self.leave()? {
            return Ok(None);
        }
        while let Some(name) = self.pending.last_mut().and_then(Vec::pop) {
            match rustix::fs::statat(
                self.descent.folder(),
                name.as_c_str(),
                AtFlags::SYMLINK_NOFOLLOW,
            ) {
                Ok(stat) => return Ok(Some(Visit::Entry { name, stat })),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.ended = !self.pending.is_empty();
        Ok(self.ended.then_some(Visit::End))
    }

    fn leave(&mut self) -> io::Result<bool> {
        self.pending.pop();
        if self.pending.is_empty() {
            return Ok(false);
        }
        let slash = self
            .path
            .iter()
            .rposition(|byte| *byte == b'/')
            .unwrap_or(0);
        self.path.truncate(slash);
        self.descent.leave()?;
        Ok(true)
    }
}

impl Visit {
    /// Metadata of an entry.
    pub fn is_folder(stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
    )
}

/// Sorted, the first one last.
fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder.as_fd())? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}
