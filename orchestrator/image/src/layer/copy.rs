//! Archives of `cp`: packs a file or folder of a tree, and unpacks into a tree that may be in use.

use std::ffi::CStr;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::archive::{Entry, Kind, TarReader};
use super::confined::{Before, Confined, WriteMode};
use super::unpack::Unpacker;
use super::{Decoder, FolderError, Form, Limits, UnpackError, pack_entry};

/// Writes what `folder` has under `name`, with everything below it, as a tar whose first entry is called `shown`.
/// `owner`: replaces the owner of every entry. Returns the bytes of file content.
pub fn pack_copy(
    folder: BorrowedFd<'_>,
    name: &CStr,
    shown: &[u8],
    owner: Option<(u32, u32)>,
    output: &mut dyn Write,
) -> Result<u64, FolderError> {
    Ok(pack_entry(folder, name, shown, owner, output)?)
}

/// What becomes of the names that an archive's entries begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top<'a> {
    Kept,
    /// The archive holds one file or folder, which gets this name.
    Named(&'a [u8]),
    /// The archive holds one folder, of which only the content is copied.
    Left,
}

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As the archive says.
    Kept,
    Given(u32, u32),
}

/// Where an archive goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Copying<'a> {
    /// A folder below the root.
    pub base: &'a Path,
    pub top: Top<'a>,
    pub owners: Owners,
    /// Whether paths follow symlinks that are there, inside of the root.
    pub follow: bool,
    /// Whether a folder and something else may replace each other.
    pub exchange: bool,
    /// Whether devices are made, or counted only.
    pub devices: bool,
    /// Whether attributes are set that are root's to set.
    pub trusted: bool,
}

/// What was copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of file content.
    pub bytes: u64,
    /// Devices that were left out.
    pub devices: u64,
}

/// A tar whose first entry is known.
pub struct CopyTar<'a> {
    tar: TarReader<BufReader<Decoder<'a, Box<dyn Read + 'a>>>>,
    first: Option<Entry>,
}

impl std::fmt::Debug for CopyTar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CopyTar")
    }
}

impl<'a> CopyTar<'a> {
    /// Plain, or compressed in one of the ways of layers.
    pub fn open(archive: impl Read + 'a) -> Result<Self, FolderError> {
        let decoder = Decoder::new(Box::new(archive) as Box<dyn Read + 'a>, unlimited())
            .map_err(FolderError::Read)?;
        let mut tar = TarReader::of_folder(BufReader::with_capacity(256 << 10, decoder));
        let first = tar.next().map_err(UnpackError::from)?;
        Ok(Self { tar, first })
    }

    /// `None`: it is empty.
    pub fn begins_with_folder(&self) -> Option<bool> {
        self.first
            .as_ref()
            .map(|first| first.kind == Kind::Directory)
    }

    /// Unpacks below `root`. What is in the way of a file is replaced, folders are joined.
    pub fn unpack(
        mut self,
        root: BorrowedFd<'_>,
        copying: &Copying<'_>,
    ) -> Result<Copied, FolderError> {
        let manner = WriteMode {
            before: Before::Others,
            follow: copying.follow,
            exchange: copying.exchange,
        };
        let place = Confined::new(root, manner);
        let mut unpacker = Unpacker::new(Form::Copy, copying.base.as_os_str().as_bytes(), place)?;
        let mut devices = 0;
        let mut next = self.first.take();
        while let Some(mut entry) = next {
            if !copying.devices && matches!(entry.kind, Kind::Char | Kind::Block) {
                devices += 1;
            } else if copying.prepare(&mut entry) {
                unpacker.entry(&entry, &mut self.tar)?;
            }
            next = self.tar.next().map_err(UnpackError::from)?;
        }
        let bytes = unpacker.finish()?.bytes;
        // Read to the end: the archive's writer must not meet a closed pipe.
        io::copy(&mut self.tar.into_inner(), &mut io::sink()).map_err(FolderError::Read)?;
        Ok(Copied { bytes, devices })
    }
}

fn unlimited() -> Limits {
    Limits {
        entries: u64::MAX,
        bytes: u64::MAX,
        free_bytes: u64::MAX,
        ratio: u64::MAX,
    }
}

impl Copying<'_> {
    /// Maps the entry into the target; `false`: the entry is skipped.
    fn prepare(&self, entry: &mut Entry) -> bool {
        if let Owners::Given(uid, gid) = self.owners {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if !self.trusted {
            entry.xattrs.retain(|(name, _)| name.starts_with(b"user."));
        }
        if entry.kind == Kind::HardLink {
            entry.link = self.renamed(&entry.link);
        }
        entry.path = self.renamed(&entry.path);
        // Its own looks are no part of a folder's content.
        self.top != Top::Left || !entry.path.is_empty() || entry.kind != Kind::Directory
    }

    fn renamed(&self, path: &[u8]) -> Vec<u8> {
        let mut parts = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty());
        let named = match self.top {
            Top::Kept => return path.to_owned(),
            Top::Named(name) => Some(name),
            Top::Left => None,
        };
        // The archive's own name for it.
        parts.next();
        named
            .into_iter()
            .chain(parts)
            .collect::<Vec<_>>()
            .join(&b'/')
    }
}
