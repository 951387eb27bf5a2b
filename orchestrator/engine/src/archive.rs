//! Tar streams of a container's files. Every path is resolved inside the container's root, by descriptors: links that
//! point elsewhere, also ones that change meanwhile, lead nowhere else.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown, linkat, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat, unlinkat,
};
use serde::Serialize;
use tar::{Archive, Builder, EntryType, Header};

use crate::rootview::{RootView, open_in};

/// Docker's stat document of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PathStat {
    name: String,
    size: i64,
    /// Go's file mode bits.
    mode: u32,
    mtime: String,
    #[serde(rename = "linkTarget")]
    link_target: String,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder that holds the last part of a path, and that part; `.` for the root.
fn parent(view: &RootView, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let mut clean: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    let Some(name) = clean.pop() else { return Ok((view.open(Path::new("/"), OFlags::RDONLY)?, ".".into())) };
    let folder: PathBuf = clean.iter().collect();
    Ok((view.open(&folder, OFlags::RDONLY | OFlags::DIRECTORY)?, name.into()))
}

fn go_mode(stat: &Stat) -> u32 {
    const DIR: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const CHAR: u32 = 1 << 21;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => DIR,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR,
        FileType::Fifo => PIPE,
        FileType::Socket => SOCKET,
        _ => 0,
    };
    kind | (stat.st_mode & 0o777)
}

pub(crate) fn stat(view: &RootView, path: &Path) -> io::Result<PathStat> {
    let (folder, name) = parent(view, path)?;
    let stat = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let target =
        if link { readlinkat(&folder, &name, Vec::new())?.to_string_lossy().into_owned() } else { String::new() };
    let mtime = jiff::Timestamp::from_second(stat.st_mtime).unwrap_or_default();
    let shown = path.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(PathStat {
        name: shown,
        size: stat.st_size,
        mode: go_mode(&stat),
        mtime: mtime.to_string(),
        link_target: target,
    })
}

/// Packs a path and what is below it; the first entry is named like the path's last part.
pub(crate) fn pack(view: &RootView, path: &Path, out: impl Write) -> io::Result<()> {
    let (folder, name) = parent(view, path)?;
    let mut tar = Builder::new(io::BufWriter::with_capacity(64 * 1024, out));
    let shown = if name.as_os_str() == "." { PathBuf::from(".") } else { name.clone() };
    add(&mut tar, folder.as_fd(), name.as_os_str(), &shown)?;
    tar.into_inner()?.flush()
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

fn add<W: Write>(tar: &mut Builder<W>, folder: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> io::Result<()> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            tar.append_data(&mut header(&stat, EntryType::Directory), shown, io::empty())?;
            let below = openat(folder, name, FOLDER, Mode::empty())?;
            let mut names: Vec<Vec<u8>> = Vec::new();
            for entry in Dir::read_from(&below)? {
                let entry = entry?;
                let bytes = entry.file_name().to_bytes();
                if bytes != b"." && bytes != b".." {
                    names.push(bytes.to_vec());
                }
            }
            names.sort();
            for name in names {
                let name = OsStr::from_bytes(&name);
                add(tar, below.as_fd(), name, &shown.join(name))?;
            }
            Ok(())
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = std::fs::File::from(openat(folder, name, flags, Mode::empty())?);
            let mut header = header(&stat, EntryType::Regular);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            header.set_size(size);
            // A file that grows or shrinks meanwhile must not tear the archive.
            tar.append_data(&mut header, shown, file.take(size).chain(io::repeat(0)).take(size))
        }
        FileType::Symlink => {
            let target = readlinkat(folder, name, Vec::new())?;
            let mut header = header(&stat, EntryType::Symlink);
            tar.append_link(&mut header, shown, OsStr::from_bytes(target.to_bytes()))
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            let kind = if FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice {
                EntryType::Block
            } else {
                EntryType::Char
            };
            let mut header = header(&stat, kind);
            header.set_device_major(rustix::fs::major(stat.st_rdev))?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
            tar.append_data(&mut header, shown, io::empty())
        }
        FileType::Fifo => tar.append_data(&mut header(&stat, EntryType::Fifo), shown, io::empty()),
        // Sockets mean nothing outside.
        _ => Ok(()),
    }
}

/// Unpacks into an existing folder of the container.
pub(crate) fn unpack(view: &RootView, target: &Path, archive: impl Read) -> io::Result<()> {
    let root = view.open(target, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = inside(&entry.path()?)?;
        let Some(name) = path.file_name() else {
            continue;
        };
        let folder = make_folders(root.as_fd(), path.parent().unwrap_or(Path::new("")))?;
        place(root.as_fd(), folder.as_fd(), name, &mut entry)?;
    }
    Ok(())
}

/// Only plain names.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => {
                let message = format!("{} leads out of the archive", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
    }
    Ok(clean)
}

/// Opens (making what is missing) folders below the target; links are followed only inside of it.
fn make_folders(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let mut folder = open_in(root, Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut sofar = PathBuf::new();
    for part in path.components() {
        sofar.push(part);
        folder = match open_in(root, &sofar, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755))?;
                open_in(root, &sofar, OFlags::RDONLY | OFlags::DIRECTORY)?
            }
            other => other?,
        };
    }
    Ok(folder)
}

fn place<R: Read>(
    root: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    name: &OsStr,
    entry: &mut tar::Entry<'_, R>,
) -> io::Result<()> {
    let header = entry.header();
    let id = |value: io::Result<u64>| value.ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    let (uid, gid) = (Uid::from_raw(id(header.uid())), Gid::from_raw(id(header.gid())));
    let mode = Mode::from_raw_mode(header.mode().unwrap_or(0o644) & 0o7777);
    let kind = header.entry_type();
    match kind {
        EntryType::Directory => {
            match mkdirat(folder, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                // A folder that is there keeps what it has.
                Err(rustix::io::Errno::EXIST) if is_folder(folder, name) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let made = openat(folder, name, FOLDER, Mode::empty())?;
            fchown(&made, Some(uid), Some(gid))?;
            Ok(fchmod(&made, mode)?)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            clear(folder, name)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = std::fs::File::from(openat(folder, name, flags, Mode::from_raw_mode(0o600))?);
            io::copy(entry, &mut file)?;
            fchown(&file, Some(uid), Some(gid))?;
            fchmod(&file, mode)?;
            let mtime = entry.header().mtime().unwrap_or(0);
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime))
        }
        EntryType::Symlink => {
            clear(folder, name)?;
            let target = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
            symlinkat(target.as_ref(), folder, name)?;
            Ok(chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        EntryType::Link => {
            clear(folder, name)?;
            let target = inside(&entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?)?;
            let from = make_folders(root, target.parent().unwrap_or(Path::new("")))?;
            let source = target.file_name().ok_or(io::ErrorKind::InvalidData)?;
            Ok(linkat(&from, source, folder, name, AtFlags::empty())?)
        }
        EntryType::Fifo => {
            clear(folder, name)?;
            mknodat(folder, name, FileType::Fifo, mode, 0)?;
            Ok(chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        // Devices are not made on somebody's word.
        _ => Ok(()),
    }
}

fn is_folder(folder: BorrowedFd<'_>, name: &OsStr) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn clear(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(root: &Path) -> RootView {
        RootView::of_layers(&[root.to_owned()]).unwrap()
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::write(from.path().join("d/f"), b"content").unwrap();
        std::os::unix::fs::symlink("f", from.path().join("d/l")).unwrap();
        let mut tar = Vec::new();
        pack(&view(from.path()), Path::new("/d"), &mut tar).unwrap();
        unpack(&view(to.path()), Path::new("/"), &tar[..]).unwrap();
        assert_eq!(std::fs::read(to.path().join("d/l")).unwrap(), b"content");
    }

    #[test]
    fn links_in_the_root_do_not_lead_out() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        assert!(stat(&view(root.path()), Path::new("/out/secret")).is_err());
        let mut tar = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        tar.append_data(&mut header, "out/evil", &b"x"[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let _ = unpack(&view(root.path()), Path::new("/"), &bytes[..]);
        assert!(!outside.path().join("evil").exists());
    }

    #[test]
    fn paths_that_climb_are_refused() {
        assert!(inside(Path::new("../x")).is_err());
        assert!(inside(Path::new("/etc/x")).is_err());
        assert_eq!(inside(Path::new("./a/b")).unwrap(), PathBuf::from("a/b"));
    }
}
