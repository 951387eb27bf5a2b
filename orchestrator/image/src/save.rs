//! Images as one archive: an OCI layout with docker's table of contents beside it, as docker writes it since version 25.
//! `docker load`, `podman load` and [`crate::load`] read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::json;

use crate::index::{self, OCI_INDEX};
use crate::portable::{Blob, OCI_MANIFEST, Portable};
use crate::store::{Record, Spool};
use crate::tarball::{Tarball, blob_name};
use crate::{Digest, Hold, Platform, Reference, Store, StoreError};

/// containerd's name for the whole reference.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why images were not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("reading image {name}")]
    Image { name: String, source: StoreError },
}

/// Images that were asked for, held until they are written.
#[derive(Debug)]
pub struct Archive {
    store: Arc<Store>,
    images: Vec<Saved>,
    indexes: Vec<SavedIndex>,
    artifact: Option<Artifact>,
    _hold: Hold,
}

/// Several images under one name.
#[derive(Debug)]
struct SavedIndex {
    document: Blob,
    members: Vec<Digest>,
    names: Vec<Reference>,
}

#[derive(Debug)]
struct Saved {
    id: Digest,
    content: Portable,
    platform: Platform,
    /// Names that are its alone.
    names: Vec<Reference>,
    /// Names of several images that docker's table, which can say this of one image only, says of this one.
    for_table: Vec<Reference>,
}

/// Something of another kind that travels with images: a document, and blobs that it speaks of.
#[derive(Debug)]
pub struct Artifact {
    pub kind: String,
    pub document: Vec<u8>,
    pub document_type: String,
    /// Media type and content.
    pub blobs: Vec<(String, Spool)>,
}

impl Artifact {
    /// The manifest, the document, the other blobs.
    fn parts(&self) -> (Blob, Blob, Vec<Blob>) {
        let document = Blob::of_bytes(&self.document_type, self.document.clone());
        let blobs: Vec<Blob> = self
            .blobs
            .iter()
            .map(|(kind, spool)| Blob::of_spool(kind, spool))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": self.kind,
            "config": document.descriptor(), "layers": blobs.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        (
            Blob::of_bytes(OCI_MANIFEST, manifest.to_string().into_bytes()),
            document,
            blobs,
        )
    }
}

impl Archive {
    /// Looks the images up by what a user types. A repository without a tag means all of its tags, as docker has it; an
    /// image that was named by its id goes without a name.
    pub fn of(store: &Arc<Store>, names: &[String]) -> Result<Self, SaveError> {
        let mut chosen: Vec<(Record, Vec<Reference>)> = Vec::new();
        for name in names {
            let found = chosen_by(store, name);
            if found.is_empty() {
                return Err(SaveError::NoSuchImage(name.clone()));
            }
            for (record, references) in found {
                match chosen.iter_mut().find(|(other, _)| other.id == record.id) {
                    Some((_, known)) => known.extend(references),
                    None => chosen.push((record, references)),
                }
            }
        }
        let held: Vec<Digest> = chosen
            .iter()
            .flat_map(|(record, _)| record.mentioned())
            .collect();
        let hold = store.hold(&held);
        let mut images = Vec::new();
        let mut shared: BTreeMap<Reference, (Option<Digest>, Vec<Digest>)> = BTreeMap::new();
        for (record, mut names) in chosen {
            names.sort();
            names.dedup();
            let (several, alone): (Vec<_>, Vec<_>) = names
                .into_iter()
                .partition(|name| store.named(name).len() > 1);
            for name in several {
                let (index, members) = shared.entry(name.clone()).or_default();
                *index = record.indexes.get(&name).copied();
                members.push(record.id);
            }
            let failed = |source| SaveError::Image {
                name: record.id.to_string(),
                source,
            };
            let content = Portable::of(store, &record).map_err(failed)?;
            let platform = store
                .image(&record.id)
                .map_or_else(Platform::host, |image| image.config.platform());
            images.push(Saved {
                id: record.id,
                content,
                platform,
                names: alone,
                for_table: Vec::new(),
            });
        }
        let indexes = indexes(store, shared, &mut images);
        Ok(Self {
            store: Arc::clone(store),
            images,
            indexes,
            artifact: None,
            _hold: hold,
        })
    }

    /// Adds something that is not an image.
    #[must_use]
    pub fn with(self, artifact: Artifact) -> Self {
        Self {
            artifact: Some(artifact),
            ..self
        }
    }

    /// Writes the archive; nothing of it is ever in memory but the tables, which come first.
    pub fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        let mut tar = Tarball::new(output);
        let (mut index, mut table) = (Vec::new(), Vec::new());
        let artifact = self
            .artifact
            .as_ref()
            .map(|artifact| (&artifact.kind, artifact.parts()));
        if let Some((kind, (manifest, ..))) = &artifact {
            let mut entry = manifest.descriptor();
            entry["artifactType"] = json!(kind);
            index.push(entry);
        }
        let listed: BTreeSet<Digest> = self
            .indexes
            .iter()
            .flat_map(|index| &index.members)
            .copied()
            .collect();
        for image in &self.images {
            if !listed.contains(&image.id) || !image.names.is_empty() {
                index.extend(index_entries(&image.content.manifest, &image.names));
            }
            table.push(json!({
                "Config": blob_name(&image.content.config.digest),
                "RepoTags": image.names.iter().chain(&image.for_table).map(Reference::short).collect::<Vec<_>>(),
                "Layers": image.content.layers.iter().map(|layer| blob_name(&layer.digest)).collect::<Vec<_>>(),
            }));
        }
        for saved in &self.indexes {
            index.extend(index_entries(&saved.document, &saved.names));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index });
        tar.bytes("oci-layout", OCI_LAYOUT)?;
        tar.bytes("index.json", index.to_string().as_bytes())?;
        tar.bytes(
            "manifest.json",
            serde_json::Value::from(table).to_string().as_bytes(),
        )?;
        if let Some((_, (manifest, document, _))) = &artifact {
            tar.blob(&self.store, manifest)?;
            tar.blob(&self.store, document)?;
        }
        for blob in self.images.iter().flat_map(|image| image.content.blobs()) {
            tar.blob(&self.store, blob)?;
        }
        for index in &self.indexes {
            tar.blob(&self.store, &index.document)?;
        }
        for blob in artifact.iter().flat_map(|(_, (.., blobs))| blobs) {
            tar.blob(&self.store, blob)?;
        }
        tar.finish()
    }
}

pub(crate) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn chosen_by(store: &Store, name: &str) -> Vec<(Record, Vec<Reference>)> {
    let whole_repository =
        !name.contains('@') && !name.rsplit('/').next().unwrap_or(name).contains(':');
    if whole_repository && let Ok(reference) = Reference::parse(name) {
        let same = |other: &Reference| {
            other.registry() == reference.registry() && other.repository() == reference.repository()
        };
        let found = store.records(|record| record.references.iter().any(same));
        if !found.is_empty() {
            let names = |record: &Record| {
                record
                    .references
                    .iter()
                    .filter(|name| same(name))
                    .cloned()
                    .collect()
            };
            return found
                .into_iter()
                .map(|record| (record.clone(), names(&record)))
                .collect();
        }
    }
    let images = store.matching(name);
    let named = Reference::parse(name)
        .ok()
        .filter(|name| images.iter().any(|image| image.references.contains(name)));
    // Several images of one digest have no name to keep them together.
    let count = if named.is_some() { images.len() } else { 1 };
    let ids: Vec<Digest> = images.iter().take(count).map(|image| image.id).collect();
    let records = store.records(|record| ids.contains(&record.id));
    records
        .into_iter()
        .map(|record| (record, named.iter().cloned().collect()))
        .collect()
}

/// The indexes of the names that several images have. Names of the same images share one.
fn indexes(
    store: &Store,
    shared: BTreeMap<Reference, (Option<Digest>, Vec<Digest>)>,
    images: &mut [Saved],
) -> Vec<SavedIndex> {
    let mut indexes: Vec<SavedIndex> = Vec::new();
    for (name, (index, members)) in shared {
        let of_index = || images.iter().filter(|image| members.contains(&image.id));
        let listed = of_index()
            .map(|image| image.content.listed(image.platform.clone()))
            .collect();
        let came = index.and_then(|index| store.kept_index(&index));
        let bytes = index::of(came, listed);
        let document = Blob::of_bytes(
            &index::media_type(&bytes).unwrap_or_else(|| OCI_INDEX.to_owned()),
            bytes,
        );
        let first = store.find(&name).map(|image| image.id);
        if let Some(image) = images.iter_mut().find(|image| Some(image.id) == first) {
            image.for_table.push(name.clone());
        }
        match indexes
            .iter_mut()
            .find(|other| other.document.digest == document.digest)
        {
            Some(other) => other.names.push(name),
            None => indexes.push(SavedIndex {
                document,
                members,
                names: vec![name],
            }),
        }
    }
    indexes
}

/// An entry for each name; one without a name where there is none.
fn index_entries(document: &Blob, references: &[Reference]) -> Vec<serde_json::Value> {
    let entry = |annotations: BTreeMap<&str, String>| {
        let mut entry = document.descriptor();
        if !annotations.is_empty() {
            entry["annotations"] = json!(annotations);
        }
        entry
    };
    if references.is_empty() {
        return vec![entry(BTreeMap::new())];
    }
    let annotations = |name: &Reference| {
        BTreeMap::from([
            (CONTAINERD_NAME, name.to_string()),
            (REF_NAME, name.tag().unwrap_or("latest").to_owned()),
        ])
    };
    references
        .iter()
        .map(|name| entry(annotations(name)))
        .collect()
}
