//! The board on a terminal: redrawn in place while something goes on, and left there when it is over.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::board::Board;
use super::draw::{Drawn, Look, draw};
use crate::render::Ui;

/// Between two redraws.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Screen {
    shared: Arc<Shared>,
    painter: Option<JoinHandle<()>>,
}

struct Shared {
    ui: Ui,
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    board: Board,
    /// The columns of the lines that stand above the cursor and will be drawn over.
    drawn: Vec<usize>,
    /// The board is not what was drawn.
    stale: bool,
    ended: bool,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Screen")
    }
}

impl Screen {
    pub(super) fn new(ui: Ui) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self {
            shared: Arc::new(Shared {
                ui,
                began: Instant::now(),
                state,
                changed,
            }),
            painter: None,
        }
    }

    /// Changes the board; it is drawn at the next tick, however many changes come before that.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Board, Duration)) {
        let shared = &self.shared;
        let mut state = shared.lock();
        change(&mut state.board, shared.began.elapsed());
        (state.stale, state.ended) = (true, false);
        shared.changed.notify_one();
        drop(state);
        if self.painter.is_none() {
            let shared = Arc::clone(shared);
            self.painter = Some(std::thread::spawn(move || shared.paint_on()));
        }
    }

    /// Runs something that writes itself, above what is redrawn.
    pub(super) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut state = self.shared.lock();
        self.shared.erase(&mut state);
        let result = write();
        self.shared.paint(&mut state);
        result
    }

    /// Leaves what is drawn where it is; the next change is drawn below of what is written in between.
    pub(super) fn leave(&mut self) {
        self.end_painter();
        let mut state = self.shared.lock();
        self.shared.paint(&mut state);
        state.drawn.clear();
    }

    /// Leaves the whole board in its last state.
    pub(super) fn finish(&mut self) {
        self.end_painter();
        let mut state = self.shared.lock();
        if !state.board.is_empty() {
            let (columns, _) = self.shared.size();
            // Unfinished tasks are no longer waited for.
            state.board.give_up(self.shared.began.elapsed());
            let look = Look {
                columns,
                rows: None,
                color: self.shared.ui.color(),
                still: true,
            };
            let lines = draw(&state.board, self.shared.began.elapsed(), look);
            self.shared.write(&frame(&state.drawn, &lines, columns));
        }
        *state = State {
            ended: true,
            ..State::default()
        };
    }

    fn end_painter(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(painter) = self.painter.take() {
            // It does not panic while it draws plain data; if it did, the work is still to be reported on.
            let _ = painter.join();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws until the end: while something goes on its time does, too, and otherwise what has changed.
    fn paint_on(&self) {
        let mut state = self.lock();
        while !state.ended {
            if state.stale || state.board.is_working() {
                // Many short commands are over before anything has to be drawn.
                let idle = |state: &mut State| !state.ended;
                let waited = self
                    .changed
                    .wait_timeout_while(state, TICK, idle)
                    .unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
                if !state.ended {
                    self.paint(&mut state);
                }
            } else {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn paint(&self, state: &mut State) {
        let (columns, rows) = self.size();
        // The cursor stands below of the last line.
        let look = Look {
            columns,
            rows: Some(rows.saturating_sub(1)),
            color: self.ui.color(),
            still: state.ended,
        };
        let lines = draw(&state.board, self.began.elapsed(), look);
        if !(lines.is_empty() && state.drawn.is_empty()) {
            self.write(&frame(&state.drawn, &lines, columns));
        }
        state.drawn = lines.iter().map(|line| line.width).collect();
        state.stale = false;
    }

    fn erase(&self, state: &mut State) {
        if !state.drawn.is_empty() {
            self.write(&frame(&state.drawn, &[], self.size().0));
            state.drawn.clear();
        }
    }

    fn write(&self, text: &str) {
        // A closed terminal is not a reason to fail.
        let _ = if self.ui.status_stdout() {
            io::stdout()
                .lock()
                .write_all(text.as_bytes())
                .and_then(|()| io::stdout().flush())
        } else {
            io::stderr().lock().write_all(text.as_bytes())
        };
    }

    /// Columns and rows, asked each time: the window may have another size now.
    fn size(&self) -> (usize, usize) {
        let size = if self.ui.status_stdout() {
            rustix::termios::tcgetwinsize(io::stdout())
        } else {
            rustix::termios::tcgetwinsize(io::stderr())
        };
        let size = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        })
    }
}

/// What draws the lines in the place of those that were drawn before, on a terminal that may have become narrower: it
/// has broken the longer ones of them.
fn frame(before: &[usize], lines: &[Drawn], columns: usize) -> String {
    let up: usize = before
        .iter()
        .map(|width| width.div_ceil(columns.max(1)).max(1))
        .sum();
    let mut text = String::from("\r");
    if up > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "\u{1b}[{up}A");
    }
    for line in lines {
        text.push_str(&line.text);
        text.push_str("\u{1b}[K\n");
    }
    text.push_str("\u{1b}[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_covers_what_was_drawn_before() {
        let line = |text: &str| Drawn {
            text: text.to_owned(),
            width: text.len(),
        };
        assert_eq!(frame(&[], &[line("a")], 80), "\ra\u{1b}[K\n\u{1b}[J");
        assert_eq!(
            frame(&[10, 0], &[line("a")], 80),
            "\r\u{1b}[2Aa\u{1b}[K\n\u{1b}[J"
        );
        // 70 columns take three lines of a window of 30.
        assert_eq!(frame(&[70, 30], &[], 30), "\r\u{1b}[4A\u{1b}[J");
    }
}
