//! Pulling an image from a registry into the store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fetch::Fetch;
use crate::manifest::{ACCEPTED, Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest, ManifestError, choose};
use crate::policy::{Denied, Policy, Rules};
use crate::registry::{Access, Registry, RegistryError, Right};
use crate::store::{LayerError, Record, RecordLayer};
use crate::{
    Digest, Image, ImageConfig, Phase, Progress, ProgressSink, Reference, Store, StoreError, signatures, silent,
};

/// Enough to keep a disk and a few cores busy; registries cut off clients that open many connections.
const LAYERS_AT_ONCE: usize = 4;

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform (os/architecture or os/architecture/variant)")]
pub struct PlatformError(String);

impl Platform {
    /// The machine that this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let valid =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(valid) {
            return Err(PlatformError(text.to_owned()));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
pub struct PullOptions {
    /// `None`: the host's.
    pub platform: Option<Platform>,
    pub access: Access,
    /// `None`: every image may be pulled.
    pub policy: Option<Arc<Policy>>,
    pub progress: ProgressSink,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { platform: None, access: Access::default(), policy: None, progress: silent() }
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("platform", &self.platform)
            .field("access", &self.access)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    pub image: Arc<Image>,
    /// The digest that the registry answered for the reference (of the index where there is one).
    pub digest: Digest,
    /// Whether the store had this very image under this name already.
    pub up_to_date: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("pulling {image}")]
    Registry { image: String, source: Box<RegistryError> },
    #[error("pulling {image}")]
    Manifest { image: String, source: Box<ManifestError> },
    #[error("pulling {image}: {what} has digest {found}, not {expected}")]
    Digest { image: String, what: &'static str, expected: Digest, found: Digest },
    #[error("pulling {image}: {what} has {found} bytes, not {expected}")]
    Size { image: String, what: &'static str, expected: u64, found: u64 },
    #[error("pulling {image}: layer {digest}")]
    Layer { image: String, digest: Digest, source: Box<LayerError> },
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
pub async fn pull(store: &Arc<Store>, reference: &Reference, options: &PullOptions) -> Result<Pulled, PullError> {
    Pull { store, reference, options }.run().await
}

struct Pull<'a> {
    store: &'a Arc<Store>,
    reference: &'a Reference,
    options: &'a PullOptions,
}

/// What the registry has under the reference.
struct Found {
    /// Of the first answer, which may be an index.
    digest: Digest,
    manifest: Digest,
    config: Descriptor,
    layers: Vec<Descriptor>,
    /// Manifest and index, to be stored as they came.
    documents: Vec<Vec<u8>>,
}

impl Pull<'_> {
    async fn run(&self) -> Result<Pulled, PullError> {
        let lock = self.store.busy(format!("image {}", self.reference));
        let _working = lock.lock().await;
        let rules = self.options.policy.as_ref().map(|policy| policy.rules(self.reference)).transpose();
        let rules = rules.map_err(|denied| self.denied(denied))?.filter(Rules::need_signatures);
        // A digest names the same bytes for ever: what is here needs no registry, but for its signatures.
        if rules.is_none()
            && let Some(digest) = self.reference.digest()
            && let Some(image) = self.store.find(self.reference)
            && self.options.platform.is_none()
        {
            return Ok(Pulled { image, digest, up_to_date: true });
        }
        self.report("", Phase::Resolving, 0, None);
        let registry = Registry::open(self.reference, &self.options.access, Right::Pull);
        let registry = Arc::new(registry.map_err(|error| self.registry(error))?);
        let found = self.resolve(&registry).await?;
        if let Some(rules) = rules {
            self.check_signatures(&registry, &rules, &found).await?;
        }
        let image_id = found.config.digest;
        let known = self.store.image(&image_id).filter(|image| {
            image.manifest == Some(found.manifest) && image.references.contains(self.reference)
                || self.reference.tag().is_none() && image.manifest == Some(found.manifest)
        });
        if let Some(image) = known {
            self.report("", Phase::Complete, 0, None);
            return Ok(Pulled { image, digest: found.digest, up_to_date: true });
        }
        let config_bytes = self.config(&registry, &found.config).await?;
        let diff_ids = self.check_config(&config_bytes, &found)?;
        let mut held: Vec<Digest> = diff_ids.clone();
        held.extend([image_id, found.digest, found.manifest]);
        held.extend(found.layers.iter().map(|layer| layer.digest));
        let _hold = self.store.hold(&held);
        self.layers(&registry, &found.layers, &diff_ids).await?;
        let image = self.register(config_bytes, &found, &diff_ids).await?;
        self.report("", Phase::Complete, 0, None);
        Ok(Pulled { image, digest: found.digest, up_to_date: false })
    }

    /// Before any layer comes. The signature of an index vouches for the manifests that it names.
    async fn check_signatures(&self, registry: &Registry, rules: &Rules<'_>, found: &Found) -> Result<(), PullError> {
        let mut digests = vec![found.digest];
        if found.manifest != found.digest {
            digests.push(found.manifest);
        }
        let mut all = Vec::new();
        for digest in &digests {
            all.extend(signatures::fetch(registry, digest).await.map_err(|error| self.registry(error))?);
        }
        rules.check(self.reference, &digests, &all).map_err(|denied| self.denied(denied))
    }

    async fn resolve(&self, registry: &Registry) -> Result<Found, PullError> {
        let (bytes, delivered) = self.manifest(registry, &self.reference.target(), self.reference.digest()).await?;
        let digest = Digest::of(&bytes);
        let manifest = Manifest::parse(&bytes, &delivered).map_err(|error| self.manifest_error(error))?;
        let entries = match manifest {
            Manifest::Image { config, layers } => {
                return Ok(Found { digest, manifest: digest, config, layers, documents: vec![bytes] });
            }
            Manifest::Index(entries) => entries,
        };
        let platform = self.options.platform.clone().unwrap_or_else(Platform::host);
        let chosen = choose(&entries, &platform).map_err(|error| self.manifest_error(error))?;
        let (inner, delivered) = self.manifest(registry, &chosen.digest.to_string(), Some(chosen.digest)).await?;
        if inner.len() as u64 != chosen.size {
            return Err(PullError::Size {
                image: self.reference.short(),
                what: "the manifest",
                expected: chosen.size,
                found: inner.len() as u64,
            });
        }
        match Manifest::parse(&inner, &delivered).map_err(|error| self.manifest_error(error))? {
            Manifest::Image { config, layers } => {
                Ok(Found { digest, manifest: chosen.digest, config, layers, documents: vec![bytes, inner] })
            }
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
            .get(&format!("manifests/{target}"), &[(ACCEPT, ACCEPTED.to_owned())], &what)
            .await
            .map_err(|error| self.registry(error))?;
        let delivered = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let delivered = delivered.to_owned();
        let bytes =
            registry.bytes(response, MAX_MANIFEST, "the manifest").await.map_err(|error| self.registry(error))?;
        self.check_digest("the manifest", expected, &bytes)?;
        Ok((bytes, delivered))
    }

    async fn config(&self, registry: &Registry, config: &Descriptor) -> Result<Vec<u8>, PullError> {
        let response = registry
            .get(&format!("blobs/{}", config.digest), &[], "the configuration")
            .await
            .map_err(|error| self.registry(error))?;
        let bytes =
            registry.bytes(response, MAX_CONFIG, "the configuration").await.map_err(|error| self.registry(error))?;
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

    fn check_digest(&self, what: &'static str, expected: Option<Digest>, bytes: &[u8]) -> Result<(), PullError> {
        let found = Digest::of(bytes);
        match expected {
            Some(expected) if expected != found => {
                Err(PullError::Digest { image: self.reference.short(), what, expected, found })
            }
            _ => Ok(()),
        }
    }

    fn check_config(&self, bytes: &[u8], found: &Found) -> Result<Vec<Digest>, PullError> {
        let config: ImageConfig =
            serde_json::from_slice(bytes).map_err(|error| self.manifest_error(ManifestError::Config(error)))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != found.layers.len() {
            let (layers, diff_ids) = (found.layers.len(), diff_ids.len());
            return Err(self.manifest_error(ManifestError::LayerCount { layers, diff_ids }));
        }
        // Without an explicit wish docker runs what it gets, and so do we: an emulator may be registered.
        if let Some(wanted) = &self.options.platform
            && (wanted.os != config.os || wanted.architecture != config.architecture)
        {
            let found = format!("{}/{}", config.os, config.architecture);
            return Err(self.manifest_error(ManifestError::OtherPlatform { wanted: wanted.to_string(), found }));
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
            result.map_err(|_| PullError::Worker { image: self.reference.short() })??;
        }
        Ok(())
    }

    async fn register(&self, config: Vec<u8>, found: &Found, diff_ids: &[Digest]) -> Result<Arc<Image>, PullError> {
        let layers = found.layers.iter().zip(diff_ids);
        let record = Record {
            version: 1,
            id: found.config.digest,
            references: match self.reference.digest() {
                None => [self.reference.clone()].into(),
                Some(_) => [].into(),
            },
            repo_digests: [self.reference.with_digest(found.digest)].into(),
            manifest: Some(found.manifest),
            layers: layers
                .map(|(layer, diff_id)| RecordLayer { diff_id: *diff_id, blob: Some(layer.digest) })
                .collect(),
            stored: jiff::Timestamp::now(),
        };
        let store = Arc::clone(self.store);
        let mut documents = found.documents.clone();
        documents.push(config);
        let stored = tokio::task::spawn_blocking(move || {
            for document in &documents {
                store.put_blob(document)?;
            }
            store.register(record)
        });
        stored
            .await
            .map_err(|_| PullError::Worker { image: self.reference.short() })?
            .map_err(|source| PullError::Store { image: self.reference.short(), source })
    }

    fn report(&self, item: &str, phase: Phase, done: u64, total: Option<u64>) {
        (self.options.progress)(Progress { item: item.to_owned(), phase, done, total, text: String::new() });
    }

    fn registry(&self, source: RegistryError) -> PullError {
        PullError::Registry { image: self.reference.short(), source: Box::new(source) }
    }

    fn denied(&self, source: Denied) -> PullError {
        PullError::Denied { image: self.reference.short(), source: Box::new(source) }
    }

    fn manifest_error(&self, source: ManifestError) -> PullError {
        PullError::Manifest { image: self.reference.short(), source: Box::new(source) }
    }
}
