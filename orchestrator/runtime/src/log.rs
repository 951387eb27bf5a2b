//! The container log's format, for its writer (the shim) and its readers (the engine).
//!
//! One record a line, as Kubernetes' CRI has it: `<RFC 3339 with nanoseconds> <stdout|stderr> <tag> <text>`. The tag
//! says what follows the text: `F` a newline, `P` more of the line in the next record of that stream. `F:rest` is the
//! last record of a line that `P` records began; `P:end` is what a program wrote without a newline before it closed the
//! stream. So the program's bytes can be restored exactly, and no record exceeds 64 KiB, however long the line.
//!
//! When the oldest file is deleted, an empty file `log.lost` next to the log's folder marks the missing beginning. Files are
//! numbered, so that a reader who is overtaken by deletions knows.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `<data>/containers/<id>/log/current.log`; older files are `current.log.1`, `.2`, … beside it.
    pub path: PathBuf,
    /// Start a new file when this one would grow past it. 0: never.
    pub max_size: u64,
    /// How many files there may be, the current one included.
    pub max_files: u32,
}

impl LogConfig {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            max_size: 50 * 1000 * 1000,
            max_files: 5,
        }
    }
}

/// The file that was current `number` rotations ago.
#[must_use]
pub fn rotated(current: &Path, number: u32) -> PathBuf {
    with_suffix(current, &format!(".{number}"))
}

/// Marks that older records were deleted.
#[must_use]
pub fn lost(current: &Path) -> PathBuf {
    with_suffix(current.parent().unwrap_or(current), ".lost")
}

/// Each file of a log has the number of the one before it plus one.
const NUMBER: &str = "user.hoist.number";

/// A file's number; nothing where the file system keeps no attributes. It is there before the file's first record.
#[must_use]
pub fn number(file: impl AsFd) -> Option<u64> {
    let mut bytes = [0; 8];
    let read = rustix::fs::fgetxattr(file, NUMBER, &mut bytes[..]).ok()?;
    (read == bytes.len()).then(|| u64::from_le_bytes(bytes))
}

/// Numbers a new file.
pub fn set_number(file: impl AsFd, number: u64) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(
        file,
        NUMBER,
        &number.to_le_bytes(),
        XattrFlags::empty(),
    )?)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Which part of a line a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// The line goes on in the next record of the stream.
    More,
    /// The last one of a line that others began.
    Rest,
    /// The stream ended without a newline.
    End,
}

impl Part {
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Whole => "F",
            Self::More => "P",
            Self::Rest => "F:rest",
            Self::End => "P:end",
        }
    }

    /// Did the program write a newline after the text?
    #[must_use]
    pub fn newline(self) -> bool {
        matches!(self, Self::Whole | Self::Rest)
    }
}

/// One parsed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub time: &'a str,
    pub stream: Stream,
    pub part: Part,
    pub text: &'a [u8],
}

/// Parses one line (without its `\n`). `None`: not a record.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Record<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let tag = fields.next()?;
    let part = [Part::Whole, Part::More, Part::Rest, Part::End]
        .into_iter()
        .find(|part| part.tag().as_bytes() == tag)?;
    Some(Record {
        time,
        stream,
        part,
        text: fields.next()?,
    })
}
