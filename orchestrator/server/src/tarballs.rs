//! Bodies that are archives: written by a thread as fast as the client reads, in constant memory.

use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{TryStreamExt, stream};
use hoist_api::BundleEvent;
use hoist_api::frames::{StreamKind, encode};
use hoist_engine::{BundleOut, Handle};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

const PIECE: usize = 256 << 10;
/// Pieces between the writer and the client.
const PIECES: usize = 4;

/// A tar as the body. When its writing fails the body breaks off, so that nobody takes a torn archive for a whole one.
pub(crate) fn written<F>(engine: &Handle, write: F) -> Response
where
    F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (out, pieces) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut writer = BufWriter::with_capacity(PIECE, Pieces(out.clone()));
        if let Err(error) = write(&mut writer).and_then(|()| writer.flush()) {
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(%error, "an archive was not finished");
            }
            let _ = out.blocking_send(Err(error));
        }
    });
    let state = (pieces, engine.begin());
    let body = stream::unfold(state, |(mut pieces, busy)| async move {
        let piece = pieces.recv().await?;
        Some((piece, (pieces, busy)))
    });
    (
        [(header::CONTENT_TYPE, "application/x-tar")],
        Body::from_stream(body),
    )
        .into_response()
}

struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(data)))
            .map_err(gone)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request's body for code that blocks.
pub(crate) fn received(body: Body) -> impl io::Read + Send + 'static {
    SyncIoBridge::new(Box::pin(StreamReader::new(
        body.into_data_stream().map_err(io::Error::other),
    )))
}

/// An archive and what is said about its making, in one body: docker's frames, the archive as stdout, talk as stderr.
#[derive(Debug, Clone)]
pub(crate) struct Frames {
    out: mpsc::Sender<io::Result<Bytes>>,
}

impl Frames {
    /// The frames and the response that carries them.
    pub(crate) fn new(engine: &Handle) -> (Self, Response) {
        let (out, pieces) = mpsc::channel(PIECES);
        let body = Body::from_stream(stream::unfold(
            (pieces, engine.begin()),
            |(mut pieces, busy)| async move {
                let piece: io::Result<Bytes> = pieces.recv().await?;
                Some((piece, (pieces, busy)))
            },
        ));
        let content = [(
            header::CONTENT_TYPE,
            "application/vnd.docker.multiplexed-stream",
        )];
        (Self { out }, (content, body).into_response())
    }
}

impl BundleOut for Frames {
    /// A reader that is gone shows up where the archive is written.
    async fn say(&self, event: BundleEvent) {
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        let _ = self
            .out
            .send(Ok(encode(StreamKind::Stderr, &line).into()))
            .await;
    }

    fn archive(&self) -> Box<dyn Write + Send> {
        Box::new(BufWriter::with_capacity(
            PIECE,
            ArchiveFrames(self.out.clone()),
        ))
    }
}

struct ArchiveFrames(mpsc::Sender<io::Result<Bytes>>);

impl Write for ArchiveFrames {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(PIECE)];
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0
            .blocking_send(Ok(encode(StreamKind::Stdout, data).into()))
            .map_err(gone)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
