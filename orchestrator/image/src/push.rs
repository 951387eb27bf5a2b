//! Pushing an image of the store to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reqwest::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::manifest::{Descriptor, OCI_CONFIG, OCI_GZIP_LAYER, OCI_LAYER, OCI_MANIFEST, OCI_ZSTD_LAYER};
use crate::registry::{Access, Registry, RegistryError, Right};
use crate::send::{Content, Send};
use crate::store::LayerError;
use crate::{Digest, Image, Phase, Progress, ProgressSink, Reference, Store, StoreError, silent};

/// As many as a pull brings at once.
const LAYERS_AT_ONCE: usize = 4;

#[derive(Clone)]
pub struct PushOptions {
    pub access: Access,
    pub progress: ProgressSink,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { access: Access::default(), progress: silent() }
    }
}

impl std::fmt::Debug for PushOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushOptions").field("access", &self.access).finish_non_exhaustive()
    }
}

/// What the registry has now.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("{0} names a digest, which follows from what is pushed; push it under a tag")]
    ByDigest(String),
    #[error("pushing {image}")]
    Registry { image: String, source: Box<RegistryError> },
    #[error("pushing {image}: layer {layer}")]
    Layer { image: String, layer: Digest, source: Box<LayerError> },
    #[error("pushing {image}: the registry answered with digest {found}, not {expected}")]
    Digest { image: String, expected: String, found: String },
    #[error("pushing {image}")]
    Store { image: String, source: StoreError },
    #[error("pushing {image}: reading its configuration")]
    Config { image: String, source: std::io::Error },
    #[error("pushing {image}: a worker thread ended early")]
    Worker { image: String },
}

/// Sends an image to the registry of `reference`, a name that the image has. Blobs that the registry has are not sent;
/// those that another of its repositories has are taken over from there. An image that was pulled goes back byte for
/// byte; layers that were made here are compressed on the way.
pub async fn push(store: &Arc<Store>, reference: &Reference, options: &PushOptions) -> Result<Pushed, PushError> {
    if reference.digest().is_some() {
        return Err(PushError::ByDigest(reference.short()));
    }
    let image = store.find(reference).ok_or_else(|| PushError::NoSuchImage(reference.short()))?;
    Push { store, reference, image, options }.run().await
}

struct Push<'a> {
    store: &'a Arc<Store>,
    reference: &'a Reference,
    image: Arc<Image>,
    options: &'a PushOptions,
}

impl Push<'_> {
    async fn run(&self) -> Result<Pushed, PushError> {
        let mut held = self.image.layers.clone();
        held.extend([self.image.id].into_iter().chain(self.image.manifest));
        let _hold = self.store.hold(&held);
        let kept = self.image.manifest.and_then(|manifest| self.store.manifest_layers(&manifest));
        let (known, manifest) = kept.map_or((Vec::new(), None), |(layers, bytes)| (layers, Some(bytes)));
        let known: BTreeMap<Digest, Descriptor> = self.image.layers.iter().copied().zip(known).collect();
        let sources = self.sources();
        let from: Vec<String> = sources.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let registry = Registry::open(self.reference, &self.options.access, Right::Push { from: &from });
        let registry = Arc::new(registry.map_err(|source| self.registry(source))?);

        let sent = self.layers(&registry, &known, &sources).await?;
        let config = self.config(&registry).await?;
        let layers: Vec<&Descriptor> = self.image.layers.iter().filter_map(|diff_id| sent.get(diff_id)).collect();
        let as_it_came = manifest.filter(|_| {
            let before = self.image.layers.iter().filter_map(|diff_id| known.get(diff_id)).map(|layer| layer.digest);
            before.eq(layers.iter().map(|layer| layer.digest))
        });
        let manifest = as_it_came.unwrap_or_else(|| compose(&config, &layers));
        let digest = self.manifest(&registry, &manifest).await?;
        let size = manifest.len() as u64;
        let (store, id, name) = (Arc::clone(self.store), self.image.id, self.reference.clone());
        let recorded = tokio::task::spawn_blocking(move || store.pushed(&id, &name, &manifest)).await;
        recorded.map_err(|_| self.worker())?.map_err(|source| PushError::Store { image: self.short(), source })?;
        self.report("", Phase::Complete, size);
        Ok(Pushed { digest, size })
    }

    /// For layers that another repository of the registry has: which one.
    fn sources(&self) -> BTreeMap<Digest, String> {
        let (registry, own) = (self.reference.registry(), self.reference.repository());
        let source = |diff_id: &Digest| {
            let repositories = self.store.repositories_with(registry, diff_id);
            let other = repositories.into_iter().find(|repository| repository != own)?;
            Some((*diff_id, other))
        };
        self.image.layers.iter().filter_map(source).collect()
    }

    async fn layers(
        &self,
        registry: &Arc<Registry>,
        known: &BTreeMap<Digest, Descriptor>,
        sources: &BTreeMap<Digest, String>,
    ) -> Result<BTreeMap<Digest, Descriptor>, PushError> {
        let mut tasks = JoinSet::new();
        let slots = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
        let mut started = BTreeSet::new();
        for diff_id in self.image.layers.iter().filter(|diff_id| started.insert(**diff_id)) {
            let stored = self.store.stored_blob(diff_id);
            let send = Send {
                registry: Arc::clone(registry),
                known: known.get(diff_id).cloned().or_else(|| self.store.described_layer(diff_id)),
                content: Content::of_layer(self.store, *diff_id, stored),
                mount: sources.get(diff_id).cloned(),
                item: diff_id.short(),
                progress: Arc::clone(&self.options.progress),
            };
            self.report(&send.item, Phase::Waiting, 0);
            let (slots, diff_id) = (Arc::clone(&slots), *diff_id);
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await;
                (diff_id, send.run().await)
            });
        }
        let mut sent = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            let (layer, result) = done.map_err(|_| self.worker())?;
            let descriptor = result.map_err(|error| match error {
                crate::send::SendError::Registry(source) => self.registry(source),
                crate::send::SendError::Layer(source) => {
                    PushError::Layer { image: self.short(), layer, source: Box::new(source) }
                }
                crate::send::SendError::Worker => self.worker(),
            })?;
            sent.insert(layer, descriptor);
        }
        Ok(sent)
    }

    async fn config(&self, registry: &Registry) -> Result<Descriptor, PushError> {
        let digest = self.image.id;
        let bytes = tokio::fs::read(self.store.blob_file(&digest)).await;
        let bytes = bytes.map_err(|source| PushError::Config { image: self.short(), source })?;
        let size = bytes.len() as u64;
        crate::send::small(registry, &digest, bytes, "the configuration")
            .await
            .map_err(|source| self.registry(source))?;
        Ok(Descriptor { media_type: OCI_CONFIG.to_owned(), digest, size, platform: None, annotations: None })
    }

    async fn manifest(&self, registry: &Registry, manifest: &[u8]) -> Result<Digest, PushError> {
        let digest = Digest::of(manifest);
        let media_type = serde_json::from_slice::<serde_json::Value>(manifest)
            .ok()
            .and_then(|document| document.get("mediaType")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let path = format!("manifests/{}", self.reference.target());
        let answer = registry.put(&path, &[(CONTENT_TYPE, media_type)], manifest.to_vec(), "the manifest").await;
        let answer = answer.map_err(|source| self.registry(source))?;
        let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match said {
            Some(found) if found != digest.to_string() => Err(PushError::Digest {
                image: self.short(),
                expected: digest.to_string(),
                found: found.chars().filter(|c| !c.is_control()).take(100).collect(),
            }),
            _ => Ok(digest),
        }
    }

    fn report(&self, item: &str, phase: Phase, done: u64) {
        let progress = Progress { item: item.to_owned(), phase, done, total: None, text: String::new() };
        (self.options.progress)(progress);
    }

    fn short(&self) -> String {
        self.reference.short()
    }

    fn registry(&self, source: RegistryError) -> PushError {
        PushError::Registry { image: self.short(), source: Box::new(source) }
    }

    fn worker(&self) -> PushError {
        PushError::Worker { image: self.short() }
    }
}

/// The same bytes for the same image, wherever it is pushed from.
fn compose(config: &Descriptor, layers: &[&Descriptor]) -> Vec<u8> {
    let describe = |descriptor: &Descriptor| {
        // A base that came with docker's names for the same things: one manifest speaks one language.
        let media_type = match descriptor.media_type.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => OCI_GZIP_LAYER,
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => OCI_ZSTD_LAYER,
            "application/vnd.docker.image.rootfs.diff.tar" => OCI_LAYER,
            other => other,
        };
        serde_json::json!({
            "mediaType": media_type, "digest": descriptor.digest, "size": descriptor.size,
        })
    };
    let layers: Vec<serde_json::Value> = layers.iter().map(|layer| describe(layer)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": describe(config), "layers": layers,
    });
    manifest.to_string().into_bytes()
}
