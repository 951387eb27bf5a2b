//! Pushing an image of the store to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reqwest::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::index::{self, Listed};
use crate::manifest::{
    Descriptor, OCI_CONFIG, OCI_GZIP_LAYER, OCI_LAYER, OCI_MANIFEST, OCI_ZSTD_LAYER,
};
use crate::registry::{Access, Registry, RegistryError, RepositoryAction};
use crate::send::{Content, Send};
use crate::store::{LayerError, Record};
use crate::{Digest, Image, Phase, Progress, ProgressSink, Reference, Store, StoreError, silent};

/// As many as a pull brings at once.
const LAYERS_AT_ONCE: usize = 4;

/// How to push.
#[derive(Clone)]
pub struct PushOptions {
    pub access: Access,
    pub progress: ProgressSink,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            access: Access::default(),
            progress: silent(),
        }
    }
}

impl std::fmt::Debug for PushOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushOptions")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// What the registry has now.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Of the manifest, or of the index.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("{0} names a digest, which follows from what is pushed; push it under a tag")]
    ByDigest(String),
    #[error("pushing {image}")]
    Registry {
        image: String,
        source: Box<RegistryError>,
    },
    #[error("pushing {image}: layer {layer}")]
    Layer {
        image: String,
        layer: Digest,
        source: Box<LayerError>,
    },
    #[error("pushing {image}: the registry answered with digest {found}, not {expected}")]
    Digest {
        image: String,
        expected: String,
        found: String,
    },
    #[error("pushing {image}")]
    Store { image: String, source: StoreError },
    #[error("pushing {image}: reading its configuration")]
    Config {
        image: String,
        source: std::io::Error,
    },
    #[error("pushing {image}: a worker thread ended early")]
    Worker { image: String },
}

/// Sends what `reference` names to the registry in it: an image, or all images of an index and then the index. Blobs that
/// the registry has are not sent; those that another of its repositories has are taken over from there. An image that
/// was pulled goes back byte for byte; layers that were made here are compressed on the way.
pub async fn push(
    store: &Arc<Store>,
    reference: &Reference,
    options: &PushOptions,
) -> Result<Pushed, PushError> {
    if reference.digest().is_some() {
        return Err(PushError::ByDigest(reference.short()));
    }
    let images = store.named(reference);
    let held: Vec<Digest> = store
        .records(|record| images.iter().any(|image| image.id == record.id))
        .iter()
        .flat_map(Record::mentioned)
        .collect();
    let _hold = store.hold(&held);
    let push = |image: &Arc<Image>| Push {
        store,
        reference,
        image: Arc::clone(image),
        options,
    };
    let (document, manifests) = match &images[..] {
        [] => return Err(PushError::NoSuchImage(reference.short())),
        [only] => {
            let push = push(only);
            let (registry, manifest) = push.content().await?;
            push.manifest(&registry, &reference.target(), &manifest)
                .await?;
            (manifest.clone(), vec![(only.id, manifest)])
        }
        several => push_index(reference, several, &push).await?,
    };
    let pushed = Pushed {
        digest: Digest::of(&document),
        size: document.len() as u64,
    };
    let (keeper, name) = (Arc::clone(store), reference.clone());
    let recorded =
        tokio::task::spawn_blocking(move || keeper.pushed(&manifests, &name, &document)).await;
    let recorded = recorded.map_err(|_| PushError::Worker {
        image: reference.short(),
    })?;
    recorded.map_err(|source| PushError::Store {
        image: reference.short(),
        source,
    })?;
    Ok(pushed)
}

/// The index of what was pushed, and each image's id with its manifest.
type PushedIndex = (Vec<u8>, Vec<(Digest, Vec<u8>)>);

/// Every image under its digest, and last the index that names them.
async fn push_index<'a>(
    reference: &Reference,
    images: &[Arc<Image>],
    push: &impl Fn(&Arc<Image>) -> Push<'a>,
) -> Result<PushedIndex, PushError> {
    let (mut listed, mut manifests, mut last) = (Vec::new(), Vec::new(), None);
    for image in images {
        let push = push(image);
        let (registry, manifest) = push.content().await?;
        let digest = push
            .manifest(&registry, &Digest::of(&manifest).to_string(), &manifest)
            .await?;
        let media_type = index::media_type(&manifest).unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let (size, platform) = (manifest.len() as u64, image.config.platform());
        listed.push(Listed {
            media_type,
            digest,
            size,
            platform,
        });
        manifests.push((image.id, manifest));
        last = Some((push, registry));
    }
    let (push, registry) = last.ok_or_else(|| PushError::NoSuchImage(reference.short()))?;
    let came = push
        .image
        .indexes
        .get(reference)
        .and_then(|digest| push.store.kept_index(digest));
    let document = index::of(came, listed);
    push.manifest(&registry, &reference.target(), &document)
        .await?;
    Ok((document, manifests))
}

/// One image on its way.
struct Push<'a> {
    store: &'a Arc<Store>,
    reference: &'a Reference,
    image: Arc<Image>,
    options: &'a PushOptions,
}

impl Push<'_> {
    /// Sends layers and configuration; what is returned is the manifest that names them.
    async fn content(&self) -> Result<(Arc<Registry>, Vec<u8>), PushError> {
        let kept = self
            .image
            .manifest
            .and_then(|manifest| self.store.manifest_layers(&manifest));
        let (known, manifest) =
            kept.map_or((Vec::new(), None), |(layers, bytes)| (layers, Some(bytes)));
        let known: BTreeMap<Digest, Descriptor> =
            self.image.layers.iter().copied().zip(known).collect();
        let sources = self.sources();
        let from: Vec<String> = sources
            .values()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let registry = Registry::open(
            self.reference,
            &self.options.access,
            RepositoryAction::Push { from: &from },
        );
        let registry = Arc::new(registry.map_err(|source| self.registry(source))?);

        let sent = self.layers(&registry, &known, &sources).await?;
        let config = self.config(&registry).await?;
        let layers: Vec<&Descriptor> = self
            .image
            .layers
            .iter()
            .filter_map(|diff_id| sent.get(diff_id))
            .collect();
        let as_it_came = manifest.filter(|_| {
            let before = self
                .image
                .layers
                .iter()
                .filter_map(|diff_id| known.get(diff_id))
                .map(|layer| layer.digest);
            before.eq(layers.iter().map(|layer| layer.digest))
        });
        let manifest = as_it_came.unwrap_or_else(|| compose(&config, &layers));
        self.report("", Phase::Complete, manifest.len() as u64);
        Ok((registry, manifest))
    }

    /// For layers that another repository of the registry has: which one.
    fn sources(&self) -> BTreeMap<Digest, String> {
        let (registry, own) = (self.reference.registry(), self.reference.repository());
        let source = |diff_id: &Digest| {
            let repositories = self.store.repositories_with(registry, diff_id);
            let other = repositories
                .into_iter()
                .find(|repository| repository != own)?;
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
        for diff_id in self
            .image
            .layers
            .iter()
            .filter(|diff_id| started.insert(**diff_id))
        {
            let stored = self.store.stored_blob(diff_id);
            let send = Send {
                registry: Arc::clone(registry),
                known: known
                    .get(diff_id)
                    .cloned()
                    .or_else(|| self.store.described_layer(diff_id)),
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
                crate::send::SendError::Layer(source) => PushError::Layer {
                    image: self.short(),
                    layer,
                    source: Box::new(source),
                },
                crate::send::SendError::Worker => self.worker(),
            })?;
            sent.insert(layer, descriptor);
        }
        Ok(sent)
    }

    async fn config(&self, registry: &Registry) -> Result<Descriptor, PushError> {
        let digest = self.image.id;
        let bytes = tokio::fs::read(self.store.blob_file(&digest)).await;
        let bytes = bytes.map_err(|source| PushError::Config {
            image: self.short(),
            source,
        })?;
        let size = bytes.len() as u64;
        crate::send::small(registry, &digest, bytes, "the configuration")
            .await
            .map_err(|source| self.registry(source))?;
        Ok(Descriptor {
            media_type: OCI_CONFIG.to_owned(),
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: None,
        })
    }

    /// A manifest or an index, under a tag or its digest.
    async fn manifest(
        &self,
        registry: &Registry,
        target: &str,
        manifest: &[u8],
    ) -> Result<Digest, PushError> {
        let digest = Digest::of(manifest);
        let media_type = index::media_type(manifest).unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let path = format!("manifests/{target}");
        let answer = registry
            .put(
                &path,
                &[(CONTENT_TYPE, media_type)],
                manifest.to_vec(),
                "the manifest",
            )
            .await;
        let answer = answer.map_err(|source| self.registry(source))?;
        let said = answer
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok());
        match said {
            Some(found) if found != digest.to_string() => Err(PushError::Digest {
                image: self.short(),
                expected: digest.to_string(),
                found: found
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(100)
                    .collect(),
            }),
            _ => Ok(digest),
        }
    }

    fn report(&self, item: &str, phase: Phase, done: u64) {
        let progress = Progress {
            item: item.to_owned(),
            phase,
            done,
            total: None,
            text: String::new(),
        };
        (self.options.progress)(progress);
    }

    fn short(&self) -> String {
        self.reference.short()
    }

    fn registry(&self, source: RegistryError) -> PushError {
        PushError::Registry {
            image: self.short(),
            source: Box::new(source),
        }
    }

    fn worker(&self) -> PushError {
        PushError::Worker {
            image: self.short(),
        }
    }
}

/// The same bytes for the same image, wherever it is pushed from.
pub(crate) fn compose(config: &Descriptor, layers: &[&Descriptor]) -> Vec<u8> {
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
