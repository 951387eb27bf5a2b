//! One layer from a registry into the store, in one pass from the socket to the disk.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use tokio::sync::mpsc;
use tokio_util::bytes::{Buf, Bytes};

use crate::pull::PullError;
use crate::registry::{ATTEMPTS, Registry, RegistryError, backoff};
use crate::store::{Expected, LayerBlob, LayerError};
use crate::{Digest, Phase, Progress, ProgressSink, Store};

/// Pieces (of up to some 400 KiB) between the socket and the unpacker: a slow disk slows the socket down.
const PIECES: usize = 8;
const REPORT_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Fetch {
    pub store: Arc<Store>,
    pub registry: Arc<Registry>,
    pub image: String,
    pub digest: Digest,
    pub size: u64,
    pub diff_id: Digest,
    pub progress: ProgressSink,
}

impl Fetch {
    pub(crate) async fn run(self) -> Result<(), PullError> {
        let lock = self.store.busy(format!("layer {}", self.diff_id));
        let _working = lock.lock().await;
        if self.store.has_layer(&self.diff_id) {
            self.report(Phase::Exists, self.size, String::new());
            return Ok(());
        }
        if self.store.blob_file(&self.digest).exists() && self.unpack_stored().await? {
            return Ok(());
        }
        let lock = self.store.busy(format!("blob {}", self.digest));
        let _alone = lock.lock().await;
        let kept = self
            .store
            .partial(&self.digest)
            .map_or(0, |(length, _)| length);
        match self.bring(kept).await {
            // Whatever was kept may have been at fault.
            Err(PullError::Layer { .. }) if kept > 0 => self.bring(0).await,
            result => result,
        }
    }

    /// Downloads and unpacks at once; the first `kept` bytes come from an earlier attempt.
    async fn bring(&self, kept: u64) -> Result<(), PullError> {
        self.report(Phase::Downloading, kept, String::new());
        let (sender, receiver) = mpsc::channel(PIECES);
        let (store, digest) = (Arc::clone(&self.store), self.digest);
        let expected = Expected {
            blob: Some((self.digest, self.size)),
            diff_id: Some(self.diff_id),
        };
        let unpacking = tokio::task::spawn_blocking(move || {
            let pieces = Pieces {
                receiver,
                current: Bytes::new(),
                complete: false,
            };
            match store.partial(&digest).filter(|_| kept > 0) {
                Some((_, file)) => store.ingest(
                    &mut file.take(kept).chain(pieces),
                    expected,
                    LayerBlob::Resume(kept),
                ),
                None => store.ingest(&mut { pieces }, expected, LayerBlob::Resume(0)),
            }
            .map(drop)
        });
        let downloaded = self.download(&sender, kept).await;
        if downloaded.is_ok() {
            // Without this word the unpacker takes the end of the channel for a failure.
            let _ = sender.send(Piece::End).await;
        }
        drop(sender);
        let unpacked = unpacking.await.map_err(|_| PullError::Worker {
            image: self.image.clone(),
        })?;
        match (downloaded, unpacked) {
            (Ok(()), Ok(())) => {
                self.report(Phase::Complete, self.size, String::new());
                Ok(())
            }
            // When the download failed, the unpacker only says that its input ended; what has come waits for the rest.
            (Err(Some(source)), _) => Err(PullError::Registry {
                image: self.image.clone(),
                source: Box::new(source),
            }),
            (_, Err(source)) => {
                self.store.forget_partial(&self.digest);
                Err(PullError::Layer {
                    image: self.image.clone(),
                    digest: self.digest,
                    source: Box::new(source),
                })
            }
            (Err(None), Ok(())) => Err(PullError::Worker {
                image: self.image.clone(),
            }),
        }
    }

    /// `false` when the blob of an earlier pull is not what it should be and has to come again.
    async fn unpack_stored(&self) -> Result<bool, PullError> {
        self.report(Phase::Unpacking, 0, String::new());
        let store = Arc::clone(&self.store);
        let (digest, diff_id) = (self.digest, self.diff_id);
        let unpacked =
            tokio::task::spawn_blocking(move || store.ingest_blob(digest, diff_id).map(drop))
                .await
                .map_err(|_| PullError::Worker {
                    image: self.image.clone(),
                })?;
        match unpacked {
            Ok(()) => {
                self.report(Phase::Complete, self.size, String::new());
                Ok(true)
            }
            Err(LayerError::Store(source)) => Err(PullError::Store {
                image: self.image.clone(),
                source,
            }),
            Err(_) => Ok(false),
        }
    }

    /// Sends the blob's bytes; after a broken connection it goes on where it was. `None`: the receiver is gone.
    async fn download(
        &self,
        sender: &mpsc::Sender<Piece>,
        kept: u64,
    ) -> Result<(), Option<RegistryError>> {
        let mut sent = kept;
        let mut failures = 0;
        let mut reported = Instant::now();
        while sent < self.size {
            let before = sent;
            let result = self.stream(sender, &mut sent, &mut reported).await;
            let error = match result {
                Ok(()) if sent < self.size => None,
                Ok(()) => break,
                Err(Some(error)) if error.is_passing() => Some(error),
                Err(other) => return Err(other),
            };
            // Progress earns new attempts: a long layer over a bad line gets through.
            failures = if sent > before { 1 } else { failures + 1 };
            if failures >= ATTEMPTS {
                return Err(Some(error.unwrap_or_else(|| {
                    self.registry.protocol(format!(
                        "layer {} ends after {sent} of {} bytes",
                        self.digest, self.size
                    ))
                })));
            }
            let text = error.map_or_else(|| "it ended early".to_owned(), |error| error.to_string());
            self.report(Phase::Retrying, sent, text);
            tokio::time::sleep(backoff(failures)).await;
        }
        Ok(())
    }

    async fn stream(
        &self,
        sender: &mpsc::Sender<Piece>,
        sent: &mut u64,
        reported: &mut Instant,
    ) -> Result<(), Option<RegistryError>> {
        let range = if *sent > 0 {
            vec![(RANGE, format!("bytes={sent}-"))]
        } else {
            Vec::new()
        };
        let what = format!("layer {}", self.digest);
        let mut response = self
            .registry
            .get(&format!("blobs/{}", self.digest), &range, &what)
            .await
            .map_err(Some)?;
        // A server that ignores the range sends everything again.
        let mut skip = *sent;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let answered = response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok());
            if !answered.is_some_and(|answered| answered.starts_with(&format!("bytes {sent}-"))) {
                return Err(Some(self.registry.protocol(format!(
                    "it sent another range of {what} than asked for"
                ))));
            }
            skip = 0;
        }
        while let Some(mut piece) = response
            .chunk()
            .await
            .map_err(|error| Some(self.registry.broken(error)))?
        {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            piece.advance(skipped);
            skip -= skipped as u64;
            if piece.is_empty() {
                continue;
            }
            *sent += piece.len() as u64;
            if *sent > self.size {
                return Err(Some(self.registry.protocol(format!(
                    "{what} is longer than its {} bytes",
                    self.size
                ))));
            }
            sender.send(Piece::Bytes(piece)).await.map_err(|_| None)?;
            if reported.elapsed() >= REPORT_EVERY {
                *reported = Instant::now();
                self.report(Phase::Downloading, *sent, String::new());
            }
        }
        Ok(())
    }

    fn report(&self, phase: Phase, done: u64, text: String) {
        (self.progress)(Progress {
            item: self.digest.short(),
            phase,
            done,
            total: Some(self.size),
            text,
        });
    }
}

enum Piece {
    Bytes(Bytes),
    End,
}

/// The receiving end as a blocking reader.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    complete: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.complete {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.complete = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the download ended early",
                    ));
                }
            }
        }
        let mut filled = 0;
        loop {
            let count = self.current.len().min(buffer.len() - filled);
            self.current
                .split_to(count)
                .copy_to_slice(&mut buffer[filled..filled + count]);
            filled += count;
            if filled == buffer.len() {
                return Ok(filled);
            }
            // As much as is there: the reader hashes and writes in large pieces.
            match self.receiver.try_recv() {
                Ok(Piece::Bytes(bytes)) => self.current = bytes,
                Ok(Piece::End) => self.complete = true,
                Err(_) => return Ok(filled),
            }
        }
    }
}
