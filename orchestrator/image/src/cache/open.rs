//! Reading a cache: its document at once, its layers when they are asked for.

use std::sync::Arc;

use super::{CacheError, CachePlace, on_disk};
use crate::fetch::Fetch;
use crate::from_layout::take_layer;
use crate::layout::{Layout, LayoutName};
use crate::manifest::{Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest, choose};
use crate::pull::Pull;
use crate::registry::Registry;
use crate::{Digest, ImageConfig, Platform, Platforms, PullOptions, Store, silent};

/// What tells of the layers.
#[derive(Debug, Clone)]
pub enum CacheDocument {
    /// A document that was written for nothing else.
    Records(Vec<u8>),
    /// An image's configuration, which may hold some.
    Image(Box<ImageConfig>),
}

/// A cache that was found, and may be asked for layers.
#[derive(Debug)]
pub struct OpenCache {
    pub place: CachePlace,
    pub document: CacheDocument,
    pub(super) layers: Vec<Descriptor>,
    pub(super) from: CacheSource,
}

#[derive(Debug)]
pub(super) enum CacheSource {
    Registry(Arc<Registry>),
    Layout(Layout),
}

/// Finds a cache and reads its document.
pub async fn open_cache(
    store: &Arc<Store>,
    place: &CachePlace,
    options: &PullOptions,
) -> Result<OpenCache, CacheError> {
    match place {
        CachePlace::Registry(reference) => {
            let carried = Pull {
                store,
                reference,
                options,
            }
            .cache()
            .await?;
            let from = CacheSource::Registry(carried.registry);
            Ok(OpenCache {
                place: place.clone(),
                document: carried.document,
                layers: carried.layers,
                from,
            })
        }
        CachePlace::Layout(name) => {
            let platform = match &options.platforms {
                Platforms::One(platform) => platform.clone(),
                Platforms::Host | Platforms::All => Platform::host(),
            };
            let (place, name) = (place.clone(), name.clone());
            on_disk(move || of_layout(place, &name, &platform)).await
        }
    }
}

fn of_layout(
    place: CachePlace,
    name: &LayoutName,
    platform: &Platform,
) -> Result<OpenCache, CacheError> {
    let layout = Layout::at(&name.folder);
    let entry = layout.find(name)?;
    let bytes = layout.bytes(&entry.digest, MAX_MANIFEST)?;
    if let Some((config, layers)) = Manifest::cache(&bytes)? {
        let document = CacheDocument::Records(layout.bytes(&config.digest, MAX_CONFIG)?);
        return Ok(OpenCache {
            place,
            document,
            layers,
            from: CacheSource::Layout(layout),
        });
    }
    let mut manifest = Manifest::parse(&bytes, &entry.media_type)?;
    if let Manifest::Index(entries) = &manifest {
        let chosen = choose(entries, platform)?;
        manifest = Manifest::parse(
            &layout.bytes(&chosen.digest, MAX_MANIFEST)?,
            &chosen.media_type,
        )?;
    }
    let Manifest::Image { config, layers } = manifest else {
        return Err(CacheError::Neither);
    };
    let config = serde_json::from_slice(&layout.bytes(&config.digest, MAX_CONFIG)?);
    let config: ImageConfig = config.map_err(crate::ManifestError::Config)?;
    Ok(OpenCache {
        place,
        document: CacheDocument::Image(Box::new(config)),
        layers,
        from: CacheSource::Layout(layout),
    })
}

impl OpenCache {
    /// Digests of the layers' blobs, in the manifest's order.
    pub fn blobs(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.digest).collect()
    }

    /// Bytes of a layer as it crosses.
    pub fn size(&self, layer: usize) -> u64 {
        self.layers.get(layer).map_or(0, |layer| layer.size)
    }

    /// Brings one layer, which must turn out to have the diff id.
    pub async fn fetch(
        &self,
        store: &Arc<Store>,
        layer: usize,
        diff_id: Digest,
    ) -> Result<(), CacheError> {
        let Some(layer) = self.layers.get(layer).cloned() else {
            return Err(CacheError::Neither);
        };
        match &self.from {
            CacheSource::Registry(registry) => {
                let fetch = Fetch {
                    store: Arc::clone(store),
                    registry: Arc::clone(registry),
                    image: self.place.to_string(),
                    digest: layer.digest,
                    size: layer.size,
                    diff_id,
                    progress: silent(),
                };
                Ok(fetch.run().await?)
            }
            CacheSource::Layout(layout) => {
                let (store, layout) = (Arc::clone(store), layout.clone());
                on_disk(move || Ok(take_layer(&store, &layout, &layer, diff_id)?)).await
            }
        }
    }
}
