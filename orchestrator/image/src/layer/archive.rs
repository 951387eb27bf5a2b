//! Reads tar entries strictly, with bounded memory.
//!
//! The tar crate decodes the fields of a header; the walk from entry to entry is ours, because the crate's own iterator
//! collects extension records of any length in memory and passes over malformed ones in silence.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

const BLOCK: usize = 512;
/// Long names and PAX records: the kernel's PATH_MAX is 4096, an xattr value at most 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;
const MAX_PATH: usize = 4095;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading the tar stream")]
    Read(#[source] io::Error),
    #[error("the tar stream ends in the middle of an entry")]
    Truncated,
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
    /// The size of a file whose body is a map and the parts that hold data (GNU's PAX format 1.0).
    pub sparse: Option<u64>,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    pub(crate) fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Extension records that apply to the next entry.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    modified: Option<(i64, u32)>,
    sparse: Sparse,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pax_seen: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sparse {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Yields entries; between two calls of [`TarReader::next`] it is a [`Read`] of the current entry's body.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    position: u64,
    remaining: u64,
    padding: u64,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, position: 0, remaining: 0, padding: 0 }
    }

    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry, or `None` at the end mark (or at an end between two entries, as Go's reader takes it).
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip_body()?;
        let mut extension = Extension::default();
        loop {
            let at = self.position;
            let mut block = [0; BLOCK];
            if !self.fill(&mut block)? {
                return match extension_is_empty(&extension) {
                    true => Ok(None),
                    false => Err(ArchiveError::Truncated),
                };
            }
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = tar::Header::from_byte_slice(&block);
            if !checksum_matches(&block, header) {
                return Err(ArchiveError::Header { at, reason: "its checksum is wrong" });
            }
            let number = |result: io::Result<u64>, reason| result.map_err(|_| ArchiveError::Header { at, reason });
            let size = number(header.entry_size(), "its size is not a number")?;
            match block[156] {
                b'x' => {
                    let records = self.read_extension(size, at)?;
                    if extension.pax_seen {
                        return Err(ArchiveError::Extension { at, reason: "a second one for the same entry" });
                    }
                    extension.pax_seen = true;
                    parse_pax(&records, &mut extension, at)?;
                }
                b'g' => {
                    // git archive's comment is the one in use; anything that would change an entry is not for layers.
                    let records = self.read_extension(size, at)?;
                    let mut global = Extension::default();
                    parse_pax(&records, &mut global, at)?;
                    global.pax_seen = false;
                    if !extension_is_empty(&global) {
                        return Err(ArchiveError::Extension { at, reason: "a global one changes every entry" });
                    }
                }
                kind @ (b'L' | b'K') => {
                    let mut name = self.read_extension(size, at)?;
                    if let Some(end) = name.iter().position(|byte| *byte == 0) {
                        name.truncate(end);
                    }
                    let slot = if kind == b'L' { &mut extension.path } else { &mut extension.link };
                    if slot.is_none() {
                        *slot = Some(name);
                    }
                }
                _ => return self.entry(header, size, extension, at).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &tar::Header, size: u64, extension: Extension, at: u64) -> Result<Entry, ArchiveError> {
        let Sparse { major, minor, name, size: whole } = extension.sparse;
        let path = name.or(extension.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = match extension.link {
            Some(link) => link,
            None => header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
        };
        let shown = || String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned();
        let refuse = |reason| ArchiveError::Entry { path: shown(), reason };
        if path.len() > MAX_PATH || link.len() > MAX_PATH {
            return Err(refuse("its name is too long"));
        }
        if path.contains(&0) || link.contains(&0) {
            return Err(refuse("its name holds a NUL"));
        }
        let sparse = match (major, minor, whole) {
            (None, None, None) => None,
            (Some(1), Some(0), Some(size)) => Some(size),
            _ => return Err(refuse("sparse entries of this format are not supported")),
        };
        let kind = match header.as_bytes()[156] {
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(refuse("sparse entries are not supported")),
            _ => return Err(refuse("its type is unknown")),
        };
        let number = |result: io::Result<u64>, reason| result.map_err(|_| ArchiveError::Header { at, reason });
        let owner = |value: u64| match u32::try_from(value) {
            // u32::MAX means "leave it" to chown.
            Ok(id) if id < u32::MAX => Ok(id),
            _ => Err(refuse("its owner is out of range")),
        };
        let uid = owner(extension.uid.map_or_else(|| number(header.uid(), "its uid is not a number"), Ok)?)?;
        let gid = owner(extension.gid.map_or_else(|| number(header.gid(), "its gid is not a number"), Ok)?)?;
        let modified = match extension.modified {
            Some(modified) => modified,
            None => (i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0),
        };
        let device = match kind {
            Kind::Char | Kind::Block => match (header.device_major(), header.device_minor()) {
                (Ok(Some(major)), Ok(Some(minor))) => (major, minor),
                _ => return Err(refuse("its device number is missing")),
            },
            _ => (0, 0),
        };
        // Header-only kinds have no body whatever their size field says: Go's reader, which made most layers, agrees.
        let size = if kind == Kind::File { extension.size.unwrap_or(size) } else { 0 };
        self.remaining = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(Entry {
            kind,
            mode: header.mode().map_err(|_| refuse("its mode is not a number"))? & 0o7777,
            uid,
            gid,
            modified,
            sparse: sparse.filter(|_| kind == Kind::File),
            device,
            xattrs: extension.xattrs,
            path,
            link,
        })
    }

    fn read_extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION {
            return Err(ArchiveError::Extension { at, reason: "longer than 1 MiB" });
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
            let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink()).map_err(ArchiveError::Read)?;
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
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
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
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..most])
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.remaining -= count as u64;
        self.position += count as u64;
    }
}

fn cut_file() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar stream ends in the middle of a file")
}

fn extension_is_empty(extension: &Extension) -> bool {
    !extension.pax_seen
        && extension.path.is_none()
        && extension.link.is_none()
        && extension.size.is_none()
        && extension.uid.is_none()
        && extension.gid.is_none()
        && extension.modified.is_none()
        && extension.sparse == Sparse::default()
        && extension.xattrs.is_empty()
}

fn checksum_matches(block: &[u8; BLOCK], header: &tar::Header) -> bool {
    let Ok(stored) = header.cksum() else { return false };
    let outside = || block[..148].iter().chain(&block[156..]);
    let unsigned = outside().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    let signed = outside().map(|byte| i32::from(byte.cast_signed())).sum::<i32>() + 8 * 32;
    stored == unsigned || i64::from(stored) == i64::from(signed)
}

/// Records are `<length> <key>=<value>\n`, the length counting itself.
fn parse_pax(mut bytes: &[u8], into: &mut Extension, at: u64) -> Result<(), ArchiveError> {
    let bad = |reason| ArchiveError::Extension { at, reason };
    let mut keys = BTreeSet::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or(bad("a record without length"))?;
        let length: usize = std::str::from_utf8(&bytes[..space])
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or(bad("a record's length is not a number"))?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(bad("a record's length is wrong"));
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(bad("a record without ="))?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(bad("a record's key is malformed"));
        }
        if !keys.insert(key.to_owned()) {
            return Err(bad("a key appears twice"));
        }
        let decimal = || {
            std::str::from_utf8(value)
                .ok()
                .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or(bad("a number is malformed"))
        };
        match key {
            b"path" if value.is_empty() => return Err(bad("an empty path")),
            // A name from a GNU record that came first gives way, as in every other reader.
            b"path" => into.path = Some(value.to_owned()),
            b"linkpath" => into.link = Some(value.to_owned()),
            b"size" => into.size = Some(decimal()?),
            b"uid" => into.uid = Some(decimal()?),
            b"gid" => into.gid = Some(decimal()?),
            b"mtime" => into.modified = Some(parse_time(value).ok_or(bad("a time is malformed"))?),
            b"GNU.sparse.major" => into.sparse.major = Some(decimal()?),
            b"GNU.sparse.minor" => into.sparse.minor = Some(decimal()?),
            b"GNU.sparse.name" if !value.is_empty() => into.sparse.name = Some(value.to_owned()),
            b"GNU.sparse.realsize" => into.sparse.size = Some(decimal()?),
            _ if key.starts_with(b"GNU.sparse.") => return Err(bad("sparse entries are not supported")),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.len() > 255 {
                        return Err(bad("an extended attribute's name is malformed"));
                    }
                    into.xattrs.push((name.to_owned(), value.to_owned()));
                }
            }
        }
    }
    Ok(())
}

/// `[-]seconds[.fraction]`; a negative time with a fraction counts back from its second.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_sign_and_fraction() {
        assert_eq!(parse_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time(b"-0.5"), Some((-1, 500_000_000)));
        assert_eq!(parse_time(b"7"), Some((7, 0)));
        assert_eq!(parse_time(b"7.x"), None);
        assert_eq!(parse_time(b""), None);
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"x a=b\n",
            b"6 a=bc",
            b"+6 a=b\n",
            b"6 path",
            b"5 a=\n5 a=\n",
            b"8 size=-1\n",
            b"99999999999999999999 a=b\n",
        ] {
            assert!(parse_pax(bad, &mut Extension::default(), 0).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        let mut extension = Extension::default();
        parse_pax(b"6 a=b\n12 path=abc\n", &mut extension, 0).unwrap();
        assert_eq!(extension.path.as_deref(), Some(&b"abc"[..]));
    }
}
