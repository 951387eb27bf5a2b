//! One blob from the store to a registry.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use crate::manifest::{Descriptor, OCI_GZIP_LAYER, OCI_ZSTD_LAYER};
use crate::registry::{ATTEMPTS, Payload, Registry, RegistryError, Sent, Upload, backoff};
use crate::store::{LayerError, StoredBlob};
use crate::{Digest, Hasher, Phase, Progress, ProgressSink, Store, StoreError};

const REPORT_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) enum SendError {
    Registry(RegistryError),
    Layer(LayerError),
    Worker,
}

impl From<RegistryError> for SendError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

/// Where a layer's bytes come from.
#[derive(Clone)]
pub(crate) enum Content {
    /// Compressed already.
    Blob(StoredBlob, &'static str),
    /// The layer itself, compressed on the way: the same bytes every time.
    Layer(Arc<Store>, Digest),
}

impl Content {
    /// A blob that is not a compressed layer (archives hold plain tars) is not worth sending.
    pub(crate) fn of_layer(
        store: &Arc<Store>,
        diff_id: Digest,
        stored: Option<StoredBlob>,
    ) -> Self {
        let compressed = stored.and_then(|blob| {
            let mut magic = [0; 4];
            File::open(&blob.path)
                .and_then(|mut file| file.read_exact(&mut magic))
                .ok()?;
            match magic {
                [0x1f, 0x8b, ..] => Some(Self::Blob(blob, OCI_GZIP_LAYER)),
                [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Blob(blob, OCI_ZSTD_LAYER)),
                _ => None,
            }
        });
        compressed.unwrap_or_else(|| Self::Layer(Arc::clone(store), diff_id))
    }

    pub(crate) fn media_type(&self) -> &'static str {
        match self {
            Self::Blob(_, media_type) => media_type,
            Self::Layer(..) => OCI_GZIP_LAYER,
        }
    }

    /// What it is going to be, where that is known before it is written.
    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        match self {
            Self::Blob(blob, media_type) => Some(described(media_type, blob.digest, blob.size)),
            Self::Layer(..) => None,
        }
    }

    /// Writes all of it, in the form that is sent.
    pub(crate) fn write(&self, output: &mut dyn Write) -> Result<(), LayerError> {
        match self {
            Self::Blob(blob, _) => {
                let mut file = File::open(&blob.path).map_err(LayerError::Read)?;
                io::copy(&mut file, output)
                    .map(drop)
                    .map_err(LayerError::Read)
            }
            Self::Layer(store, diff_id) => {
                let mut encoder = GzEncoder::new(output, Compression::default());
                store
                    .write_layer(diff_id, &mut encoder)
                    .map_err(|error| match error {
                        StoreError::Layer(source) => *source,
                        other => LayerError::Store(other),
                    })?;
                encoder.finish().map(drop).map_err(LayerError::Read)
            }
        }
    }
}

/// Makes sure that the registry has a layer.
pub(crate) struct Send {
    pub registry: Arc<Registry>,
    /// How registries know it, where one has had it before.
    pub known: Option<Descriptor>,
    pub content: Content,
    /// A repository of the same registry that has it.
    pub mount: Option<String>,
    pub item: String,
    pub progress: ProgressSink,
}

impl Send {
    pub(crate) async fn run(mut self) -> Result<Descriptor, SendError> {
        self.known = self.known.take().or_else(|| self.content.descriptor());
        let mut failures = 0;
        loop {
            let error = match self.attempt(failures).await {
                Err(SendError::Registry(error))
                    if error.is_passing() && failures + 1 < ATTEMPTS =>
                {
                    error
                }
                result => return result,
            };
            failures += 1;
            self.report(Phase::Retrying, 0, error.to_string());
            tokio::time::sleep(error.wait().unwrap_or_default().max(backoff(failures))).await;
        }
    }

    async fn attempt(&self, failures: u32) -> Result<Descriptor, SendError> {
        let what = format!("layer {}", self.item);
        if let Some(known) = &self.known
            && has(&self.registry, &known.digest, &what).await?
        {
            self.report(Phase::Exists, known.size, String::new());
            return Ok(known.clone());
        }
        let mount = self
            .known
            .as_ref()
            .zip(self.mount.as_deref())
            .map(|(known, from)| (&known.digest, from));
        let Some(upload) = self.registry.upload(mount, &what).await? else {
            let known = self.known.clone().ok_or(SendError::Worker)?;
            self.report(
                Phase::Mounted,
                known.size,
                self.mount.clone().unwrap_or_default(),
            );
            return Ok(known);
        };
        self.report(Phase::Uploading, 0, String::new());
        let sent = match &self.content {
            // The first time in one piece, which every registry takes; then in chunks, of which only one can break.
            Content::Blob(blob, media_type) if failures == 0 => {
                let body = Payload::File {
                    path: blob.path.clone(),
                    size: blob.size,
                    sent: self.counter(blob.size),
                };
                upload.whole(&blob.digest, body).await?;
                described(media_type, blob.digest, blob.size)
            }
            content => self.chunked(upload, content.clone()).await?,
        };
        self.report(Phase::Complete, sent.size, String::new());
        // What is in a stored manifest keeps its words there.
        Ok(self
            .known
            .clone()
            .filter(|known| known.digest == sent.digest)
            .unwrap_or(sent))
    }

    async fn chunked(
        &self,
        mut upload: Upload<'_>,
        content: Content,
    ) -> Result<Descriptor, SendError> {
        let media_type = content.media_type();
        let length = upload.chunk_length();
        // One is sent while the next is made.
        let (sender, mut receiver) = mpsc::channel(1);
        let making = tokio::task::spawn_blocking(move || {
            let mut chunks = Chunks {
                sender,
                length,
                current: Vec::new(),
                hasher: Hasher::new(),
                size: 0,
            };
            content.write(&mut chunks)?;
            chunks.finish().map_err(LayerError::Read)
        });
        let mut total = 0;
        let mut pending: Option<Bytes> = None;
        while let Some(chunk) = receiver.recv().await {
            if let Some(before) = pending.replace(chunk) {
                total += before.len() as u64;
                upload.chunk(before).await?;
                self.report(Phase::Uploading, total, String::new());
            }
        }
        let (digest, size) = making
            .await
            .map_err(|_| SendError::Worker)?
            .map_err(SendError::Layer)?;
        let last = pending.unwrap_or_default();
        if total == 0 {
            upload.whole(&digest, Payload::Bytes(last)).await?;
        } else {
            upload.chunk(last).await?;
            upload.finish(&digest).await?;
        }
        Ok(described(media_type, digest, size))
    }

    fn counter(&self, total: u64) -> Sent {
        let (progress, item) = (Arc::clone(&self.progress), self.item.clone());
        let last = Mutex::new(Instant::now());
        Sent(Arc::new(move |done| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= REPORT_EVERY {
                *last = Instant::now();
                let (item, phase, total) = (item.clone(), Phase::Uploading, Some(total));
                progress(Progress {
                    item,
                    phase,
                    done,
                    total,
                    text: String::new(),
                });
            }
        }))
    }

    fn report(&self, phase: Phase, done: u64, text: String) {
        let total = self.known.as_ref().map(|known| known.size);
        (self.progress)(Progress {
            item: self.item.clone(),
            phase,
            done,
            total,
            text,
        });
    }
}

/// Makes sure that the registry has a blob that is in memory.
pub(crate) async fn small(
    registry: &Registry,
    digest: &Digest,
    bytes: Vec<u8>,
    what: &str,
) -> Result<(), RegistryError> {
    let body = Payload::Bytes(bytes.into());
    let mut failures = 0;
    loop {
        if has(registry, digest, what).await? {
            return Ok(());
        }
        let Some(upload) = registry.upload(None, what).await? else {
            return Ok(());
        };
        match upload.whole(digest, body.clone()).await {
            Err(error) if error.is_passing() && failures + 1 < ATTEMPTS => {
                failures += 1;
                tokio::time::sleep(error.wait().unwrap_or_default().max(backoff(failures))).await;
            }
            result => return result,
        }
    }
}

pub(crate) async fn has(
    registry: &Registry,
    digest: &Digest,
    what: &str,
) -> Result<bool, RegistryError> {
    match registry.head(&format!("blobs/{digest}"), &[], what).await {
        Ok(_) => Ok(true),
        Err(RegistryError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn described(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        artifact_type: None,
        platform: None,
        annotations: None,
    }
}

/// Cuts what is written into chunks, and hashes it on the way.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    length: usize,
    current: Vec<u8>,
    hasher: Hasher,
    size: u64,
}

impl Chunks {
    fn pass_on(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.current);
        // The receiver went with a failed upload.
        self.sender
            .blocking_send(chunk.into())
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn finish(mut self) -> io::Result<(Digest, u64)> {
        if !self.current.is_empty() {
            self.pass_on()?;
        }
        Ok((self.hasher.finish(), self.size))
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.current.reserve_exact(self.length);
        }
        let count = bytes.len().min(self.length - self.current.len());
        self.current.extend_from_slice(&bytes[..count]);
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        if self.current.len() == self.length {
            self.pass_on()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
