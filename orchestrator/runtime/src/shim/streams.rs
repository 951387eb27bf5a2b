//! The traffic of the container's standard streams: output to the log and to attached clients, their input to the program.
//!
//! Must not know the engine, its requests, or how the container lives and ends.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clients::Client;
use super::logger::{LineBuffer, Logger};
use super::stdio::{Stdio, nonblocking};
use crate::client::Attach;
use crate::log::Stream;
use crate::wire::ShimConfig;

#[derive(Debug)]
pub(super) struct Streams {
    tty: bool,
    /// Input ends with the first client that brought some.
    stdin_once: bool,
    outputs: Vec<Output>,
    /// The container's standard input (or its terminal), and what did not fit into it yet.
    input: Option<OwnedFd>,
    input_pending: Vec<u8>,
    /// No more input will come; it closes when what is pending has gone.
    input_ending: bool,
    terminal: Option<OwnedFd>,
    clients: Vec<Client>,
    logger: Option<Logger>,
}

#[derive(Debug)]
struct Output {
    stream: Stream,
    fd: OwnedFd,
    lines: LineBuffer,
    ended: bool,
}

/// Which descriptor became ready. Indices hold until `forget_gone`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    Output(usize),
    Input,
    ClientIn(usize),
    ClientOut(usize),
}

impl Output {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self {
            stream,
            fd,
            lines: LineBuffer::new(),
            ended: false,
        }
    }
}

impl Streams {
    pub(super) fn new(config: &ShimConfig, stdio: Stdio, terminal: Option<OwnedFd>) -> Self {
        let outputs = [
            (Stream::Stdout, stdio.stdout),
            (Stream::Stderr, stdio.stderr),
        ];
        let outputs = outputs
            .into_iter()
            .filter_map(|(stream, fd)| Some(Output::new(stream, fd?)));
        let mut streams = Self {
            tty: config.tty,
            stdin_once: config.stdin_once,
            outputs: outputs.collect(),
            input: stdio.stdin,
            input_pending: Vec::new(),
            input_ending: false,
            terminal: None,
            clients: Vec::new(),
            logger: config.log.clone().map(Logger::new),
        };
        if let Some(master) = terminal
            && nonblocking(&master).is_ok()
        {
            streams.terminal = master.try_clone().ok();
            streams.input = if config.stdin_open {
                master.try_clone().ok()
            } else {
                None
            };
            streams.outputs.push(Output::new(Stream::Stdout, master));
        }
        streams
    }

    /// What to wait for now.
    pub(super) fn interests(&self) -> Vec<(Ready, PollFd<'_>)> {
        let mut interests = Vec::new();
        let mut add = |ready, fd, flags| interests.push((ready, PollFd::new(fd, flags)));
        if !self.clients.iter().any(Client::holds_back) {
            for (index, output) in self.outputs.iter().enumerate() {
                add(Ready::Output(index), &output.fd, PollFlags::IN);
            }
        }
        if let (Some(input), false) = (&self.input, self.input_pending.is_empty()) {
            add(Ready::Input, input, PollFlags::OUT);
        }
        for (index, client) in self.clients.iter().enumerate() {
            if client.waiting() {
                add(Ready::ClientOut(index), &client.stream, PollFlags::OUT);
            }
            if !client.input_open {
                // Without anything to ask for, poll still tells of a client that went away.
                add(Ready::ClientIn(index), &client.stream, PollFlags::empty());
            } else if self.input_pending.is_empty() {
                add(Ready::ClientIn(index), &client.stream, PollFlags::IN);
            }
        }
        interests
    }

    pub(super) fn handle(&mut self, ready: Ready) {
        match ready {
            Ready::Output(index) => self.copy_output(index),
            Ready::Input => self.push_input(),
            Ready::ClientOut(index) => self.clients[index].drain(),
            Ready::ClientIn(index) => self.read_client(index),
        }
    }

    /// Removal is put off to the end of a round, so that the indices of the round stay right.
    pub(super) fn forget_gone(&mut self) {
        let had_input = self.input_comes();
        self.clients.retain(|client| !client.gone);
        if had_input && !self.input_comes() {
            self.end_input();
        }
        self.outputs.retain(|output| !output.ended);
    }

    pub(super) fn attach(&mut self, stream: OwnedFd, want: Attach) -> io::Result<()> {
        self.clients.push(Client::new(stream, want, self.tty)?);
        Ok(())
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else {
            return Err(io::Error::other("the container has no terminal"));
        };
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }

    pub(super) fn dropped_log_records(&self) -> u64 {
        self.logger.as_ref().map_or(0, |logger| logger.dropped)
    }

    /// What the dead program left in the pipes. Another process may hold a writing end: then only this is read.
    pub(super) fn drain_outputs(&mut self) {
        while let Some(last) = self.outputs.len().checked_sub(1) {
            let mut ready = [PollFd::new(&self.outputs[last].fd, PollFlags::IN)];
            let pending = poll(
                &mut ready,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                }),
            )
            .unwrap_or(0)
                > 0;
            if pending {
                self.copy_output(last);
            } else {
                self.end_output(last);
            }
            self.forget_gone();
        }
    }

    /// The clients' rest and the end of their streams, as far as it goes without waiting.
    pub(super) fn take_leave(&mut self) {
        self.clients.iter_mut().for_each(Client::take_leave);
        self.clients.retain(|client| !client.gone);
    }

    /// Until each client has everything, or has gone away, or has stood still for too long.
    pub(super) fn finish(&mut self) {
        self.take_leave();
        while let Some(patience) = self.clients.iter().map(Client::patience).min() {
            let mut fds: Vec<_> = self
                .clients
                .iter()
                .map(|client| PollFd::new(&client.stream, client.awaited()))
                .collect();
            let limit = Timespec::try_from(patience).ok();
            if poll(&mut fds, limit.as_ref()).is_err_and(|error| error != Errno::INTR) {
                return;
            }
            self.take_leave();
        }
    }

    /// One piece of output to the log and to every client.
    fn copy_output(&mut self, index: usize) {
        let output = &mut self.outputs[index];
        match rustix::io::read(&output.fd, output.lines.room()) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal says EIO when its last user is gone.
            Ok(0) | Err(_) => self.end_output(index),
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

    fn end_output(&mut self, index: usize) {
        let output = &mut self.outputs[index];
        if let Some(logger) = &mut self.logger {
            logger.write(output.stream, &mut output.lines, 0, true);
        }
        output.ended = true;
    }

    fn input_comes(&self) -> bool {
        self.clients.iter().any(|client| client.input_open)
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
                if !self.input_comes() {
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
        if self.stdin_once && !self.tty {
            self.input_ending = true;
            self.push_input();
        }
    }
}
