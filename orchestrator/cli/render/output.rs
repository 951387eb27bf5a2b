//! Owns how to write: colours, form of progress and of errors, resolved against the terminals that are there.

use std::io::IsTerminal;

use crate::options::{Ansi, ErrorFormat, Global, ProgressMode};

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) progress: ProgressMode,
    pub(crate) color_stdout: bool,
    pub(crate) color_stderr: bool,
    pub(crate) error_format: ErrorFormat,
    /// Progress belongs on standard output.
    pub(crate) status_stdout: bool,
}

impl Output {
    /// What to use for complaining about options that could not be resolved.
    pub(crate) fn fallback(global: Option<&Global>) -> Self {
        let format = global.and_then(|global| global.error_format);
        Self::on_terminals(Ansi::Auto, ProgressMode::Auto, format, false, false)
    }

    pub(crate) fn on_terminals(
        ansi: Ansi,
        progress: ProgressMode,
        format: Option<ErrorFormat>,
        no_color: bool,
        status_stdout: bool,
    ) -> Self {
        let color = |terminal: bool| match ansi {
            Ansi::Auto => terminal && !no_color,
            Ansi::Never => false,
            Ansi::Always => true,
        };
        let (stdout, stderr) = (
            std::io::stdout().is_terminal(),
            std::io::stderr().is_terminal(),
        );
        let terminal = if status_stdout { stdout } else { stderr };
        let progress = match progress {
            ProgressMode::Auto if terminal && ansi != Ansi::Never => ProgressMode::Tty,
            ProgressMode::Auto => ProgressMode::Plain,
            // Nothing can be redrawn in a pipe.
            ProgressMode::Tty if !terminal => ProgressMode::Plain,
            chosen => chosen,
        };
        let implied = if progress.is_json() {
            ErrorFormat::Json
        } else {
            ErrorFormat::Text
        };
        Self {
            progress,
            color_stdout: color(stdout),
            color_stderr: color(stderr),
            error_format: format.unwrap_or(implied),
            status_stdout,
        }
    }
}
