//! Reads tar entries strictly, with bounded memory.
//!
//! The tar crate decodes the fields of a header; the walk from entry to entry is ours, because the crate's own iterator
//! collects extension records of any length in memory and passes over malformed ones in silence.

use std::io::{self, BufRead, Read};

use super::pax::{self, Extension};
use super::sparse::{Form, GnuMap, Sparse};

pub(super) const BLOCK: usize = 512;
/// Long names and PAX records: the kernel's PATH_MAX is 4096, an xattr value at most 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;
/// The kernel's PATH_MAX.
pub const MAX_PATH: usize = 4095;
/// In archives of folders, which can be deeper than a path reaches.
const MAX_FOLDER_PATH: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading the tar stream")]
    Read(#[source] io::Error),
    #[error("the tar stream ends in the middle of an entry")]
    Truncated,
    #[error("the tar stream was cut: it has no end mark")]
    NoEnd,
    #[error("tar header at byte {at}: {reason}")]
    Header { at: u64, reason: &'static str },
    #[error("tar extension record at byte {at}: {reason}")]
    Extension { at: u64, reason: &'static str },
    #[error("tar entry {path:?}: {reason}")]
    Entry { path: String, reason: &'static str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Of a file with holes: the body holds its parts alone, one after the other.
    pub sparse: Option<Sparse>,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    pub(crate) fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Yields entries; between two calls of [`TarReader::next`] it is a [`Read`] of the current entry's body.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    position: u64,
    remaining: u64,
    padding: u64,
    longest_path: usize,
    /// Whether an end without the end mark is an error. A layer's digest tells that it is whole; of a folder's archive
    /// nothing else does.
    whole: bool,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            position: 0,
            remaining: 0,
            padding: 0,
            longest_path: MAX_PATH,
            whole: false,
        }
    }

    /// Of a folder's archive: paths may be longer than the kernel takes them at once.
    pub(crate) fn of_folder(input: R) -> Self {
        Self {
            longest_path: MAX_FOLDER_PATH,
            ..Self::new(input)
        }
    }

    /// The stream must have its end mark.
    pub(crate) fn whole(self) -> Self {
        Self {
            whole: true,
            ..self
        }
    }

    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry, or `None` at the end mark (or at an end between two entries, as Go's reader takes it).
    /// One flat match: an arm for each kind of header block.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip_body()?;
        let mut extension = Extension::default();
        loop {
            let at = self.position;
            let mut block = [0; BLOCK];
            if !self.fill(&mut block)? {
                return match extension == Extension::default() {
                    true if self.whole => Err(ArchiveError::NoEnd),
                    true => Ok(None),
                    false => Err(ArchiveError::Truncated),
                };
            }
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = tar::Header::from_byte_slice(&block);
            if !checksum_matches(&block, header) {
                return Err(ArchiveError::Header {
                    at,
                    reason: "its checksum is wrong",
                });
            }
            let number = |result: io::Result<u64>, reason| {
                result.map_err(|_| ArchiveError::Header { at, reason })
            };
            let size = number(header.entry_size(), "its size is not a number")?;
            match block[156] {
                b'x' => {
                    let records = self.read_extension(size, at)?;
                    if extension.pax_seen {
                        return Err(ArchiveError::Extension {
                            at,
                            reason: "a second one for the same entry",
                        });
                    }
                    extension.pax_seen = true;
                    pax::parse(&records, &mut extension)
                        .map_err(|reason| ArchiveError::Extension { at, reason })?;
                }
                b'g' => {
                    // git archive's comment is the one in use; anything that would change an entry is not for layers.
                    let records = self.read_extension(size, at)?;
                    let mut global = Extension::default();
                    pax::parse(&records, &mut global)
                        .map_err(|reason| ArchiveError::Extension { at, reason })?;
                    if global != Extension::default() {
                        return Err(ArchiveError::Extension {
                            at,
                            reason: "a global one changes every entry",
                        });
                    }
                }
                kind @ (b'L' | b'K') => {
                    let mut name = self.read_extension(size, at)?;
                    if let Some(end) = name.iter().position(|byte| *byte == 0) {
                        name.truncate(end);
                    }
                    let slot = if kind == b'L' {
                        &mut extension.path
                    } else {
                        &mut extension.link
                    };
                    if slot.is_none() {
                        *slot = Some(name);
                    }
                }
                _ => return self.entry(header, size, extension, at).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        size: u64,
        mut extension: Extension,
        at: u64,
    ) -> Result<Entry, ArchiveError> {
        let form = extension.sparse.form();
        let path = extension.sparse.name.take().or(extension.path.take());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extension
            .link
            .take()
            .or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let link = link.unwrap_or_default();
        let shown = || String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned();
        let refuse = |reason| ArchiveError::Entry {
            path: shown(),
            reason,
        };
        if path.len() > self.longest_path || link.len() > MAX_PATH {
            return Err(refuse("its name is too long"));
        }
        if path.contains(&0) || link.contains(&0) {
            return Err(refuse("its name holds a NUL"));
        }
        let kind = kind(header, &path).ok_or_else(|| refuse("its type is unknown"))?;
        let old = header.as_old();
        let owner = |extended: Option<u64>, field: &[u8], value, reason| {
            let value = extended.map_or_else(|| number(at, field, value, reason), Ok)?;
            owner_id(value).ok_or_else(|| refuse("its owner is out of range"))
        };
        let uid = owner(
            extension.uid,
            &old.uid,
            header.uid(),
            "its uid is not a number",
        )?;
        let gid = owner(
            extension.gid,
            &old.gid,
            header.gid(),
            "its gid is not a number",
        )?;
        let mode = number(
            at,
            &old.mode,
            header.mode().map(u64::from),
            "its mode is not a number",
        )?;
        let modified = extension.modified.unwrap_or_else(|| modified(header));
        let device = device(header, kind).ok_or_else(|| refuse("its device number is missing"))?;
        // Header-only kinds have no body whatever their size field says: Go's reader, which made most layers, agrees.
        let size = if kind == Kind::File {
            extension.size.unwrap_or(size)
        } else {
            0
        };
        let sparse = self.body(header, size, form, kind)?.map_err(refuse)?;
        Ok(Entry {
            kind,
            mode: u32::try_from(mode & 0o7777).expect("twelve bits"),
            uid,
            gid,
            modified,
            sparse,
            device,
            xattrs: extension.xattrs,
            path,
            link,
        })
    }

    /// Makes what follows the current body, past the map of its parts when it has one. The inner error is about the map.
    fn body(
        &mut self,
        header: &tar::Header,
        size: u64,
        form: Result<Form, &'static str>,
        kind: Kind,
    ) -> Result<Result<Option<Sparse>, &'static str>, ArchiveError> {
        let old = match header.as_bytes()[156] {
            b'S' => match self.old_map(header)? {
                Ok(map) => Some(map),
                Err(reason) => return Ok(Err(reason)),
            },
            _ => None,
        };
        self.remaining = size;
        self.padding = size
            .checked_next_multiple_of(BLOCK as u64)
            .map_or(0, |padded| padded - size);
        let map = match (old, form) {
            (_, Err(reason)) => Err(reason),
            (old, Ok(Form::Whole)) => Ok(old),
            (Some(_), Ok(_)) => Err("a sparse entry of two forms"),
            (None, Ok(_)) if kind != Kind::File => Err("a sparse entry that is not a file"),
            (None, Ok(Form::Known(map))) => Ok(Some(map)),
            (None, Ok(Form::InBody(whole))) => Sparse::decode(&mut *self, whole)
                .map_err(ArchiveError::Read)?
                .map(Some),
        };
        Ok(match map {
            Ok(Some(map)) if map.data() != self.remaining => {
                Err("its sparse map and its content do not fit together")
            }
            map => map,
        })
    }

    /// The map of GNU tar's old form: in the header, and in blocks behind it.
    fn old_map(
        &mut self,
        header: &tar::Header,
    ) -> Result<Result<Sparse, &'static str>, ArchiveError> {
        let mut map = match GnuMap::of_header(header) {
            Ok(map) => map,
            Err(reason) => return Ok(Err(reason)),
        };
        while map.more {
            let mut block = [0; BLOCK];
            if !self.fill(&mut block)? {
                return Err(ArchiveError::Truncated);
            }
            if let Err(reason) = map.block(&block) {
                return Ok(Err(reason));
            }
        }
        Ok(map.finish())
    }

    fn read_extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION {
            return Err(ArchiveError::Extension {
                at,
                reason: "longer than 1 MiB",
            });
        }
        let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
        let mut bytes = vec![0; usize::try_from(padded).expect("at most 1 MiB")];
        if padded > 0 && !self.fill(&mut bytes)? {
            return Err(ArchiveError::Truncated);
        }
        bytes.truncate(usize::try_from(size).expect("at most 1 MiB"));
        Ok(bytes)
    }

    /// Whether the buffer was filled; `false` when the stream ended before its first byte.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(ArchiveError::Truncated),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
        self.position += filled as u64;
        Ok(true)
    }

    fn skip_body(&mut self) -> Result<(), ArchiveError> {
        let rest = self.remaining + self.padding;
        if rest > 0 {
            let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink())
                .map_err(ArchiveError::Read)?;
            if skipped < rest {
                return Err(ArchiveError::Truncated);
            }
            self.position += rest;
            self.remaining = 0;
            self.padding = 0;
        }
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(cut_file());
        }
        self.remaining -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for TarReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let available = self.input.fill_buf()?;
        if available.is_empty() {
            return Err(cut_file());
        }
        let most = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(available.len());
        Ok(&available[..most])
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.remaining -= count as u64;
        self.position += count as u64;
    }
}

fn cut_file() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the tar stream ends in the middle of a file",
    )
}

/// A number of the header of the entry `at` this offset.
fn number(
    at: u64,
    field: &[u8],
    value: io::Result<u64>,
    reason: &'static str,
) -> Result<u64, ArchiveError> {
    match value {
        // Left empty, as some packers do, it is 0.
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        value => value.map_err(|_| ArchiveError::Header { at, reason }),
    }
}

/// `u32::MAX` is not an id: it means "leave it" to chown.
fn owner_id(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|&id| id < u32::MAX)
}

/// Seconds and nanoseconds.
fn modified(header: &tar::Header) -> (i64, u32) {
    (i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0)
}

/// Major and minor number; both are 0 for everything but devices.
fn device(header: &tar::Header, kind: Kind) -> Option<(u32, u32)> {
    match kind {
        Kind::Char | Kind::Block => {
            Some((header.device_major().ok()??, header.device_minor().ok()??))
        }
        _ => Some((0, 0)),
    }
}

fn kind(header: &tar::Header, path: &[u8]) -> Option<Kind> {
    Some(match header.as_bytes()[156] {
        // Before POSIX, a folder was a file with a slash behind its name.
        b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}

/// Whether a block can begin a tar. By its checksum alone: old archives have no other mark.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    block.iter().any(|byte| *byte != 0)
        && checksum_matches(block, tar::Header::from_byte_slice(block))
}

fn checksum_matches(block: &[u8; BLOCK], header: &tar::Header) -> bool {
    let Ok(stored) = header.cksum() else {
        return false;
    };
    let outside = || block[..148].iter().chain(&block[156..]);
    let unsigned = outside().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    let signed = outside()
        .map(|byte| i32::from(byte.cast_signed()))
        .sum::<i32>()
        + 8 * 32;
    stored == unsigned || i64::from(stored) == i64::from(signed)
}
