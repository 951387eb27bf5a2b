//! Opening a store: what is there, and what of it can be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags};

use super::disk::Content;
use super::{Damage, LayerRecord, MARK, Record, Store, StoreError, disk};
use crate::{Digest, Reference};

impl Store {
    /// Reads records and layers. On another generation (the machine rebooted, or the file system was remounted) files
    /// written shortly before may be empty although they have their names: what was not marked durable is not believed
    /// but read, or unpacked again.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let generation = generation(&self.root)?;
        let file = self.root.join("generation");
        let same = match disk::read(&file) {
            Content::Bytes(last) => last == generation.as_bytes(),
            Content::Missing => false,
            // To take it for another generation costs layers.
            Content::Unreadable(error) => return Err(disk::failed("reading", &file)(error)),
        };
        self.sweep_partials(same)?;
        let records = self.read_records(same)?;
        self.read_layers(same, &records)?;
        if !same {
            self.sweep_blobs(&records)?;
        }
        // A name is the youngest's of those that are whole. Where two claim it, the engine or the power ended after the
        // new owner's record was written and before the old one's was.
        let mut taken: BTreeMap<Reference, Option<Digest>> = BTreeMap::new();
        for mut record in records {
            let others = |name: &&Reference| {
                let index = record.indexes.get(*name).copied();
                taken
                    .get(*name)
                    .is_some_and(|owner| index.is_none() || *owner != index)
            };
            let lost: Vec<Reference> = record.references.iter().filter(others).cloned().collect();
            lost.iter().for_each(|name| record.drop_name(name));
            if self.adopt(&record)? {
                taken.extend(
                    record
                        .references
                        .iter()
                        .map(|name| (name.clone(), record.indexes.get(name).copied())),
                );
                if !lost.is_empty() {
                    self.records.write_later(record);
                }
            }
        }
        if !same {
            self.sync()?;
            match disk::replace(&self.root, &file, generation.as_bytes()) {
                // The next one to open it looks just as carefully.
                Err(error) if disk::no_room(&error) => {
                    tracing::warn!(%error, "the store's generation is not written")
                }
                written => written?,
            }
        }
        self.durability.start();
        Ok(())
    }

    /// Youngest first.
    fn read_records(&self, same_generation: bool) -> Result<Vec<Record>, StoreError> {
        let folder = self.root.join("images");
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let bytes = match disk::read(&path) {
                Content::Bytes(bytes) if bytes.is_empty() && !same_generation => {
                    self.damaged(&path, "it had not reached the disk: an image that was built shortly before is gone");
                    disk::remove(&path)?;
                    continue;
                }
                Content::Bytes(bytes) => Ok(bytes),
                Content::Missing => Err("it is not a file".to_owned()),
                Content::Unreadable(error) => Err(error.to_string()),
            };
            let parsed = bytes.and_then(|bytes| {
                serde_json::from_slice::<Record>(&bytes).map_err(|error| error.to_string())
            });
            match parsed {
                Ok(record) if self.records.file(&record.id) == path => records.push(record),
                Ok(_) => self.damaged(&path, "it is the record of another image"),
                Err(reason) => self.damaged(&path, &reason),
            }
        }
        records.sort_by(|a, b| b.stored.cmp(&a.stored).then(a.id.cmp(&b.id)));
        Ok(records)
    }

    /// Blobs are on the disk before they have their name, but for those of an image that was not there yet itself.
    fn sweep_blobs(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut wanted: BTreeSet<Digest> = records.iter().flat_map(Record::mentioned).collect();
        wanted.extend(self.state().layers.values().filter_map(|layer| layer.blob));
        let folder = self.root.join("blobs/sha256");
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let digest = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(Digest::from_hex);
            if digest
                .is_some_and(|digest| !wanted.contains(&digest) && self.blob_is_damaged(&digest))
            {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    fn read_layers(&self, same_generation: bool, records: &[Record]) -> Result<(), StoreError> {
        let blobs: BTreeMap<Digest, Digest> = records
            .iter()
            .flat_map(|record| &record.layers)
            .filter_map(|layer| Some((layer.diff_id, layer.blob?)))
            .collect();
        let folder = self.root.join("layers");
        let mut again = Vec::new();
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(Digest::from_hex);
            let (durable, record) = match (
                disk::read(&path.join(MARK)),
                disk::read(&path.join("layer.json")),
            ) {
                (Content::Unreadable(error), _) | (_, Content::Unreadable(error)) => {
                    self.damaged(&path, &error.to_string());
                    self.state().unreadable.extend(name);
                    continue;
                }
                (mark, Content::Bytes(bytes)) => {
                    let record = serde_json::from_slice::<LayerRecord>(&bytes).ok();
                    (
                        !matches!(mark, Content::Missing),
                        record.filter(|record| Some(record.diff_id) == name),
                    )
                }
                (mark, Content::Missing) => (!matches!(mark, Content::Missing), None),
            };
            match (name, record) {
                (Some(diff_id), Some(record)) if same_generation || durable => {
                    // Twins are made after the mark, so it says nothing about them.
                    if !same_generation {
                        self.discard(&path.join(super::stack::TWINS))?;
                    }
                    self.state().layers.insert(diff_id, record);
                    if !durable {
                        self.durability.queue(path);
                    }
                }
                (Some(diff_id), record) => again.push((path, diff_id, record)),
                (None, _) => self.discard(&path)?,
            }
        }
        for (path, diff_id, record) in again {
            match blobs
                .get(&diff_id)
                .copied()
                .or(record.as_ref().and_then(|record| record.blob))
            {
                Some(blob) => self.unpack_again(&path, diff_id, blob)?,
                None => self.believe_files(&path, diff_id, record)?,
            }
        }
        Ok(())
    }

    fn unpack_again(&self, layer: &Path, diff_id: Digest, blob: Digest) -> Result<(), StoreError> {
        self.discard(layer)?;
        match self.ingest_blob(blob, diff_id) {
            Ok(_) => {
                tracing::info!(layer = %diff_id, "unpacked again: it had not reached the disk")
            }
            Err(error) => {
                self.damaged(
                    layer,
                    &format!("it had not reached the disk, and unpacking it again failed: {error}"),
                );
                // Whatever made it fail, a blob in doubt is fetched again rather than kept.
                disk::remove(&self.blob_file(&blob))?;
            }
        }
        Ok(())
    }

    /// A layer that was made here has no blob to come back from, but its files say themselves whether they are all there.
    fn believe_files(
        &self,
        path: &Path,
        diff_id: Digest,
        record: Option<LayerRecord>,
    ) -> Result<(), StoreError> {
        match record {
            Some(record) if self.pack_layer(&diff_id, std::io::sink()).is_ok() => {
                self.discard(&path.join(super::stack::TWINS))?;
                self.state().layers.insert(diff_id, record);
                self.durability.queue(path.to_owned());
                Ok(())
            }
            _ => {
                self.damaged(path, "it had not reached the disk and has no blob; dropped");
                self.discard(path)
            }
        }
    }

    /// Lists an image if all of it is there. A layer that is missing is unpacked from its blob where there is one.
    fn adopt(&self, record: &Record) -> Result<bool, StoreError> {
        for layer in &record.layers {
            if let Some(blob) = layer.blob
                && !self.has_layer(&layer.diff_id)
                && self.blob_file(&blob).exists()
            {
                // What comes of it is seen when the image is described.
                let _ = self.ingest_blob(blob, layer.diff_id);
            }
        }
        let mut state = self.state();
        match self.describe(&state, record) {
            Ok(image) => {
                state
                    .images
                    .insert(record.id, (record.clone(), image.into()));
                Ok(true)
            }
            Err(error) => {
                let in_doubt = matches!(error, StoreError::Io { .. })
                    || record
                        .layers
                        .iter()
                        .any(|layer| state.unreadable.contains(&layer.diff_id));
                drop(state);
                let path = self.records.file(&record.id);
                if in_doubt {
                    self.damaged(&path, &format!("it cannot be read now: {error}"));
                    return Ok(false);
                }
                let names: Vec<String> =
                    record.references.iter().map(|name| name.short()).collect();
                let again = if record.repo_digests.is_empty() {
                    "build or load"
                } else {
                    "pull"
                };
                self.damaged(
                    &path,
                    &format!(
                        "image {} is incomplete ({error}); {again} it again",
                        names.join(", ")
                    ),
                );
                // Its blobs and layers are collected like anything that nothing refers to.
                self.records.remove(&record.id)?;
                if self.blob_is_damaged(&record.id) {
                    disk::remove(&self.blob_file(&record.id))?;
                }
                Ok(false)
            }
        }
    }

    fn damaged(&self, path: &Path, reason: &str) {
        let object = path
            .strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string();
        tracing::warn!(object, reason, "damaged object in the image store");
        self.state().damage.push(Damage {
            object,
            reason: reason.to_owned(),
        });
    }

    /// A blob that cannot be read now may still be intact.
    fn blob_is_damaged(&self, digest: &Digest) -> bool {
        match super::check::digest_of(&self.blob_file(digest)) {
            Ok(found) => found != *digest,
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory
            ),
        }
    }
}

/// What stays the same as long as no write can have been lost: this boot, and this mount of the file system.
fn generation(root: &Path) -> Result<String, StoreError> {
    /// `STATX_MNT_ID_UNIQUE`: never used again in one boot, other than the plain mount id.
    const MOUNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = match disk::read(path) {
        Content::Bytes(boot) => String::from_utf8_lossy(&boot).into_owned(),
        Content::Missing => {
            return Err(disk::failed("reading", path)(
                std::io::ErrorKind::NotFound.into(),
            ));
        }
        Content::Unreadable(error) => return Err(disk::failed("reading", path)(error)),
    };
    let statx = rustix::fs::statx(rustix::fs::CWD, root, AtFlags::empty(), MOUNT_ID_UNIQUE)
        .map_err(|errno| disk::failed("looking at", root)(errno.into()))?;
    Ok(format!("{} {}", boot.trim(), statx.stx_mnt_id))
}
