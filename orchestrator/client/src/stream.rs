//! Answers that go on: bytes, JSON lines, docker's multiplexed frames, hijacked connections.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use hoist_api::frames::{Decoder, Frame, HEADER, decode};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::{ClientError, Result};

/// The body of an answer, chunk by chunk.
#[derive(Debug)]
pub struct ByteStream {
    body: Incoming,
}

impl ByteStream {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body }
    }

    /// `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| ClientError::Transport {
                attempt: "read",
                source: source.into(),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Newline-delimited JSON.
#[derive(Debug)]
pub struct JsonStream<T> {
    request: String,
    bytes: ByteStream,
    buffer: Vec<u8>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(super) fn new(request: String, bytes: ByteStream) -> Self {
        Self {
            request,
            bytes,
            buffer: Vec::new(),
            item: PhantomData,
        }
    }

    /// `None` at the end.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.decode(&line).map(Some);
            }
            match self.bytes.next().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => self.buffer.push(b'\n'),
            }
        }
    }

    fn decode(&self, line: &[u8]) -> Result<T> {
        serde_json::from_slice(line).map_err(|source| ClientError::Decode {
            request: self.request.clone(),
            source,
        })
    }
}

/// Multiplexed frames of the log endpoint.
#[derive(Debug)]
pub struct LogFrames {
    bytes: ByteStream,
    frames: Decoder,
}

impl LogFrames {
    pub(super) fn new(bytes: ByteStream) -> Self {
        Self {
            bytes,
            frames: Decoder::default(),
        }
    }

    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Ok(Some(frame));
            }
            match self.bytes.next().await? {
                Some(chunk) => self.frames.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Reads multiplexed frames from any reader, such as the reading half of [`Hijacked`].
#[derive(Debug)]
pub struct FrameReader<R> {
    reader: R,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(reader: R) -> Self {
        Self { reader }
    }

    /// `None` at the end of the stream.
    pub async fn next(&mut self) -> std::io::Result<Option<Frame>> {
        let mut header = [0; HEADER];
        if let Err(error) = self.reader.read_exact(&mut header).await {
            return if error.kind() == std::io::ErrorKind::UnexpectedEof {
                Ok(None)
            } else {
                Err(error)
            };
        }
        let (stream, length) = decode(header);
        let mut data = vec![0; length];
        self.reader.read_exact(&mut data).await?;
        Ok(Some(Frame { stream, data }))
    }
}

/// A connection taken over for raw bytes in both directions. Use `tokio::io::split` for the halves; shutting down the
/// writing half tells the engine that stdin has ended while output goes on.
#[derive(Debug)]
pub struct Hijacked {
    io: TokioIo<Upgraded>,
}

impl Hijacked {
    pub(super) fn new(io: TokioIo<Upgraded>) -> Self {
        Self { io }
    }
}

impl AsyncRead for Hijacked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
