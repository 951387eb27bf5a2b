//! ADD of a local archive: a tar, plain or compressed, unpacked over the image.
//!
//! Other than a layer, such an archive is meant for the tree that is there: its paths follow the image's symlinks
//! (`bin/x` lands in /usr/bin where /bin is a symlink), so it cannot be unpacked alone and laid over.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use tar::EntryType;

use crate::fs::{Metadata, Node, Owner, ViewError, WriteError, Writer, overlay_attribute};

#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("reading the archive: {0}")]
    Read(#[source] io::Error),
    #[error("entry {path}: {reason}")]
    Refused { path: String, reason: &'static str },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    View(#[from] ViewError),
}

pub(crate) type Archive = tar::Archive<Box<dyn Read>>;

const BLOCK: usize = 512;

/// `None`: not an archive, to be copied as it is. Decided by content, whatever the name says.
pub(crate) fn open(file: File) -> Option<Archive> {
    // What cannot be decompressed is no archive, either.
    let mut reader = hoist_image::decompress(file).ok()?;
    let mut head = [0u8; BLOCK];
    let length = read_up_to(&mut reader, &mut head).ok()?;
    if !is_tar(&head[..length]) {
        return None;
    }
    Some(tar::Archive::new(Box::new(io::Cursor::new(head).chain(reader)) as Box<dyn Read>))
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// By the checksum of the first header: old archives have no other mark.
fn is_tar(block: &[u8]) -> bool {
    if block.len() < BLOCK || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let sum: u64 =
        block.iter().enumerate().map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    let text: String = block[148..156].iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
    u64::from_str_radix(text.trim(), 8) == Ok(sum)
}

/// Unpacks into an empty folder.
pub(crate) fn unpack_into(archive: Archive, folder: &Path) -> Result<(), UnpackError> {
    let mut writer = Writer::new(folder, &[])?;
    let root = writer.view().root()?;
    unpack(archive, &mut writer, &root)?;
    writer.finish()?;
    Ok(())
}

/// Unpacks below `folder`, through the symlinks of the image.
pub(crate) fn unpack(mut archive: Archive, writer: &mut Writer, folder: &Node) -> Result<(), UnpackError> {
    let mut unpacker = Unpacker { writer, base: Path::new("/").join(&folder.path), parent: None };
    for entry in archive.entries().map_err(UnpackError::Read)? {
        unpacker.entry(entry.map_err(UnpackError::Read)?)?;
    }
    Ok(())
}

struct Unpacker<'a> {
    writer: &'a mut Writer,
    base: PathBuf,
    /// The folder of the entry before: most follow a sibling.
    parent: Option<(PathBuf, Node)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), UnpackError> {
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |reason| UnpackError::Refused { path: shown.clone(), reason };
        let path = inner_path(&entry.path_bytes()).map_err(refuse)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else { return Ok(()) };
        if name.as_bytes().starts_with(b".wh.") {
            return Err(refuse("names that start with .wh. mean deletion in an image"));
        }
        let extensions = Extensions::read(&mut entry).map_err(UnpackError::Read)?;
        if extensions.sparse {
            return Err(refuse("sparse files in the PAX form are not supported"));
        }
        let metadata = extensions.metadata(&entry).map_err(UnpackError::Read)?;
        let kind = entry.header().entry_type();
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        match kind {
            EntryType::Directory => self.folder(&parent, &name, &metadata)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.clear(&parent, &name)?;
                let size = entry.size();
                self.writer.put_file(&parent, &name, &metadata, &mut |file| {
                    let written = io::copy(&mut entry, file)?;
                    if written == size || kind == EntryType::GNUSparse {
                        Ok(())
                    } else {
                        Err(io::ErrorKind::UnexpectedEof.into())
                    }
                })?;
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| refuse("a link to nothing"))?.into_owned();
                if kind == EntryType::Symlink {
                    self.clear(&parent, &name)?;
                    self.writer.put_symlink(&parent, &name, OsStr::from_bytes(&target), &metadata)?;
                } else {
                    self.hard_link(&parent, &name, &target, refuse)?;
                }
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let header = entry.header();
                let number =
                    |part: io::Result<Option<u32>>| part.map(Option::unwrap_or_default).map_err(UnpackError::Read);
                let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
                let file_type = match kind {
                    EntryType::Char if (major, minor) == (0, 0) => {
                        return Err(refuse("a character device 0:0 means deletion in an image"));
                    }
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = if kind == EntryType::Fifo { 0 } else { rustix::fs::makedev(major, minor) };
                self.clear(&parent, &name)?;
                self.writer.put_special(&parent, &name, file_type, device, &metadata)?;
            }
            // Headers for what follows; the reader has used them.
            EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {}
            _ => return Err(refuse("an entry of an unknown kind")),
        }
        Ok(())
    }

    /// The folder that an entry goes into; the image's symlinks are followed.
    fn parent(&mut self, path: &Path) -> Result<Node, UnpackError> {
        if let Some((known, node)) = &self.parent
            && known == path
        {
            return Ok(node.clone());
        }
        let plain = Metadata { mode: 0o755, ..Metadata::default() };
        let node = self.writer.make_folders(&self.base.join(path), &plain)?;
        self.parent = Some((path.to_owned(), node.clone()));
        Ok(node)
    }

    fn folder(&mut self, parent: &Node, name: &OsStr, metadata: &Metadata) -> Result<(), UnpackError> {
        self.writer.replace_by_folder(parent, name, metadata)?;
        // A symlink on the way may have become a folder.
        self.parent = None;
        Ok(())
    }

    /// What this layer already has under a name goes; what lower layers have is hidden by what comes.
    fn clear(&mut self, parent: &Node, name: &OsStr) -> Result<(), UnpackError> {
        let there = self.writer.view().child(parent, name)?;
        if there.is_some_and(|node| node.is_folder()) {
            self.writer.hide_folder(parent, name)?;
            self.parent = None;
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        parent: &Node,
        name: &OsStr,
        target: &[u8],
        refuse: impl Fn(&'static str) -> UnpackError,
    ) -> Result<(), UnpackError> {
        let target = inner_path(target).map_err(&refuse)?;
        let walk = self.writer.view().walk(&self.base.join(target), false)?;
        let found = walk.found.ok_or_else(|| refuse("a hard link to something that is not there"))?;
        if found.is_folder() {
            return Err(refuse("a hard link to a folder"));
        }
        if found.path == parent.path.join(name) {
            return Ok(());
        }
        self.clear(parent, name)?;
        self.writer.put_hard_link(parent, name, &found)?;
        Ok(())
    }
}

/// A relative path without `..`.
fn inner_path(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    let mut path = PathBuf::new();
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("it leads out of the archive"),
            name if name.contains(&0) => return Err("its name holds a zero byte"),
            name => path.push(OsStr::from_bytes(name)),
        }
    }
    Ok(path)
}

/// What PAX headers say beyond the plain one.
#[derive(Debug, Default)]
struct Extensions {
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<(i64, i64)>,
    attributes: Vec<(CString, Vec<u8>)>,
    sparse: bool,
}

impl Extensions {
    fn read<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Self> {
        let mut found = Self::default();
        let Some(extensions) = entry.pax_extensions()? else { return Ok(found) };
        for extension in extensions {
            let extension = extension?;
            let (Ok(key), value) = (extension.key(), extension.value_bytes()) else { continue };
            let text = std::str::from_utf8(value).unwrap_or_default();
            match key {
                "uid" => found.uid = text.parse().ok(),
                "gid" => found.gid = text.parse().ok(),
                "mtime" => found.modified = pax_time(text),
                _ if key.starts_with("GNU.sparse.") => found.sparse = true,
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.")
                        && !overlay_attribute(name.as_bytes())
                        && let Ok(name) = CString::new(name)
                    {
                        found.attributes.push((name, value.to_vec()));
                    }
                }
            }
        }
        Ok(found)
    }

    fn metadata<R: Read>(self, entry: &tar::Entry<'_, R>) -> io::Result<Metadata> {
        let header = entry.header();
        let narrow = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner's number is out of range"));
        let old = header.as_old();
        let uid = self.uid.map_or_else(|| narrow(number(&old.uid, header.uid())?), Ok)?;
        let gid = self.gid.map_or_else(|| narrow(number(&old.gid, header.gid())?), Ok)?;
        let seconds = i64::try_from(number(&old.mtime, header.mtime())?).unwrap_or(i64::MAX);
        Ok(Metadata {
            mode: header.mode()? & 0o7777,
            owner: Owner { uid, gid },
            modified: Some(self.modified.unwrap_or((seconds, 0))),
            attributes: self.attributes,
        })
    }
}

/// A field that was left empty is 0.
fn number<T: Default>(field: &[u8], value: io::Result<T>) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { value }
}

/// `seconds[.fraction]`
fn pax_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: i64 = digits.parse().ok()?;
    // Before the epoch, the fraction still counts away from zero.
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inner_path(b"/a//./b/").unwrap(), Path::new("a/b"));
        assert!(inner_path(b"a/../b").is_err());
        assert!(inner_path(b"./").unwrap().as_os_str().is_empty());
    }

    #[test]
    fn pax_times_have_fractions_and_signs() {
        assert_eq!(pax_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(pax_time("12"), Some((12, 0)));
        assert_eq!(pax_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(pax_time("x"), None);
    }
}
