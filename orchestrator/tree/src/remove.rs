//! Removes trees of any depth. Symlinks are removed, not followed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::Descent;

/// Names read at once: a folder may have millions.
const BATCH: usize = 1024;
/// Attempts to remove a folder that was emptied.
const MOST_ATTEMPTS: u32 = 100;

/// Removes a file or a tree. What is not there needs no removing.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a path without a last name cannot be removed",
        ));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let folder = match rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Err(Errno::NOENT) => return Ok(()),
        folder => folder?,
    };
    let name = CString::new(name.as_bytes()).map_err(io::Error::other)?;
    remove_at(std::os::fd::AsFd::as_fd(&folder), &name)
}

/// Removes a file or a tree of a folder. What is not there needs no removing.
pub fn remove_at(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    if unlink(folder, name)? {
        return Ok(());
    }
    clear(folder, Some(name))
}

/// Removes the content of a folder.
pub fn empty(folder: BorrowedFd<'_>) -> io::Result<()> {
    clear(folder, None)
}

/// `false`: a non-empty folder.
fn unlink(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    let removed = match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
        removed => removed,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Empties a folder, or removes one of its subfolders recursively.
fn clear(root: BorrowedFd<'_>, name: Option<&CStr>) -> io::Result<()> {
    let mut place = Descent::new(root);
    // The non-empty subfolders of each folder on the path; the last one of each list is on the path itself.
    let mut full: Vec<Vec<CString>> = match name {
        Some(name) => vec![vec![name.to_owned()]],
        None => vec![unlink_batch(root)?],
    };
    let target = usize::from(name.is_some());
    let mut stubborn = 0;
    loop {
        let Some(names) = full.last() else {
            return Ok(());
        };
        if let Some(next) = names.last() {
            match place.enter(next) {
                Ok(()) => full.push(unlink_batch(place.folder())?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    drop(full.last_mut().and_then(Vec::pop))
                }
                Err(error) => return Err(error),
            }
            continue;
        }
        // The whole batch was removed.
        if full.len() > target {
            let more = unlink_batch(place.folder())?;
            if !more.is_empty() {
                *full
                    .last_mut()
                    .expect("it has an entry for each folder on the way") = more;
                continue;
            }
        }
        full.pop();
        if place.depth() > 0 {
            place.leave()?;
        }
        let Some(name) = full.last().and_then(|names| names.last()) else {
            continue;
        };
        if unlink(place.folder(), name)? {
            full.last_mut().and_then(Vec::pop);
            stubborn = 0;
        } else {
            // It is being filled as fast as it is emptied, or its file system hides some entries.
            stubborn += 1;
            if stubborn > MOST_ATTEMPTS {
                return Err(Errno::NOTEMPTY.into());
            }
        }
    }
}

/// Removes files and empty folders until only non-empty folders, or nothing, are left.
fn unlink_batch(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    loop {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
            if names.len() == BATCH {
                break;
            }
        }
        if names.is_empty() {
            return Ok(names);
        }
        let mut full = Vec::new();
        for name in names {
            if !unlink(folder, &name)? {
                full.push(name);
            }
        }
        if !full.is_empty() {
            return Ok(full);
        }
    }
}
