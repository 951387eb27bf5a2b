//! The shim's one loop, from the program's start to the exit record.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::WaitOptions;

use super::clients::Client;
use super::logger::{LineBuffer, Logger};
use super::restart::Vigil;
use super::stdio::{Stdio, nonblocking};
use super::{bring_up, exit, record};
use crate::cgroup::OomWatch;
use crate::log::Stream;
use crate::sys;
use crate::wire::{Answer, Exit, Reply, Request, ShimConfig, recv, send};

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
struct Output {
    stream: Stream,
    fd: OwnedFd,
    lines: LineBuffer,
    ended: bool,
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
    Output(usize),
    Input,
    Engine(usize),
    EngineEnd,
    ClientIn(usize),
    ClientOut(usize),
}

#[derive(Debug)]
pub(super) struct Supervisor {
    config: ShimConfig,
    pid: i32,
    pidfd: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    phase: Phase,
    outputs: Vec<Output>,
    /// The container's standard input (or its terminal), and what did not fit into it yet.
    input: Option<OwnedFd>,
    input_pending: Vec<u8>,
    /// No more input will come; it closes when what is pending has gone.
    input_ending: bool,
    terminal: Option<OwnedFd>,
    oom: Option<OomWatch>,
    engines: Vec<Engine>,
    /// A connection broke without a goodbye.
    engine_lost: bool,
    clients: Vec<Client>,
    logger: Option<Logger>,
    vigil: Vigil,
    paused: bool,
    exited: Option<Exit>,
    /// Held until the shim leaves; see `bring_up::hold_root`.
    _root: Option<OwnedFd>,
}

impl Supervisor {
    pub(super) fn new(config: ShimConfig, container: Container, signals: OwnedFd, engine: OwnedFd) -> Self {
        let Container { pid, pidfd, stdio, listener, terminal, phase, oom, root } = container;
        let mut outputs = Vec::new();
        let mut input = stdio.stdin;
        let mut own_terminal = None;
        for (stream, fd) in [(Stream::Stdout, stdio.stdout), (Stream::Stderr, stdio.stderr)] {
            outputs.extend(fd.map(|fd| Output { stream, fd, lines: LineBuffer::new(), ended: false }));
        }
        if let Some(master) = terminal
            && nonblocking(&master).is_ok()
        {
            own_terminal = master.try_clone().ok();
            input = if config.stdin_open { master.try_clone().ok() } else { None };
            outputs.push(Output { stream: Stream::Stdout, fd: master, lines: LineBuffer::new(), ended: false });
        }
        let _ = nonblocking(&engine);
        let logger = config.log.clone().map(Logger::new);
        Self {
            config,
            pid,
            pidfd,
            listener,
            signals,
            phase,
            outputs,
            input,
            input_pending: Vec::new(),
            input_ending: false,
            terminal: own_terminal,
            oom,
            engines: vec![Engine { socket: engine, gone: false }],
            engine_lost: false,
            clients: Vec::new(),
            logger,
            vigil: Vigil::default(),
            paused: false,
            exited: None,
            _root: root,
        }
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let first = match self.phase {
            Phase::Held(_) => Reply::Created { pid: self.pid },
            Phase::Running => Reply::Started { pid: self.pid },
        };
        self.tell(&first);
        // From here on it mostly waits, for as long as the container lives.
        sys::trim_heap();
        let _ = sys::forget_code();
        while self.exited.is_none() {
            for source in self.wait()? {
                self.handle(source);
            }
            if self.vigil.next.is_some_and(|next| next <= Instant::now())
                && let Some(record) = &self.config.engine
            {
                self.vigil.act(record);
            }
            self.forget_gone();
        }
        self.finish()
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Child, Source::Listener];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::new(fd, flags));
        };
        if let Some(oom) = &self.oom {
            add(Source::Oom, oom.signal(), PollFlags::IN);
        }
        if !self.clients.iter().any(Client::holds_back) {
            for (index, output) in self.outputs.iter().enumerate() {
                add(Source::Output(index), &output.fd, PollFlags::IN);
            }
        }
        if let (Some(input), false) = (&self.input, self.input_pending.is_empty()) {
            add(Source::Input, input, PollFlags::OUT);
        }
        for (index, engine) in self.engines.iter().enumerate() {
            add(Source::Engine(index), &engine.socket, PollFlags::IN);
        }
        if let Some(engine) = &self.vigil.dying {
            add(Source::EngineEnd, engine, PollFlags::IN);
        }
        for (index, client) in self.clients.iter().enumerate() {
            if client.waiting() {
                add(Source::ClientOut(index), &client.stream, PollFlags::OUT);
            }
            if !client.input_open {
                // Without anything to ask for, poll still tells of a client that went away.
                add(Source::ClientIn(index), &client.stream, PollFlags::empty());
            } else if self.input_pending.is_empty() {
                add(Source::ClientIn(index), &client.stream, PollFlags::IN);
            }
        }
        let timeout = self.vigil.next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = sources.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
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
            Source::Output(index) => self.copy_output(index),
            Source::Input => self.push_input(),
            Source::Engine(index) => self.serve(index),
            Source::EngineEnd => {
                if let Some(record) = &self.config.engine {
                    self.vigil.act(record);
                }
            }
            Source::ClientOut(index) => self.clients[index].drain(),
            Source::ClientIn(index) => self.read_client(index),
        }
    }

    /// Removal is put off to the end of a round, so that the indices of the round stay right.
    fn forget_gone(&mut self) {
        let had_input = self.clients.iter().any(|client| client.input_open);
        self.clients.retain(|client| !client.gone);
        if had_input && !self.clients.iter().any(|client| client.input_open) {
            self.end_input();
        }
        self.outputs.retain(|output| !output.ended);
        self.engines.retain(|engine| !engine.gone);
        if std::mem::take(&mut self.engine_lost) {
            match &self.config.engine {
                Some(record) if self.engines.is_empty() => self.vigil.begin(record),
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

    fn accept(&mut self) {
        use rustix::net::{SocketFlags, accept_with};
        // Sending never waits: an engine that stands still must not hold the shim.
        while let Ok(engine) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let hello = match self.phase {
                Phase::Held(_) => Reply::Created { pid: self.pid },
                Phase::Running => Reply::Started { pid: self.pid },
            };
            if send(&engine, &hello, &[]).is_ok() {
                self.engines.push(Engine { socket: engine, gone: false });
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
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) if error.raw_os_error().is_none() => {
                // Not of our language.
                let _ = send(&self.engines[index].socket, &Reply::Answer(Answer::Refused(error.to_string())), &[]);
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
            Request::Pause => self.freeze(true),
            Request::Resume => self.freeze(false),
            Request::Resize { rows, columns } => self.resize(rows, columns),
            Request::Attach(want) => match fds.into_iter().next() {
                Some(stream) => Client::new(stream, want, self.config.tty).map(|client| self.clients.push(client)),
                None => Err(io::Error::other("no stream came along")),
            },
            Request::Shutdown => self.kill(libc::SIGKILL).and_then(|()| self.config.cgroup.kill()),
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
            dropped_log_records: self.logger.as_ref().map_or(0, |logger| logger.dropped),
        }
    }

    fn open_gate(&mut self) -> Answer {
        let Phase::Held(gate) = std::mem::replace(&mut self.phase, Phase::Running) else {
            return Answer::Refused("the container is running already".to_owned());
        };
        match bring_up::go(&gate, self.pid) {
            Ok(()) => {
                self.tell(&Reply::Started { pid: self.pid });
                Answer::Done
            }
            Err(failure) => {
                let code = i32::from(failure.exit_code);
                self.exited = Some(Exit { code, signal: None, oom: false, at: record::now() });
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

    fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Err(io::Error::other("the container has no terminal")) };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }

    /// One piece of output to the log and to every client.
    fn copy_output(&mut self, index: usize) {
        let output = &mut self.outputs[index];
        match rustix::io::read(&output.fd, output.lines.room()) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => {
                // A terminal says EIO when its last user is gone.
                if let Some(logger) = &mut self.logger {
                    logger.write(output.stream, &mut output.lines, 0, true);
                }
                output.ended = true;
            }
            Ok(count) => {
                let bytes = output.lines.take_in(count);
                for client in &mut self.clients {
                    client.offer(output.stream, bytes);
                }
                match &mut self.logger {
                    Some(logger) => logger.write(output.stream, &mut output.lines, count, false),
                    None => output.lines.clear(),
                }
            }
        }
    }

    fn read_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.input_open {
            client.gone = true;
            return;
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&client.stream, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => {
                // Half closed: it may still want to see the output.
                client.close_input();
                if !self.clients.iter().any(|client| client.input_open) {
                    self.end_input();
                }
            }
            Ok(count) => {
                self.input_pending.extend_from_slice(&buffer[..count]);
                self.push_input();
            }
        }
    }

    fn push_input(&mut self) {
        let Some(input) = &self.input else {
            self.input_pending = Vec::new();
            return;
        };
        while !self.input_pending.is_empty() {
            match rustix::io::write(input, &self.input_pending) {
                Ok(count) => drop(self.input_pending.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.input = None;
                    self.input_pending = Vec::new();
                    return;
                }
            }
        }
        self.input_pending = Vec::new();
        if self.input_ending {
            self.input = None;
        }
    }

    /// The last client with input left. A terminal has no end of input.
    fn end_input(&mut self) {
        if self.config.stdin_once && !self.config.tty {
            self.input_ending = true;
            self.push_input();
        }
    }

    /// The program has ended: everything in order, the record first, then the news.
    fn finish(mut self) -> io::Result<()> {
        let mut exit = self.exited.take().expect("the loop ends when it is set");
        exit.oom = self.config.cgroup.oom_kills() > 0;
        if self.paused {
            let _ = self.freeze(false);
        }
        // With a pid namespace of its own nobody is left; otherwise children of it may be.
        let _ = self.config.cgroup.kill();
        while !self.outputs.is_empty() {
            self.drain_output();
        }
        let recorded = record::write(&self.config.exit_record, &exit);
        let removed = self.config.cgroup.remove();
        let _ = std::fs::remove_file(Path::new("shim.sock"));
        for client in std::mem::take(&mut self.clients) {
            client.finish();
        }
        self.tell(&Reply::Exited(exit));
        recorded.and(removed)
    }

    /// What the dead program left in the pipes. Somebody outside may hold a writing end: then what is there now counts.
    fn drain_output(&mut self) {
        let index = self.outputs.len() - 1;
        let mut ready = [PollFd::new(&self.outputs[index].fd, PollFlags::IN)];
        let pending = poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap_or(0) > 0;
        if pending {
            self.copy_output(index);
        } else {
            let output = &mut self.outputs[index];
            if let Some(logger) = &mut self.logger {
                logger.write(output.stream, &mut output.lines, 0, true);
            }
            output.ended = true;
        }
        self.forget_gone();
    }
}
