//! One container's log files as a sequence of lines, over rotations.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hoist_runtime::log::{Stream, parse};
use hoist_scheduler::Timestamp;

use super::Wanted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) time: String,
    pub(crate) stderr: bool,
    /// No newline follows.
    pub(crate) partial: bool,
    /// Begins a line of the program's; `false` when it goes on with a long one.
    pub(crate) starts: bool,
    pub(crate) text: Vec<u8>,
}

impl Line {
    fn at(&self) -> Option<Timestamp> {
        let time: jiff::Timestamp = self.time.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
    }
}

const CHUNK: usize = 64 * 1024;

/// Where reading has come to.
#[derive(Debug)]
pub(super) struct Tail {
    /// `…/current.log`.
    path: PathBuf,
    open: Option<File>,
    rest: Vec<u8>,
    ready: VecDeque<Line>,
    /// The last record of stdout and stderr had no newline.
    open_line: [bool; 2],
    wanted: Wanted,
}

impl Tail {
    pub(super) fn new(path: &Path, wanted: &Wanted) -> io::Result<Self> {
        let mut tail = Self {
            path: path.to_owned(),
            open: None,
            rest: Vec::new(),
            ready: VecDeque::new(),
            open_line: [false; 2],
            wanted: wanted.clone(),
        };
        match wanted.tail {
            // Of what fits the other conditions, which may hide most of the end: read all of it then.
            Some(lines) if wanted.since.is_none() && wanted.stdout && wanted.stderr => tail.seek_back(lines)?,
            _ => tail.open = tail.files()?.into_iter().next(),
        }
        Ok(tail)
    }

    /// Oldest first.
    fn files(&self) -> io::Result<Vec<File>> {
        let mut paths = vec![self.path.clone()];
        for number in 1.. {
            let mut rotated = self.path.clone().into_os_string();
            rotated.push(format!(".{number}"));
            if !Path::new(&rotated).exists() {
                break;
            }
            paths.push(rotated.into());
        }
        let mut files = Vec::new();
        for path in paths.iter().rev() {
            match File::open(path) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Stands so that `lines` lines follow.
    fn seek_back(&mut self, lines: usize) -> io::Result<()> {
        let mut files = self.files()?;
        let mut missing = lines;
        while let Some(mut file) = files.pop() {
            let (found, position) = from_end(&mut file, missing)?;
            missing -= found.min(missing);
            if missing == 0 || files.is_empty() {
                file.seek(SeekFrom::Start(position))?;
                self.open = Some(file);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next line that fits, `None` when the end is reached for now.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            while let Some(line) = self.ready.pop_front() {
                if self.fits(&line) {
                    return Ok(Some(line));
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn fits(&self, line: &Line) -> bool {
        let stream = if line.stderr { self.wanted.stderr } else { self.wanted.stdout };
        let timed = self.wanted.since.is_some() || self.wanted.until.is_some();
        let at = if timed { line.at() } else { None };
        stream
            && self.wanted.since.is_none_or(|since| at.is_none_or(|at| at >= since))
            && self.wanted.until.is_none_or(|until| at.is_none_or(|at| at <= until))
    }

    /// Reads a chunk; answers whether there was one.
    fn fill(&mut self) -> io::Result<bool> {
        if self.open.is_none() {
            self.open = self.files()?.into_iter().next();
        }
        let Some(file) = &mut self.open else { return Ok(false) };
        let start = self.rest.len();
        self.rest.resize(start + CHUNK, 0);
        let count = file.read(&mut self.rest[start..])?;
        self.rest.truncate(start + count);
        if count > 0 {
            self.take_lines();
            return Ok(true);
        }
        self.next_file()
    }

    fn take_lines(&mut self) {
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some(record) = parse(line) else { continue };
            let stderr = record.stream == Stream::Stderr;
            let open_line = &mut self.open_line[usize::from(stderr)];
            let starts = !std::mem::replace(open_line, record.partial);
            self.ready.push_back(Line {
                time: record.time.to_owned(),
                stderr,
                partial: record.partial,
                starts,
                text: record.text.to_vec(),
            });
        }
    }

    /// At the end of a file that was rotated away, the next one follows.
    fn next_file(&mut self) -> io::Result<bool> {
        let Some(file) = &self.open else { return Ok(false) };
        let own = file.metadata()?.ino();
        let current = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if own == current {
            return Ok(false);
        }
        let files = self.files()?;
        let mut inodes = Vec::new();
        for file in &files {
            inodes.push(file.metadata()?.ino());
        }
        // Older than the oldest that is kept: go on with that one.
        let next = inodes.iter().position(|inode| *inode == own).map_or(0, |position| position + 1);
        match files.into_iter().nth(next) {
            Some(file) => {
                self.open = Some(file);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// Position from which at most `lines` lines follow, and how many they are.
fn from_end(file: &mut File, lines: usize) -> io::Result<(usize, u64)> {
    let mut position = file.metadata()?.len();
    if lines == 0 {
        return Ok((0, position));
    }
    let mut found = 0;
    let mut buffer = vec![0; CHUNK];
    let mut at_end = true;
    while position > 0 {
        let size = usize::try_from(position).unwrap_or(usize::MAX).min(CHUNK);
        position -= size as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut buffer[..size])?;
        for (index, byte) in buffer[..size].iter().enumerate().rev() {
            if *byte != b'\n' {
                at_end = false;
                continue;
            }
            // The newline at the very end closes the last line and begins none.
            if std::mem::replace(&mut at_end, false) {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((found, position + index as u64 + 1));
            }
        }
    }
    Ok((found + usize::from(!at_end), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(second: u32, text: &str) -> String {
        format!("1970-01-01T00:00:{second:02}.000000000Z stdout F {text}\n")
    }

    fn all() -> Wanted {
        Wanted { stdout: true, stderr: true, ..Wanted::default() }
    }

    fn read(tail: &mut Tail) -> Vec<String> {
        std::iter::from_fn(|| tail.next().unwrap()).map(|line| String::from_utf8(line.text).unwrap()).collect()
    }

    #[test]
    fn rotated_files_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current.log");
        std::fs::write(folder.path().join("current.log.2"), record(1, "a")).unwrap();
        std::fs::write(folder.path().join("current.log.1"), record(2, "b")).unwrap();
        std::fs::write(&path, record(3, "c")).unwrap();
        assert_eq!(read(&mut Tail::new(&path, &all()).unwrap()), ["a", "b", "c"]);
        let last = Wanted { tail: Some(2), ..all() };
        assert_eq!(read(&mut Tail::new(&path, &last).unwrap()), ["b", "c"]);
        let none = Wanted { tail: Some(0), ..all() };
        assert_eq!(read(&mut Tail::new(&path, &none).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn rotation_under_a_reader_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current.log");
        std::fs::write(&path, record(1, "a")).unwrap();
        let mut tail = Tail::new(&path, &all()).unwrap();
        assert_eq!(read(&mut tail), ["a"]);
        std::fs::write(&path, record(1, "a") + &record(2, "b")).unwrap();
        std::fs::rename(&path, folder.path().join("current.log.1")).unwrap();
        std::fs::write(&path, record(3, "c")).unwrap();
        assert_eq!(read(&mut tail), ["b", "c"]);
    }

    #[test]
    fn unfinished_record_waits_for_its_end() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current.log");
        let line = record(1, "whole");
        std::fs::write(&path, &line[..10]).unwrap();
        let mut tail = Tail::new(&path, &all()).unwrap();
        assert_eq!(read(&mut tail), Vec::<String>::new());
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&line.as_bytes()[10..]).unwrap();
        assert_eq!(read(&mut tail), ["whole"]);
    }

    #[test]
    fn since_and_until_bound_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current.log");
        std::fs::write(&path, (1..=4).map(|n| record(n, &n.to_string())).collect::<String>()).unwrap();
        let second = |n: i64| Some(Timestamp(n * 1_000_000_000));
        let wanted = Wanted { since: second(2), until: second(3), ..all() };
        assert_eq!(read(&mut Tail::new(&path, &wanted).unwrap()), ["2", "3"]);
    }

    #[test]
    fn long_lines_are_put_together_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current.log");
        let time = "1970-01-01T00:00:01.000000000Z";
        std::fs::write(&path, format!("{time} stdout P ab\n{time} stdout F cd\n")).unwrap();
        let mut tail = Tail::new(&path, &all()).unwrap();
        let first = tail.next().unwrap().unwrap();
        assert!(first.partial && first.starts);
        assert!(!tail.next().unwrap().unwrap().starts);
    }
}
