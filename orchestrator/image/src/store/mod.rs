//! The image store: an OCI image layout for blobs, one JSON record per image, layers unpacked once by diff id.
//!
//! Below `<data root>/image`:
//!
//! - `blobs/sha256/<hex>`: configurations, manifests, compressed layers; on disk (fsync) before the record that names them.
//! - `images/<hex>.json`: one record per image id.
//! - `layers/<hex of the diff id>/`: `fs` (overlay form), `layer.json`, and `durable` once its files are on the disk.
//! - `partial/<hex>`: the beginnings of blobs whose download was cut short.
//! - `cache/<hex>.json`: build cache entries. `tmp`, `trash`: emptied when the store is opened.

mod check;
mod collect;
mod disk;
mod durability;
mod hold;
mod ingest;
mod names;
mod partial;
mod publish;
mod records;
mod recover;
mod scratch;
mod spool;
mod stack;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};

pub use check::{CheckOptions, CheckReport, Outcome, Problem};
pub use collect::{Collected, RemoveError, Removed, Scope};
pub use hold::Hold;
pub use ingest::LayerError;
pub(crate) use ingest::{Expected, LayerBlob};
pub(crate) use publish::StoredBlob;
pub use scratch::Scratch;
pub use spool::Spool;

use crate::index::{self, OCI_INDEX};
use crate::manifest::OCI_MANIFEST;
use crate::{Digest, ImageConfig, Reference};
use durability::Durability;
use hold::Holds;
use records::Records;

/// In a layer's folder, once its files are on the disk.
const MARK: &str = "durable";

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("image store {0} is in use by another engine")]
    Locked(PathBuf),
    #[error("layer {0} is not in the store")]
    LayerMissing(Digest),
    #[error("image configuration {0} is not in the store")]
    DocumentMissing(Digest),
    #[error("image configuration {0} is damaged")]
    DocumentDamaged(Digest, #[source] std::io::Error),
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("adding a layer")]
    Layer(#[source] Box<LayerError>),
    #[error("encoding {what}")]
    Encode {
        what: &'static str,
        source: serde_json::Error,
    },
}

/// An image of the store. Plain data: safe to keep after the image was removed.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the configuration, docker's image id.
    pub id: Digest,
    /// Names with a tag, sorted.
    pub references: Vec<Reference>,
    /// Of these names, those that it shares with images for other platforms: the index that lists them.
    pub indexes: BTreeMap<Reference, Digest>,
    /// Names with a digest under which registries know it, sorted.
    pub repo_digests: Vec<Reference>,
    /// Digest of the manifest; `None` for images built here and never pushed.
    pub manifest: Option<Digest>,
    pub config: ImageConfig,
    /// Diff ids, first layer first.
    pub layers: Vec<Digest>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// When the image was made (its own claim), RFC 3339; empty when it claims nothing.
    pub created: String,
    /// When this store got it.
    pub stored: jiff::Timestamp,
}

/// A layer that was added to the store.
#[derive(Debug, Clone)]
pub struct LayerInfo {
    pub diff_id: Digest,
    /// Digest of the blob. A layer committed from a directory has a plain tar as blob, made when it is first needed:
    /// there this equals `diff_id`.
    pub digest: Digest,
    /// Bytes unpacked.
    pub size: u64,
    /// Keeps the layer from being collected until an image or a cache entry refers to it.
    pub hold: Hold,
}

/// What a build step produced, by the key of its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// The layer; `None` for a step that only changed the configuration.
    pub layer: Option<Digest>,
    /// Whatever the builder wants back.
    #[serde(default)]
    pub data: serde_json::Value,
}

/// An object of the store that could not be read or restored, and what became of it.
#[derive(Debug, Clone)]
pub struct Damage {
    pub object: String,
    pub reason: String,
}

/// `images/<hex>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub version: u32,
    pub id: Digest,
    pub references: BTreeSet<Reference>,
    /// For names that the image shares with those for other platforms: the index that lists them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub indexes: BTreeMap<Reference, Digest>,
    pub repo_digests: BTreeSet<Reference>,
    pub manifest: Option<Digest>,
    /// First layer first; the blob as the manifest names it.
    pub layers: Vec<RecordLayer>,
    pub stored: jiff::Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordLayer {
    pub diff_id: Digest,
    pub blob: Option<Digest>,
}

/// `layers/<hex>/layer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub diff_id: Digest,
    /// `None` for a layer that was committed from a directory.
    pub blob: Option<Digest>,
    /// Bytes of file content.
    pub size: u64,
    /// Bytes of the tar that a layer without a blob is packed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<u64>,
    /// Directories that the layer's tar needs but does not describe.
    #[serde(default)]
    pub implicit: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<Digest, (Record, Arc<Image>)>,
    layers: HashMap<Digest, LayerRecord>,
    damage: Vec<Damage>,
    /// Layers that could not be looked at when the store was opened: they are neither believed nor removed.
    unreadable: BTreeSet<Digest>,
    /// Documents (configurations, manifests) that may not be on the disk yet.
    fresh: BTreeSet<Digest>,
}

/// The store of one data root. Shared as `Arc`; every method may be called from any thread, and blocks on the disk.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    state: Mutex<State>,
    holds: Arc<Holds>,
    /// One lock per layer or image that is being worked on, so that two pulls do the work once.
    busy: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    records: Arc<Records>,
    durability: Arc<Durability>,
    /// Locked for the store's life; the kernel lets go with the process.
    _lock: File,
}

impl Store {
    /// Opens (creating when needed) `<data root>/image`. After a crash of the machine it restores or drops layers whose
    /// files may not have reached the disk; see [`Store::damage`].
    pub fn open(data_root: &Path) -> Result<Arc<Self>, StoreError> {
        let root = data_root.join("image");
        disk::create_private(data_root)?;
        let mut damage = Vec::new();
        damage.extend(disk::claim_folder(&root, &root)?);
        damage.extend(disk::claim_file(&root, &root.join("lock"))?);
        let lock = disk::lock(&root)?;
        for folder in [
            "blobs",
            "blobs/sha256",
            "images",
            "layers",
            "cache",
            partial::FOLDER,
            "tmp",
            "trash",
            "empty",
        ] {
            damage.extend(disk::claim_folder(&root, &root.join(folder))?);
        }
        disk::set_mode(&root.join("empty"), 0o755)?;
        let layout = root.join("oci-layout");
        damage.extend(disk::claim_file(&root, &layout)?);
        if !layout.exists() {
            disk::replace(&root, &layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        for folder in ["tmp", "trash"] {
            disk::empty(&root.join(folder))?;
        }
        let records = Arc::new(Records::new(&root));
        let store = Self {
            durability: Arc::new(Durability::new(&root, Arc::clone(&records))?),
            records,
            root,
            state: Mutex::new(State {
                damage,
                ..State::default()
            }),
            holds: Arc::default(),
            busy: Mutex::default(),
            _lock: lock,
        };
        store.recover()?;
        store.write_index(&store.state())?;
        Ok(Arc::new(store))
    }

    /// What could not be read or restored when the store was opened.
    pub fn damage(&self) -> Vec<Damage> {
        self.state().damage.clone()
    }

    /// All images, newest in the store first.
    pub fn images(&self) -> Vec<Arc<Image>> {
        let mut images: Vec<_> = self
            .state()
            .images
            .values()
            .map(|(_, image)| Arc::clone(image))
            .collect();
        images.sort_by(|a, b| b.stored.cmp(&a.stored).then(a.id.cmp(&b.id)));
        images
    }

    /// When the image last got a name, or lost one.
    pub fn named_at(&self, image: &Image) -> jiff::Timestamp {
        let written =
            std::fs::metadata(self.records.file(&image.id)).and_then(|meta| meta.modified());
        written
            .ok()
            .and_then(|time| jiff::Timestamp::try_from(time).ok())
            .unwrap_or(image.stored)
            .max(image.stored)
    }

    /// The image with this id.
    pub fn image(&self, id: &Digest) -> Option<Arc<Image>> {
        self.state()
            .images
            .get(id)
            .map(|(_, image)| Arc::clone(image))
    }

    /// overlayfs lower directories of an image, top layer first; never empty.
    pub fn lowers(&self, image: &Image) -> Result<Vec<PathBuf>, StoreError> {
        self.lowers_of(&image.layers)
    }

    /// Records that fit, by id.
    pub(crate) fn records(&self, fits: impl Fn(&Record) -> bool) -> Vec<Record> {
        let state = self.state();
        state
            .images
            .values()
            .map(|(record, _)| record)
            .filter(|record| fits(record))
            .cloned()
            .collect()
    }

    /// The blob to hand on for a layer: the one that its image names, else the one that it was unpacked from, if it is
    /// there.
    pub(crate) fn blob_of(
        &self,
        diff_id: &Digest,
        named: Option<Digest>,
    ) -> Result<Option<Digest>, StoreError> {
        let state = self.state();
        let own = state
            .layers
            .get(diff_id)
            .ok_or(StoreError::LayerMissing(*diff_id))?
            .blob;
        Ok([named, own]
            .into_iter()
            .flatten()
            .find(|blob| self.blob_file(blob).exists()))
    }

    /// Every layer with its bytes of content, and whether only the build cache needs it.
    pub fn layer_sizes(&self) -> BTreeMap<Digest, (u64, bool)> {
        let state = self.state();
        let of_images: BTreeSet<Digest> = state
            .images
            .values()
            .flat_map(|(record, _)| record.layers.iter().map(|layer| layer.diff_id))
            .collect();
        let size = |layer: &LayerRecord| {
            (
                layer.diff_id,
                (layer.size, !of_images.contains(&layer.diff_id)),
            )
        };
        state.layers.values().map(size).collect()
    }

    /// Whether the layer with this diff id is there, unpacked and verified.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.state().layers.contains_key(diff_id)
    }

    /// Keeps layers (or blobs) from being collected as long as the result lives.
    pub fn hold(&self, digests: &[Digest]) -> Hold {
        self.holds.hold(digests)
    }

    /// Stores an image whose layers (`config.rootfs.diff_ids`) are in the store, under these names. It is on the disk when
    /// this returns if its layers are, or their blobs; else it is once [`Store::sync`] has returned, which is begun here.
    pub fn add_image(
        &self,
        config: &ImageConfig,
        references: &[Reference],
    ) -> Result<Arc<Image>, StoreError> {
        let bytes = serde_json::to_vec(config).map_err(|source| StoreError::Encode {
            what: "an image configuration",
            source,
        })?;
        let id = Digest::of(&bytes);
        let _hold = self.hold(&[id]);
        self.put_blob(&bytes)?;
        let layers = {
            let state = self.state();
            let blob = |diff_id: &Digest| {
                state
                    .layers
                    .get(diff_id)?
                    .blob
                    .filter(|blob| self.blob_file(blob).exists())
            };
            let layer = |diff_id: &Digest| RecordLayer {
                diff_id: *diff_id,
                blob: blob(diff_id),
            };
            config.rootfs.diff_ids.iter().map(layer).collect()
        };
        self.register(Record {
            version: 1,
            id,
            references: references
                .iter()
                .filter(|name| name.tag().is_some())
                .cloned()
                .collect(),
            indexes: BTreeMap::new(),
            repo_digests: BTreeSet::new(),
            manifest: None,
            layers,
            stored: jiff::Timestamp::now(),
        })
    }

    /// A cache entry whose layer is still in the store.
    pub fn cache_get(&self, key: &Digest) -> Option<CacheEntry> {
        let bytes = fs::read(self.cache_file(key)).ok()?;
        let entry: CacheEntry = serde_json::from_slice(&bytes).ok()?;
        if entry.layer.is_some_and(|layer| !self.has_layer(&layer)) {
            return None;
        }
        // What is used is not what a prune of old entries takes; a use that cannot be noted costs one build step.
        let _ = File::open(self.cache_file(key))
            .and_then(|file| file.set_modified(std::time::SystemTime::now()));
        Some(entry)
    }

    /// Remembers what a build step made; the layer is kept as long as the entry is.
    pub fn cache_put(&self, key: &Digest, entry: &CacheEntry) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(entry).map_err(|source| StoreError::Encode {
            what: "a build cache entry",
            source,
        })?;
        // Losing an entry costs one build step, so it is not worth an fsync.
        disk::replace_lazily(&self.root, &self.cache_file(key), &bytes)
    }

    /// Waits until everything that is in the store now is on the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.durability.settle()
    }

    /// The table of contents of the OCI layout, for other tools; the store itself never reads it.
    fn write_index(&self, state: &State) -> Result<(), StoreError> {
        let mut manifests = Vec::new();
        let mut entry = |digest: Digest, kind: &str, annotations: serde_json::Value| {
            let Ok(bytes) = fs::read(self.blob_file(&digest)) else {
                return;
            };
            let media_type = index::media_type(&bytes).unwrap_or_else(|| kind.to_owned());
            manifests.push(serde_json::json!({
                "mediaType": media_type, "digest": digest, "size": bytes.len(), "annotations": annotations,
            }));
        };
        let named =
            |name: &Reference| serde_json::json!({ "org.opencontainers.image.ref.name": name });
        let mut shared: BTreeMap<&Reference, Vec<&Record>> = BTreeMap::new();
        for (record, _) in state.images.values() {
            let Some(manifest) = record.manifest else {
                continue;
            };
            if record.references.is_empty() {
                entry(manifest, OCI_MANIFEST, serde_json::json!({}));
            }
            for name in &record.references {
                match record.indexes.contains_key(name) {
                    true => shared.entry(name).or_default().push(record),
                    false => entry(manifest, OCI_MANIFEST, named(name)),
                }
            }
        }
        for (name, records) in shared {
            match records[..] {
                [one] => one
                    .manifest
                    .into_iter()
                    .for_each(|manifest| entry(manifest, OCI_MANIFEST, named(name))),
                _ => records[0]
                    .indexes
                    .get(name)
                    .into_iter()
                    .for_each(|index| entry(*index, OCI_INDEX, named(name))),
            }
        }
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": manifests });
        // For other readers; the store itself uses its records. A full disk must not prevent opening it or removing
        // images.
        match disk::replace_lazily(
            &self.root,
            &self.root.join("index.json"),
            index.to_string().as_bytes(),
        ) {
            Err(error) if disk::no_room(&error) => {
                tracing::warn!(%error, "index.json is not up to date");
                Ok(())
            }
            written => written,
        }
    }

    fn describe(&self, state: &State, record: &Record) -> Result<Image, StoreError> {
        let path = self.blob_file(&record.id);
        let bytes = match disk::read(&path) {
            disk::Content::Bytes(bytes) => bytes,
            disk::Content::Missing => return Err(StoreError::DocumentMissing(record.id)),
            disk::Content::Unreadable(error) => return Err(disk::failed("reading", &path)(error)),
        };
        let config: ImageConfig = match Digest::of(&bytes) == record.id {
            true => serde_json::from_slice(&bytes).map_err(|error| error.into()),
            false => Err(std::io::Error::other(
                "its content does not have its digest",
            )),
        }
        .map_err(|error: std::io::Error| StoreError::DocumentDamaged(record.id, error))?;
        let mut size = 0;
        for layer in &record.layers {
            size += state
                .layers
                .get(&layer.diff_id)
                .ok_or(StoreError::LayerMissing(layer.diff_id))?
                .size;
        }
        Ok(Image {
            id: record.id,
            references: record.references.iter().cloned().collect(),
            indexes: record.indexes.clone(),
            repo_digests: record.repo_digests.iter().cloned().collect(),
            manifest: record.manifest,
            layers: record.layers.iter().map(|layer| layer.diff_id).collect(),
            size,
            created: config.created.clone().unwrap_or_default(),
            stored: record.stored,
            config,
        })
    }

    /// The lock of one piece of work; the holder of its guard does the work, the others find it done.
    pub(crate) fn busy(&self, key: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        busy.insert(key, Arc::downgrade(&lock));
        lock
    }

    // A panic elsewhere leaves plain data behind, nothing half-changed that a later reader could trip over.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer_folder(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    pub(crate) fn blob_file(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn cache_file(&self, key: &Digest) -> PathBuf {
        self.root.join("cache").join(format!("{}.json", key.hex()))
    }
}
