//! The way of decoded bytes from the thread that decodes to the thread that unpacks.
//!
//! One large layer keeps two processors busy this way. A few buffers travel round, so memory stays bounded and a slow
//! disk slows the decoder down.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::{Digest, Hasher};

const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

enum Message {
    Bytes(Vec<u8>),
    /// Without this word the end of the channel is a failure of the sender's.
    End,
}

pub(crate) struct PipeWriter {
    full: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
}

/// The receiving end; it computes the digest of everything that comes.
pub(crate) struct PipeReader {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    complete: bool,
    hasher: Hasher,
}

pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (full, received) = sync_channel(PIECES);
    let (returned, empty) = channel();
    let drawer = PipeReader {
        full: received,
        empty: returned,
        current: Vec::new(),
        position: 0,
        complete: false,
        hasher: Hasher::new(),
    };
    (PipeWriter { full, empty }, drawer)
}

impl PipeWriter {
    /// Passes a source on to its end; `false` when the other side has gone.
    pub(crate) fn pass(self, source: &mut dyn Read) -> io::Result<bool> {
        loop {
            let mut buffer = self.empty.try_recv().unwrap_or_default();
            buffer.resize(PIECE, 0);
            let count = fill(source, &mut buffer)?;
            buffer.truncate(count);
            let message = if count == 0 {
                Message::End
            } else {
                Message::Bytes(buffer)
            };
            if self.full.send(message).is_err() {
                return Ok(false);
            }
            if count == 0 {
                return Ok(true);
            }
        }
    }
}

/// Pieces are full ones but for the last: a wake-up of the other side should be worth it.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl PipeReader {
    /// Draws what is left, and gives the digest of all.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() && !self.complete {
            match self.full.recv() {
                Ok(Message::Bytes(bytes)) => {
                    self.hasher.update(&bytes);
                    let spent = std::mem::replace(&mut self.current, bytes);
                    self.position = 0;
                    if spent.capacity() > 0 {
                        // The other side may be done already.
                        let _ = self.empty.send(spent);
                    }
                }
                Ok(Message::End) => self.complete = true,
                Err(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the layer's source failed",
                    ));
                }
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
