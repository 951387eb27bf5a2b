//! Images from archives: `docker save` and OCI layouts in a tar.
//!
//! The table of contents may come last, and layers may be shared by link, so members are first put aside (hashed on the
//! way) and looked at when all are there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::layer::ArchiveError;
use crate::layout::LayoutError;
use crate::manifest::{Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest, ManifestError, choose};
use crate::members::{MAX_MEMBERS, Members};
use crate::save::{CONTAINERD_NAME, REF_NAME};
use crate::store::{LayerError, Record, RecordLayer};
use crate::tarball::blob_name;
use crate::{
    Digest, Hold, Image, ImageConfig, Phase, Platform, Progress, ProgressSink, Reference,
    ReferenceError, Store, StoreError, index,
};

/// Why an archive was not loaded. Names are those of its members.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading the archive")]
    Read(#[source] io::Error),
    #[error("reading the archive")]
    Archive(#[source] ArchiveError),
    #[error("the archive has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    #[error("the archive holds no image: it has neither manifest.json nor index.json")]
    NoImage,
    #[error("the archive lacks {0}, which its table of contents names")]
    Missing(String),
    #[error("{0} is too long")]
    TooLong(String),
    #[error(
        "{0} is stored with holes, which no image's file has: pack the archive without --sparse"
    )]
    Sparse(String),
    #[error("{name} is not what it should be")]
    Json {
        name: String,
        source: serde_json::Error,
    },
    #[error("{name} has digest {found}, not {expected}")]
    Digest {
        name: String,
        expected: Digest,
        found: Digest,
    },
    #[error("reading an image of the archive")]
    Manifest(#[source] Box<ManifestError>),
    #[error("a name in the archive")]
    Reference(#[source] ReferenceError),
    #[error("layer {name}")]
    Layer {
        name: String,
        source: Box<LayerError>,
    },
    #[error("storing an image of the archive")]
    Store(#[source] StoreError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("loading: a worker thread ended early")]
    Worker,
}

/// Loads every image of an archive (plain, gzip or zstd) and returns them with the names they got.
pub async fn load(
    store: &Arc<Store>,
    archive: impl Read + Send + 'static,
    progress: ProgressSink,
) -> Result<Vec<Arc<Image>>, LoadError> {
    let store = Arc::clone(store);
    let work = move || Incoming::read(&store, archive)?.load(&progress);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LoadError::Worker)?
}

/// An archive that was read to its end; nothing of it is in the store yet.
#[derive(Debug)]
pub struct Incoming {
    store: Arc<Store>,
    members: Members,
}

/// What came with the images; see [`crate::Artifact`].
#[derive(Debug)]
pub struct Received {
    pub document: Vec<u8>,
    /// Files that hold the blobs, in the order in which they were saved. They live as long as the [`Incoming`].
    pub blobs: Vec<(Digest, PathBuf)>,
}

impl Incoming {
    /// Blocks until the archive ends. Every blob is what its name says, or none is taken.
    pub fn read(store: &Arc<Store>, archive: impl Read) -> Result<Self, LoadError> {
        let members = Members::read(store, archive)?;
        for (name, member) in &members.files {
            let expected = name
                .strip_prefix("blobs/sha256/")
                .and_then(Digest::from_hex);
            if let Some(expected) = expected.filter(|expected| *expected != member.digest) {
                return Err(LoadError::Digest {
                    name: name.clone(),
                    expected,
                    found: member.digest,
                });
            }
        }
        Ok(Self {
            store: Arc::clone(store),
            members,
        })
    }

    /// The artifact of this kind, with all that it names.
    pub fn artifact(&self, kind: &str) -> Result<Option<Received>, LoadError> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(default, rename = "artifactType")]
            kind: String,
            digest: Digest,
        }
        #[derive(Deserialize)]
        struct TypedIndex {
            manifests: Vec<Typed>,
        }
        #[derive(Deserialize)]
        struct ArtifactManifest {
            config: Descriptor,
            layers: Vec<Descriptor>,
        }
        if !self.members.has("index.json") {
            return Ok(None);
        }
        let index: TypedIndex = self.members.json("index.json")?;
        let entry = index.manifests.iter().find(|entry| entry.kind == kind);
        let Some(entry) = entry else { return Ok(None) };
        let manifest: ArtifactManifest = self.members.json(&blob_name(&entry.digest))?;
        let find = |blob: &Descriptor| {
            let name = blob_name(&blob.digest);
            let member = self.members.find(&name).ok_or(LoadError::Missing(name))?;
            Ok((member.digest, member.path))
        };
        let document = self
            .members
            .bytes(&blob_name(&manifest.config.digest), MAX_CONFIG)?;
        Ok(Some(Received {
            document,
            blobs: manifest
                .layers
                .iter()
                .map(find)
                .collect::<Result<_, LoadError>>()?,
        }))
    }

    /// Stores the images: first all of their layers, then their names.
    pub fn load(&self, progress: &ProgressSink) -> Result<Vec<Arc<Image>>, LoadError> {
        Loader {
            store: &self.store,
            progress,
            members: &self.members,
        }
        .run()
    }
}

/// One entry of docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// What the archive says about one image, both forms alike.
struct Contents {
    config: Vec<u8>,
    /// Member names, first layer first.
    layers: Vec<String>,
    names: Vec<Reference>,
    /// The index under which it has them, where the archive has one.
    index: Option<Vec<u8>>,
    /// The manifest as it is, where the archive has one.
    manifest: Option<Vec<u8>>,
}

/// An image of which everything is there but its record.
struct UnrecordedImage {
    record: Record,
    _hold: Hold,
}

struct Loader<'a> {
    store: &'a Store,
    progress: &'a ProgressSink,
    members: &'a Members,
}

impl Loader<'_> {
    fn run(self) -> Result<Vec<Arc<Image>>, LoadError> {
        // Archives of newer dockers have both; the older table has the full names, but one image for each.
        let contents = if self.members.has("manifest.json") && !self.has_indexes() {
            self.docker()?
        } else if self.members.has("index.json") {
            self.oci()?
        } else {
            return Err(LoadError::NoImage);
        };
        let taken: Vec<UnrecordedImage> = contents
            .into_iter()
            .map(|contents| self.take(contents))
            .collect::<Result<_, _>>()?;
        taken
            .into_iter()
            .map(|taken| self.store.register(taken.record).map_err(LoadError::Store))
            .collect()
    }

    fn docker(&self) -> Result<Vec<Contents>, LoadError> {
        let images: Vec<DockerImage> = self.members.json("manifest.json")?;
        let manifests = self.manifests();
        let contents = images.into_iter().map(|image| {
            let names = image.repo_tags.unwrap_or_default();
            let config = self.members.bytes(&image.config, MAX_CONFIG)?;
            let layers = image.layers.unwrap_or_default();
            let manifest = manifests
                .get(&Digest::of(&config))
                .filter(|(_, blobs)| *blobs == layers);
            Ok(Contents {
                index: None,
                manifest: manifest.map(|(bytes, _)| bytes.clone()),
                config,
                layers,
                names: names
                    .iter()
                    .map(|name| Reference::parse(name))
                    .collect::<Result<_, _>>()
                    .map_err(LoadError::Reference)?,
            })
        });
        contents.collect()
    }

    /// The manifests of the OCI layout that newer dockers put into the same archive, with the members that they name, by
    /// configuration. Docker's table alone is enough to load an image, so whatever is wrong here is passed over.
    fn manifests(&self) -> BTreeMap<Digest, (Vec<u8>, Vec<String>)> {
        let Ok(index) = self.members.json::<Index>("index.json") else {
            return BTreeMap::new();
        };
        let manifest = |entry: &Descriptor| {
            let bytes = self.blob(entry, MAX_MANIFEST).ok()?;
            match Manifest::parse(&bytes, &entry.media_type).ok()? {
                Manifest::Image { config, layers } => {
                    let layers = layers
                        .iter()
                        .map(|layer| blob_name(&layer.digest))
                        .collect();
                    Some((config.digest, (bytes, layers)))
                }
                Manifest::Index(_) => None,
            }
        };
        index.manifests.iter().filter_map(manifest).collect()
    }

    /// Whether an entry of the archive stands for several images.
    fn has_indexes(&self) -> bool {
        let Ok(index) = self.members.json::<Index>("index.json") else {
            return false;
        };
        let is_index = |entry: &Descriptor| {
            let bytes = self.blob(entry, MAX_MANIFEST).ok()?;
            Some(matches!(
                Manifest::parse(&bytes, &entry.media_type).ok()?,
                Manifest::Index(_)
            ))
        };
        index
            .manifests
            .iter()
            .any(|entry| is_index(entry) == Some(true))
    }

    fn oci(&self) -> Result<Vec<Contents>, LoadError> {
        let index: Index = self.members.json("index.json")?;
        let images = index
            .manifests
            .iter()
            .filter(|entry| entry.artifact_type.is_none());
        let contents: Vec<Vec<Contents>> = images
            .map(|entry| self.oci_images(entry))
            .collect::<Result<_, _>>()?;
        Ok(contents.into_iter().flatten().collect())
    }

    /// An image, or those of an index that the archive has.
    fn oci_images(&self, entry: &Descriptor) -> Result<Vec<Contents>, LoadError> {
        let failed = |error| LoadError::Manifest(Box::new(error));
        let annotation = |key| {
            entry
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(key))
        };
        // A tag alone belongs to no repository; such an image is loaded without a name.
        let name = annotation(CONTAINERD_NAME)
            .or(annotation(REF_NAME).filter(|name| name.contains([':', '/'])));
        let name = name
            .map(|name| Reference::parse(name))
            .transpose()
            .map_err(LoadError::Reference)?;
        let bytes = self.blob(entry, MAX_MANIFEST)?;
        let entries = match Manifest::parse(&bytes, &entry.media_type).map_err(failed)? {
            Manifest::Image { config, layers } => {
                return Ok(vec![self.oci_image(
                    bytes,
                    &config,
                    &layers,
                    name.as_ref(),
                    None,
                )?]);
            }
            Manifest::Index(entries) => entries,
        };
        let mut contents = Vec::new();
        for (listed, _) in index::images(&entries) {
            if !self.members.has(&blob_name(&listed.digest)) {
                continue;
            }
            let manifest = self.blob(listed, MAX_MANIFEST)?;
            match Manifest::parse(&manifest, &listed.media_type).map_err(failed)? {
                Manifest::Image { config, layers } => {
                    contents.push(self.oci_image(
                        manifest,
                        &config,
                        &layers,
                        name.as_ref(),
                        Some(&bytes),
                    )?);
                }
                Manifest::Index(_) => return Err(failed(ManifestError::Nested)),
            }
        }
        if contents.is_empty() {
            // Says what there is, or which member is missing.
            self.blob(
                choose(&entries, &Platform::host()).map_err(failed)?,
                MAX_MANIFEST,
            )?;
        }
        Ok(contents)
    }

    fn oci_image(
        &self,
        manifest: Vec<u8>,
        config: &Descriptor,
        layers: &[Descriptor],
        name: Option<&Reference>,
        index: Option<&[u8]>,
    ) -> Result<Contents, LoadError> {
        Ok(Contents {
            config: self.blob(config, MAX_CONFIG)?,
            layers: layers
                .iter()
                .map(|layer| blob_name(&layer.digest))
                .collect(),
            names: name.into_iter().cloned().collect(),
            index: index.map(<[u8]>::to_vec),
            manifest: Some(manifest),
        })
    }

    fn blob(&self, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>, LoadError> {
        let name = blob_name(&descriptor.digest);
        let bytes = self.members.bytes(&name, most)?;
        let found = Digest::of(&bytes);
        match found == descriptor.digest {
            true => Ok(bytes),
            false => Err(LoadError::Digest {
                name,
                expected: descriptor.digest,
                found,
            }),
        }
    }

    /// Puts into the store what the image consists of.
    fn take(&self, contents: Contents) -> Result<UnrecordedImage, LoadError> {
        let failed = |error| LoadError::Manifest(Box::new(error));
        let config: ImageConfig = serde_json::from_slice(&contents.config)
            .map_err(|error| failed(ManifestError::Config(error)))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != contents.layers.len() {
            let (layers, diff_ids) = (contents.layers.len(), diff_ids.len());
            return Err(failed(ManifestError::LayerCount { layers, diff_ids }));
        }
        let id = Digest::of(&contents.config);
        let mut held = diff_ids.clone();
        held.push(id);
        held.extend(contents.manifest.as_deref().map(Digest::of));
        held.extend(contents.index.as_deref().map(Digest::of));
        let hold = self.store.hold(&held);
        let mut layers = Vec::new();
        for (name, diff_id) in contents.layers.iter().zip(&diff_ids) {
            let expected = name
                .strip_prefix("blobs/sha256/")
                .and_then(Digest::from_hex);
            let blob = self.layer(name, expected, *diff_id)?;
            layers.push(RecordLayer {
                diff_id: *diff_id,
                blob,
            });
        }
        let manifest = match &contents.manifest {
            Some(bytes) => Some(self.store.put_blob(bytes).map_err(LoadError::Store)?),
            None => None,
        };
        self.store
            .put_blob(&contents.config)
            .map_err(LoadError::Store)?;
        let index = match &contents.index {
            Some(bytes) => Some(self.store.put_blob(bytes).map_err(LoadError::Store)?),
            None => None,
        };
        let mut record = Record {
            version: 1,
            id,
            references: [].into(),
            indexes: [].into(),
            repo_digests: [].into(),
            manifest,
            layers,
            stored: jiff::Timestamp::now(),
        };
        for name in contents.names.iter().filter(|name| name.tag().is_some()) {
            record.give(name, index);
        }
        Ok(UnrecordedImage {
            record,
            _hold: hold,
        })
    }

    /// Makes the layer be in the store and returns its blob's digest.
    fn layer(
        &self,
        name: &str,
        expected: Option<Digest>,
        diff_id: Digest,
    ) -> Result<Option<Digest>, LoadError> {
        let lock = self.store.busy(format!("layer {diff_id}"));
        let _working = lock.blocking_lock();
        if self.store.has_layer(&diff_id) {
            self.report(&diff_id, Phase::Exists, 0);
            // The blob under which a manifest knows it may differ from the one that it was unpacked from.
            return Ok(expected);
        }
        let member = self
            .members
            .find(name)
            .ok_or_else(|| LoadError::Missing(name.to_owned()))?;
        if let Some(expected) = expected
            && expected != member.digest
        {
            return Err(LoadError::Digest {
                name: name.to_owned(),
                expected,
                found: member.digest,
            });
        }
        self.report(&diff_id, Phase::Unpacking, member.size);
        let _hold = self.store.hold(&[member.digest]);
        if !self.store.blob_file(&member.digest).exists() {
            let file = File::open(&member.path).map_err(LoadError::Read)?;
            self.store
                .name_blob(file, &member.path, &member.digest)
                .map_err(LoadError::Store)?;
        }
        self.store
            .ingest_blob(member.digest, diff_id)
            .map_err(|source| LoadError::Layer {
                name: name.to_owned(),
                source: Box::new(source),
            })?;
        self.report(&diff_id, Phase::Complete, member.size);
        Ok(Some(member.digest))
    }

    fn report(&self, diff_id: &Digest, phase: Phase, size: u64) {
        let total = (size > 0).then_some(size);
        let done = if phase == Phase::Complete { size } else { 0 };
        (self.progress)(Progress {
            item: diff_id.short(),
            phase,
            done,
            total,
            text: String::new(),
        });
    }
}
