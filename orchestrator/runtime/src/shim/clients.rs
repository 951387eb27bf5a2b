//! Attached clients: copies of the output, with a bound on what waits for a slow one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use super::stdio::nonblocking;
use crate::client::Attach;
use crate::log::Stream;

/// What may wait for a client that reads slowly.
const QUEUE_LIMIT: usize = 256 * 1024;
/// How long a client may take for the rest after the container's end.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: OwnedFd,
    want: Attach,
    /// Docker's frames around each piece; raw bytes for a terminal.
    framed: bool,
    queue: Vec<u8>,
    sent: usize,
    pub(super) input_open: bool,
    /// It reads no more; what it wrote before may still be on the way.
    deaf: bool,
    pub(super) gone: bool,
}

impl Client {
    pub(super) fn new(stream: OwnedFd, want: Attach, tty: bool) -> io::Result<Self> {
        nonblocking(&stream)?;
        Ok(Self {
            stream,
            want,
            framed: !tty,
            queue: Vec::new(),
            sent: 0,
            input_open: want.stdin,
            deaf: false,
            gone: false,
        })
    }

    pub(super) fn waiting(&self) -> bool {
        self.sent < self.queue.len()
    }

    fn close_output(&mut self) {
        self.deaf = true;
        self.queue = Vec::new();
        self.sent = 0;
        self.gone = !self.input_open;
    }

    pub(super) fn close_input(&mut self) {
        self.input_open = false;
        self.gone |= self.deaf;
    }

    /// Holds the program's output back until it has read more.
    pub(super) fn holds_back(&self) -> bool {
        self.want.lossless && !self.gone && !self.deaf && self.queue.len() - self.sent >= QUEUE_LIMIT
    }

    pub(super) fn offer(&mut self, stream: Stream, bytes: &[u8]) {
        let (wanted, number) = match stream {
            Stream::Stdout => (self.want.stdout, 1),
            Stream::Stderr => (self.want.stderr, 2),
        };
        if !wanted || self.gone || self.deaf || bytes.is_empty() {
            return;
        }
        let length = u32::try_from(bytes.len()).expect("the read buffer is small").to_be_bytes();
        let frame = [number, 0, 0, 0, length[0], length[1], length[2], length[3]];
        let head: &[u8] = if self.framed { &frame } else { &[] };
        let mut done = 0;
        if !self.waiting() {
            match send(&self.stream, &[IoSlice::new(head), IoSlice::new(bytes)]) {
                Ok(count) => done = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.close_output(),
            }
        }
        if done == head.len() + bytes.len() {
            return;
        }
        self.queue.drain(..self.sent);
        self.sent = 0;
        if done < head.len() {
            self.queue.extend_from_slice(&head[done..]);
        }
        self.queue.extend_from_slice(&bytes[done.saturating_sub(head.len())..]);
        if self.queue.len() > QUEUE_LIMIT && !self.want.lossless {
            // It would see a stream with a hole; better none.
            self.gone = true;
        }
    }

    pub(super) fn drain(&mut self) {
        while self.waiting() {
            match send(&self.stream, &[IoSlice::new(&self.queue[self.sent..])]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close_output(),
            }
        }
        self.queue = Vec::new();
        self.sent = 0;
    }

    /// The rest, within a bound; then the stream's end.
    pub(super) fn finish(mut self) {
        let deadline = Instant::now() + FAREWELL;
        loop {
            self.drain();
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            if self.gone || !self.waiting() {
                break;
            }
            let Ok(left) = left.try_into() else { break };
            let _ = poll(&mut [PollFd::new(&self.stream, PollFlags::OUT)], Some(&left));
        }
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write);
    }
}

fn send(stream: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(stream.as_fd(), slices, &mut SendAncillaryBuffer::default(), flags)?)
}
