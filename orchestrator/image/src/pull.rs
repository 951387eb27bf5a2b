//! Pulling an image from a registry into the store.

mod cache;

use std::fmt;
use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fetch::Fetch;
use crate::manifest::{
    ACCEPTED, Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest, ManifestError, choose,
};
use crate::policy::{Denied, Policy, Rules};
use crate::registry::{Access, Registry, RegistryError, RepositoryAction};
use crate::store::{LayerError, Record, RecordLayer};
use crate::{
    Digest, Image, ImageConfig, Phase, Platform, Progress, ProgressSink, Reference, Store,
    StoreError, index, signatures, silent,
};

/// Enough to keep a disk and a few cores busy; registries cut off clients that open many connections.
const LAYERS_AT_ONCE: usize = 4;

/// Which images of an index are pulled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Platforms {
    /// That for this machine.
    #[default]
    Host,
    One(Platform),
    /// Every one of the index.
    All,
}

/// How to pull.
#[derive(Clone)]
pub struct PullOptions {
    pub platforms: Platforms,
    pub access: Access,
    /// `None`: every image may be pulled.
    pub policy: Option<Arc<Policy>>,
    pub progress: ProgressSink,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platforms: Platforms::Host,
            access: Access::default(),
            policy: None,
            progress: silent(),
        }
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("platforms", &self.platforms)
            .field("access", &self.access)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Of several the best for this machine.
    pub image: Arc<Image>,
    /// The digest that the registry answered for the reference (of the index where there is one).
    pub digest: Digest,
    /// Whether the store had all of it under this name already.
    pub up_to_date: bool,
}

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("pulling {image}")]
    Registry {
        image: String,
        source: Box<RegistryError>,
    },
    #[error("pulling {image}")]
    Manifest {
        image: String,
        source: Box<ManifestError>,
    },
    #[error("pulling {image}: {what} has digest {found}, not {expected}")]
    Digest {
        image: String,
        what: &'static str,
        expected: Digest,
        found: Digest,
    },
    #[error("pulling {image}: {what} has {found} bytes, not {expected}")]
    Size {
        image: String,
        what: &'static str,
        expected: u64,
        found: u64,
    },
    #[error("pulling {image}: layer {digest}")]
    Layer {
        image: String,
        digest: Digest,
        source: Box<LayerError>,
    },
    #[error("pulling {image}")]
    Denied { image: String, source: Box<Denied> },
    #[error("storing {image}")]
    Store { image: String, source: StoreError },
    #[error("pulling {image}: a worker thread ended early")]
    Worker { image: String },
}

/// Brings an image and its layers into the store.
///
/// Layers arrive and are unpacked several at a time, each in one pass. Concurrent pulls of one image or one layer do the
/// work once. A pull that fails keeps the layers that are complete, until they are collected.
pub async fn pull(
    store: &Arc<Store>,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Pulled, PullError> {
    Pull {
        store,
        reference,
        options,
    }
    .run()
    .await
}

pub(crate) struct Pull<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) reference: &'a Reference,
    pub(crate) options: &'a PullOptions,
}

/// What the registry has under the reference.
struct Found {
    /// Of the first answer, which may be an index.
    digest: Digest,
    index: Option<Vec<u8>>,
    images: Vec<FoundImage>,
}

struct FoundImage {
    digest: Digest,
    /// To be stored as it came.
    manifest: Vec<u8>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Pull<'_> {
    async fn run(&self) -> Result<Pulled, PullError> {
        let lock = self.store.busy(format!("image {}", self.reference));
        let _working = lock.lock().await;
        let rules = self.rules()?;
        // A digest names the same bytes for ever: what is here needs no registry, but for its signatures.
        if rules.is_none()
            && let Some(digest) = self.reference.digest()
            && let Some(image) = self.stored(digest)
        {
            return Ok(Pulled {
                image,
                digest,
                up_to_date: true,
            });
        }
        self.report("", Phase::Resolving, 0, None);
        let registry = Registry::open(self.reference, &self.options.access, RepositoryAction::Pull);
        let registry = Arc::new(registry.map_err(|error| self.registry(error))?);
        let found = self.resolve(&registry).await?;
        if let Some(rules) = rules {
            self.check_signatures(&registry, &rules, &found).await?;
        }
        let (mut brought, mut up_to_date) = (Vec::new(), true);
        for image in &found.images {
            match self.known(&found, image) {
                Some(image) => brought.push(image),
                None => {
                    brought.push(self.image(&registry, &found, image).await?);
                    up_to_date = false;
                }
            }
        }
        self.report("", Phase::Complete, 0, None);
        let host = Platform::host();
        let rank = |image: &Arc<Image>| image.config.platform().rank(&host).unwrap_or(u32::MAX);
        let image = brought
            .into_iter()
            .min_by_key(rank)
            .ok_or_else(|| self.no_images())?;
        Ok(Pulled {
            image,
            digest: found.digest,
            up_to_date,
        })
    }

    /// The image of a digest, if it is here.
    fn stored(&self, digest: Digest) -> Option<Arc<Image>> {
        match &self.options.platforms {
            // A manifest is for one platform only; an index may have a better one than those that are here.
            Platforms::Host => {
                let host = self.store.find_for(self.reference, &Platform::host());
                host.or_else(|| {
                    self.store
                        .find(self.reference)
                        .filter(|image| image.manifest == Some(digest))
                })
            }
            Platforms::One(platform) => self.store.find_for(self.reference, platform),
            Platforms::All => None,
        }
    }

    /// The image, if the store has it and its names need no change.
    fn known(&self, found: &Found, image: &FoundImage) -> Option<Arc<Image>> {
        let index = found.index.as_ref().map(|_| found.digest);
        let named = |image: &Image| match self.reference.tag() {
            Some(_) => {
                image.references.contains(self.reference)
                    && image.indexes.get(self.reference).copied() == index
            }
            None => true,
        };
        let known = self.store.image(&image.config.digest);
        known.filter(|known| known.manifest == Some(image.digest) && named(known))
    }

    async fn image(
        &self,
        registry: &Arc<Registry>,
        found: &Found,
        image: &FoundImage,
    ) -> Result<Arc<Image>, PullError> {
        let config_bytes = self.config(registry, &image.config).await?;
        let diff_ids = self.check_config(&config_bytes, image)?;
        let mut held: Vec<Digest> = diff_ids.clone();
        held.extend([image.config.digest, found.digest, image.digest]);
        held.extend(image.layers.iter().map(|layer| layer.digest));
        let _hold = self.store.hold(&held);
        self.layers(registry, &image.layers, &diff_ids).await?;
        self.register(config_bytes, found, image, &diff_ids).await
    }

    /// What the policy asks for beyond leave.
    fn rules(&self) -> Result<Option<Rules<'_>>, PullError> {
        let rules = self
            .options
            .policy
            .as_ref()
            .map(|policy| policy.rules(self.reference))
            .transpose();
        Ok(rules
            .map_err(|denied| self.denied(denied))?
            .filter(Rules::need_signatures))
    }

    /// Before any layer comes. The signature of an index vouches for the manifests that it names.
    async fn check_signatures(
        &self,
        registry: &Registry,
        rules: &Rules<'_>,
        found: &Found,
    ) -> Result<(), PullError> {
        let index = found.index.iter().map(|_| found.digest);
        for image in &found.images {
            let digests: Vec<Digest> = index.clone().chain([image.digest]).collect();
            self.check_signature(registry, rules, &digests).await?;
        }
        Ok(())
    }

    /// Of one of these, which all vouch for the same.
    async fn check_signature(
        &self,
        registry: &Registry,
        rules: &Rules<'_>,
        digests: &[Digest],
    ) -> Result<(), PullError> {
        let mut all = Vec::new();
        for digest in digests {
            all.extend(
                signatures::fetch(registry, digest)
                    .await
                    .map_err(|error| self.registry(error))?,
            );
        }
        rules
            .check(self.reference, digests, &all)
            .map_err(|denied| self.denied(denied))
    }

    async fn resolve(&self, registry: &Registry) -> Result<Found, PullError> {
        let (bytes, delivered) = self
            .manifest(registry, &self.reference.target(), self.reference.digest())
            .await?;
        self.resolved(registry, bytes, &delivered).await
    }

    async fn resolved(
        &self,
        registry: &Registry,
        bytes: Vec<u8>,
        delivered: &str,
    ) -> Result<Found, PullError> {
        let digest = Digest::of(&bytes);
        let manifest =
            Manifest::parse(&bytes, delivered).map_err(|error| self.manifest_error(error))?;
        let entries = match manifest {
            Manifest::Image { config, layers } => {
                let image = FoundImage {
                    digest,
                    manifest: bytes,
                    config,
                    layers,
                };
                return Ok(Found {
                    digest,
                    index: None,
                    images: vec![image],
                });
            }
            Manifest::Index(entries) => entries,
        };
        let one = |platform: &Platform| Ok(vec![choose(&entries, platform)?]);
        let chosen = match &self.options.platforms {
            Platforms::Host => one(&Platform::host()),
            Platforms::One(platform) => one(platform),
            Platforms::All => Ok(index::images(&entries).map(|(entry, _)| entry).collect()),
        };
        let mut images = Vec::new();
        for entry in chosen.map_err(|error| self.manifest_error(error))? {
            images.push(self.listed(registry, entry).await?);
        }
        Ok(Found {
            digest,
            index: Some(bytes),
            images,
        })
    }

    /// An image of an index.
    async fn listed(
        &self,
        registry: &Registry,
        entry: &Descriptor,
    ) -> Result<FoundImage, PullError> {
        let (bytes, delivered) = self
            .manifest(registry, &entry.digest.to_string(), Some(entry.digest))
            .await?;
        if bytes.len() as u64 != entry.size {
            return Err(PullError::Size {
                image: self.reference.short(),
                what: "the manifest",
                expected: entry.size,
                found: bytes.len() as u64,
            });
        }
        match Manifest::parse(&bytes, &delivered).map_err(|error| self.manifest_error(error))? {
            Manifest::Image { config, layers } => Ok(FoundImage {
                digest: entry.digest,
                manifest: bytes,
                config,
                layers,
            }),
            Manifest::Index(_) => Err(self.manifest_error(ManifestError::Nested)),
        }
    }

    async fn manifest(
        &self,
        registry: &Registry,
        target: &str,
        expected: Option<Digest>,
    ) -> Result<(Vec<u8>, String), PullError> {
        let what = format!("manifest {target}");
        let response = registry
            .get(
                &format!("manifests/{target}"),
                &[(ACCEPT, ACCEPTED.to_owned())],
                &what,
            )
            .await
            .map_err(|error| self.registry(error))?;
        let delivered = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let delivered = delivered.to_owned();
        let bytes = registry
            .bytes(response, MAX_MANIFEST, "the manifest")
            .await
            .map_err(|error| self.registry(error))?;
        self.check_digest("the manifest", expected, &bytes)?;
        Ok((bytes, delivered))
    }

    async fn config(&self, registry: &Registry, config: &Descriptor) -> Result<Vec<u8>, PullError> {
        let response = registry
            .get(
                &format!("blobs/{}", config.digest),
                &[],
                "the configuration",
            )
            .await
            .map_err(|error| self.registry(error))?;
        let bytes = registry
            .bytes(response, MAX_CONFIG, "the configuration")
            .await
            .map_err(|error| self.registry(error))?;
        if bytes.len() as u64 != config.size {
            return Err(PullError::Size {
                image: self.reference.short(),
                what: "the configuration",
                expected: config.size,
                found: bytes.len() as u64,
            });
        }
        self.check_digest("the configuration", Some(config.digest), &bytes)?;
        Ok(bytes)
    }

    fn check_digest(
        &self,
        what: &'static str,
        expected: Option<Digest>,
        bytes: &[u8],
    ) -> Result<(), PullError> {
        let found = Digest::of(bytes);
        match expected {
            Some(expected) if expected != found => Err(PullError::Digest {
                image: self.reference.short(),
                what,
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }

    fn check_config(&self, bytes: &[u8], found: &FoundImage) -> Result<Vec<Digest>, PullError> {
        let config: ImageConfig = serde_json::from_slice(bytes)
            .map_err(|error| self.manifest_error(ManifestError::Config(error)))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != found.layers.len() {
            let (layers, diff_ids) = (found.layers.len(), diff_ids.len());
            return Err(self.manifest_error(ManifestError::LayerCount { layers, diff_ids }));
        }
        // Without an explicit wish docker runs what it gets, and so do we: an emulator may be registered.
        if let Platforms::One(wanted) = &self.options.platforms
            && (wanted.os != config.os || wanted.architecture != config.architecture)
        {
            let found = format!("{}/{}", config.os, config.architecture);
            return Err(self.manifest_error(ManifestError::OtherPlatform {
                wanted: wanted.to_string(),
                found,
            }));
        }
        Ok(diff_ids)
    }

    async fn layers(
        &self,
        registry: &Arc<Registry>,
        layers: &[Descriptor],
        diff_ids: &[Digest],
    ) -> Result<(), PullError> {
        let mut tasks = JoinSet::new();
        let slots = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
        let mut started = std::collections::BTreeSet::new();
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            if !started.insert(*diff_id) {
                continue;
            }
            let item = layer.digest.short();
            if self.store.has_layer(diff_id) {
                self.report(&item, Phase::Exists, layer.size, Some(layer.size));
                continue;
            }
            self.report(&item, Phase::Waiting, 0, Some(layer.size));
            let fetch = Fetch {
                store: Arc::clone(self.store),
                registry: Arc::clone(registry),
                image: self.reference.short(),
                digest: layer.digest,
                size: layer.size,
                diff_id: *diff_id,
                progress: Arc::clone(&self.options.progress),
            };
            let slots = Arc::clone(&slots);
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await;
                fetch.run().await
            });
        }
        // The first failure ends the pull; dropping the set stops the other downloads.
        while let Some(result) = tasks.join_next().await {
            result.map_err(|_| PullError::Worker {
                image: self.reference.short(),
            })??;
        }
        Ok(())
    }

    async fn register(
        &self,
        config: Vec<u8>,
        found: &Found,
        image: &FoundImage,
        diff_ids: &[Digest],
    ) -> Result<Arc<Image>, PullError> {
        let layers = image.layers.iter().zip(diff_ids);
        let mut record = Record {
            version: 1,
            id: image.config.digest,
            references: [].into(),
            indexes: [].into(),
            repo_digests: [self.reference.with_digest(found.digest)].into(),
            manifest: Some(image.digest),
            layers: layers
                .map(|(layer, diff_id)| RecordLayer {
                    diff_id: *diff_id,
                    blob: Some(layer.digest),
                })
                .collect(),
            stored: jiff::Timestamp::now(),
        };
        if self.reference.digest().is_none() {
            record.give(self.reference, found.index.as_ref().map(|_| found.digest));
        }
        let store = Arc::clone(self.store);
        let mut documents = vec![image.manifest.clone(), config];
        documents.extend(found.index.clone());
        let stored = tokio::task::spawn_blocking(move || {
            for document in &documents {
                store.put_blob(document)?;
            }
            store.register(record)
        });
        stored
            .await
            .map_err(|_| PullError::Worker {
                image: self.reference.short(),
            })?
            .map_err(|source| PullError::Store {
                image: self.reference.short(),
                source,
            })
    }

    fn report(&self, item: &str, phase: Phase, done: u64, total: Option<u64>) {
        (self.options.progress)(Progress {
            item: item.to_owned(),
            phase,
            done,
            total,
            text: String::new(),
        });
    }

    fn registry(&self, source: RegistryError) -> PullError {
        PullError::Registry {
            image: self.reference.short(),
            source: Box::new(source),
        }
    }

    fn denied(&self, source: Denied) -> PullError {
        PullError::Denied {
            image: self.reference.short(),
            source: Box::new(source),
        }
    }

    fn no_images(&self) -> PullError {
        let (wanted, available) = ("any machine".to_owned(), "none".to_owned());
        self.manifest_error(ManifestError::NoPlatform { wanted, available })
    }

    fn manifest_error(&self, source: ManifestError) -> PullError {
        PullError::Manifest {
            image: self.reference.short(),
            source: Box::new(source),
        }
    }
}
