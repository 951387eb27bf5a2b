//! DNS messages over a non-blocking stream: two bytes of length, then the message.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug)]
pub(crate) struct Conversation {
    stream: TcpStream,
    /// The longest message that is taken.
    longest: usize,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// Answers that the other end does not take; more, and it is not served.
const OUTGOING: usize = 256 * 1024;

impl AsFd for Conversation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Conversation {
    /// The stream must be non-blocking.
    pub(crate) fn new(stream: TcpStream, longest: usize) -> Self {
        Self {
            stream,
            longest,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// False when the other end has left too much untaken.
    pub(crate) fn queue(&mut self, message: &[u8]) -> bool {
        // The codec makes nothing longer.
        let Ok(length) = u16::try_from(message.len()) else {
            return true;
        };
        self.outgoing.extend(length.to_be_bytes());
        self.outgoing.extend(message);
        self.outgoing.len() <= OUTGOING
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The messages that are complete; Err when the other end has closed or the connection is broken.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.incoming.extend(&chunk[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        let mut messages = Vec::new();
        while let Some(length) = self
            .incoming
            .first_chunk()
            .map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
        {
            if length > self.longest {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.incoming.len() < 2 + length {
                break;
            }
            messages.push(self.incoming[2..2 + length].to_vec());
            self.incoming.drain(..2 + length);
        }
        Ok(messages)
    }
}
