//! An image as blobs that another store can take: its manifest, configuration and layers.
//!
//! Where the store has the blobs that the image's own manifest names, they go as they are, and the image keeps its
//! digest. Otherwise (it was built here, or its layers came with another image) a manifest is made of what is there:
//! the same one every time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::index::Listed;
use crate::manifest::{MAX_MANIFEST, Manifest};
use crate::store::{Record, Spool, Store, StoreError};
use crate::{Digest, Hasher, Platform};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Debug, Clone)]
pub(crate) struct Portable {
    pub(crate) manifest: Blob,
    pub(crate) config: Blob,
    /// First layer first.
    pub(crate) layers: Vec<Blob>,
}

#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    /// The tar of a layer, to be packed.
    Packed,
    Bytes(Arc<[u8]>),
}

impl Blob {
    pub(crate) fn of_bytes(media_type: &str, bytes: Vec<u8>) -> Self {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            content: Content::Bytes(bytes.into()),
        }
    }

    pub(crate) fn of_spool(media_type: &str, spool: &Spool) -> Self {
        let content = Content::File(spool.path().to_owned());
        Self {
            media_type: media_type.to_owned(),
            digest: spool.digest,
            size: spool.size,
            content,
        }
    }

    fn stored(store: &Store, digest: Digest) -> Result<Self, StoreError> {
        let (path, mut head) = (store.blob_file(&digest), [0; 4]);
        let failed = |source| StoreError::Io {
            attempt: "reading",
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let length = file.take(4).read(&mut head).map_err(failed)?;
        let compression = match &head[..length] {
            [0x1f, 0x8b, ..] => "+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
            _ => "",
        };
        Ok(Self {
            media_type: format!("{OCI_LAYER}{compression}"),
            digest,
            size,
            content: Content::File(path),
        })
    }

    pub(crate) fn descriptor(&self) -> serde_json::Value {
        json!({ "mediaType": &self.media_type, "digest": self.digest, "size": self.size })
    }

    /// Writes the content, and fails when it is not what the digest says.
    pub(crate) fn write(&self, store: &Store, output: &mut dyn Write) -> io::Result<()> {
        match &self.content {
            Content::Bytes(bytes) => output.write_all(bytes),
            // Checks the digest itself.
            Content::Packed => store
                .write_layer(&self.digest, output)
                .map_err(io::Error::other),
            Content::File(path) => {
                let mut file = File::open(path)?;
                let mut hasher = Hasher::new();
                let mut buffer = vec![0; 256 << 10];
                loop {
                    let count = file.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    hasher.update(&buffer[..count]);
                    output.write_all(&buffer[..count])?;
                }
                if hasher.finish() == self.digest {
                    return Ok(());
                }
                let reason = format!(
                    "blob {} of the image store is damaged: `hoist system check --repair`",
                    self.digest
                );
                Err(io::Error::other(reason))
            }
        }
    }
}

impl Portable {
    pub(crate) fn of(store: &Store, record: &Record) -> Result<Self, StoreError> {
        let path = store.blob_file(&record.id);
        let config = std::fs::read(&path).map_err(|source| StoreError::Io {
            attempt: "reading",
            path,
            source,
        })?;
        let config = Blob::of_bytes(OCI_CONFIG, config);
        if let Some((manifest, layers)) = original(store, record) {
            return Ok(Self {
                manifest,
                config,
                layers,
            });
        }
        let layer =
            |layer: &crate::store::RecordLayer| match store.blob_of(&layer.diff_id, layer.blob)? {
                Some(blob) => Blob::stored(store, blob),
                None => Ok(Blob {
                    media_type: OCI_LAYER.to_owned(),
                    digest: layer.diff_id,
                    size: store.packed_size(&layer.diff_id)?,
                    content: Content::Packed,
                }),
            };
        let layers: Vec<Blob> = record.layers.iter().map(layer).collect::<Result<_, _>>()?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::of_bytes(OCI_MANIFEST, manifest.to_string().into_bytes());
        Ok(Self {
            manifest,
            config,
            layers,
        })
    }

    pub(crate) fn listed(&self, platform: Platform) -> Listed {
        let Blob {
            media_type,
            digest,
            size,
            ..
        } = &self.manifest;
        Listed {
            media_type: media_type.clone(),
            digest: *digest,
            size: *size,
            platform,
        }
    }

    /// What it consists of; the manifest, which names the others, comes last.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }
}

/// The image's own manifest and layers, if every blob that it names is in the store.
fn original(store: &Store, record: &Record) -> Option<(Blob, Vec<Blob>)> {
    let digest = record.manifest?;
    let path = store.blob_file(&digest);
    if std::fs::metadata(&path).ok()?.len() > MAX_MANIFEST {
        return None;
    }
    let bytes = std::fs::read(path)
        .ok()
        .filter(|bytes| Digest::of(bytes) == digest)?;
    let Manifest::Image { layers, .. } = Manifest::parse(&bytes, "").ok()? else {
        return None;
    };
    let layers: Option<Vec<Blob>> = layers
        .iter()
        .map(|layer| {
            Blob::stored(store, layer.digest)
                .ok()
                .filter(|blob| blob.size == layer.size)
        })
        .collect();
    let document: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let media_type = document["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
    Some((Blob::of_bytes(media_type, bytes), layers?))
}
