//! Lines of containers: a prefix for each in a colour of its own that stays the same from run to run.

use anstyle::{AnsiColor, Style};
use hoist_api::StackLogLine;

use crate::render::{Ui, painted};

/// Which of a container's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogStyle {
    pub(crate) prefix: bool,
    pub(crate) timestamps: bool,
}

#[derive(Debug)]
pub(crate) struct LogWriter {
    ui: Ui,
    style: LogStyle,
    /// Sorted, so that a name's place and with it the colour does not depend on who speaks first.
    names: Vec<String>,
    width: usize,
    /// Lines for standard output that are not written yet.
    held: Vec<u8>,
    /// Whose line was begun and goes on.
    begun: Option<(String, Stream)>,
}

const HELD: usize = 32 * 1024;

const COLORS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

impl LogWriter {
    pub(crate) fn new(ui: Ui, style: LogStyle, names: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        names.dedup();
        let width = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        Self {
            ui,
            style,
            names,
            width,
            held: Vec::new(),
            begun: None,
        }
    }

    /// A container that was not known at the start.
    pub(crate) fn add(&mut self, name: &str) {
        if let Err(place) = self
            .names
            .binary_search_by(|known| known.as_str().cmp(name))
        {
            self.names.insert(place, name.to_owned());
            self.width = self.width.max(name.chars().count());
        }
    }

    /// Takes a line of a container, or a piece of a long one. [`LogWriter::flush`] writes it at the latest.
    pub(crate) fn line(&mut self, name: &str, line: &StackLogLine) -> std::io::Result<()> {
        let stream = if line.stream == "stderr" {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        let goes_on = self
            .begun
            .take()
            .is_some_and(|begun| begun == (name.to_owned(), stream));
        let text = line.data();
        let mut out = Vec::with_capacity(text.len() + 64);
        if self.style.prefix && !goes_on {
            out.extend_from_slice(self.prefix(name, stream).as_bytes());
        }
        if self.style.timestamps && !goes_on && !line.time.is_empty() {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(&text);
        if line.more {
            self.begun = Some((name.to_owned(), stream));
        } else {
            out.push(b'\n');
        }
        match stream {
            Stream::Stdout => self.hold(&out),
            Stream::Stderr => {
                self.flush()?;
                self.ui.stderr(&out)
            }
        }
    }

    /// A notice from hoist about a container's log.
    pub(crate) fn notice(&mut self, name: &str, text: &str) -> std::io::Result<()> {
        self.flush()?;
        self.ui.warn(&format!("{name}: {text}"));
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.ui.data(held)
    }

    fn hold(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.held.extend_from_slice(line);
        if self.held.len() < HELD {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// What becomes of a container, in the place where its lines stand.
    pub(crate) fn status(&mut self, name: &str, text: &str) -> std::io::Result<()> {
        self.hold(format!("{name} {text}\n").as_bytes())
    }

    fn prefix(&self, name: &str, stream: Stream) -> String {
        let width = self.width + 1;
        let color = match stream {
            Stream::Stdout => self.ui.color_stdout(),
            Stream::Stderr => self.ui.color(),
        };
        let text = format!("{name:width$} |");
        if color {
            format!("{} ", painted(&text, self.color(name)))
        } else {
            format!("{text} ")
        }
    }

    fn color(&self, name: &str) -> Style {
        let place = self
            .names
            .iter()
            .position(|known| known == name)
            .unwrap_or(0);
        COLORS[place % COLORS.len()].on_default()
    }
}
