//! The shim's one loop, from the program's start to the exit record.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::WaitOptions;

use super::restart::EngineWatch;
use super::stdio::{Stdio, nonblocking};
use super::streams::{Ready, Streams};
use super::{bring_up, exit, record};
use crate::cgroup::OomWatch;
use crate::sys;
use crate::wire::{Answer, Exit, PROTOCOL, Reply, Request, ShimConfig, recv, send};

/// What `bring_up` hands over.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) stdio: Stdio,
    pub(super) listener: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) phase: Phase,
    pub(super) oom: Option<OomWatch>,
    pub(super) root: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// At the gate; the socket opens it.
    Held(OwnedFd),
    Running,
}

#[derive(Debug)]
struct Engine {
    socket: OwnedFd,
    gone: bool,
}

/// Who became ready.
#[derive(Debug, Clone, Copy)]
enum Source {
    Child,
    Listener,
    Oom,
    Stream(Ready),
    Engine(usize),
    EngineEnd,
}

#[derive(Debug)]
pub(super) struct Supervisor {
    config: ShimConfig,
    pid: i32,
    pidfd: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    phase: Phase,
    streams: Streams,
    oom: Option<OomWatch>,
    engines: Vec<Engine>,
    /// A connection broke without a goodbye.
    engine_lost: bool,
    vigil: EngineWatch,
    paused: bool,
    exited: Option<Exit>,
    /// Held until the exit was told; see `bring_up::hold_root`.
    root: Option<OwnedFd>,
}

impl Supervisor {
    pub(super) fn new(
        config: ShimConfig,
        container: Container,
        signals: OwnedFd,
        engine: OwnedFd,
    ) -> Self {
        let Container {
            pid,
            pidfd,
            stdio,
            listener,
            terminal,
            phase,
            oom,
            root,
        } = container;
        let _ = nonblocking(&engine);
        let streams = Streams::new(&config, stdio, terminal);
        Self {
            config,
            pid,
            pidfd,
            listener,
            signals,
            phase,
            streams,
            oom,
            engines: vec![Engine {
                socket: engine,
                gone: false,
            }],
            engine_lost: false,
            vigil: EngineWatch::default(),
            paused: false,
            exited: None,
            root,
        }
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        self.tell(&self.hello());
        // From here on it mostly waits, for as long as the container lives.
        sys::trim_heap();
        let _ = sys::forget_code();
        while self.exited.is_none() {
            for source in self.wait()? {
                self.handle(source);
            }
            if self
                .oom
                .as_ref()
                .and_then(OomWatch::due)
                .is_some_and(|due| due <= Instant::now())
            {
                self.handle(Source::Oom);
            }
            if self.vigil.next.is_some_and(|next| next <= Instant::now()) {
                self.seek_engine();
            }
            self.forget_gone();
        }
        self.finish()
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Child, Source::Listener];
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        let mut add = |source, fd| {
            sources.push(source);
            fds.push(fd);
        };
        if let Some(oom) = &self.oom {
            add(Source::Oom, PollFd::new(oom.signal(), PollFlags::IN));
        }
        // Before the engines: a client that attaches in this round must not get again what is in the log.
        for (ready, fd) in self.streams.interests() {
            add(Source::Stream(ready), fd);
        }
        for (index, engine) in self.engines.iter().enumerate() {
            add(
                Source::Engine(index),
                PollFd::new(&engine.socket, PollFlags::IN),
            );
        }
        if let Some(engine) = &self.vigil.dying {
            add(Source::EngineEnd, PollFd::new(engine, PollFlags::IN));
        }
        let due = self.oom.as_ref().and_then(OomWatch::due);
        let timeout = self
            .vigil
            .next
            .into_iter()
            .chain(due)
            .min()
            .map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = sources
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Child => self.reap(),
            Source::Listener => self.accept(),
            Source::Oom => {
                if let Some(oom) = &mut self.oom
                    && oom.take(&self.config.cgroup)
                {
                    self.tell(&Reply::Oom);
                }
            }
            Source::Stream(ready) => self.streams.handle(ready),
            Source::Engine(index) => self.serve(index),
            Source::EngineEnd => self.seek_engine(),
        }
    }

    /// The engine has ended, or the time has come to look again.
    fn seek_engine(&mut self) {
        // No engine finds a shim without a socket; what removed it may have removed the whole run folder.
        let _ = self.reopen();
        if let Some(record) = &self.config.engine {
            self.vigil.act(record);
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(listener) = bring_up::listen_again(&self.config.bundle)? {
            self.listener = listener;
        }
        Ok(())
    }

    /// Removal is put off to the end of a round, so that the indices of the round stay right.
    fn forget_gone(&mut self) {
        self.streams.forget_gone();
        self.engines.retain(|engine| !engine.gone);
        if std::mem::take(&mut self.engine_lost) {
            match &self.config.engine {
                Some(_) if self.engines.is_empty() => {
                    if !self.vigil.begin() {
                        self.seek_engine();
                    }
                }
                _ => self.vigil.end(),
            }
        }
    }

    fn reap(&mut self) {
        let mut buffer = [0; 1024];
        while matches!(rustix::io::read(&self.signals, &mut buffer), Ok(n) if n > 0) {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid.as_raw_pid() == self.pid {
                self.exited = Some(exit(status, false));
            }
        }
    }

    /// The first word on every connection.
    fn hello(&self) -> Reply {
        let (pid, protocol) = (self.pid, PROTOCOL);
        match self.phase {
            Phase::Held(_) => Reply::Created { pid, protocol },
            Phase::Running => Reply::Started { pid, protocol },
        }
    }

    fn accept(&mut self) {
        use rustix::net::{SocketFlags, accept_with};
        // Sending never waits: an engine that stands still must not hold the shim.
        while let Ok(engine) =
            accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            if send(&engine, &self.hello(), &[]).is_ok() {
                self.engines.push(Engine {
                    socket: engine,
                    gone: false,
                });
                self.vigil.end();
            }
        }
    }

    /// To all engines. One that does not read its packets loses them.
    fn tell(&self, reply: &Reply) {
        for engine in &self.engines {
            let _ = send(&engine.socket, reply, &[]);
        }
    }

    fn serve(&mut self, index: usize) {
        match recv::<Request>(&self.engines[index].socket) {
            Ok(Some((Request::Detach, _))) => {
                let engine = &mut self.engines[index];
                let _ = send(&engine.socket, &Reply::Answer(Answer::Done), &[]);
                engine.gone = true;
            }
            Ok(Some((request, fds))) => {
                let answer = self.answer(request, fds);
                let _ = send(&self.engines[index].socket, &Reply::Answer(answer), &[]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) if error.raw_os_error().is_none() => {
                // Not of our language.
                let _ = send(
                    &self.engines[index].socket,
                    &Reply::Answer(Answer::Refused(error.to_string())),
                    &[],
                );
            }
            Ok(None) | Err(_) => {
                self.engines[index].gone = true;
                self.vigil.lost(&self.engines[index].socket);
                self.engine_lost = true;
            }
        }
    }

    fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> Answer {
        let result = match request {
            Request::State => return self.state(),
            Request::Start => return self.open_gate(),
            Request::Kill { signal } => self.kill(signal),
            Request::KillAll => self.config.cgroup.kill(),
            Request::KillGroup { .. } => Err(io::Error::other("not for a container")),
            Request::Pause => self.freeze(true),
            Request::Resume => self.freeze(false),
            Request::Resize { rows, columns } => self.streams.resize(rows, columns),
            Request::Attach(want) => match fds.into_iter().next() {
                Some(stream) => self.streams.attach(stream, want),
                None => Err(io::Error::other("no stream came along")),
            },
            Request::Reopen => self.reopen(),
            Request::Shutdown => self
                .kill(libc::SIGKILL)
                .and_then(|()| self.config.cgroup.kill()),
            Request::Detach => Ok(()),
        };
        match result {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused(error.to_string()),
        }
    }

    fn state(&self) -> Answer {
        Answer::State {
            id: self.config.id.clone(),
            pid: self.pid,
            shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
            paused: self.paused,
            tty: self.config.tty,
            started: matches!(self.phase, Phase::Running),
            dropped_log_records: self.streams.dropped_log_records(),
        }
    }

    fn open_gate(&mut self) -> Answer {
        let Phase::Held(gate) = std::mem::replace(&mut self.phase, Phase::Running) else {
            return Answer::Refused("the container is running already".to_owned());
        };
        match bring_up::go(&gate, self.pid) {
            Ok(()) => {
                self.tell(&Reply::Started {
                    pid: self.pid,
                    protocol: PROTOCOL,
                });
                Answer::Done
            }
            Err(failure) => {
                let code = i32::from(failure.exit_code);
                self.exited = Some(Exit::now(code, None, false));
                Answer::NotStarted(failure)
            }
        }
    }

    fn kill(&mut self, signal: i32) -> io::Result<()> {
        match sys::pidfd_signal(self.pidfd.as_fd(), signal) {
            // It has ended; the news is on its way.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            Err(error) => Err(error),
            // A frozen process dies when it thaws.
            Ok(()) if signal == libc::SIGKILL && self.paused => self.freeze(false),
            Ok(()) => Ok(()),
        }
    }

    fn freeze(&mut self, frozen: bool) -> io::Result<()> {
        self.config.cgroup.freeze(frozen)?;
        self.paused = frozen;
        Ok(())
    }

    /// The program has ended: everything in order, the record first, then the news.
    fn finish(mut self) -> io::Result<()> {
        let mut exit = self.exited.take().expect("the loop ends when it is set");
        exit.oom = self.config.cgroup.oom_kills() > 0;
        // The kernel holds a notice back for some milliseconds when another has just been given; the end may overtake it.
        if exit.oom
            && self
                .oom
                .as_mut()
                .is_none_or(|watch| watch.take(&self.config.cgroup))
        {
            self.tell(&Reply::Oom);
        }
        if self.paused {
            let _ = self.freeze(false);
        }
        // With a pid namespace of its own no process is left; otherwise children may be.
        let _ = self.config.cgroup.kill();
        self.streams.drain_outputs();
        let recorded = record::write(&self.config.exit_record, &exit);
        let removed = self.config.cgroup.remove();
        // If the exit could not be recorded, the socket without a listener shows that there was a run.
        if recorded.is_ok() {
            let _ = std::fs::remove_file(Path::new(bring_up::SOCKET));
        }
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        // A slow client delays only this process.
        self.streams.take_leave();
        self.tell(&Reply::Exited(exit));
        self.engines.clear();
        drop(self.root.take());
        self.streams.finish();
        recorded.and(removed)
    }
}
