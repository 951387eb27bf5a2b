//! Build caches that are kept elsewhere: a document of records and the layers that it speaks of, in a registry or in an
//! OCI layout folder. Layers are transferred one by one, on demand.
//!
//! Must not know what the records say: a builder writes and reads them.

mod export;
mod open;

use std::fmt;

pub use export::{CacheExport, CacheLayer, SentLayer};
pub use open::{CacheDocument, OpenCache, open_cache};

use crate::layout::{LayoutError, LayoutName};
use crate::load::LoadError;
use crate::manifest::ManifestError;
use crate::store::LayerError;
use crate::{Digest, PullError, Reference, RegistryError, StoreError};

/// Where a cache is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachePlace {
    Registry(Reference),
    Layout(LayoutName),
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => f.write_str(&reference.short()),
            Self::Layout(name) => name.fmt(f),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Pull(#[from] Box<PullError>),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    #[error("reading the manifest")]
    Manifest(#[from] ManifestError),
    #[error("it is neither a build cache nor an image")]
    Neither,
    #[error("sending it")]
    Registry(#[from] Box<RegistryError>),
    #[error("layer {layer}")]
    Layer {
        layer: Digest,
        source: Box<LayerError>,
    },
    #[error("storing it")]
    Store(#[from] StoreError),
    #[error("{0} names a digest, which follows from what is written; give a tag")]
    ByDigest(String),
    #[error("a worker thread ended early")]
    Worker,
}

impl From<PullError> for CacheError {
    fn from(error: PullError) -> Self {
        Self::Pull(Box::new(error))
    }
}

impl From<LoadError> for CacheError {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}

impl From<RegistryError> for CacheError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// Work on the disk, off the async threads.
async fn on_disk<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    tokio::task::spawn_blocking(act)
        .await
        .map_err(|_| CacheError::Worker)?
}
