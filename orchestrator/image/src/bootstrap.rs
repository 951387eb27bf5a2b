//! Base images made from Debian's signed packages, for machines that reach no registry.

use std::sync::Arc;

use crate::{Image, ProgressSink, Reference, Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("storing the bootstrapped image {reference}")]
    Store { reference: String, source: StoreError },
}

/// Makes `debian:<suite>` or `debian:<suite>-slim` with mmdebstrap and stores it under that name.
pub async fn bootstrap(
    _store: &Arc<Store>,
    _reference: &Reference,
    _progress: ProgressSink,
) -> Result<Arc<Image>, BootstrapError> {
    todo!()
}
