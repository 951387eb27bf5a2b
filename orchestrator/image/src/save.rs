//! Images as one archive: an OCI layout with docker's table of contents beside it, as docker writes it since version 25.
//! `docker load`, `podman load` and [`crate::load`] read it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::json;

use crate::portable::{Blob, OCI_MANIFEST, Portable};
use crate::store::{Record, Spool};
use crate::tarball::{Tarball, blob_name};
use crate::{Digest, Hold, Reference, Store, StoreError};

/// containerd's name for the whole reference.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

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
    images: Vec<(Portable, Vec<Reference>)>,
    artifact: Option<Artifact>,
    _hold: Hold,
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
        let blobs: Vec<Blob> = self.blobs.iter().map(|(kind, spool)| Blob::of_spool(kind, spool)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": self.kind,
            "config": document.descriptor(), "layers": blobs.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        (Blob::of_bytes(OCI_MANIFEST, manifest.to_string().into_bytes()), document, blobs)
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
        let held: Vec<Digest> = chosen.iter().flat_map(|(record, _)| record.mentioned()).collect();
        let hold = store.hold(&held);
        let mut images = Vec::new();
        for (record, mut references) in chosen {
            references.sort();
            references.dedup();
            let failed = |source| SaveError::Image { name: record.id.to_string(), source };
            images.push((Portable::of(store, &record).map_err(failed)?, references));
        }
        Ok(Self { store: Arc::clone(store), images, artifact: None, _hold: hold })
    }

    #[must_use]
    pub fn with(self, artifact: Artifact) -> Self {
        Self { artifact: Some(artifact), ..self }
    }

    /// Writes the archive; nothing of it is ever in memory but the tables, which come first.
    pub fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        let mut tar = Tarball::new(output);
        let (mut index, mut table) = (Vec::new(), Vec::new());
        let artifact = self.artifact.as_ref().map(|artifact| (&artifact.kind, artifact.parts()));
        if let Some((kind, (manifest, ..))) = &artifact {
            let mut entry = manifest.descriptor();
            entry["artifactType"] = json!(kind);
            index.push(entry);
        }
        for (image, references) in &self.images {
            index.extend(index_entries(image, references));
            table.push(json!({
                "Config": blob_name(&image.config.digest),
                "RepoTags": references.iter().map(Reference::short).collect::<Vec<_>>(),
                "Layers": image.layers.iter().map(|layer| blob_name(&layer.digest)).collect::<Vec<_>>(),
            }));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index });
        tar.bytes("oci-layout", OCI_LAYOUT)?;
        tar.bytes("index.json", index.to_string().as_bytes())?;
        tar.bytes("manifest.json", serde_json::Value::from(table).to_string().as_bytes())?;
        if let Some((_, (manifest, document, _))) = &artifact {
            tar.blob(&self.store, manifest)?;
            tar.blob(&self.store, document)?;
        }
        for blob in self.images.iter().flat_map(|(image, _)| image.blobs()) {
            tar.blob(&self.store, blob)?;
        }
        for blob in artifact.iter().flat_map(|(_, (.., blobs))| blobs) {
            tar.blob(&self.store, blob)?;
        }
        tar.finish()
    }
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn chosen_by(store: &Store, name: &str) -> Vec<(Record, Vec<Reference>)> {
    let whole_repository = !name.contains('@') && !name.rsplit('/').next().unwrap_or(name).contains(':');
    if whole_repository && let Ok(reference) = Reference::parse(name) {
        let same = |other: &Reference| {
            other.registry() == reference.registry() && other.repository() == reference.repository()
        };
        let found = store.records(|record| record.references.iter().any(same));
        if !found.is_empty() {
            let names = |record: &Record| record.references.iter().filter(|name| same(name)).cloned().collect();
            return found.into_iter().map(|record| (record.clone(), names(&record))).collect();
        }
    }
    let Some(image) = store.resolve(name) else { return Vec::new() };
    let named = Reference::parse(name).ok().filter(|reference| image.references.contains(reference));
    let records = store.records(|record| record.id == image.id);
    records.into_iter().map(|record| (record, named.iter().cloned().collect())).collect()
}

/// An entry for each name; one without a name where there is none.
fn index_entries(image: &Portable, references: &[Reference]) -> Vec<serde_json::Value> {
    let entry = |annotations: BTreeMap<&str, String>| {
        let mut entry = image.manifest.descriptor();
        if !annotations.is_empty() {
            entry["annotations"] = json!(annotations);
        }
        entry
    };
    if references.is_empty() {
        return vec![entry(BTreeMap::new())];
    }
    let annotations = |name: &Reference| {
        BTreeMap::from([(CONTAINERD_NAME, name.to_string()), (REF_NAME, name.tag().unwrap_or("latest").to_owned())])
    };
    references.iter().map(|name| entry(annotations(name))).collect()
}
