//! One log file as a sequence of records, forwards and backwards, with bounded memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const CHUNK: usize = 64 * 1024;
/// No record is longer: what goes on without a newline is damage and is passed over.
const LONGEST: usize = 1 << 20;

/// A place in a file. The file is held, so that rotation takes nothing away.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
}

/// Reads forwards, and on when the file has grown.
#[derive(Debug)]
pub(super) struct Records {
    file: Arc<File>,
    /// Offset behind the buffer.
    read: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Records {
    pub(super) fn at(cursor: Cursor) -> Self {
        Self {
            file: cursor.file,
            read: cursor.offset,
            buffer: Vec::new(),
            at: 0,
        }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the next record begins.
    pub(super) fn cursor(&self) -> Cursor {
        let ahead = (self.buffer.len() - self.at) as u64;
        Cursor {
            file: Arc::clone(&self.file),
            offset: self.read - ahead,
        }
    }

    /// The next whole record, without its newline. `None`: not there yet.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[self.at..]) {
                let record = self.at..self.at + length;
                self.at = record.end + 1;
                return Ok(Some(&self.buffer[record]));
            }
            if self.buffer.len() - self.at > LONGEST {
                self.at = self.buffer.len();
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let start = self.buffer.len();
            self.buffer.resize(start + CHUNK, 0);
            let count = self.file.read_at(&mut self.buffer[start..], self.read)?;
            self.buffer.truncate(start + count);
            self.read += count as u64;
            if count == 0 {
                return Ok(None);
            }
        }
    }
}

/// Reads the records of a file from its end to its beginning.
pub(super) struct Backwards {
    file: Arc<File>,
    /// Offset of the buffer's first byte.
    offset: u64,
    buffer: Vec<u8>,
    /// Behind the newline that ends the next record.
    end: usize,
}

impl Backwards {
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let offset = file.metadata()?.len();
        let mut backwards = Self {
            file,
            offset,
            buffer: Vec::new(),
            end: 0,
        };
        // What follows the last newline is a record that is being written.
        while backwards.end == 0 && backwards.grow()? {
            backwards.end = memchr::memrchr(b'\n', &backwards.buffer).map_or(0, |place| place + 1);
        }
        Ok(backwards)
    }

    /// The record before, without its newline, and where it begins.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            let Some(last) = self.end.checked_sub(1) else {
                return Ok(None);
            };
            let start = memchr::memrchr(b'\n', &self.buffer[..last]).map(|place| place + 1);
            let start = start.or_else(|| (self.offset == 0).then_some(0));
            if let Some(start) = start {
                let record: Range<usize> = start..last;
                self.end = start;
                return Ok(Some((self.offset + start as u64, &self.buffer[record])));
            }
            if !self.grow()? {
                return Ok(None);
            }
        }
    }

    /// Brings the chunk before into the buffer, in front of the record that is still needed.
    fn grow(&mut self) -> io::Result<bool> {
        let size = self.offset.min(CHUNK as u64);
        if size == 0 {
            return Ok(false);
        }
        let kept = if self.end > LONGEST { 0 } else { self.end };
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
        self.offset -= size;
        self.file.read_exact_at(&mut buffer, self.offset)?;
        if self.end > 0 {
            self.end = buffer.len() + kept;
        }
        buffer.extend_from_slice(&self.buffer[..kept]);
        self.buffer = buffer;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of all lengths around the chunk's, over several chunks, and one that is being written.
    #[test]
    fn both_directions_see_the_same_records() {
        let lengths = [
            0,
            1,
            5,
            CHUNK - 2,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            3,
            2 * CHUNK,
            1,
            0,
            7,
        ];
        let mut text = Vec::new();
        for (number, length) in lengths.into_iter().enumerate() {
            text.extend(vec![b'a' + u8::try_from(number).unwrap(); length]);
            text.push(b'\n');
        }
        text.extend(b"unfinished");
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), &text).unwrap();
        let file = Arc::new(File::open(path.path()).unwrap());
        let mut forwards = Records::at(Cursor {
            file: Arc::clone(&file),
            offset: 0,
        });
        let mut seen = Vec::new();
        loop {
            let start = forwards.cursor().offset;
            let Some(record) = forwards.next().unwrap() else {
                break;
            };
            seen.push((start, record.to_vec()));
        }
        assert_eq!(
            seen.iter()
                .map(|(_, record)| record.len())
                .collect::<Vec<_>>(),
            lengths
        );
        let mut backwards = Backwards::new(file).unwrap();
        let mut back = Vec::new();
        while let Some((start, record)) = backwards.next().unwrap() {
            back.push((start, record.to_vec()));
        }
        back.reverse();
        assert!(seen == back);
    }
}
