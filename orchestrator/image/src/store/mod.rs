//! The image store: an OCI image layout for blobs, one JSON record per image, layers unpacked once by diff id.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, ImageConfig, Reference};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{attempt} {path}")]
    Io { attempt: &'static str, path: PathBuf, source: std::io::Error },
    #[error("image store {0} is in use by another engine")]
    Locked(PathBuf),
    #[error("layer {0} is not in the store")]
    LayerMissing(Digest),
    #[error("no such image: {0}")]
    NoSuchImage(String),
}

/// An image of the store. Plain data: safe to keep after the image was removed.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the configuration, docker's image id.
    pub id: Digest,
    /// Names with a tag, sorted.
    pub references: Vec<Reference>,
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

/// Keeps layers from being collected while it lives.
#[derive(Debug, Clone)]
pub struct Hold {}

/// A writable directory pair inside the store's file system. Dropped without [`Store::commit_layer`], it is removed.
#[derive(Debug)]
pub struct Scratch {
    upper: PathBuf,
    work: PathBuf,
}

impl Scratch {
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    pub fn work(&self) -> &Path {
        &self.work
    }
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

/// How far [`Store::collect`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Also remove images that no name refers to.
    pub dangling: bool,
    /// Also remove images that no container uses, named or not.
    pub unused: bool,
    /// Also forget build cache entries.
    pub cache: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Collected {
    pub images: Vec<Digest>,
    pub layers: Vec<Digest>,
    /// Bytes of what was removed.
    pub bytes: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Removed {
    pub untagged: Vec<Reference>,
    pub deleted: Vec<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("image {name} is used by a container")]
    InUse { name: String },
    #[error("image {id} has several names: {names}")]
    SeveralNames { id: String, names: String },
    #[error("removing image {name}")]
    Store { name: String, source: StoreError },
}

/// The store of one data root. Shared as `Arc`; every method may be called from any thread, and blocks on the disk.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens (creating when needed) `<data root>/image`. After a crash of the machine it restores or drops layers whose
    /// files may not have reached the disk; see [`Store::damage`].
    pub fn open(_data_root: &Path) -> Result<Arc<Self>, StoreError> {
        todo!()
    }

    /// What could not be read or restored when the store was opened.
    pub fn damage(&self) -> Vec<Damage> {
        todo!()
    }

    /// All images, newest in the store first.
    pub fn images(&self) -> Vec<Arc<Image>> {
        todo!()
    }

    pub fn image(&self, _id: &Digest) -> Option<Arc<Image>> {
        todo!()
    }

    /// By the name it was stored under: tag, or digest of a manifest or configuration.
    pub fn find(&self, _reference: &Reference) -> Option<Arc<Image>> {
        todo!()
    }

    /// By what a user types: a reference, an id, or an unambiguous prefix of an id (with or without `sha256:`).
    pub fn resolve(&self, _name: &str) -> Option<Arc<Image>> {
        todo!()
    }

    /// overlayfs lower directories of an image, top layer first; never empty.
    pub fn lowers(&self, image: &Image) -> Result<Vec<PathBuf>, StoreError> {
        self.lowers_of(&image.layers)
    }

    /// The same for a list of diff ids, first layer first.
    pub fn lowers_of(&self, _layers: &[Digest]) -> Result<Vec<PathBuf>, StoreError> {
        todo!()
    }

    pub fn has_layer(&self, _diff_id: &Digest) -> bool {
        todo!()
    }

    /// Keeps layers from being collected as long as the result lives.
    pub fn hold(&self, _layers: &[Digest]) -> Hold {
        todo!()
    }

    /// Adds a name, taking it from the image that had it.
    pub fn tag(&self, _image: &Digest, _reference: &Reference) -> Result<(), StoreError> {
        todo!()
    }

    /// Takes a name away; the image stays.
    pub fn untag(&self, _reference: &Reference) -> Result<(), StoreError> {
        todo!()
    }

    /// docker's `rmi`: takes the name away, and deletes the image with its last name. An image in `in_use` (ids of
    /// images that containers were made from) is only deleted when `force` is set; its layers stay until collected.
    pub fn remove(&self, _name: &str, _force: bool, _in_use: &BTreeSet<Digest>) -> Result<Removed, RemoveError> {
        todo!()
    }

    /// Removes layers and blobs that no image, cache entry, [`Hold`] or container (`layers_in_use`) refers to.
    pub fn collect(&self, _layers_in_use: &BTreeSet<Digest>, _scope: Scope) -> Result<Collected, StoreError> {
        todo!()
    }

    /// A directory pair for an overlay mount whose upper directory becomes a layer.
    pub fn begin_layer(&self) -> Result<Scratch, StoreError> {
        todo!()
    }

    /// Turns the upper directory (overlay form, nothing mounted on it any more) into a layer. Reads all its bytes.
    pub fn commit_layer(&self, _scratch: Scratch) -> Result<LayerInfo, StoreError> {
        todo!()
    }

    /// Unpacks a tar stream (plain, gzip or zstd) as a layer.
    pub fn add_layer(&self, _archive: &mut dyn std::io::Read) -> Result<LayerInfo, StoreError> {
        todo!()
    }

    /// Stores an image whose layers (`config.rootfs.diff_ids`) are in the store, under these names.
    pub fn add_image(&self, _config: &ImageConfig, _references: &[Reference]) -> Result<Arc<Image>, StoreError> {
        todo!()
    }

    /// A cache entry whose layer is still in the store.
    pub fn cache_get(&self, _key: &Digest) -> Option<CacheEntry> {
        todo!()
    }

    pub fn cache_put(&self, _key: &Digest, _entry: &CacheEntry) -> Result<(), StoreError> {
        todo!()
    }
}
