//! Writes the container log: records as in `crate::log`, rotation, and never a wait for the program's sake.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::record;
use crate::log::{self, LogConfig, Part, Stream};

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
    /// A part of the line in hand is in the log already.
    begun: bool,
}

impl LineBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            filled: 0,
            begun: false,
        }
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
    /// Of the current file.
    number: u64,
    /// Records that could not be written.
    pub(super) dropped: u64,
}

impl Logger {
    pub(super) fn new(config: LogConfig) -> Self {
        let mut logger = Self {
            config,
            file: None,
            size: 0,
            number: 0,
            dropped: 0,
        };
        // A failure shows as dropped records; the program is not kept from running.
        let _ = logger.open();
        logger
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(folder) = self.config.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.config.path)?;
        self.size = file.metadata()?.len();
        self.number = log::number(&file).unwrap_or_else(|| {
            let number = self.newest().max(self.number) + 1;
            // Without numbers readers cannot tell what they missed, and nothing else.
            let _ = log::set_number(&file, number);
            number
        });
        self.file = Some(file);
        Ok(())
    }

    /// The number of the newest file that was rotated away.
    fn newest(&self) -> u64 {
        File::open(log::rotated(&self.config.path, 1))
            .ok()
            .and_then(log::number)
            .unwrap_or(0)
    }

    /// Writes the whole lines of the buffer, and at the stream's end (`last`) or a full buffer also the unfinished one.
    pub(super) fn write(
        &mut self,
        stream: Stream,
        buffer: &mut LineBuffer,
        read: usize,
        last: bool,
    ) {
        let time = record::rfc3339(record::now());
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let head = |part: Part| format!("{time} {name} {} ", part.tag());
        let (whole, closing) = (head(Part::Whole), head(Part::Rest));
        let mut begun = buffer.begun;
        let mut records: Vec<Record<'_>> = Vec::new();
        let mut rest = &buffer.bytes[..buffer.filled];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            let head = if std::mem::take(&mut begun) {
                &closing
            } else {
                &whole
            };
            records.push(Record {
                head,
                line,
                newline: true,
            });
            if records.len() == BATCH {
                self.flush(&mut records);
            }
            rest = after;
        }
        self.flush(&mut records);
        let unfinished = rest.len();
        let full = unfinished == LINE_LIMIT;
        if full || last && (unfinished > 0 || begun) {
            let head = head(if last { Part::End } else { Part::More });
            self.flush(&mut vec![Record {
                head: &head,
                line: rest,
                newline: false,
            }]);
            begun = !last;
        }
        buffer.begun = begun;
        buffer.keep(if full || last { 0 } else { unfinished }, read);
    }

    /// Empties `records`, whether they could be written or not.
    fn flush(&mut self, records: &mut Vec<Record<'_>>) {
        let mut start = 0;
        while start < records.len() {
            let count = self.fitting(&records[start..]);
            if count == 0 {
                self.rotate();
                continue;
            }
            let batch = &records[start..start + count];
            if self.append(batch).is_err() {
                self.dropped += batch.len() as u64;
            }
            start += count;
        }
        records.clear();
    }

    /// How many of these records the current file takes; at least one on an empty file.
    fn fitting(&self, records: &[Record<'_>]) -> usize {
        if self.config.max_size == 0 {
            return records.len();
        }
        let mut size = self.size;
        for (index, record) in records.iter().enumerate() {
            size += record.size() as u64;
            if size > self.config.max_size {
                return if self.size == 0 { index.max(1) } else { index };
            }
        }
        records.len()
    }

    /// All or nothing: what a full disk cut off is taken back, so that the file holds whole records only.
    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut slices = Vec::with_capacity(records.len() * 2 + 1);
        let mut total = 0;
        for record in records {
            slices.push(IoSlice::new(record.head.as_bytes()));
            slices.push(IoSlice::new(record.line));
            if !record.newline {
                slices.push(IoSlice::new(b"\n"));
            }
            total += record.size();
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
        let current = &self.config.path;
        let oldest = self.config.max_files.saturating_sub(1);
        let given_up = if oldest == 0 {
            current.clone()
        } else {
            log::rotated(current, oldest)
        };
        if given_up.exists() {
            // Said before it is true, so that no reader takes a log without its beginning for a whole one.
            let _ = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(log::lost(current));
        }
        for index in (1..oldest).rev() {
            let _ = fs::rename(
                log::rotated(current, index),
                log::rotated(current, index + 1),
            );
        }
        if oldest > 0 {
            let _ = fs::rename(current, log::rotated(current, 1));
        } else {
            let _ = fs::remove_file(current);
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
    head: &'a str,
    line: &'a [u8],
    /// The line has its newline.
    newline: bool,
}

impl Record<'_> {
    fn size(&self) -> usize {
        self.head.len() + self.line.len() + usize::from(!self.newline)
    }
}
