//! Owns the terminal's modes: raw while a container's terminal is on the other side, as it was afterwards.

use std::io::{IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios};

/// Raw mode of standard input; dropping it brings the old mode back.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` when standard input is no terminal.
    pub(crate) fn enter() -> std::io::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = rustix::termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to restore.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether what is typed is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Shown,
    Hidden,
}

/// Asks for a line on standard error; `None` when nobody sits there.
pub(crate) fn ask(question: &str, echo: Echo) -> std::io::Result<Option<String>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    let mut err = std::io::stderr();
    write!(err, "{question}")?;
    err.flush()?;
    let mut line = String::new();
    if echo == Echo::Shown {
        stdin.read_line(&mut line)?;
    } else {
        let before = rustix::termios::tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        rustix::termios::tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        let read = stdin.read_line(&mut line);
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &before)?;
        writeln!(err)?;
        read?;
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Rows and columns of the terminal on standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Both directions are terminals, so that a terminal in the container makes sense.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
