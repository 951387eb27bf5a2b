//! Another process in a running container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use oci_spec::runtime::Process;

use crate::client::{Event, Line, ShimError};
use crate::status::ExitStatus;
use crate::wire::Request;

#[derive(Debug)]
pub struct ExecRequest {
    /// The running container.
    pub id: String,
    /// Its init, in the host's numbers ([`crate::Shim::pid`]).
    pub pid: i32,
    /// All that a container's spec says of its main process. HOME is added from the root's passwd when missing.
    pub process: Process,
    /// As in [`crate::Launch::user`]; `None` is root.
    pub user: Option<String>,
    pub group_add: Vec<String>,
    pub seccomp: crate::launch::Seccomp,
    pub privileged: bool,
    pub stdio: ExecStdio,
}

#[derive(Debug)]
pub enum ExecStdio {
    /// `None` is `/dev/null`.
    Fds {
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    },
    /// The handle then has the master end.
    Tty { rows: u16, columns: u16 },
}

/// A process started by [`crate::Runtime::exec`]. Becomes readable when there is news: then call `try_wait`.
/// Dropping it leaves the process alone.
#[derive(Debug)]
pub struct ExecHandle {
    line: Line,
    pid: i32,
    terminal: Mutex<Option<OwnedFd>>,
    /// Kept for `resize` after the terminal was taken.
    screen: Option<OwnedFd>,
    ended: Mutex<Option<ExitStatus>>,
}

impl ExecHandle {
    pub(crate) fn new(
        socket: OwnedFd,
        pid: i32,
        terminal: Option<OwnedFd>,
    ) -> std::io::Result<Self> {
        let screen = terminal.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Self {
            line: Line::new(socket),
            pid,
            terminal: Mutex::new(terminal),
            screen,
            ended: Mutex::default(),
        })
    }

    /// In the host's numbers.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The terminal's master end, once; `None` without a tty.
    pub fn take_terminal(&self) -> Option<OwnedFd> {
        self.terminal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), ShimError> {
        let attempt = "resize the terminal";
        let Some(screen) = &self.screen else {
            return Err(ShimError::Refused {
                attempt,
                reason: "the process has no terminal".to_owned(),
            });
        };
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(screen, size).map_err(|error| ShimError::Io {
            attempt,
            source: error.into(),
        })
    }

    /// The exit status if it has ended. Never blocks.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, ShimError> {
        while let Some(event) = self.line.try_event()? {
            self.note(event)?;
        }
        Ok(self.known())
    }

    pub fn wait(&self) -> Result<ExitStatus, ShimError> {
        loop {
            if let Some(status) = self.known() {
                return Ok(status);
            }
            let event = self.line.next_event()?;
            self.note(event)?;
        }
    }

    fn known(&self) -> Option<ExitStatus> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, event: Event) -> Result<(), ShimError> {
        match event {
            Event::Exited(status) => {
                *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                Ok(())
            }
            Event::Closed if self.known().is_none() => Err(ShimError::Gone),
            Event::Started { .. } | Event::Oom | Event::Closed => Ok(()),
        }
    }

    /// A process that has ended is not an error.
    pub fn kill(&self, signal: i32) -> Result<(), ShimError> {
        self.ask("send the signal", &Request::Kill { signal })
    }

    /// To the process and what it started in its process group: as a terminal that is closed signals it.
    pub fn kill_group(&self, signal: i32) -> Result<(), ShimError> {
        self.ask("send the signal", &Request::KillGroup { signal })
    }

    /// SIGKILL to the process and everything it started, however deep it hid.
    pub fn kill_tree(&self) -> Result<(), ShimError> {
        self.ask("kill the process tree", &Request::KillAll)
    }

    fn ask(&self, attempt: &'static str, request: &Request) -> Result<(), ShimError> {
        match self.line.ask(attempt, request, &[]) {
            Err(ShimError::Gone) => Ok(()),
            result => result.map(drop),
        }
    }
}

impl AsFd for ExecHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl AsRawFd for ExecHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.line.as_fd().as_raw_fd()
    }
}
