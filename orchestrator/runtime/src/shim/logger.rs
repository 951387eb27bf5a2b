//! Writes the container log: records as in `crate::log`, rotation, and never a wait for the program's sake.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::record;
use crate::log::{LogConfig, Stream};

/// A line that grows past this goes out as partial records.
const LINE_LIMIT: usize = 64 * 1024;
/// What a quiet stream keeps.
const SMALL: usize = 4 * 1024;
/// Two slices a record; the kernel takes 1024.
const BATCH: usize = 510;

/// Bytes read and not yet written as records: at most one unfinished line between calls.
#[derive(Debug)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl LineBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), filled: 0 }
    }

    /// Room to read into; never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; SMALL];
        } else if self.filled == self.bytes.len() || self.bytes.len() - self.filled < SMALL / 2 {
            self.bytes.resize(LINE_LIMIT, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// The bytes that the last read brought.
    pub(super) fn take_in(&mut self, count: usize) -> &[u8] {
        let start = self.filled;
        self.filled += count;
        // A stream that fills its buffer is busy: read in larger pieces from now on.
        if self.filled == self.bytes.len() && self.bytes.len() < LINE_LIMIT {
            self.bytes.resize(LINE_LIMIT, 0);
        }
        &self.bytes[start..self.filled]
    }

    /// Forgets all but the last `rest` bytes, and the large buffer with them when the stream has calmed down.
    fn keep(&mut self, rest: usize, read: usize) {
        let start = self.filled - rest;
        self.bytes.copy_within(start..self.filled, 0);
        self.filled = rest;
        if read < SMALL && rest < SMALL / 2 && self.bytes.len() > SMALL {
            self.bytes.truncate(SMALL);
            self.bytes.shrink_to_fit();
        }
    }

    pub(super) fn clear(&mut self) {
        self.keep(0, 0);
    }
}

#[derive(Debug)]
pub(super) struct Logger {
    config: LogConfig,
    file: Option<File>,
    size: u64,
    /// Records that could not be written.
    pub(super) dropped: u64,
}

impl Logger {
    pub(super) fn new(config: LogConfig) -> Self {
        let mut logger = Self { config, file: None, size: 0, dropped: 0 };
        // A failure shows as dropped records; the program is not kept from running.
        let _ = logger.open();
        logger
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(folder) = self.config.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.config.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Writes the whole lines of the buffer, and at the stream's end (`last`) or a full buffer also the unfinished one.
    pub(super) fn write(&mut self, stream: Stream, buffer: &mut LineBuffer, read: usize, last: bool) {
        let time = record::rfc3339(record::now());
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let full = format!("{time} {name} F ");
        let mut records: Vec<Record<'_>> = Vec::new();
        let mut rest = &buffer.bytes[..buffer.filled];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            records.push(Record { line, partial: false });
            if records.len() == BATCH {
                self.flush(&full, &mut records);
            }
            rest = after;
        }
        let partial = format!("{time} {name} P ");
        let unfinished = rest.len();
        let cut = unfinished > 0 && (last || unfinished == LINE_LIMIT);
        self.flush(&full, &mut records);
        if cut {
            records.push(Record { line: rest, partial: true });
            self.flush(&partial, &mut records);
        }
        drop(records);
        buffer.keep(if cut { 0 } else { unfinished }, read);
    }

    /// Empties `records`, whether they could be written or not.
    fn flush(&mut self, head: &str, records: &mut Vec<Record<'_>>) {
        let mut start = 0;
        while start < records.len() {
            let count = self.fitting(head, &records[start..]);
            if count == 0 {
                self.rotate();
                continue;
            }
            let batch = &records[start..start + count];
            if self.append(head, batch).is_err() {
                self.dropped += batch.len() as u64;
            }
            start += count;
        }
        records.clear();
    }

    /// How many of these records the current file takes; at least one on an empty file.
    fn fitting(&self, head: &str, records: &[Record<'_>]) -> usize {
        if self.config.max_size == 0 {
            return records.len();
        }
        let mut size = self.size;
        for (index, record) in records.iter().enumerate() {
            size += (head.len() + record.line.len() + usize::from(record.partial)) as u64;
            if size > self.config.max_size {
                return if self.size == 0 { index.max(1) } else { index };
            }
        }
        records.len()
    }

    /// All or nothing: what a full disk cut off is taken back, so that the file holds whole records only.
    fn append(&mut self, head: &str, records: &[Record<'_>]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut slices = Vec::with_capacity(records.len() * 2 + 1);
        let mut total = 0;
        for record in records {
            slices.push(IoSlice::new(head.as_bytes()));
            slices.push(IoSlice::new(record.line));
            if record.partial {
                slices.push(IoSlice::new(b"\n"));
            }
            total += head.len() + record.line.len() + usize::from(record.partial);
        }
        let written = file.write_vectored(&slices);
        if matches!(written, Ok(count) if count == total) {
            self.size += total as u64;
            return Ok(());
        }
        let _ = file.set_len(self.size);
        written.and(Err(io::ErrorKind::StorageFull.into()))
    }

    fn rotate(&mut self) {
        let path = |index: u32| {
            let mut name = self.config.path.clone().into_os_string();
            name.push(format!(".{index}"));
            PathBuf::from(name)
        };
        for index in (1..self.config.max_files.saturating_sub(1)).rev() {
            let _ = fs::rename(path(index), path(index + 1));
        }
        if self.config.max_files > 1 {
            let _ = fs::rename(&self.config.path, path(1));
        } else {
            let _ = fs::remove_file(&self.config.path);
        }
        self.file = None;
        self.size = 0;
        let _ = self.open();
        if self.size > 0 {
            // The old file is still there (a read-only disk): go on as if it were new, or this would not end.
            self.size = 0;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Record<'a> {
    /// With its newline, unless partial.
    line: &'a [u8],
    partial: bool,
}
