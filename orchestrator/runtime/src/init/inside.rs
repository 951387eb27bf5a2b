//! Paths inside the container's root: every one is resolved by the kernel with the root as its limit.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const FOLLOW: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const MODE_FOLDER: Mode = Mode::from_raw_mode(0o755);
const MODE_FILE: Mode = Mode::from_raw_mode(0o644);
/// As the kernel's own limit.
const MAX_LINKS: u32 = 40;
const MAX_ATTEMPTS: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
}

fn relative(path: &str) -> &str {
    let trimmed = path.trim_start_matches('/');
    if trimmed.is_empty() { "." } else { trimmed }
}

/// An existing path, symlinks followed but never out of the root.
pub(super) fn find(root: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    open(root, relative(path), flags, FOLLOW)
}

/// The kernel gives `..` up while anything anywhere is renamed or mounted, and asks to try again.
fn open(root: impl AsFd, path: &str, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if attempts < MAX_ATTEMPTS => attempts += 1,
            result => return Ok(result?),
        }
    }
}

pub(super) fn is_folder(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// The path as an O_PATH descriptor, made with its parents when missing; dangling symlinks are made at their target.
pub(super) fn find_or_make(root: impl AsFd, path: &str, kind: Kind) -> io::Result<OwnedFd> {
    match find(&root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let mut pending: VecDeque<String> = parts(path).collect();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            done.pop();
            continue;
        }
        let parent = plain(&root, &done, OFlags::DIRECTORY)?;
        match rustix::fs::readlinkat(&parent, name.as_str(), Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = target.to_str().map_err(|_| io::Error::from(Errno::ILSEQ))?;
                if target.starts_with('/') {
                    done.clear();
                }
                for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                    pending.push_front(part);
                }
                continue;
            }
            Err(Errno::NOENT) => make(
                &parent,
                &name,
                if pending.is_empty() {
                    kind
                } else {
                    Kind::Folder
                },
            )?,
            // Not a symlink.
            Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        done.push(name);
    }
    plain(&root, &done, OFlags::empty())
}

fn parts(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
}

/// A path that holds no symlink (any more).
fn plain(root: impl AsFd, parts: &[String], flags: OFlags) -> io::Result<OwnedFd> {
    let path = if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    open(root, &path, OFlags::PATH | flags, resolve)
}

fn make(parent: impl AsFd, name: &str, kind: Kind) -> io::Result<()> {
    let result = match kind {
        Kind::Folder => rustix::fs::mkdirat(parent, name, MODE_FOLDER),
        Kind::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(parent, name, flags, MODE_FILE).map(drop)
        }
    };
    match result {
        // Another container that shares a volume was faster.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The parent folder (made when missing) and the last name, for mknod and symlink.
pub(super) fn parent(root: impl AsFd, path: &str) -> io::Result<(OwnedFd, String)> {
    let path = path.trim_end_matches('/');
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || name == "." || name == ".." {
        return Err(Errno::INVAL.into());
    }
    Ok((find_or_make(root, folder, Kind::Folder)?, name.to_owned()))
}

/// The host's /dev/null, and really that.
pub(super) fn host_null() -> io::Result<OwnedFd> {
    let fd = rustix::fs::openat(
        CWD,
        "/dev/null",
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        ) == (1, 3);
    if is_null {
        Ok(fd)
    } else {
        Err(io::Error::other(
            "/dev/null of the host is not the null device",
        ))
    }
}
