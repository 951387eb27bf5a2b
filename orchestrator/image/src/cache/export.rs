//! Writing a cache: first its layers, of which only those that are not there, then the document that names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{CacheError, CachePlace, OpenCache, on_disk, open::CacheSource};
use crate::layout::{Layout, LayoutError};
use crate::manifest::{CACHE_CONFIG, Descriptor, Manifest, OCI_MANIFEST};
use crate::push::compose;
use crate::registry::{Access, Registry, RepositoryAction};
use crate::send::{Content, Send, SendError, described, has, small};
use crate::{Digest, LayerError, Store, StoreError, silent};

const LAYERS_AT_ONCE: usize = 4;
const DEFAULT_TAG: &str = "latest";

/// A layer that is to be in the cache.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    pub diff_id: Digest,
    /// Another cache that has it, and which of its layers it is there: it need not be in the store.
    pub from: Option<(Arc<OpenCache>, usize)>,
}

/// A layer as the cache has it.
#[derive(Debug, Clone)]
pub struct SentLayer {
    pub diff_id: Digest,
    pub blob: Digest,
    pub size: u64,
    pub media_type: String,
}

/// A cache that is being written.
#[derive(Debug, Clone)]
pub struct CacheExport {
    store: Arc<Store>,
    to: ExportTarget,
}

#[derive(Debug, Clone)]
enum ExportTarget {
    Registry {
        registry: Arc<Registry>,
        host: String,
        repository: String,
        target: String,
    },
    Layout {
        layout: Layout,
        tag: String,
    },
}

impl CacheExport {
    /// `layers`: those that are going to be sent, so that leave can be had to take them over from other repositories.
    pub fn begin(
        store: &Arc<Store>,
        place: &CachePlace,
        access: &Access,
        layers: &[CacheLayer],
    ) -> Result<Self, CacheError> {
        let store = Arc::clone(store);
        let to = match place {
            CachePlace::Registry(reference) => {
                if reference.digest().is_some() {
                    return Err(CacheError::ByDigest(reference.short()));
                }
                let (host, repository) = (reference.registry(), reference.repository());
                let sources = layers
                    .iter()
                    .filter_map(|layer| source(&store, layer, host, repository));
                let sources: Vec<String> = sources.collect::<BTreeSet<_>>().into_iter().collect();
                let registry = Arc::new(Registry::open(
                    reference,
                    access,
                    RepositoryAction::Push { from: &sources },
                )?);
                let (host, repository) = (host.to_owned(), repository.to_owned());
                ExportTarget::Registry {
                    registry,
                    host,
                    repository,
                    target: reference.target(),
                }
            }
            CachePlace::Layout(name) => {
                if name.digest.is_some() {
                    return Err(CacheError::ByDigest(name.to_string()));
                }
                let tag = name.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned());
                ExportTarget::Layout {
                    layout: Layout::at(&name.folder),
                    tag,
                }
            }
        };
        Ok(Self { store, to })
    }

    /// Makes the layers be there; `None` for one that is nowhere to be had.
    pub async fn layers(
        &self,
        layers: &[CacheLayer],
    ) -> Result<Vec<Option<SentLayer>>, CacheError> {
        if let ExportTarget::Layout { layout, .. } = &self.to {
            let layout = layout.clone();
            on_disk(move || Ok(layout.create()?)).await?;
        }
        let slots = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
        let mut tasks = JoinSet::new();
        for (index, layer) in layers.iter().cloned().enumerate() {
            let (this, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await;
                (index, this.layer(&layer).await)
            });
        }
        let mut sent = vec![None; layers.len()];
        while let Some(done) = tasks.join_next().await {
            let (index, result) = done.map_err(|_| CacheError::Worker)?;
            let diff_id = layers[index].diff_id;
            sent[index] = result?.map(
                |Descriptor {
                     media_type,
                     digest: blob,
                     size,
                     ..
                 }| SentLayer {
                    diff_id,
                    blob,
                    size,
                    media_type,
                },
            );
        }
        Ok(sent)
    }

    async fn layer(&self, layer: &CacheLayer) -> Result<Option<Descriptor>, CacheError> {
        if !self.store.has_layer(&layer.diff_id) {
            let Some((cache, index)) = &layer.from else {
                return Ok(None);
            };
            let Some(known) = cache.layers.get(*index) else {
                return Ok(None);
            };
            if self.has(known).await? {
                return Ok(Some(known.clone()));
            }
            cache.fetch(&self.store, *index, layer.diff_id).await?;
        }
        let _hold = self.store.hold(&[layer.diff_id]);
        let (store, diff_id) = (Arc::clone(&self.store), layer.diff_id);
        let known = store
            .described_layer(&diff_id)
            .or_else(|| store.sent_layer(&diff_id));
        let sent = match &self.to {
            ExportTarget::Registry {
                registry,
                host,
                repository,
                ..
            } => {
                let send = Send {
                    registry: Arc::clone(registry),
                    known,
                    content: Content::of_layer(&store, diff_id, store.stored_blob(&diff_id)),
                    mount: source(&store, layer, host, repository),
                    item: diff_id.short(),
                    progress: silent(),
                };
                send.run().await.map_err(|error| match error {
                    SendError::Registry(error) => error.into(),
                    SendError::Layer(source) => CacheError::Layer {
                        layer: diff_id,
                        source: Box::new(source),
                    },
                    SendError::Worker => CacheError::Worker,
                })?
            }
            ExportTarget::Layout { layout, .. } => {
                let layout = layout.clone();
                let store = Arc::clone(&store);
                on_disk(move || to_layout(&store, &layout, diff_id, known)).await?
            }
        };
        store.note_sent(&diff_id, &sent)?;
        Ok(Some(sent))
    }

    async fn has(&self, layer: &Descriptor) -> Result<bool, CacheError> {
        match &self.to {
            ExportTarget::Registry { registry, .. } => {
                Ok(has(registry, &layer.digest, "a layer of the cache").await?)
            }
            ExportTarget::Layout { layout, .. } => Ok(layout.has(&layer.digest, layer.size)),
        }
    }

    /// Writes the document and gives the cache its name. The same document and layers make the same manifest.
    pub async fn finish(
        &self,
        document: Vec<u8>,
        layers: &[SentLayer],
    ) -> Result<Digest, CacheError> {
        let (digest, size) = (Digest::of(&document), document.len() as u64);
        let config = described(CACHE_CONFIG, digest, size);
        let layers: Vec<Descriptor> = layers
            .iter()
            .map(|layer| described(&layer.media_type, layer.blob, layer.size))
            .collect();
        let manifest = compose(&config, &layers.iter().collect::<Vec<_>>());
        match &self.to {
            ExportTarget::Registry {
                registry, target, ..
            } => {
                small(registry, &digest, document, "the records of the cache").await?;
                let (path, kind) = (
                    format!("manifests/{target}"),
                    [(CONTENT_TYPE, OCI_MANIFEST.to_owned())],
                );
                let answer = Digest::of(&manifest);
                registry
                    .put(&path, &kind, manifest, "the manifest of the cache")
                    .await?;
                Ok(answer)
            }
            ExportTarget::Layout { layout, tag } => {
                let (layout, tag) = (layout.clone(), tag.clone());
                on_disk(move || {
                    layout.add::<CacheError>(|output| {
                        output
                            .write_all(&document)
                            .map_err(|error| CacheError::Store(writing(error)))
                    })?;
                    let digest = layout.name(&manifest, &tag)?;
                    sweep(&layout)?;
                    Ok(digest)
                })
                .await
            }
        }
    }
}

/// Another repository of the registry that has the layer.
fn source(store: &Store, layer: &CacheLayer, host: &str, repository: &str) -> Option<String> {
    let cache = layer
        .from
        .as_ref()
        .and_then(|(cache, _)| match (&cache.place, &cache.from) {
            (CachePlace::Registry(reference), CacheSource::Registry(_))
                if reference.registry() == host =>
            {
                Some(reference.repository().to_owned())
            }
            _ => None,
        });
    let known = store.repositories_with(host, &layer.diff_id);
    cache
        .into_iter()
        .chain(known)
        .find(|other| other != repository)
}

fn to_layout(
    store: &Arc<Store>,
    layout: &Layout,
    diff_id: Digest,
    known: Option<Descriptor>,
) -> Result<Descriptor, CacheError> {
    let stored = store.stored_blob(&diff_id);
    let content = Content::of_layer(store, diff_id, stored);
    let known = content.descriptor().or(known);
    if let Some(known) = known.filter(|known| layout.has(&known.digest, known.size)) {
        return Ok(known);
    }
    let failed = |source: LayerError| CacheError::Layer {
        layer: diff_id,
        source: Box::new(source),
    };
    let (digest, size) = layout.add(|output| content.write(output).map_err(failed))?;
    Ok(described(content.media_type(), digest, size))
}

/// A folder that holds caches and nothing else does not grow with every build.
fn sweep(layout: &Layout) -> Result<(), LayoutError> {
    let mut named = BTreeSet::new();
    for manifest in layout.manifests()? {
        let Ok(Some((config, layers))) = Manifest::cache(&manifest) else {
            return Ok(());
        };
        named.extend([Digest::of(&manifest), config.digest]);
        named.extend(layers.iter().map(|layer| layer.digest));
    }
    layout.keep_only(&named)
}

fn writing(source: std::io::Error) -> StoreError {
    StoreError::Io {
        attempt: "writing",
        path: "the records of the cache".into(),
        source,
    }
}
