//! Where to begin reading, found from the end: for the last lines, and for those from a time on.

use std::fs::File;
use std::io;
use std::sync::Arc;

use hoist_runtime::log::{Part, Record, Stream, parse};

use super::Wanted;
use super::records::{Backwards, Cursor};

/// The beginning, and how many lines that end after it are older than what is wanted.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) cursor: Cursor,
    pub(super) skip: usize,
    /// All that is kept was looked at, and there was room for more.
    pub(super) all: bool,
}

/// `files`: oldest first. Lines are ordered by their ends; the beginning of a long one may lie before the end of others.
pub(super) fn back(files: &[Arc<File>], wanted: &Wanted) -> io::Result<Option<Start>> {
    let Some(newest) = files.last() else {
        return Ok(None);
    };
    let end = Cursor {
        file: Arc::clone(newest),
        offset: newest.metadata()?.len(),
    };
    if wanted.tail == Some(0) {
        return Ok(Some(Start {
            cursor: end,
            skip: 0,
            all: false,
        }));
    }
    let mut search = Search {
        wanted,
        start: end,
        skip: 0,
        passed: 0,
        found: 0,
        begun: [None, None],
        enough: false,
    };
    for file in files.iter().rev() {
        let mut records = Backwards::new(Arc::clone(file))?;
        while let Some((offset, record)) = records.next()? {
            if let Some(record) = parse(record) {
                search.take(
                    &record,
                    &Cursor {
                        file: Arc::clone(file),
                        offset,
                    },
                );
            }
            if search.enough && !search.begun.contains(&Some(true)) {
                return Ok(Some(search.done(false)));
            }
        }
    }
    let all = !search.enough;
    Ok(Some(search.done(all)))
}

struct Search<'a> {
    wanted: &'a Wanted,
    start: Cursor,
    skip: usize,
    /// Lines that ended before `start`, as far as was looked.
    passed: usize,
    found: usize,
    /// By stream: whether the line that was met last is wanted and may have begun before. `None`: none was met.
    begun: [Option<bool>; 2],
    enough: bool,
}

impl Search<'_> {
    fn take(&mut self, record: &Record<'_>, place: &Cursor) {
        let stream = usize::from(record.stream == Stream::Stderr);
        if record.part == Part::More {
            // The first one from the end belongs to a line that has no end yet: it is shown, or will be.
            let open = self.begun[stream].is_none();
            if open
                && !self.enough
                && !self.wanted.follow
                && self.wanted.takes(record.time, record.stream)
            {
                self.found += 1;
            }
            if *self.begun[stream].get_or_insert(!self.enough) {
                self.include(place);
            }
            return self.look();
        }
        let older = self
            .wanted
            .since
            .is_some_and(|since| super::at(record.time).is_some_and(|at| at < since));
        self.enough |= older;
        let fits = self.wanted.takes(record.time, record.stream);
        if self.enough || !fits {
            self.passed += usize::from(fits);
            self.begun[stream] = Some(false);
            return;
        }
        self.found += 1;
        self.include(place);
        self.begun[stream] = Some(record.part != Part::Whole);
        self.look();
    }

    fn look(&mut self) {
        self.enough |= self.wanted.tail.is_some_and(|most| self.found >= most);
    }

    fn include(&mut self, place: &Cursor) {
        self.start = place.clone();
        self.skip += std::mem::take(&mut self.passed);
    }

    fn done(self, all: bool) -> Start {
        Start {
            cursor: self.start,
            skip: self.skip,
            all,
        }
    }
}
