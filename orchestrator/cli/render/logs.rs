//! Lines of containers: a prefix for each in a colour of its own that stays the same from run to run.

use anstyle::{AnsiColor, Style};

use crate::render::{Ui, painted};

/// Which of a container's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
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
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        Self { ui, style, names, width, held: Vec::new() }
    }

    /// A container that was not known at the start.
    pub(crate) fn add(&mut self, name: &str) {
        if let Err(place) = self.names.binary_search_by(|known| known.as_str().cmp(name)) {
            self.names.insert(place, name.to_owned());
            self.width = self.width.max(name.chars().count());
        }
    }

    /// Takes one line, which has no newline at its end. [`LogWriter::flush`] writes it at the latest.
    pub(crate) fn line(&mut self, name: &str, stream: Stream, timestamp: &str, text: &[u8]) -> std::io::Result<()> {
        let mut line = Vec::with_capacity(text.len() + 64);
        if self.style.prefix {
            line.extend_from_slice(self.prefix(name, stream).as_bytes());
        }
        if self.style.timestamps && !timestamp.is_empty() {
            line.extend_from_slice(timestamp.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(text);
        line.push(b'\n');
        match stream {
            Stream::Stdout => self.hold(&line),
            Stream::Stderr => {
                self.flush()?;
                self.ui.stderr(&line)
            }
        }
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
        if self.held.len() < HELD { Ok(()) } else { self.flush() }
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
        if color { format!("{} ", painted(&text, self.color(name))) } else { format!("{text} ") }
    }

    fn color(&self, name: &str) -> Style {
        let place = self.names.iter().position(|known| known == name).unwrap_or(0);
        COLORS[place % COLORS.len()].on_default()
    }
}
