//! Paths below a descriptor, of any length: the kernel accepts at most PATH_MAX bytes at once.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// PATH_MAX, including the NUL.
const LONGEST: usize = 4095;
/// Limit of symlinks followed for one path, as in the kernel.
const MAX_LINKS: u32 = 40;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn openat2(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A concurrent rename; the kernel asks to retry.
            Err(Errno::AGAIN) if attempts < 64 => attempts += 1,
            other => return other,
        }
    }
}

fn relative(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes
        .iter()
        .position(|byte| *byte != b'/')
        .unwrap_or(bytes.len());
    &bytes[start..]
}

/// Opens a path below `root` without following symlinks. The last component may be one, with `O_PATH | O_NOFOLLOW`.
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    const PLAIN: ResolveFlags = ResolveFlags::BENEATH
        .union(ResolveFlags::NO_SYMLINKS)
        .union(ResolveFlags::NO_MAGICLINKS);
    let mut rest = relative(path);
    let mut on_the_way: Option<OwnedFd> = None;
    while rest.len() > LONGEST {
        let slash = rest[..LONGEST]
            .iter()
            .rposition(|byte| *byte == b'/')
            .ok_or(Errno::NAMETOOLONG)?;
        let at = on_the_way.as_ref().map_or(root, AsFd::as_fd);
        on_the_way = Some(openat2(at, &rest[..slash], FOLDER, PLAIN)?);
        rest = relative(Path::new(OsStr::from_bytes(&rest[slash..])));
    }
    Ok(openat2(
        on_the_way.as_ref().map_or(root, AsFd::as_fd),
        rest,
        flags,
        PLAIN,
    )?)
}

/// Opens a path as a process whose root is `root` sees it: symlinks are followed, never out of it. Magic links of /proc
/// are refused (`RESOLVE_NO_MAGICLINKS`).
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    if relative(path).len() <= LONGEST {
        return Ok(openat2(
            root,
            relative(path),
            flags,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?);
    }
    match open_beneath(root, path, flags) {
        // A symlink, or `..` right after the point where the path was split.
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::LOOP | Errno::XDEV)
            ) => {}
        opened => return opened,
    }
    let place = resolve(root, path, !flags.contains(OFlags::NOFOLLOW))?;
    open_beneath(place.folder.as_fd(), Path::new(&place.name), flags)
}

/// A path resolved inside a root.
#[derive(Debug)]
pub struct ResolvedPath {
    /// The folder (`O_PATH`) that contains the name.
    pub folder: OwnedFd,
    /// The folder's path from the root, without symlinks and without a leading slash.
    pub parent: PathBuf,
    /// `.` for the root itself.
    pub name: OsString,
    /// Metadata of the entry; `None`: it does not exist.
    pub stat: Option<Stat>,
}

impl ResolvedPath {
    pub fn is_folder(&self) -> bool {
        self.is(FileType::Directory)
    }

    pub fn is_symlink(&self) -> bool {
        self.is(FileType::Symlink)
    }

    fn is(&self, kind: FileType) -> bool {
        self.stat
            .as_ref()
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
    }

    /// From the root, without symlinks except possibly the last component.
    pub fn path(&self) -> PathBuf {
        if self.name == "." {
            self.parent.clone()
        } else {
            self.parent.join(&self.name)
        }
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    let real = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    real.map(|part| OsString::from_vec(part.to_owned()))
}

fn join(parts: &[OsString]) -> PathBuf {
    PathBuf::from(OsString::from_vec(
        parts
            .iter()
            .map(|part| part.as_bytes())
            .collect::<Vec<_>>()
            .join(&b'/'),
    ))
}

/// Resolves a path inside `root`, as [`open_in_root`] does; the last component may be missing. If it is a symlink, it
/// is followed only if `follow` is set.
pub fn resolve(root: BorrowedFd<'_>, path: &Path, follow: bool) -> io::Result<ResolvedPath> {
    let mut open: VecDeque<OsString> = parts(path.as_os_str().as_bytes()).collect();
    let mut done: Vec<OsString> = Vec::new();
    let mut folder = openat2(root, b"", FOLDER, ResolveFlags::empty())?;
    let mut links = 0;
    while let Some(part) = open.pop_front() {
        if part == ".." {
            done.pop();
            folder = open_beneath(root, &join(&done), FOLDER)?;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&folder, part.as_os_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) if open.is_empty() => None,
            found => Some(found?),
        };
        let stat = found.as_ref().map(rustix::fs::fstat).transpose()?;
        let kind = stat
            .as_ref()
            .map(|stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, found) {
            (Some(FileType::Symlink), Some(link)) if follow || !open.is_empty() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = rustix::fs::readlinkat(&link, c"", Vec::new())?;
                if target.as_bytes().first() == Some(&b'/') {
                    done.clear();
                    folder = openat2(root, b"", FOLDER, ResolveFlags::empty())?;
                }
                parts(target.as_bytes())
                    .rev()
                    .for_each(|part| open.push_front(part));
            }
            (Some(FileType::Directory), Some(next)) if !open.is_empty() => {
                folder = next;
                done.push(part);
            }
            _ if open.is_empty() => {
                return Ok(ResolvedPath {
                    folder,
                    parent: join(&done),
                    name: part,
                    stat,
                });
            }
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    // The path ended with the root, with `..` or with a link to a folder's root.
    let stat = Some(rustix::fs::fstat(&folder)?);
    match done.pop() {
        None => Ok(ResolvedPath {
            folder,
            parent: PathBuf::new(),
            name: ".".into(),
            stat,
        }),
        Some(name) => {
            let parent = join(&done);
            Ok(ResolvedPath {
                folder: open_beneath(root, &parent, FOLDER)?,
                parent,
                name,
                stat,
            })
        }
    }
}
