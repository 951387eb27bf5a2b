//! The only place that writes: data to standard output, talk to standard error.
//!
//! Must not know: engines, files, verbs. It gets values and writes them.

pub(crate) mod checks;
pub(crate) mod containers;
pub(crate) mod images;
pub(crate) mod logs;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod units;

use std::io::Write;

use anstyle::{AnsiColor, Style};
use hoist_spec::Diagnostic;

use crate::options::{ErrorFormat, ProgressMode};
use crate::render::output::Output;

/// The two streams and how to write on them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    output: Output,
    hide_pulls: bool,
    hide_builds: bool,
    hide_orphans: bool,
}

impl Ui {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            hide_pulls: false,
            hide_builds: false,
            hide_orphans: false,
        }
    }

    pub(crate) fn error_format(self) -> ErrorFormat {
        self.output.error_format
    }

    pub(crate) fn progress(self) -> ProgressMode {
        self.output.progress
    }

    /// For options such as `--quiet`.
    pub(crate) fn with_progress(mut self, progress: ProgressMode) -> Self {
        self.output.progress = progress;
        self
    }

    /// Leaves the details of pulls and builds out of the progress.
    pub(crate) fn hiding(mut self, pulls: bool, builds: bool) -> Self {
        self.hide_pulls = pulls;
        self.hide_builds = builds;
        self
    }

    /// Leaves out remarks about orphans.
    pub(crate) fn hiding_orphans(mut self, hide: bool) -> Self {
        self.hide_orphans = hide;
        self
    }

    /// Progress on standard output?
    pub(crate) fn status_stdout(self) -> bool {
        self.output.status_stdout
    }

    /// Colour on standard error?
    pub(crate) fn color(self) -> bool {
        self.output.color_stderr
    }

    /// Colour on standard output?
    pub(crate) fn color_stdout(self) -> bool {
        self.output.color_stdout
    }

    pub(crate) fn without_color(mut self) -> Self {
        self.output.color_stdout = false;
        self
    }

    /// Everything that is known of several things, as one JSON list.
    pub(crate) fn documents(self, found: &[impl serde::Serialize]) -> std::io::Result<()> {
        let list = serde_json::to_value(found).map_err(std::io::Error::other)?;
        self.data(format!("{list:#}\n"))
    }

    /// Writes data that another program may read, as it is.
    pub(crate) fn data(self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes.as_ref())?;
        out.flush()
    }

    /// Writes data as one line.
    pub(crate) fn line(self, text: impl AsRef<str>) -> std::io::Result<()> {
        let mut text = text.as_ref().to_owned();
        text.push('\n');
        self.data(text)
    }

    /// Writes bytes to standard error as they are: a container's own stderr.
    pub(crate) fn stderr(self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().lock().write_all(bytes)
    }

    /// Tells the user something. A closed stream is not a reason to fail.
    pub(crate) fn talk(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// How the work goes: on standard error, or where COMPOSE_STATUS_STDOUT wants it.
    pub(crate) fn status(self, text: &str) {
        if self.output.status_stdout {
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        } else {
            self.talk(text);
        }
    }

    /// Asks; anything but a yes is a no.
    pub(crate) fn confirm(self, question: &str) -> std::io::Result<bool> {
        let mut err = std::io::stderr().lock();
        write!(err, "{question} [yN] ")?;
        err.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }

    pub(crate) fn error(self, text: &str) {
        // What comes from a compiler of Dockerfiles says so itself.
        let text = text.trim_start_matches("error: ");
        self.talk(&format!(
            "{}: {text}",
            self.paint("error", AnsiColor::Red.on_default().bold())
        ));
    }

    pub(crate) fn warn(self, text: &str) {
        if self.output.progress.is_json() {
            return self
                .talk(&serde_json::json!({ "level": "warning", "message": text }).to_string());
        }
        self.talk(&format!(
            "{}: {text}",
            self.paint("warning", AnsiColor::Yellow.on_default().bold())
        ));
    }

    /// A remark about the files: rustc's form, or JSON.
    pub(crate) fn diagnostic(self, diagnostic: &Diagnostic) {
        match self.error_format() {
            ErrorFormat::Text => {
                self.talk(&hoist_spec::diagnostic::render(diagnostic, self.color()))
            }
            ErrorFormat::Json => {
                self.talk(&hoist_spec::diagnostic::to_json(diagnostic).to_string())
            }
        }
    }

    /// What is going on, for people: nothing to be read by programs.
    pub(crate) fn note(self, text: &str) {
        match self.output.progress {
            ProgressMode::Quiet => {}
            ProgressMode::Json | ProgressMode::RawJson => {
                self.status(&serde_json::json!({ "level": "info", "message": text }).to_string())
            }
            ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => self.status(text),
        }
    }

    pub(crate) fn hint(self, text: &str) {
        self.talk(&format!(
            "{}: {text}",
            self.paint("hint", AnsiColor::Cyan.on_default().bold())
        ));
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.color() {
            painted(text, style)
        } else {
            text.to_owned()
        }
    }
}

pub(crate) fn painted(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}
