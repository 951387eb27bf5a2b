//! Tells whether two directories in overlay form say the same, and where they do not.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::attributes::is_attribute_of_host;

/// The first difference, as a sentence about `found`; `None` when both are the same layer. Directories that the layer's
/// tar does not describe (`implicit`) have no time of their own.
pub(crate) fn difference(expected: &Path, found: &Path, implicit: &BTreeSet<String>) -> io::Result<Option<String>> {
    let mut comparison = Comparison { expected, found, implicit, links: HashMap::new() };
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        match comparison.entry(&path)? {
            Verdict::Same => {}
            Verdict::Directory(names) => pending.extend(names.iter().map(|name| path.join(name))),
            Verdict::Differs(how) => return Ok(Some(format!("/{} {how}", path.display()))),
        }
    }
    Ok(None)
}

enum Verdict {
    Same,
    /// The same so far, with these children.
    Directory(BTreeSet<OsString>),
    Differs(String),
}

struct Comparison<'a> {
    expected: &'a Path,
    found: &'a Path,
    implicit: &'a BTreeSet<String>,
    /// For each expected file with several names, the inode of what was found under its first one.
    links: HashMap<u64, u64>,
}

fn differs(how: &str) -> io::Result<Verdict> {
    Ok(Verdict::Differs(how.to_owned()))
}

impl Comparison<'_> {
    fn entry(&mut self, path: &Path) -> io::Result<Verdict> {
        let (left, right) = (self.expected.join(path), self.found.join(path));
        let (wanted, there) = (fs::symlink_metadata(&left)?, fs::symlink_metadata(&right)?);
        if wanted.file_type() != there.file_type() || wanted.rdev() != there.rdev() {
            return differs("is of another kind");
        }
        if wanted.mode() != there.mode() {
            return Ok(Verdict::Differs(format!(
                "has mode {:o}, not {:o}",
                there.mode() & 0o7777,
                wanted.mode() & 0o7777
            )));
        }
        if (wanted.uid(), wanted.gid()) != (there.uid(), there.gid()) {
            return differs("has another owner");
        }
        if self.has_time(path, &wanted) && time(&wanted) != time(&there) {
            return differs("has another modification time");
        }
        if attributes(&left)? != attributes(&right)? {
            return differs("has other extended attributes");
        }
        if wanted.is_dir() {
            let (wanted, there) = (names(&left)?, names(&right)?);
            return Ok(match wanted.symmetric_difference(&there).next() {
                None => Verdict::Directory(wanted),
                Some(name) if wanted.contains(name) => Verdict::Differs(format!("lacks {}", name.display())),
                Some(name) => Verdict::Differs(format!("has {}, which is not in the layer", name.display())),
            });
        }
        if wanted.nlink() > 1 {
            match self.links.insert(wanted.ino(), there.ino()) {
                Some(first) if first != there.ino() => return differs("is not the same file as its other names"),
                Some(_) => return Ok(Verdict::Same),
                None => {}
            }
        }
        let same = if wanted.is_symlink() {
            fs::read_link(&left)? == fs::read_link(&right)?
        } else {
            !wanted.is_file() || wanted.len() == there.len() && same_content(&left, &right, wanted.len())?
        };
        if same { Ok(Verdict::Same) } else { differs("has another content") }
    }

    /// Whiteouts, the root and directories that had to be made up got the time at which they were unpacked.
    fn has_time(&self, path: &Path, meta: &Metadata) -> bool {
        let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        let made_up = path.as_os_str().is_empty() || path.to_str().is_some_and(|path| self.implicit.contains(path));
        !whiteout && !made_up
    }
}

fn time(meta: &Metadata) -> (i64, i64) {
    (meta.mtime(), meta.mtime_nsec())
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Of two files of one size. What is a hole in both is not read: it may be far larger than the disk.
fn same_content(left: &Path, right: &Path, size: u64) -> io::Result<bool> {
    const PIECE: usize = 256 << 10;
    let (left, right) = (File::open(left)?, File::open(right)?);
    let (mut wanted, mut there) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        at = next_data(&left, at, size)?.min(next_data(&right, at, size)?);
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
fn attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
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
