//! What a push needs to know of an image, and what is kept of a push.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::{Store, StoreError};
use crate::manifest::{Descriptor, Manifest};
use crate::{Digest, Reference};

/// A layer's compressed bytes as they came.
#[derive(Debug, Clone)]
pub(crate) struct StoredBlob {
    pub digest: Digest,
    pub size: u64,
    pub path: PathBuf,
}

impl Store {
    /// A blob that unpacks to the layer, if one is kept.
    pub(crate) fn stored_blob(&self, diff_id: &Digest) -> Option<StoredBlob> {
        let state = self.state();
        let of_images = state.images.values().flat_map(|(record, _)| &record.layers);
        let named = of_images.filter(|layer| layer.diff_id == *diff_id).filter_map(|layer| layer.blob);
        let of_layer = state.layers.get(diff_id).and_then(|record| record.blob);
        of_layer.into_iter().chain(named).find_map(|digest| {
            let path = self.blob_file(&digest);
            let size = fs::metadata(&path).ok()?.len();
            Some(StoredBlob { digest, size, path })
        })
    }

    /// How registries know the layer: from the manifest of any image that has it.
    pub(crate) fn described_layer(&self, diff_id: &Digest) -> Option<Descriptor> {
        let state = self.state();
        state.images.values().find_map(|(record, _)| {
            let index = record.layers.iter().position(|layer| layer.diff_id == *diff_id)?;
            let (layers, _) = self.manifest_layers(&record.manifest?)?;
            layers.into_iter().nth(index)
        })
    }

    /// The layers of a stored manifest, and the manifest itself.
    pub(crate) fn manifest_layers(&self, manifest: &Digest) -> Option<(Vec<Descriptor>, Vec<u8>)> {
        let bytes = fs::read(self.blob_file(manifest)).ok().filter(|bytes| Digest::of(bytes) == *manifest)?;
        match Manifest::parse(&bytes, "").ok()? {
            Manifest::Image { layers, .. } => Some((layers, bytes)),
            Manifest::Index(_) => None,
        }
    }

    /// Repositories of a registry that have the layer, as far as we know.
    pub(crate) fn repositories_with(&self, registry: &str, diff_id: &Digest) -> BTreeSet<String> {
        let state = self.state();
        let having =
            state.images.values().filter(|(record, _)| record.layers.iter().any(|layer| layer.diff_id == *diff_id));
        let names = having.flat_map(|(record, _)| &record.repo_digests);
        names.filter(|name| name.registry() == registry).map(|name| name.repository().to_owned()).collect()
    }

    /// A registry has the image now under this manifest.
    pub(crate) fn pushed(&self, image: &Digest, name: &Reference, manifest: &[u8]) -> Result<(), StoreError> {
        let digest = Digest::of(manifest);
        let _hold = self.hold(&[digest]);
        self.put_blob(manifest)?;
        let mut state = self.state();
        let Some((record, _)) = state.images.get(image) else {
            // Removed meanwhile: there is nothing to remember it for.
            return Ok(());
        };
        let mut record = record.clone();
        record.manifest = Some(digest);
        record.repo_digests.insert(name.with_digest(digest));
        self.put(&mut state, record).map(drop)
    }
}
