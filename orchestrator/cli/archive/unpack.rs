//! Unpacking: a tar stream from a container becomes files here. Nothing that it names can be outside of the folder:
//! every path is walked without following symbolic links.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use tar::{Archive, Entry, EntryType};
use tokio::sync::mpsc;

/// Reads the stream into `folder`. The root of the stream gets `name`; `None`: what is in the root goes there directly.
pub(super) fn unpack(
    receiver: mpsc::Receiver<Vec<u8>>,
    folder: &Path,
    name: Option<&OsStr>,
    keep_owner: bool,
) -> io::Result<()> {
    let root = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut archive = Archive::new(Chunks { receiver, chunk: Vec::new(), read: 0 });
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = renamed(&entry.path()?, name)? else { continue };
        let (parent, last) = (open_parent(&root, &path)?, file_name(&path)?);
        write(&mut entry, &root, &parent, &last, name)?;
        let header = entry.header();
        let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
        if keep_owner {
            let (uid, gid) = (Uid::from_raw(id(header.uid()?)?), Gid::from_raw(id(header.gid()?)?));
            rustix::fs::chownat(&parent, &last, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        match header.entry_type() {
            // Last of all, so that a folder without write permission can still be filled.
            EntryType::Directory => folders.push((parent, last, mode)),
            EntryType::Symlink | EntryType::Link => {}
            _ => rustix::fs::chmodat(&parent, &last, mode, AtFlags::empty())?,
        }
    }
    for (parent, last, mode) in folders.into_iter().rev() {
        rustix::fs::chmodat(&parent, &last, mode, AtFlags::empty())?;
    }
    Ok(())
}

fn id(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| bad("owner out of range"))
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the container's archive is damaged: {message}"))
}

/// The path with the root's new name, or `None` for the root itself when it has none.
fn renamed(path: &Path, name: Option<&OsStr>) -> io::Result<Option<PathBuf>> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let mut result = PathBuf::new();
    // The stream's own name for the root.
    parts.next();
    result.extend(name);
    for part in parts {
        match part {
            Component::Normal(part) => result.push(part),
            _ => return Err(bad("a path leaves its folder")),
        }
    }
    Ok((!result.as_os_str().is_empty()).then_some(result))
}

fn open_parent(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(root, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn file_name(path: &Path) -> io::Result<OsString> {
    path.file_name().map(OsStr::to_owned).ok_or_else(|| bad("an entry without a name"))
}

fn write(
    entry: &mut Entry<'_, impl Read>,
    root: &OwnedFd,
    parent: &OwnedFd,
    last: &OsStr,
    name: Option<&OsStr>,
) -> io::Result<()> {
    let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
    match entry.header().entry_type() {
        EntryType::Directory => match rustix::fs::mkdirat(parent, last, Mode::from_raw_mode(0o700)) {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            result => Ok(result?),
        },
        EntryType::Symlink => {
            remove(parent, last)?;
            Ok(rustix::fs::symlinkat(link.ok_or_else(|| bad("a link to nothing"))?, parent, last)?)
        }
        EntryType::Link => {
            let target = link.ok_or_else(|| bad("a link to nothing"))?;
            let target = renamed(&target, name)?.ok_or_else(|| bad("a link to the root"))?;
            remove(parent, last)?;
            let (from, target) = (open_parent(root, &target)?, file_name(&target)?);
            Ok(rustix::fs::linkat(from, target, parent, last, AtFlags::empty())?)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            remove(parent, last)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(parent.as_fd(), last, flags, Mode::from_raw_mode(0o600))?;
            io::copy(entry, &mut std::fs::File::from(file))?;
            Ok(())
        }
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{}: only files, folders and links can be copied", last.to_string_lossy()),
        )),
    }
}

/// Makes way for a new file; a folder stays and is an error later.
fn remove(parent: &OwnedFd, last: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, last, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Chunks {
    receiver: mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => (self.chunk, self.read) = (chunk, 0),
            }
        }
        let rest = &self.chunk[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_renamed_and_nothing_leaves_it() {
        let of = |path: &str, name: Option<&str>| renamed(Path::new(path), name.map(OsStr::new));
        assert_eq!(of("etc/passwd", Some("copy")).unwrap(), Some("copy/passwd".into()));
        assert_eq!(of("etc", Some("copy")).unwrap(), Some("copy".into()));
        assert_eq!(of("etc/a/b", None).unwrap(), Some("a/b".into()));
        assert_eq!(of("etc", None).unwrap(), None);
        assert!(of("etc/../../x", Some("copy")).is_err());
    }

    #[test]
    fn links_in_the_stream_are_not_followed() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header.clone(), "r", io::empty()).unwrap();
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header.clone(), "r/out", "/tmp").unwrap();
        header.set_entry_type(EntryType::Regular);
        builder.append_data(&mut header, "r/out/evil", io::empty()).unwrap();
        let bytes = builder.into_inner().unwrap();
        let (sender, receiver) = mpsc::channel(1);
        sender.blocking_send(bytes).unwrap();
        drop(sender);
        let folder = tempfile::tempdir().unwrap();
        assert!(unpack(receiver, folder.path(), Some(OsStr::new("c")), false).is_err());
        assert!(folder.path().join("c/out").is_symlink());
    }
}
