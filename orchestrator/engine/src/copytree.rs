//! Copies a folder's content with everything that makes it what it is: owners, modes, times, attributes, links, devices.
//! Works on descriptors alone and follows no link.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};

/// Into an existing folder, which gets the source's attributes too.
pub(crate) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut links = HashMap::new();
    folder(source, target, target, "", &mut links)
}

/// Paths below the target root of files with several names, by device and inode.
type Links = HashMap<(u64, u64), String>;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn folder(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    path: &str,
    links: &mut Links,
) -> io::Result<()> {
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let below = format!("{path}{}", name.to_string_lossy());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                match mkdirat(target, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let from = openat(source, name, OPEN | OFlags::DIRECTORY, Mode::empty())?;
                let to = openat(target, name, OPEN | OFlags::DIRECTORY, Mode::empty())?;
                folder(from.as_fd(), to.as_fd(), root, &format!("{below}/"), links)?;
            }
            FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    if let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) {
                        linkat(root, first.as_str(), target, name, AtFlags::empty())?;
                        continue;
                    }
                    links.insert((stat.st_dev, stat.st_ino), below);
                }
                file(source, target, name, &stat)?;
            }
            FileType::Symlink => {
                symlinkat(readlinkat(source, name, Vec::new())?, target, name)?;
                owner(target, name, &stat)?;
            }
            kind => {
                mknodat(target, name, kind, Mode::from_raw_mode(stat.st_mode), stat.st_rdev)?;
                owner(target, name, &stat)?;
                rustix::fs::chmodat(target, name, permissions(&stat), AtFlags::empty())?;
            }
        }
    }
    let stat = rustix::fs::fstat(source)?;
    attributes(source, target, &stat)
}

fn file(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let from = openat(source, name, OPEN, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(target, name, flags, Mode::from_raw_mode(0o600))?;
    let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
    // Uses copy_file_range or sendfile where the file systems can.
    io::copy(&mut from, &mut to)?;
    let (from, to): (OwnedFd, OwnedFd) = (from.into(), to.into());
    attributes(from.as_fd(), to.as_fd(), stat)
}

fn permissions(stat: &Stat) -> Mode {
    const BITS: RawMode = 0o7777;
    Mode::from_raw_mode(stat.st_mode & BITS)
}

fn owner(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    // After the owner, whose change clears set-user-id.
    fchmod(target, permissions(stat))?;
    extended(source, target)?;
    let time = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: i64::try_from(nsec).unwrap_or(0) };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(futimens(target, &times)?)
}

fn extended(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match flistxattr(source, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Overlay's own bookkeeping means nothing outside of a layer.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let length = fgetxattr(source, name, &mut value)?;
        match fsetxattr(target, name, &value[..length], rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn several_names_of_a_file_stay_one_file() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::write(from.path().join("a"), b"x").unwrap();
        std::fs::hard_link(from.path().join("a"), from.path().join("d/b")).unwrap();
        let open = |path: &std::path::Path| std::fs::File::open(path).unwrap();
        copy(open(from.path()).as_fd(), open(to.path()).as_fd()).unwrap();
        let inode = |name: &str| to.path().join(name).metadata().unwrap().ino();
        assert_eq!(inode("a"), inode("d/b"));
    }
}
