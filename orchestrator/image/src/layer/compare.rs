//! Tells whether two directories in overlay form say the same, and where they do not.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hoist_tree::{Descent, Visit, Walk, open_regular};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::attributes::is_attribute_of_host;

/// The first difference, as a sentence about `found`; `None` when both are the same layer. Directories that the layer's
/// tar does not describe (`implicit`) have no time of their own.
pub(crate) fn difference(
    expected: &Path,
    found: &Path,
    implicit: &BTreeSet<String>,
) -> io::Result<Option<String>> {
    let (expected, found) = (File::open(expected)?, File::open(found)?);
    let mut comparison = Comparison {
        implicit,
        links: HashMap::new(),
    };
    let mut walk = Walk::new(expected.as_fd())?;
    let mut place = Descent::new(found.as_fd());
    if let Some(how) = comparison.folder(&walk, &place)? {
        return Ok(Some(format!("/ {how}")));
    }
    while let Some(visit) = walk.step()? {
        let Visit::Entry { name, stat } = visit else {
            place.leave()?;
            continue;
        };
        let path = walk.path_of(&name);
        let mut how = comparison.entry(&walk, &place, &name, &stat)?;
        if how.is_none() && Visit::is_folder(&stat) {
            walk.enter(&name)?;
            place.enter(&name)?;
            how = comparison.folder(&walk, &place)?;
        }
        if let Some(how) = how {
            return Ok(Some(format!("/{} {how}", String::from_utf8_lossy(&path))));
        }
    }
    Ok(None)
}

/// How what was found differs; `None`: it does not.
type Verdict = io::Result<Option<String>>;

struct Comparison<'a> {
    implicit: &'a BTreeSet<String>,
    /// For each expected file with several names, the inode of what was found under its first one.
    links: HashMap<u64, u64>,
}

fn differs(how: &str) -> Verdict {
    Ok(Some(how.to_owned()))
}

impl Comparison<'_> {
    /// The looks of two directories, and which names they have.
    fn folder(&self, walk: &Walk<'_>, place: &Descent<'_>) -> Verdict {
        let (wanted, there) = (
            rustix::fs::fstat(walk.folder())?,
            rustix::fs::fstat(place.folder())?,
        );
        if let Some(how) = self.looks(walk.path(), &wanted, &there) {
            return Ok(Some(how));
        }
        if attributes(walk.folder(), c".")? != attributes(place.folder(), c".")? {
            return differs("has other extended attributes");
        }
        let (wanted, there) = (names(walk.folder())?, names(place.folder())?);
        Ok(wanted.symmetric_difference(&there).next().map(|name| {
            let shown = String::from_utf8_lossy(name);
            match wanted.contains(name) {
                true => format!("lacks {shown}"),
                false => format!("has {shown}, which is not in the layer"),
            }
        }))
    }

    /// Anything but a directory, of which it is only seen that it is one.
    fn entry(
        &mut self,
        walk: &Walk<'_>,
        place: &Descent<'_>,
        name: &CStr,
        wanted: &Stat,
    ) -> Verdict {
        let (left, right) = (walk.folder(), place.folder());
        let there = rustix::fs::statat(right, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(wanted.st_mode);
        if kind != FileType::from_raw_mode(there.st_mode) || wanted.st_rdev != there.st_rdev {
            return differs("is of another kind");
        }
        if kind == FileType::Directory {
            return Ok(None);
        }
        if let Some(how) = self.looks(&walk.path_of(name), wanted, &there) {
            return Ok(Some(how));
        }
        if attributes(left, name)? != attributes(right, name)? {
            return differs("has other extended attributes");
        }
        if wanted.st_nlink > 1 {
            match self.links.insert(wanted.st_ino, there.st_ino) {
                Some(first) if first != there.st_ino => {
                    return differs("is not the same file as its other names");
                }
                Some(_) => return Ok(None),
                None => {}
            }
        }
        let same = match kind {
            FileType::Symlink => {
                let target = |folder| rustix::fs::readlinkat(folder, name, Vec::new());
                target(left)? == target(right)?
            }
            FileType::RegularFile => {
                let size = u64::try_from(wanted.st_size).unwrap_or(0);
                wanted.st_size == there.st_size
                    && same_content(
                        &open_regular(left, name)?.0,
                        &open_regular(right, name)?.0,
                        size,
                    )?
            }
            _ => true,
        };
        if same {
            Ok(None)
        } else {
            differs("has another content")
        }
    }

    fn looks(&self, path: &[u8], wanted: &Stat, there: &Stat) -> Option<String> {
        if wanted.st_mode != there.st_mode {
            let bits = |stat: &Stat| stat.st_mode & 0o7777;
            return Some(format!(
                "has mode {:o}, not {:o}",
                bits(there),
                bits(wanted)
            ));
        }
        if (wanted.st_uid, wanted.st_gid) != (there.st_uid, there.st_gid) {
            return Some("has another owner".to_owned());
        }
        let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        (self.has_time(path, wanted) && time(wanted) != time(there))
            .then(|| "has another modification time".to_owned())
    }

    /// Whiteouts, the root and directories that had to be made up got the time at which they were unpacked.
    fn has_time(&self, path: &[u8], stat: &Stat) -> bool {
        let whiteout =
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0;
        let made_up = std::str::from_utf8(path)
            .is_ok_and(|path| path.is_empty() || self.implicit.contains(path));
        !whiteout && !made_up
    }
}

fn names(directory: BorrowedFd<'_>) -> io::Result<BTreeSet<Vec<u8>>> {
    let entries = rustix::fs::Dir::read_from(directory)?;
    let mut names = BTreeSet::new();
    for entry in entries {
        names.insert(entry?.file_name().to_bytes().to_owned());
    }
    Ok(names)
}

/// Of two files of one size. What is a hole in both is not read: it may be far larger than the disk.
fn same_content(left: &File, right: &File, size: u64) -> io::Result<bool> {
    const PIECE: usize = 256 << 10;
    let (mut wanted, mut there) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        at = next_data(left, at, size)?.min(next_data(right, at, size)?);
        if at >= size {
            return Ok(true);
        }
        let most = usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE);
        left.read_exact_at(&mut wanted[..most], at)?;
        right.read_exact_at(&mut there[..most], at)?;
        if wanted[..most] != there[..most] {
            return Ok(false);
        }
        at += most as u64;
    }
}

/// The first byte from `at` on that is not in a hole.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(next) => Ok(next),
        Err(Errno::NXIO) => Ok(size),
        // The file system does not say.
        Err(Errno::INVAL) => Ok(at),
        Err(errno) => Err(errno.into()),
    }
}

/// Without what the host's security policy adds by itself.
fn attributes(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // The folder is open, and `l…xattr` does not follow the last name.
    let folder = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let path = &folder.join(OsStr::from_bytes(name.to_bytes()));
    let mut buffer = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut value = vec![0; if length == 0 { 0 } else { 1 << 16 }];
    let mut found = Vec::new();
    for name in buffer[..length].split(|byte| *byte == 0) {
        if !name.is_empty() && !is_attribute_of_host(name) {
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
            found.push((name.to_owned(), value[..length].to_owned()));
        }
    }
    found.sort();
    Ok(found)
}
