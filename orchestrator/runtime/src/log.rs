//! The container log's format, for its writer (the shim) and its readers (the engine).
//!
//! One record a line, as Kubernetes' CRI has it: `<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <text>`. `F`: the
//! program wrote `text` and a newline. `P`: it wrote `text` and no newline yet (a long line goes on in the next record
//! of that stream, or the program ended without one). So the program's bytes can be had back exactly.

use std::path::PathBuf;

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
        Self { path, max_size: 10 * 1000 * 1000, max_files: 3 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One parsed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub time: &'a str,
    pub stream: Stream,
    /// No newline follows the text.
    pub partial: bool,
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
    let partial = match fields.next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Record { time, stream, partial, text: fields.next()? })
}
