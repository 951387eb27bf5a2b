//! One container's log files as a sequence of lines, over rotations.
//!
//! Lines come in the order in which they were finished, each in one piece or, when it is long, in pieces that follow each
//! other. A long line stays on disk until its end is there: only its place is remembered, so memory is bounded and what
//! other streams wrote in the meantime does not wait.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_runtime::log::{Part, Stream, lost, number, parse, rotated};

use super::long::{LongLine, Replay};
use super::records::{Cursor, Records};
use super::{Wanted, seek};

/// A line, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the line was finished.
    pub time: String,
    pub stderr: bool,
    pub starts: bool,
    /// `false`: the next piece follows.
    pub ends: bool,
    /// The program wrote a newline after it.
    pub newline: bool,
    pub text: Vec<u8>,
}

/// What a record says, apart from the text of a long line.
struct Met {
    time: String,
    stderr: bool,
    part: Part,
    text: Vec<u8>,
}

/// Where reading has come to.
#[derive(Debug)]
pub(super) struct Tail {
    /// `…/current.log`.
    path: PathBuf,
    records: Option<Records>,
    /// Lines without an end yet, of stdout and stderr.
    open: [Option<LongLine>; 2],
    /// The long line that is being handed out.
    replay: Option<Replay>,
    /// The line behind it.
    held: Option<Line>,
    /// The file was rotated away, so that nothing is added to it any more.
    complete: bool,
    /// Lines that end from here on and are not wanted.
    skip: usize,
    wanted: Wanted,
    /// Lines are missing: the first that is kept has this time.
    lost: Option<String>,
    /// The number of this file, unless others between it and the one before were deleted unread.
    expected: Option<u64>,
}

impl Tail {
    pub(super) fn new(path: &Path, wanted: &Wanted) -> io::Result<Self> {
        let mut tail = Self {
            path: path.to_owned(),
            records: None,
            open: [None, None],
            replay: None,
            held: None,
            complete: false,
            skip: 0,
            wanted: wanted.clone(),
            lost: None,
            expected: None,
        };
        let files = tail.files()?;
        let start = match files.first() {
            None => None,
            Some(oldest) if wanted.tail.is_none() && wanted.since.is_none() => Some(seek::Start {
                cursor: Cursor {
                    file: Arc::clone(oldest),
                    offset: 0,
                },
                skip: 0,
                all: true,
            }),
            Some(_) => seek::back(&files, wanted)?,
        };
        if let Some(start) = start {
            if start.all && lost(path).exists() {
                let mut first = Records::at(Cursor {
                    file: Arc::clone(&files[0]),
                    offset: 0,
                });
                tail.lost = first
                    .next()?
                    .and_then(parse)
                    .map(|record| record.time.to_owned());
            }
            tail.skip = start.skip;
            tail.records = Some(Records::at(start.cursor));
        }
        Ok(tail)
    }

    /// The time of the first line that is kept, once, when older ones were wanted and are gone.
    pub(super) fn take_lost(&mut self) -> Option<String> {
        self.lost.take()
    }

    /// Oldest first.
    fn files(&self) -> io::Result<Vec<Arc<File>>> {
        let mut files = VecDeque::new();
        for number in 0.. {
            let path = if number == 0 {
                self.path.clone()
            } else {
                rotated(&self.path, number)
            };
            match File::open(path) {
                Ok(file) => files.push_front(Arc::new(file)),
                // Between two renames of a rotation there is no current file.
                Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(files.into())
    }

    /// The next piece that fits, `None` when the end is reached for now. `last`: no more will come, so that what has no
    /// end counts as a line.
    pub(super) fn next(&mut self, last: bool) -> io::Result<Option<Line>> {
        loop {
            if let Some(replay) = &mut self.replay {
                if let Some(line) = replay.next()? {
                    return Ok(Some(line));
                }
                self.replay = None;
            }
            if let Some(line) = self.held.take() {
                return Ok(Some(line));
            }
            let Some(records) = &mut self.records else {
                self.records = self
                    .files()?
                    .into_iter()
                    .next()
                    .map(|file| Records::at(Cursor { file, offset: 0 }));
                if self.records.is_none() {
                    return Ok(None);
                }
                continue;
            };
            let place = records.cursor();
            match records.next()?.map(met) {
                Some(Some(met)) => {
                    if self.was_overtaken(&place.file) {
                        self.lost = Some(met.time.clone());
                    }
                    self.take(met, place);
                }
                // Not a record: damage.
                Some(None) => {}
                None if self.next_file()? => {}
                None if last => match self.open.iter().position(Option::is_some) {
                    Some(stream) => self.finish(stream),
                    None => return Ok(None),
                },
                None => return Ok(None),
            }
        }
    }

    fn take(&mut self, met: Met, place: Cursor) {
        let stream = usize::from(met.stderr);
        if met.part == Part::More {
            self.open[stream]
                .get_or_insert_with(|| LongLine::new(place))
                .add(met.time);
            return;
        }
        if met.part == Part::Whole {
            // A long line before it has no end: its writer was killed.
            self.finish(stream);
        } else if let Some(line) = &mut self.open[stream] {
            line.add(met.time);
            return self.finish(stream);
        } else if met.text.is_empty() && met.part == Part::End {
            return;
        }
        if self.fits(&met.time, met.stderr) {
            let Met {
                time,
                stderr,
                part,
                text,
            } = met;
            self.held = Some(Line {
                time,
                stderr,
                starts: true,
                ends: true,
                newline: part.newline(),
                text,
            });
        }
    }

    /// Hands out the long line of a stream, if there is one.
    fn finish(&mut self, stream: usize) {
        if let Some(line) = self.open[stream].take()
            && self.fits(line.time(), stream == 1)
        {
            self.replay = Some(line.replay(stream == 1));
        }
    }

    fn fits(&mut self, time: &str, stderr: bool) -> bool {
        if !self.wanted.takes(
            time,
            if stderr {
                Stream::Stderr
            } else {
                Stream::Stdout
            },
        ) {
            return false;
        }
        let skipped = self.skip > 0;
        self.skip -= usize::from(skipped);
        !skipped
    }

    /// At the end of a file that was rotated away, the next one follows. Answers whether there is more to read.
    fn next_file(&mut self) -> io::Result<bool> {
        let Some(records) = &self.records else {
            return Ok(false);
        };
        let own = records.file().metadata()?.ino();
        if !self.complete {
            // What was written between the last read and the rotation is read first.
            self.complete = match std::fs::metadata(&self.path) {
                Ok(current) => current.ino() != own,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            return Ok(self.complete);
        }
        let files = self.files()?;
        let mut inodes = Vec::new();
        for file in &files {
            inodes.push(file.metadata()?.ino());
        }
        let own = inodes.iter().position(|inode| *inode == own);
        self.expected = number(records.file()).map(|number| number + 1);
        // Older than the oldest that is kept: go on with that one.
        let Some(file) = files.into_iter().nth(own.map_or(0, |place| place + 1)) else {
            return Ok(false);
        };
        self.complete = false;
        self.open
            .iter_mut()
            .flatten()
            .for_each(|line| line.goes_on_in(&file));
        self.records = Some(Records::at(Cursor { file, offset: 0 }));
        Ok(true)
    }

    /// Once for a file, at its first record: by then it has its number.
    fn was_overtaken(&mut self, file: &File) -> bool {
        let expected = self.expected.take();
        expected.is_some_and(|expected| number(file).is_some_and(|number| number > expected))
    }
}

fn met(record: &[u8]) -> Option<Met> {
    let record = parse(record)?;
    let text = if record.part == Part::More {
        Vec::new()
    } else {
        record.text.to_vec()
    };
    Some(Met {
        time: record.time.to_owned(),
        stderr: record.stream == Stream::Stderr,
        part: record.part,
        text,
    })
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
