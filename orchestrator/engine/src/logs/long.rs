//! Lines that are longer than a record: where their pieces are, and the pieces one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use hoist_runtime::log::{Stream, parse};

use super::records::{Cursor, Records};
use super::tail::Line;

/// A line may span this many files; the beginning of a longer one is dropped, as by rotation.
const FILES: usize = 16;

/// A line whose end was not met yet.
#[derive(Debug)]
pub(super) struct LongLine {
    /// By file: where to begin, and how many records of the line are there.
    pieces: VecDeque<(Cursor, usize)>,
    /// Of its last record.
    time: String,
}

impl LongLine {
    pub(super) fn new(begins: Cursor) -> Self {
        Self {
            pieces: [(begins, 0)].into(),
            time: String::new(),
        }
    }

    pub(super) fn add(&mut self, time: String) {
        self.time = time;
        if let Some((_, count)) = self.pieces.back_mut() {
            *count += 1;
        }
    }

    pub(super) fn goes_on_in(&mut self, file: &Arc<File>) {
        self.pieces.push_back((
            Cursor {
                file: Arc::clone(file),
                offset: 0,
            },
            0,
        ));
        if self.pieces.len() > FILES {
            self.pieces.pop_front();
        }
    }

    pub(super) fn time(&self) -> &str {
        &self.time
    }

    pub(super) fn replay(self, stderr: bool) -> Replay {
        let left = self.pieces.iter().map(|(_, count)| count).sum();
        Replay {
            pieces: self.pieces,
            records: None,
            in_file: 0,
            left,
            starts: true,
            stderr,
            time: self.time,
        }
    }
}

/// Reads the line from the disk again.
#[derive(Debug)]
pub(super) struct Replay {
    pieces: VecDeque<(Cursor, usize)>,
    records: Option<Records>,
    /// Records of the line that are left in this file, and in all.
    in_file: usize,
    left: usize,
    starts: bool,
    stderr: bool,
    time: String,
}

impl Replay {
    /// `None`: the whole line was handed out.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        while self.left > 0 {
            if self.in_file == 0 {
                let Some((cursor, count)) = self.pieces.pop_front() else {
                    break;
                };
                self.records = Some(Records::at(cursor));
                self.in_file = count;
                continue;
            }
            let Some(record) = self
                .records
                .as_mut()
                .map(Records::next)
                .transpose()?
                .flatten()
            else {
                break;
            };
            let Some(record) =
                parse(record).filter(|record| (record.stream == Stream::Stderr) == self.stderr)
            else {
                continue;
            };
            self.left -= 1;
            self.in_file -= 1;
            let ends = self.left == 0;
            return Ok(Some(Line {
                time: self.time.clone(),
                stderr: self.stderr,
                starts: std::mem::take(&mut self.starts),
                ends,
                newline: ends && record.part.newline(),
                text: record.text.to_vec(),
            }));
        }
        // The file was cut off in the meantime: the line has an end all the same.
        let cut = std::mem::take(&mut self.left) > 0 && !self.starts;
        Ok(cut.then(|| Line {
            time: self.time.clone(),
            stderr: self.stderr,
            starts: false,
            ends: true,
            newline: false,
            text: Vec::new(),
        }))
    }
}
