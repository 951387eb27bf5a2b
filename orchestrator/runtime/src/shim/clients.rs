//! Attached clients: copies of the output, with a bound on what waits for a slow one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use super::stdio::nonblocking;
use crate::client::Attach;
use crate::log::Stream;

/// What may wait for a client that reads slowly.
const QUEUE_LIMIT: usize = 256 * 1024;
/// How long a client may stand still before it loses the rest, once the container has ended. Long, since a user may be
/// in a pager; a client that disconnects is noticed anyway.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How long a client that has received everything may keep sending. Its input is discarded, but closing a connection
/// with unread bytes is an error for their sender.
const LINGER: Duration = Duration::from_secs(10);

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
    farewell: StreamEnd,
}

/// How far the end of a client's stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamEnd {
    /// The container runs.
    NotYet,
    /// The rest goes out; the last byte went when this says.
    Sending(Instant),
    /// The end was sent then, and the client's own end is awaited.
    Listening(Instant),
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
            farewell: StreamEnd::NotYet,
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
        self.want.lossless
            && !self.gone
            && !self.deaf
            && self.queue.len() - self.sent >= QUEUE_LIMIT
    }

    pub(super) fn offer(&mut self, stream: Stream, bytes: &[u8]) {
        let (wanted, number) = match stream {
            Stream::Stdout => (self.want.stdout, 1),
            Stream::Stderr => (self.want.stderr, 2),
        };
        if !wanted || self.gone || self.deaf || bytes.is_empty() {
            return;
        }
        let length = u32::try_from(bytes.len())
            .expect("the read buffer is small")
            .to_be_bytes();
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
        self.queue
            .extend_from_slice(&bytes[done.saturating_sub(head.len())..]);
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

    /// What can be done for its end without waiting; `gone` when that was all.
    pub(super) fn take_leave(&mut self) {
        if self.farewell == StreamEnd::NotYet {
            self.farewell = StreamEnd::Sending(Instant::now());
        }
        let before = self.sent;
        self.drain();
        if let StreamEnd::Sending(since) = &mut self.farewell {
            if self.sent != before {
                *since = Instant::now();
            }
            if !self.waiting() && !self.gone {
                let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write);
                self.farewell = StreamEnd::Listening(Instant::now());
            }
        }
        // Also while the rest goes out: a client may want to be rid of its input first.
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.stream, &mut buffer) {
                Ok(count) if count > 0 => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The end of its input, and of everything once it has the rest.
                Ok(_) => {
                    self.input_open = false;
                    self.gone |= matches!(self.farewell, StreamEnd::Listening(_));
                    break;
                }
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.gone |= self.patience().is_zero();
    }

    /// What may pass before it has lost its due.
    pub(super) fn patience(&self) -> Duration {
        let (since, limit) = match self.farewell {
            StreamEnd::NotYet => return PATIENCE,
            StreamEnd::Sending(since) => (since, PATIENCE),
            StreamEnd::Listening(since) => (since, LINGER),
        };
        limit.saturating_sub(since.elapsed())
    }

    /// What its end waits for.
    pub(super) fn awaited(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, self.waiting());
        // A half that is closed is readable for ever.
        flags.set(
            PollFlags::IN,
            self.input_open || matches!(self.farewell, StreamEnd::Listening(_)),
        );
        flags
    }
}

fn send(stream: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(
        stream.as_fd(),
        slices,
        &mut SendAncillaryBuffer::default(),
        flags,
    )?)
}
