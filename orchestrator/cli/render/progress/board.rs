//! What is shown of the work, as plain data: a row for each thing that is worked on, below it the rows of its parts. It
//! knows no terminal and no clock; foreign text is harmless once it is in here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use hoist_api::BuildEvent;

use super::{Line, Status};
use crate::render::text::{inert, inert_line};

/// Lines of a step's output that are kept.
pub(super) const TAIL: usize = 6;

#[derive(Debug, Default)]
pub(super) struct Board {
    rows: Vec<Row>,
    /// By parent (empty for none) and id.
    places: HashMap<(String, String), usize>,
}

#[derive(Debug)]
pub(super) struct Row {
    children: Vec<usize>,
    is_child: bool,
    pub(super) label: String,
    /// How it goes, in a word or two.
    pub(super) text: String,
    pub(super) status: Status,
    pub(super) time: Time,
    /// Bytes that came, and all of them, by what they are of.
    transfers: BTreeMap<String, (u64, u64)>,
    /// The last lines of its output.
    pub(super) tail: VecDeque<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Since(Duration),
    Took(Duration),
    /// It took none worth saying.
    None,
}

impl Board {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn is_working(&self) -> bool {
        self.rows.iter().any(|row| row.status == Status::Working)
    }

    /// All rows with their depth, parts below what they are parts of.
    pub(super) fn rows(&self) -> Vec<(usize, &Row)> {
        let mut listed = Vec::with_capacity(self.rows.len());
        for row in self.rows.iter().filter(|row| !row.is_child) {
            listed.push((0, row));
            listed.extend(row.children.iter().map(|child| (1, &self.rows[*child])));
        }
        listed
    }

    /// Bytes of the row, and of its parts for as long as one of them is on its way.
    pub(super) fn bytes(&self, row: &Row) -> Option<(u64, u64)> {
        let parts = || {
            row.children
                .iter()
                .map(|child| &self.rows[*child])
                .filter(|part| !part.transfers.is_empty())
        };
        let on_its_way = parts().any(|part| part.status == Status::Working);
        let parts = parts().filter(|_| on_its_way);
        let sum = |a: u64, b: &u64| a.saturating_add(*b);
        let transfers = parts.chain([row]).flat_map(|row| row.transfers.values());
        let (now, all) = transfers.fold((0, 0), |(now, all), transfer| {
            (sum(now, &transfer.0), sum(all, &transfer.1))
        });
        (all > 0).then_some((now, all))
    }

    pub(super) fn line(&mut self, line: &Line<'_>, now: Duration) {
        let place = self.place(line.parent.unwrap_or_default(), line.id, line.id, now);
        let row = &mut self.rows[place];
        row.text = inert_line(line.text);
        if let Some(bytes) = line.bytes {
            row.transfers.insert(String::new(), bytes);
        }
        if line.status == Status::Working && !matches!(row.time, Time::Since(_)) {
            row.time = Time::Since(now);
        }
        row.status = line.status;
        if line.status != Status::Working {
            self.end(place, line.status, now);
        }
    }

    /// The remaining tasks are no longer waited for.
    pub(super) fn give_up(&mut self, now: Duration) {
        for place in 0..self.rows.len() {
            if self.rows[place].status == Status::Working {
                self.end(place, Status::Warning, now);
                "Interrupted".clone_into(&mut self.rows[place].text);
            }
        }
    }

    /// A step of the build that the row `parent` is about.
    pub(super) fn build(&mut self, parent: &str, event: &BuildEvent, now: Duration) {
        let (number, name) = match event {
            BuildEvent::Warning { .. } => return,
            BuildEvent::Started { step, name } | BuildEvent::Cached { step, name } => {
                (step, name.as_str())
            }
            BuildEvent::Output { step, .. }
            | BuildEvent::Done { step, .. }
            | BuildEvent::Failed { step, .. }
            | BuildEvent::Transfer { step, .. } => (step, ""),
        };
        let place = self.place(parent, &format!("#{number}"), name, now);
        let row = &mut self.rows[place];
        match event {
            BuildEvent::Warning { .. } => {}
            BuildEvent::Started { .. } => {
                (row.status, row.time) = (Status::Working, Time::Since(now))
            }
            BuildEvent::Cached { .. } => {
                (row.status, row.time) = (Status::Done, Time::None);
                "CACHED".clone_into(&mut row.text);
            }
            BuildEvent::Output { line, .. } => {
                if row.tail.len() == TAIL {
                    row.tail.pop_front();
                }
                row.tail.push_back(inert(line));
            }
            BuildEvent::Done { took, .. } => {
                (row.status, row.time) = (Status::Done, Time::Took(*took))
            }
            BuildEvent::Failed { .. } => self.end(place, Status::Error, now),
            BuildEvent::Transfer {
                item,
                current,
                total,
                ..
            } if *total > 0 => {
                row.transfers.insert(item.clone(), (*current, *total));
            }
            BuildEvent::Transfer { .. } => {}
        }
    }

    /// The row, made if there is none yet.
    fn place(&mut self, parent: &str, id: &str, label: &str, now: Duration) -> usize {
        let key = (parent.to_owned(), id.to_owned());
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let above = self
            .places
            .get(&(String::new(), parent.to_owned()))
            .copied();
        let place = self.rows.len();
        self.rows.push(Row {
            children: Vec::new(),
            is_child: above.is_some(),
            label: inert_line(label),
            text: String::new(),
            status: Status::Working,
            time: Time::Since(now),
            transfers: BTreeMap::new(),
            tail: VecDeque::new(),
        });
        if let Some(above) = above {
            self.rows[above].children.push(place);
        }
        self.places.insert(key, place);
        place
    }

    /// Nothing goes on in a thing that has ended.
    fn end(&mut self, place: usize, status: Status, now: Duration) {
        let row = &mut self.rows[place];
        row.status = status;
        row.tail.clear();
        if let Time::Since(begun) = row.time {
            row.time = Time::Took(now.saturating_sub(begun));
        }
        let (part, word) = if status == Status::Error {
            (Status::Warning, "CANCELED")
        } else {
            (Status::Done, "")
        };
        for child in row.children.clone() {
            if self.rows[child].status == Status::Working {
                self.end(child, part, now);
                word.clone_into(&mut self.rows[child].text);
            }
        }
    }
}
