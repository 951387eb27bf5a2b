//! An image of an OCI layout folder, brought into the store without a name.

use std::sync::Arc;

use crate::layout::{Layout, LayoutName};
use crate::load::LoadError;
use crate::manifest::{Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest, ManifestError, choose};
use crate::store::{Expected, LayerBlob, Record, RecordLayer};
use crate::{Digest, Image, ImageConfig, Platform, Store};

/// Brings what the name means, for the platform where there is a choice. Layers that are here already are not read.
pub async fn load_layout(
    store: &Arc<Store>,
    name: &LayoutName,
    platform: &Platform,
) -> Result<Arc<Image>, LoadError> {
    let (store, name, platform) = (Arc::clone(store), name.clone(), platform.clone());
    let work = move || {
        LayoutImport {
            store: &store,
            layout: Layout::at(&name.folder),
        }
        .run(&name, &platform)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LoadError::Worker)?
}

struct LayoutImport<'a> {
    store: &'a Store,
    layout: Layout,
}

impl LayoutImport<'_> {
    fn run(&self, name: &LayoutName, platform: &Platform) -> Result<Arc<Image>, LoadError> {
        let failed = |error| LoadError::Manifest(Box::new(error));
        let entry = self.layout.find(name)?;
        let (mut bytes, mut manifest) = self.manifest(&entry)?;
        if let Manifest::Index(entries) = &manifest {
            (bytes, manifest) = self.manifest(choose(entries, platform).map_err(failed)?)?;
        }
        let Manifest::Image { config, layers } = manifest else {
            return Err(failed(ManifestError::Nested));
        };
        let config_bytes = self.layout.bytes(&config.digest, MAX_CONFIG)?;
        let document: ImageConfig = serde_json::from_slice(&config_bytes)
            .map_err(|error| failed(ManifestError::Config(error)))?;
        let diff_ids = document.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            let (layers, diff_ids) = (layers.len(), diff_ids.len());
            return Err(failed(ManifestError::LayerCount { layers, diff_ids }));
        }
        let mut held = diff_ids.clone();
        held.extend([config.digest, Digest::of(&bytes)]);
        held.extend(layers.iter().map(|layer| layer.digest));
        let _hold = self.store.hold(&held);
        for (layer, diff_id) in layers.iter().zip(&diff_ids) {
            take_layer(self.store, &self.layout, layer, *diff_id)?;
        }
        let manifest = self.store.put_blob(&bytes).map_err(LoadError::Store)?;
        self.store
            .put_blob(&config_bytes)
            .map_err(LoadError::Store)?;
        let record = |(layer, diff_id): (&Descriptor, &Digest)| RecordLayer {
            diff_id: *diff_id,
            blob: Some(layer.digest),
        };
        let record = Record {
            version: 1,
            id: config.digest,
            references: [].into(),
            indexes: [].into(),
            repo_digests: [].into(),
            manifest: Some(manifest),
            layers: layers.iter().zip(&diff_ids).map(record).collect(),
            stored: jiff::Timestamp::now(),
        };
        self.store.register(record).map_err(LoadError::Store)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<(Vec<u8>, Manifest), LoadError> {
        let bytes = self.layout.bytes(&entry.digest, MAX_MANIFEST)?;
        let manifest = Manifest::parse(&bytes, &entry.media_type)
            .map_err(|error| LoadError::Manifest(Box::new(error)))?;
        Ok((bytes, manifest))
    }
}

/// Makes the layer be in the store. Blocks.
pub(crate) fn take_layer(
    store: &Store,
    layout: &Layout,
    layer: &Descriptor,
    diff_id: Digest,
) -> Result<(), LoadError> {
    let lock = store.busy(format!("layer {diff_id}"));
    let _working = lock.blocking_lock();
    if store.has_layer(&diff_id) {
        return Ok(());
    }
    let expected = Expected {
        blob: Some((layer.digest, layer.size)),
        diff_id: Some(diff_id),
    };
    let taken = store.ingest(&mut layout.open(&layer.digest)?, expected, LayerBlob::Keep);
    taken.map(drop).map_err(|source| LoadError::Layer {
        name: layer.digest.to_string(),
        source: Box::new(source),
    })
}
