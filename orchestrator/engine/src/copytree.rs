//! Copies a folder's content with everything that makes it what it is: owners, modes, times, attributes, links, devices.
//! Works on descriptors alone and follows no link.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hoist_tree::{Descent, Visit, Walk, open_beneath, open_regular};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid, chownat,
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, futimens, linkat, mkdirat, mknodat, openat,
    readlinkat, symlinkat,
};

/// Into an existing folder, which gets the source's attributes too.
pub(crate) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut links = Links {
        root: target,
        first: HashMap::new(),
    };
    let mut walk = Walk::new(source)?;
    let mut place = Descent::new(target);
    while let Some(visit) = walk.step()? {
        match visit {
            Visit::Entry { name, stat } if Visit::is_folder(&stat) => {
                match mkdirat(place.folder(), name.as_c_str(), Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                if walk.enter(&name)? {
                    place.enter(&name)?;
                }
            }
            Visit::Entry { name, stat } => entry(&walk, place.folder(), &name, &stat, &mut links)?,
            Visit::End => {
                attributes(
                    walk.folder(),
                    place.folder(),
                    &rustix::fs::fstat(walk.folder())?,
                )?;
                place.leave()?;
            }
        }
    }
    Ok(())
}

/// Files with several names, which stay one file.
struct Links<'a> {
    root: BorrowedFd<'a>,
    /// Where the first name of each is, by device and inode.
    first: HashMap<(u64, u64), PathBuf>,
}

impl Links<'_> {
    /// `false`: this is the first of a file's names.
    fn link(
        &mut self,
        stat: &Stat,
        path: Vec<u8>,
        target: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<bool> {
        let Some(first) = self.first.get(&(stat.st_dev, stat.st_ino)) else {
            self.first
                .insert((stat.st_dev, stat.st_ino), OsStr::from_bytes(&path).into());
            return Ok(false);
        };
        let parent = first.parent().unwrap_or(Path::new(""));
        let folder = open_beneath(self.root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
        linkat(
            &folder,
            first.file_name().unwrap_or_default(),
            target,
            name,
            AtFlags::empty(),
        )?;
        Ok(true)
    }
}

/// Anything but a folder.
fn entry(
    walk: &Walk<'_>,
    target: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    links: &mut Links<'_>,
) -> io::Result<()> {
    let source = walk.folder();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            if stat.st_nlink > 1 && links.link(stat, walk.path_of(name), target, name)? {
                return Ok(());
            }
            file(source, target, name)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(source, name, Vec::new())?, target, name)?;
            owner(target, name, stat)?;
            let times = times(stat);
            Ok(rustix::fs::utimensat(
                target,
                name,
                &times,
                AtFlags::SYMLINK_NOFOLLOW,
            )?)
        }
        kind => {
            mknodat(
                target,
                name,
                kind,
                Mode::from_raw_mode(stat.st_mode),
                stat.st_rdev,
            )?;
            owner(target, name, stat)?;
            Ok(rustix::fs::chmodat(
                target,
                name,
                permissions(stat),
                AtFlags::empty(),
            )?)
        }
    }
}

fn file(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let (mut from, stat) = open_regular(source, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = std::fs::File::from(openat(target, name, flags, Mode::from_raw_mode(0o600))?);
    // Uses copy_file_range or sendfile where the file systems can.
    io::copy(&mut from, &mut to)?;
    let (from, to): (OwnedFd, OwnedFd) = (from.into(), to.into());
    attributes(from.as_fd(), to.as_fd(), &stat)
}

fn permissions(stat: &Stat) -> Mode {
    const BITS: RawMode = 0o7777;
    Mode::from_raw_mode(stat.st_mode & BITS)
}

fn owner(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(chownat(
        folder,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    fchown(
        target,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    // After the owner, whose change clears set-user-id.
    fchmod(target, permissions(stat))?;
    extended(source, target)?;
    Ok(futimens(target, &times(stat))?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |sec: i64, nsec: u64| Timespec {
        tv_sec: sec,
        tv_nsec: i64::try_from(nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn extended(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match flistxattr(source, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        // Overlay's own bookkeeping means nothing outside of a layer.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let length = fgetxattr(source, name, &mut value)?;
        match fsetxattr(
            target,
            name,
            &value[..length],
            rustix::fs::XattrFlags::empty(),
        ) {
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

    /// In a thread with a small stack: it is the copy's loop, not its stack, that goes down.
    #[test]
    fn a_folder_deeper_than_path_max_is_copied_and_counted() {
        let (from, to) = (
            hoist_tree::Scratch::with_prefix_in("deep-", &std::env::temp_dir()).unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let open = |path: &std::path::Path| std::fs::File::open(path).unwrap();
        let root = open(from.path());
        let mut place = Descent::new(root.as_fd());
        let name = std::ffi::CString::new("n".repeat(255)).unwrap();
        for _ in 0..2500 {
            mkdirat(place.folder(), name.as_c_str(), Mode::from_raw_mode(0o751)).unwrap();
            place.enter(&name).unwrap();
        }
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = openat(place.folder(), "file", flags, Mode::from_raw_mode(0o640)).unwrap();
        rustix::io::write(&file, &[1; 5000]).unwrap();
        linkat(
            place.folder(),
            "file",
            place.folder(),
            "link",
            AtFlags::empty(),
        )
        .unwrap();
        let target = hoist_tree::Scratch::with_prefix_in("copy-", to.path()).unwrap();
        let small = std::thread::Builder::new().stack_size(128 << 10);
        std::thread::scope(|scope| {
            let copied = small
                .spawn_scoped(scope, || copy(root.as_fd(), open(target.path()).as_fd()))
                .unwrap();
            copied.join().unwrap().unwrap();
        });
        assert_eq!(crate::usage::of_folder(target.path()), 5000);
    }
}
