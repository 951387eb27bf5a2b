//! What a push needs to know of an image, and what is kept of a push.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::{Store, StoreError, disk};
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
        let named = of_images
            .filter(|layer| layer.diff_id == *diff_id)
            .filter_map(|layer| layer.blob);
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
            let index = record
                .layers
                .iter()
                .position(|layer| layer.diff_id == *diff_id)?;
            let (layers, _) = self.manifest_layers(&record.manifest?)?;
            layers.into_iter().nth(index)
        })
    }

    /// How the layer was sent before, compressed on the way: what is there need not be made again to be known.
    pub(crate) fn sent_layer(&self, diff_id: &Digest) -> Option<Descriptor> {
        serde_json::from_slice(&fs::read(self.sent_file(diff_id)).ok()?).ok()
    }

    pub(crate) fn note_sent(&self, diff_id: &Digest, sent: &Descriptor) -> Result<(), StoreError> {
        if self
            .sent_layer(diff_id)
            .is_some_and(|known| known.digest == sent.digest)
        {
            return Ok(());
        }
        let note = serde_json::json!({ "mediaType": sent.media_type, "digest": sent.digest, "size": sent.size });
        disk::replace_lazily(
            &self.root,
            &self.sent_file(diff_id),
            note.to_string().as_bytes(),
        )
    }

    /// Goes with the layer.
    fn sent_file(&self, diff_id: &Digest) -> PathBuf {
        self.layer_folder(diff_id).join("sent.json")
    }

    /// The layers of a stored manifest, and the manifest itself.
    pub(crate) fn manifest_layers(&self, manifest: &Digest) -> Option<(Vec<Descriptor>, Vec<u8>)> {
        let bytes = fs::read(self.blob_file(manifest))
            .ok()
            .filter(|bytes| Digest::of(bytes) == *manifest)?;
        match Manifest::parse(&bytes, "").ok()? {
            Manifest::Image { layers, .. } => Some((layers, bytes)),
            Manifest::Index(_) => None,
        }
    }

    /// Repositories of a registry that have the layer, as far as we know.
    pub(crate) fn repositories_with(&self, registry: &str, diff_id: &Digest) -> BTreeSet<String> {
        let state = self.state();
        let having = state
            .images
            .values()
            .filter(|(record, _)| record.layers.iter().any(|layer| layer.diff_id == *diff_id));
        let names = having.flat_map(|(record, _)| &record.repo_digests);
        names
            .filter(|name| name.registry() == registry)
            .map(|name| name.repository().to_owned())
            .collect()
    }

    /// A registry has the images now under these manifests, and under the name what `document` is: the manifest of the
    /// only one, or the index of several.
    pub(crate) fn pushed(
        &self,
        images: &[(Digest, Vec<u8>)],
        name: &Reference,
        document: &[u8],
    ) -> Result<(), StoreError> {
        let digest = Digest::of(document);
        let mut held: Vec<Digest> = images
            .iter()
            .map(|(_, manifest)| Digest::of(manifest))
            .collect();
        held.push(digest);
        let _hold = self.hold(&held);
        self.put_blob(document)?;
        for (_, manifest) in images {
            self.put_blob(manifest)?;
        }
        let mut state = self.state();
        let mut records = Vec::new();
        for (image, manifest) in images {
            // One that was removed meanwhile leaves nothing to remember it for.
            let Some((record, _)) = state.images.get(image) else {
                continue;
            };
            let mut record = record.clone();
            record.manifest = Some(Digest::of(manifest));
            record.repo_digests.insert(name.with_digest(digest));
            if images.len() > 1 && record.references.contains(name) {
                record.give(name, Some(digest));
            }
            records.push(record);
        }
        self.put(&mut state, records)
    }

    /// The index under which images came or were built, if it is whole.
    pub(crate) fn kept_index(&self, digest: &Digest) -> Option<Vec<u8>> {
        fs::read(self.blob_file(digest))
            .ok()
            .filter(|bytes| Digest::of(bytes) == *digest)
    }
}
