//! Reading a log backwards: lines stay whole regardless of length and rotation.

use std::io::Write;

use hoist_object::Timestamp;

use super::*;

fn record(second: u32, text: &str) -> String {
    tagged(second, "stdout F", text)
}

fn tagged(second: u32, tag: &str, text: &str) -> String {
    format!("1970-01-01T00:00:{second:02}.000000000Z {tag} {text}\n")
}

fn all() -> Wanted {
    Wanted {
        stdout: true,
        stderr: true,
        ..Wanted::default()
    }
}

struct Log {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    /// `files`: oldest first.
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/current.log");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        for (number, text) in files.iter().rev().enumerate() {
            let name = if number == 0 {
                path.clone()
            } else {
                rotated(&path, u32::try_from(number).unwrap())
            };
            std::fs::write(name, text).unwrap();
        }
        Self {
            _folder: folder,
            path,
        }
    }

    fn append(&self, text: &str) {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn tail(&self, wanted: &Wanted) -> Tail {
        Tail::new(&self.path, wanted).unwrap()
    }

    /// The lines as they are shown: `|` where there was no newline.
    fn lines(&self, wanted: &Wanted) -> Vec<String> {
        read(&mut self.tail(wanted), true)
    }
}

fn read(tail: &mut Tail, last: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    while let Some(piece) = tail.next(last).unwrap() {
        assert_eq!(
            piece.starts,
            line.is_empty(),
            "pieces of a line follow each other"
        );
        line.push_str(&String::from_utf8(piece.text).unwrap());
        if piece.ends {
            line.push_str(if piece.newline { "" } else { "|" });
            lines.push(std::mem::take(&mut line));
        }
    }
    assert!(line.is_empty(), "a line that was begun is finished: {line}");
    lines
}

#[test]
fn rotated_files_come_first() {
    let log = Log::new(&[&record(1, "a"), &record(2, "b"), &record(3, "c")]);
    assert_eq!(log.lines(&all()), ["a", "b", "c"]);
    assert_eq!(
        log.lines(&Wanted {
            tail: Some(2),
            ..all()
        }),
        ["b", "c"]
    );
    assert!(
        log.lines(&Wanted {
            tail: Some(0),
            ..all()
        })
        .is_empty()
    );
}

#[test]
fn rotation_under_a_reader_loses_nothing() {
    let log = Log::new(&[&record(1, "a")]);
    let mut tail = log.tail(&all());
    assert_eq!(read(&mut tail, false), ["a"]);
    log.append(&record(2, "b"));
    std::fs::rename(&log.path, rotated(&log.path, 1)).unwrap();
    log.append(&record(3, "c"));
    assert_eq!(read(&mut tail, false), ["b", "c"]);
    // One file only: it is removed, not renamed.
    log.append(&record(4, "d"));
    std::fs::remove_file(rotated(&log.path, 1)).unwrap();
    std::fs::remove_file(&log.path).unwrap();
    log.append(&record(5, "e"));
    assert_eq!(read(&mut tail, false), ["d", "e"]);
}

#[test]
fn unfinished_record_waits_for_its_end() {
    let line = record(1, "whole");
    let log = Log::new(&[&line[..10]]);
    let mut tail = log.tail(&all());
    assert!(read(&mut tail, false).is_empty());
    log.append(&line[10..]);
    assert_eq!(read(&mut tail, false), ["whole"]);
}

#[test]
fn since_until_and_number_bound_the_lines() {
    let numbered = |range: std::ops::RangeInclusive<u32>| {
        range.map(|n| record(n, &n.to_string())).collect::<String>()
    };
    let log = Log::new(&[&numbered(1..=3), &numbered(4..=6)]);
    let second = |n: i64| Some(Timestamp(n * 1_000_000_000));
    assert_eq!(
        log.lines(&Wanted {
            since: second(2),
            until: second(4),
            ..all()
        }),
        ["2", "3", "4"]
    );
    assert_eq!(
        log.lines(&Wanted {
            until: second(4),
            tail: Some(2),
            ..all()
        }),
        ["3", "4"]
    );
    assert_eq!(
        log.lines(&Wanted {
            since: second(3),
            until: second(4),
            tail: Some(9),
            ..all()
        }),
        ["3", "4"]
    );
    assert_eq!(
        log.lines(&Wanted {
            since: second(2),
            tail: Some(1),
            ..all()
        }),
        ["6"]
    );
}

#[test]
fn number_counts_the_lines_of_the_wanted_stream() {
    let mut text = record(1, "out");
    (2..9).for_each(|n| text += &tagged(n, "stderr F", "err"));
    let log = Log::new(&[&text]);
    assert_eq!(
        log.lines(&Wanted {
            stderr: false,
            tail: Some(1),
            ..all()
        }),
        ["out"]
    );
}

/// A long line of stdout over two files, with stderr in between.
fn mixed() -> Log {
    Log::new(&[
        &(record(1, "first")
            + &tagged(2, "stdout P", "ab")
            + &tagged(3, "stderr F", "error")
            + &tagged(4, "stdout P", "cd")),
        &(tagged(5, "stderr P", "lo")
            + &tagged(6, "stdout F:rest", "ef")
            + &tagged(7, "stderr F:rest", "ng")
            + &record(8, "last")),
    ])
}

#[test]
fn long_lines_are_whole_and_in_the_order_of_their_ends() {
    let log = mixed();
    let lines = ["first", "error", "abcdef", "long", "last"];
    assert_eq!(log.lines(&all()), lines);
    for number in 0..=5 {
        let wanted = Wanted {
            tail: Some(number),
            ..all()
        };
        assert_eq!(log.lines(&wanted), lines[5 - number..], "the last {number}");
        assert_eq!(
            log.lines(&Wanted {
                follow: true,
                ..wanted
            }),
            lines[5 - number..],
            "the last {number}, followed"
        );
    }
    let since = Some(Timestamp(4_000_000_000));
    assert_eq!(
        log.lines(&Wanted { since, ..all() }),
        lines[2..],
        "a line counts as of its end"
    );
}

#[test]
fn long_line_that_is_being_written_holds_nothing_up() {
    let log = Log::new(&[&(tagged(1, "stdout P", "ab") + &tagged(2, "stderr F", "error"))]);
    let mut tail = log.tail(&Wanted {
        follow: true,
        ..all()
    });
    assert_eq!(read(&mut tail, false), ["error"]);
    for number in (1..6).rev() {
        std::fs::rename(&log.path, rotated(&log.path, number)).unwrap();
        log.append(&tagged(3, "stdout P", "-"));
        assert!(read(&mut tail, false).is_empty());
    }
    log.append(&tagged(4, "stdout F:rest", "c"));
    assert_eq!(
        read(&mut tail, false),
        ["ab-----c"],
        "files that are gone by now are held"
    );
    log.append(&tagged(5, "stdout P", "unfi"));
    assert!(read(&mut tail, false).is_empty());
    assert_eq!(read(&mut tail, true), ["unfi|"]);
    assert_eq!(
        log.lines(&Wanted {
            tail: Some(2),
            ..all()
        })
        .last()
        .unwrap(),
        "unfi|"
    );
}

#[test]
fn runs_without_a_last_newline_stay_apart() {
    let log = Log::new(&[&(tagged(1, "stdout P:end", "the end") + &record(2, "first"))]);
    assert_eq!(log.lines(&all()), ["the end|", "first"]);
    // A killed shim writes no end.
    let log = Log::new(&[&(tagged(1, "stdout P", "cut") + &record(2, "first"))]);
    assert_eq!(log.lines(&all()), ["cut|", "first"]);
}

#[test]
fn what_was_rotated_away_is_known_to_those_who_wanted_it() {
    let log = Log::new(&[&record(5, "a"), &record(6, "b")]);
    let lost = |wanted: &Wanted| log.tail(wanted).take_lost();
    assert_eq!(lost(&all()), None, "the log is whole");
    std::fs::write(super::lost(&log.path), "").unwrap();
    let first = Some("1970-01-01T00:00:05.000000000Z".to_owned());
    assert_eq!(lost(&all()), first);
    assert_eq!(
        lost(&Wanted {
            tail: Some(3),
            ..all()
        }),
        first
    );
    assert_eq!(
        lost(&Wanted {
            tail: Some(2),
            ..all()
        }),
        None,
        "there are as many as were asked for"
    );
    let since = |second: i64| Wanted {
        since: Some(Timestamp(second * 1_000_000_000)),
        ..all()
    };
    assert_eq!(lost(&since(2)), first);
    assert_eq!(lost(&since(6)), None, "older ones were not asked for");
}

#[test]
fn a_reader_that_was_overtaken_says_so() {
    use hoist_runtime::log::set_number;
    let log = Log::new(&[&record(1, "a")]);
    let current = || File::open(&log.path).unwrap();
    set_number(current(), 7).unwrap();
    let mut tail = log.tail(&Wanted {
        follow: true,
        ..all()
    });
    assert_eq!(read(&mut tail, false), ["a"]);
    let mut goes_on_with = |second: u32, number: u64| {
        std::fs::remove_file(&log.path).unwrap();
        log.append("");
        set_number(current(), number).unwrap();
        assert!(read(&mut tail, false).is_empty());
        log.append(&record(second, "next"));
        assert_eq!(read(&mut tail, false), ["next"]);
        tail.take_lost()
    };
    assert_eq!(
        goes_on_with(2, 8),
        None,
        "everything was read before it was deleted"
    );
    assert_eq!(
        goes_on_with(3, 10).as_deref(),
        Some("1970-01-01T00:00:03.000000000Z")
    );
    assert_eq!(goes_on_with(4, 11), None);
}
