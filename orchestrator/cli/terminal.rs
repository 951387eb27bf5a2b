//! Owns the terminal's modes: raw while a container's terminal is on the other side, silent while a password is typed, as
//! it was afterwards.

use std::io::{self, BufRead, IsTerminal, StdinLock, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios};

/// Raw mode of standard input; dropping it brings the old mode back.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` when standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
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
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether what is typed is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Shown,
    Hidden,
}

/// What is typed is not seen; dropping it brings the old mode back, and ends the line that no key has ended on the screen.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = rustix::termios::tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        rustix::termios::tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to restore.
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        let _ = writeln!(io::stderr());
    }
}

/// Asks for a line on standard error; `None` when nobody sits there. Whoever gives up waiting has the terminal as it was.
pub(crate) async fn ask(question: &str, echo: Echo) -> io::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let hidden = if echo == Echo::Hidden {
        Some(Hidden::enter()?)
    } else {
        None
    };
    let mut err = io::stderr();
    write!(err, "{question}")?;
    err.flush()?;
    let line = read(|stdin| {
        let mut line = String::new();
        stdin.read_line(&mut line).map(|_| line)
    });
    let line = line.await?;
    drop(hidden);
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Reads from standard input on a thread of its own: nothing can take a read back, and no runtime waits for such a thread.
pub(crate) async fn read<T: Send + 'static>(
    read: impl FnOnce(&mut StdinLock<'static>) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = sender.send(read(&mut io::stdin().lock()));
    });
    receiver
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// Rows and columns of the terminal on standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Both directions are terminals, so that a terminal in the container makes sense.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}
