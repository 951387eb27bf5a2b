//! Images from archives: `docker save` and OCI layouts in a tar.

use std::io::Read;
use std::sync::Arc;

use crate::{Image, ProgressSink, Store};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading the archive")]
    Read(#[source] std::io::Error),
}

/// Loads every image of an archive (plain, gzip or zstd) and returns them with the names they got.
pub async fn load(
    _store: &Arc<Store>,
    _archive: impl Read + Send + 'static,
    _progress: ProgressSink,
) -> Result<Vec<Arc<Image>>, LoadError> {
    todo!()
}
