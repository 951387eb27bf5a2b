//! A connection to an engine that may answer before it has read what it is sent, and close.
//!
//! Sending then fails, but the answer is there and says why. So what cannot be sent any more is dropped, and what the
//! request came to shows in the reading alone: an answer, or the end of the connection without one.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// How long an engine may take for its first response. On a busy machine it takes a second or two.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// The engine has stopped reading.
    unread: bool,
}

impl Connection {
    pub(super) async fn open(socket: &Path) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => {
                    return Ok(Self {
                        stream,
                        unread: false,
                    });
                }
                // Its backlog is full (unix(7)); connecting cannot wait for a free slot.
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The listening process.
    pub(super) fn engine(&self) -> Option<i32> {
        self.stream.peer_cred().ok()?.pid()
    }

    fn sent(&mut self, outcome: io::Result<usize>, length: usize) -> io::Result<usize> {
        match outcome {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                self.unread = true;
                Ok(length)
            }
            outcome => outcome,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.unread {
            return Poll::Ready(Ok(length));
        }
        Pin::new(&mut self.stream)
            .poll_write_vectored(cx, bufs)
            .map(|outcome| self.sent(outcome, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
