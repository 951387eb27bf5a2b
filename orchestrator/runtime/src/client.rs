//! The engine's side of `shim.sock`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::status::ExitStatus;
use crate::wire::{Answer, Exit, Failure, PROTOCOL, Reply, Request, recv, recv_until, send};

/// For being accepted and for an answer. Shims take microseconds; one that is stopped, or waits for a dead disk, takes
/// for ever.
const PROMPT: Duration = Duration::from_secs(5);
/// For an answer that waits for the kernel: a cgroup to be emptied or frozen, a program to be executed.
const LENGTHY: Duration = Duration::from_secs(15);
/// For the last word to a shim: nothing depends on its answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection to a container's shim. All methods take `&self` and may be called from several threads. It is
/// non-blocking for reading events: wrap it (it is `AsRawFd`) and call [`Shim::try_event`] until `None` when readable.
///
/// Dropping the last connection of all without [`Shim::detach`] tells the shim that the engine died: it starts another.
#[derive(Debug)]
pub struct Shim {
    line: Line,
    pid: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Started {
        pid: i32,
    },
    /// The record is on disk, the cgroup is gone and `shim.sock` is free again when this arrives.
    Exited(ExitStatus),
    /// The kernel killed something in the container for memory.
    Oom,
    /// The shim closed the connection; nothing more will come.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimState {
    pub id: String,
    /// The container's init, in the host's numbers.
    pub pid: i32,
    pub shim_pid: i32,
    pub paused: bool,
    pub tty: bool,
    /// `false`: set up by `oci create` and waiting for its start.
    pub started: bool,
    /// Log records lost because the disk was full or broken.
    pub dropped_log_records: u64,
}

/// What an attached client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// `true`: a client that does not read holds the program back, as a pipe does (`hoist run … | less`).
    /// `false`: a client that is too slow is dropped.
    pub lossless: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("connecting to {path}")]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{attempt} through the shim")]
    Io {
        attempt: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the shim refused to {attempt}: {reason}")]
    Refused {
        attempt: &'static str,
        reason: String,
    },
    #[error("the shim behind {} is of a newer hoist (protocol {protocol}, and this one speaks up to {PROTOCOL}); its container runs on", path.display())]
    Newer { path: PathBuf, protocol: u32 },
    #[error("the shim is gone")]
    Gone,
}

impl ShimError {
    /// No process listens on the socket: the shim has ended, or its socket was removed. Any other error says nothing
    /// about the container.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Gone => true,
            Self::Connect { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                )
            }
            Self::Io { .. } | Self::Refused { .. } | Self::Newer { .. } => false,
        }
    }

    /// The socket is there without a listener: the shim was killed, since it removes the socket when it leaves.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// How long a shim may take for a request.
fn limit(request: &Request) -> Duration {
    match request {
        Request::Start
        | Request::KillAll
        | Request::Pause
        | Request::Resume
        | Request::Shutdown => LENGTHY,
        Request::Detach => FAREWELL,
        Request::State
        | Request::Kill { .. }
        | Request::KillGroup { .. }
        | Request::Resize { .. }
        | Request::Attach(_)
        | Request::Reopen => PROMPT,
    }
}

/// One socket to a shim or an exec helper, with what arrived while a caller waited for something else.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    events: VecDeque<Event>,
    closed: bool,
}

impl Line {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            inbox: Mutex::default(),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one packet in; an answer is given back, events are kept.
    fn receive(&self, inbox: &mut Inbox) -> io::Result<Option<Answer>> {
        let packet = recv::<serde_json::Value>(&self.socket)?;
        match packet.map(|(packet, _)| Reply::of(packet)) {
            None => {
                if !std::mem::replace(&mut inbox.closed, true) {
                    inbox.events.push_back(Event::Closed);
                }
            }
            // Not of our language.
            Some(None) => {}
            Some(Some(Reply::Answer(answer))) => return Ok(Some(answer)),
            Some(Some(Reply::Started { pid, .. } | Reply::Created { pid, .. })) => {
                inbox.events.push_back(Event::Started { pid })
            }
            Some(Some(Reply::Exited(exit))) => inbox.events.push_back(Event::Exited(status(exit))),
            Some(Some(Reply::Oom)) => inbox.events.push_back(Event::Oom),
            Some(Some(Reply::Failed(failure))) => {
                return Ok(Some(Answer::Refused(format!(
                    "{}: {}",
                    failure.stage, failure.object
                ))));
            }
        }
        Ok(None)
    }

    pub(crate) fn try_event(&self) -> Result<Option<Event>, ShimError> {
        let mut inbox = self.inbox();
        loop {
            if let Some(event) = inbox.events.pop_front() {
                return Ok(Some(event));
            }
            if inbox.closed {
                return Ok(None);
            }
            match self.receive(&mut inbox) {
                // A late answer to a request that was given up.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ShimError::Io {
                        attempt: "reading events",
                        source,
                    });
                }
            }
        }
    }

    pub(crate) fn next_event(&self) -> Result<Event, ShimError> {
        loop {
            if let Some(event) = self.try_event()? {
                return Ok(event);
            }
            if self.inbox().closed {
                return Ok(Event::Closed);
            }
            self.wait(None).map_err(|source| ShimError::Io {
                attempt: "waiting for events",
                source,
            })?;
        }
    }

    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit
            .map(TryInto::try_into)
            .transpose()
            .map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::new(&self.socket, PollFlags::IN)],
            limit.as_ref(),
        ) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn ask(
        &self,
        attempt: &'static str,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer, ShimError> {
        let io = |source| ShimError::Io { attempt, source };
        // Held to the end: the next packet that is an answer is the answer to this.
        let mut inbox = self.inbox();
        if inbox.closed {
            return Err(ShimError::Gone);
        }
        match send(&self.socket, request, fds) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                return Err(ShimError::Gone);
            }
            result => result.map_err(io)?,
        }
        self.answer(&mut inbox, attempt, Instant::now() + limit(request))
    }

    fn answer(
        &self,
        inbox: &mut Inbox,
        attempt: &'static str,
        deadline: Instant,
    ) -> Result<Answer, ShimError> {
        let io = |source| ShimError::Io { attempt, source };
        loop {
            match self.receive(inbox) {
                Ok(Some(Answer::Refused(reason))) => {
                    return Err(ShimError::Refused { attempt, reason });
                }
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if inbox.closed => return Err(ShimError::Gone),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.wait(Some(left)).map_err(io)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

pub(crate) fn status(exit: Exit) -> ExitStatus {
    let at = jiff::Timestamp::from_nanosecond(i128::from(exit.at))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    ExitStatus {
        code: exit.code,
        signal: exit.signal,
        oom: exit.oom,
        at,
        steady: exit.steady,
    }
}

impl Shim {
    /// `socket`: the one that a new shim was started with, its first word read.
    pub(crate) fn of_start(socket: OwnedFd, pid: i32) -> Self {
        Self {
            line: Line::new(socket),
            pid,
        }
    }

    /// Waits a few seconds at most.
    pub fn connect(bundle: &Path) -> Result<Self, ShimError> {
        let deadline = Instant::now() + PROMPT;
        let path = bundle.join(SOCKET);
        match dial(bundle, PROMPT) {
            Ok(socket) => greeted(socket, &path, deadline),
            Err(source) => Err(ShimError::Connect { path, source }),
        }
    }

    /// The container's init, in the host's numbers.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The next event, if one has arrived. Never blocks.
    pub fn try_event(&self) -> Result<Option<Event>, ShimError> {
        self.line.try_event()
    }

    /// Blocks until the next event.
    pub fn next_event(&self) -> Result<Event, ShimError> {
        self.line.next_event()
    }

    /// Blocks until the container has ended.
    pub fn wait(&self) -> Result<ExitStatus, ShimError> {
        loop {
            match self.next_event()? {
                Event::Exited(status) => return Ok(status),
                Event::Closed => return Err(ShimError::Gone),
                Event::Started { .. } | Event::Oom => {}
            }
        }
    }

    pub fn state(&self) -> Result<ShimState, ShimError> {
        state(self.line.ask(ASKING_STATE, &Request::State, &[])?)
    }

    /// To the container's init. A container that has just ended is not an error.
    pub fn kill(&self, signal: i32) -> Result<(), ShimError> {
        ended_is_fine(
            self.line
                .ask("send the signal", &Request::Kill { signal }, &[]),
        )
    }

    /// SIGKILL to every process of the container's cgroup.
    pub fn kill_all(&self) -> Result<(), ShimError> {
        ended_is_fine(
            self.line
                .ask("kill the container's processes", &Request::KillAll, &[]),
        )
    }

    pub fn pause(&self) -> Result<(), ShimError> {
        self.line.ask("pause", &Request::Pause, &[]).map(drop)
    }

    pub fn resume(&self) -> Result<(), ShimError> {
        self.line.ask("resume", &Request::Resume, &[]).map(drop)
    }

    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), ShimError> {
        self.line
            .ask(
                "resize the terminal",
                &Request::Resize { rows, columns },
                &[],
            )
            .map(drop)
    }

    /// Copies output to `stream` (a connected stream socket) from now on: docker's frames (`[stream,0,0,0,len be32]`)
    /// without a tty, raw bytes with one. What arrives on it goes to standard input; its half-close ends standard
    /// input when the container was started with `stdin_once` and no tty.
    pub fn attach(&self, stream: BorrowedFd<'_>, want: Attach) -> Result<(), ShimError> {
        self.line
            .ask("attach", &Request::Attach(want), &[stream])
            .map(drop)
    }

    /// Makes it recreate its socket after the bundle was removed.
    pub fn reopen(&self) -> Result<(), ShimError> {
        self.line
            .ask("listen again", &Request::Reopen, &[])
            .map(drop)
    }

    /// Says goodbye: the end of this connection does not mean that the engine died. Waits a second at most.
    pub fn detach(&self) -> Result<(), ShimError> {
        ended_is_fine(self.line.ask("detach", &Request::Detach, &[]))
    }

    /// Kills the container and ends the shim.
    pub fn shutdown(&self) -> Result<(), ShimError> {
        ended_is_fine(self.line.ask("shut down", &Request::Shutdown, &[]))
    }

    /// Opens the gate of a container that was only set up; why its program could not be executed, if so.
    pub(crate) fn open_gate(&self) -> Result<Option<Failure>, ShimError> {
        match self.line.ask("start the program", &Request::Start, &[])? {
            Answer::NotStarted(failure) => Ok(Some(failure)),
            _ => Ok(None),
        }
    }
}

/// What was asked for has happened by itself when the shim has gone.
fn ended_is_fine(result: Result<Answer, ShimError>) -> Result<(), ShimError> {
    match result {
        Err(ShimError::Gone) => Ok(()),
        result => result.map(drop),
    }
}

/// A question to a shim that has not answered yet, so that many can be asked before the first answer is waited for.
#[derive(Debug)]
pub struct Call {
    bundle: PathBuf,
    socket: OwnedFd,
}

impl Call {
    /// Asks for the state. Does not wait, not even for a shim that no longer accepts connections.
    pub fn begin(bundle: &Path) -> Result<Self, ShimError> {
        let failed = |source| ShimError::Connect {
            path: bundle.join(SOCKET),
            source,
        };
        let socket = dial(bundle, Duration::from_millis(1)).map_err(failed)?;
        send(&socket, &Request::State, &[]).map_err(failed)?;
        Ok(Self {
            bundle: bundle.to_owned(),
            socket,
        })
    }

    pub fn answer(self, deadline: Instant) -> Result<(Shim, ShimState), ShimError> {
        let shim = greeted(self.socket, &self.bundle.join(SOCKET), deadline)?;
        let answer = shim
            .line
            .answer(&mut shim.line.inbox(), ASKING_STATE, deadline)?;
        Ok((shim, state(answer)?))
    }
}

const SOCKET: &str = "shim.sock";
const ASKING_STATE: &str = "asking for the state";

fn state(answer: Answer) -> Result<ShimState, ShimError> {
    match answer {
        Answer::State {
            id,
            pid,
            shim_pid,
            paused,
            tty,
            started,
            dropped_log_records,
        } => Ok(ShimState {
            id,
            pid,
            shim_pid,
            paused,
            tty,
            started,
            dropped_log_records,
        }),
        _ => Err(ShimError::Gone),
    }
}

/// The limit is that of the kernel's queue of connections; a shim that is stopped fills it.
fn dial(bundle: &Path, limit: Duration) -> io::Result<OwnedFd> {
    // By the folder's descriptor: the whole path may be too long for a socket address.
    let folder = rustix::fs::open(
        bundle,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // It counts for connecting as well as for sending.
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    rustix::net::connect(&socket, &address)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PROMPT))?;
    Ok(socket)
}

/// The shim's first word.
fn greeted(socket: OwnedFd, path: &Path, deadline: Instant) -> Result<Shim, ShimError> {
    let failed = |source| ShimError::Connect {
        path: path.to_owned(),
        source,
    };
    match recv_until::<Reply>(&socket, deadline).map_err(failed)? {
        Some((Reply::Started { protocol, .. } | Reply::Created { protocol, .. }, _))
            if protocol > PROTOCOL =>
        {
            Err(ShimError::Newer {
                path: path.to_owned(),
                protocol,
            })
        }
        Some((Reply::Started { pid, .. } | Reply::Created { pid, .. }, _)) => {
            Ok(Shim::of_start(socket, pid))
        }
        Some(_) => Err(failed(io::ErrorKind::InvalidData.into())),
        None => Err(failed(io::ErrorKind::ConnectionReset.into())),
    }
}

impl AsFd for Shim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl AsRawFd for Shim {
    fn as_raw_fd(&self) -> RawFd {
        self.line.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{SendFlags, send};

    use super::*;
    use crate::wire::pair;

    /// A connection to a shim that has said all this.
    fn said(packets: &[&str]) -> (OwnedFd, OwnedFd) {
        let (ours, shims) = pair().unwrap();
        for packet in packets {
            send(&shims, packet.as_bytes(), SendFlags::NOSIGNAL).unwrap();
        }
        (ours, shims)
    }

    fn greet(hello: &str) -> Result<Shim, ShimError> {
        let (ours, _shims) = said(&[hello]);
        greeted(ours, Path::new("/run/c/shim.sock"), Instant::now() + PROMPT)
    }

    #[test]
    fn shims_of_before_the_number_and_of_today_are_spoken_to() {
        for hello in [
            r#"{"Started":{"pid":7}}"#,
            r#"{"Started":{"pid":7,"protocol":1}}"#,
            r#"{"Created":{"pid":7,"colour":"red"}}"#,
        ] {
            assert_eq!(greet(hello).unwrap().pid(), 7, "{hello}");
        }
    }

    #[test]
    fn a_shim_of_a_newer_protocol_is_named_and_does_not_count_as_gone() {
        let error = greet(r#"{"Started":{"pid":7,"protocol":99}}"#).unwrap_err();
        assert!(
            matches!(error, ShimError::Newer { protocol: 99, .. }),
            "{error:?}"
        );
        assert!(!error.is_absent() && !error.is_refused());
        assert!(
            error
                .to_string()
                .contains("protocol 99, and this one speaks up to 1"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_an_unknown_answer_is_a_refusal() {
        let (ours, _shims) = said(&[
            r#"{"Warmed":{"by":3}}"#,
            r#""Tired""#,
            r#"{"Exited":{"code":4,"at":5,"mood":"calm"}}"#,
            r#"{"Answer":{"Maybe":1}}"#,
        ]);
        let shim = Shim::of_start(ours, 7);
        let Event::Exited(status) = shim.try_event().unwrap().unwrap() else {
            panic!("its exit is the first event")
        };
        assert_eq!((status.code, status.signal, status.oom), (4, None, false));
        let refused = shim.pause().unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("a newer hoist than this engine"),
            "{refused}"
        );
    }
}
