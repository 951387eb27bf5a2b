//! Owns how far each container's log has been written, so that the rest can be read again without a line lost or
//! written twice. Lines of one container may share a time: they were written in one piece.

use std::collections::{BTreeMap, BTreeSet};

use hoist_api::StackLogLine;
use jiff::Timestamp;

#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// By container: the last line's time, and how many lines had it.
    last: BTreeMap<String, (Timestamp, usize)>,
    ended: BTreeSet<String>,
}

impl Seen {
    pub(super) fn note(&mut self, line: &StackLogLine) {
        if line.exit_code.is_some() {
            self.ended.insert(line.container.clone());
        }
        let Some(time) = time(line) else { return };
        let last = self.last.entry(line.container.clone()).or_insert((time, 0));
        *last = if last.0 == time {
            (time, last.1 + 1)
        } else {
            (time, 1)
        };
        // It writes, so it was started again.
        self.ended.remove(&line.container);
    }

    pub(super) fn has_ended(&self, container: &str) -> bool {
        self.ended.contains(container)
    }

    pub(super) fn reread(&self) -> Reread {
        Reread {
            skip: self.last.clone(),
        }
    }
}

/// Tells old lines from new ones while a log is read again.
#[derive(Debug)]
pub(super) struct Reread {
    skip: BTreeMap<String, (Timestamp, usize)>,
}

impl Reread {
    pub(super) fn is_new(&mut self, line: &StackLogLine) -> bool {
        let Some(time) = time(line) else { return false };
        match self.skip.get_mut(&line.container) {
            None => true,
            Some((last, _)) if time != *last => time > *last,
            Some((_, 0)) => true,
            Some((_, count)) => {
                *count -= 1;
                false
            }
        }
    }
}

/// `None` for what is not a line of the container's own.
fn time(line: &StackLogLine) -> Option<Timestamp> {
    if line.stream == "status" {
        None
    } else {
        line.time.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(container: &str, second: u32, text: &str) -> StackLogLine {
        StackLogLine {
            container: container.to_owned(),
            time: format!("2026-01-01T00:00:{second:02}Z"),
            stream: "stdout".to_owned(),
            text: text.to_owned(),
            ..StackLogLine::default()
        }
    }

    #[test]
    fn rest_is_what_was_not_seen() {
        let all = [
            line("a", 1, "1"),
            line("b", 2, "2"),
            line("a", 3, "3"),
            line("a", 3, "4"),
            line("b", 4, "5"),
        ];
        let mut seen = Seen::default();
        all[..3].iter().for_each(|line| seen.note(line));
        let mut again = seen.reread();
        let rest: Vec<&str> = all
            .iter()
            .filter(|line| again.is_new(line))
            .map(|line| line.text.as_str())
            .collect();
        assert_eq!(rest, ["4", "5"]);
    }
}
