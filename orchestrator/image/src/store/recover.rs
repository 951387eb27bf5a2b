//! Opening a store: what is there, and what of it can be believed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags};

use super::{Damage, LayerRecord, Record, Store, StoreError, disk};
use crate::{Digest, Reference};

impl Store {
    /// Reads records and layers. On another generation (the machine rebooted, or the file system was mounted anew) files
    /// written shortly before may be empty although they have their names: what was not marked durable is not believed.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let generation = generation(&self.root)?;
        let file = self.root.join("generation");
        let same = fs::read_to_string(&file).is_ok_and(|last| last == generation);
        self.sweep_partials(same)?;
        let mut records = self.read_records()?;
        self.read_layers(same, &records)?;
        for record in &mut records {
            self.adopt(record)?;
        }
        if !same {
            self.sync()?;
            disk::replace(&self.root, &file, generation.as_bytes())?;
        }
        self.durability.start();
        Ok(())
    }

    /// Youngest first, each name with the youngest image that claims it, and those of the same index.
    fn read_records(&self) -> Result<Vec<Record>, StoreError> {
        let folder = self.root.join("images");
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let read = fs::read(&path).map_err(|error| error.to_string());
            let parsed =
                read.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).map_err(|error| error.to_string()));
            match parsed {
                Ok(record) if self.record_file(&record.id) == path => records.push(record),
                Ok(_) => self.damaged(&path, "it is the record of another image"),
                Err(reason) => self.damaged(&path, &reason),
            }
        }
        records.sort_by(|a, b| b.stored.cmp(&a.stored).then(a.id.cmp(&b.id)));
        let mut seen: BTreeMap<Reference, Option<Digest>> = BTreeMap::new();
        for record in &mut records {
            let mut lost = Vec::new();
            for name in &record.references {
                let index = record.indexes.get(name).copied();
                match seen.get(name) {
                    None => drop(seen.insert(name.clone(), index)),
                    Some(owner) if index.is_some() && *owner == index => {}
                    Some(_) => lost.push(name.clone()),
                }
            }
            // The engine ended after the new owner's record was written and before this one was.
            if !lost.is_empty() {
                lost.iter().for_each(|name| record.drop_name(name));
                self.write_record(record)?;
            }
        }
        Ok(records)
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
            let name = path.file_name().and_then(|name| name.to_str()).and_then(Digest::from_hex);
            let durable = path.join("durable").exists();
            let record = fs::read(path.join("layer.json"))
                .ok()
                .and_then(|bytes| serde_json::from_slice::<LayerRecord>(&bytes).ok())
                .filter(|record| Some(record.diff_id) == name);
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
                (Some(diff_id), record) => again.push((path, diff_id, record.and_then(|record| record.blob))),
                (None, _) => self.discard(&path)?,
            }
        }
        for (path, diff_id, blob) in again {
            self.discard(&path)?;
            let Some(blob) = blobs.get(&diff_id).copied().or(blob) else {
                self.damaged(&path, "it had not reached the disk and has no blob; dropped");
                continue;
            };
            match self.ingest_blob(blob, diff_id) {
                Ok(_) => tracing::info!(layer = %diff_id, "unpacked again: it had not reached the disk"),
                Err(error) => {
                    self.damaged(
                        &path,
                        &format!("it had not reached the disk, and unpacking it again failed: {error}"),
                    );
                    // Whatever made it fail, a blob in doubt is fetched again rather than kept.
                    disk::remove(&self.blob_file(&blob))?;
                }
            }
        }
        Ok(())
    }

    /// Lists an image if all of it is there. A layer that is missing is unpacked from its blob where there is one.
    fn adopt(&self, record: &mut Record) -> Result<(), StoreError> {
        for layer in &record.layers {
            if self.has_layer(&layer.diff_id) {
                continue;
            }
            if let Some(blob) = layer.blob
                && self.blob_file(&blob).exists()
                && self.ingest_blob(blob, layer.diff_id).is_ok()
            {
                continue;
            }
        }
        let mut state = self.state();
        match self.describe(&state, record) {
            Ok(image) => {
                state.images.insert(record.id, (record.clone(), image.into()));
                Ok(())
            }
            Err(error) => {
                drop(state);
                let path = self.record_file(&record.id);
                let names: Vec<String> = record.references.iter().map(|name| name.short()).collect();
                self.damaged(&path, &format!("image {} is incomplete ({error}); pull it again", names.join(", ")));
                // Its blobs and layers are collected like anything that nothing refers to.
                disk::remove(&path)
            }
        }
    }

    fn damaged(&self, path: &Path, reason: &str) {
        let object = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        tracing::warn!(object, reason, "damaged object in the image store");
        self.state().damage.push(Damage { object, reason: reason.to_owned() });
    }
}

/// What stays the same as long as no write can have been lost: this boot, and this mount of the file system.
fn generation(root: &Path) -> Result<String, StoreError> {
    /// `STATX_MNT_ID_UNIQUE`: never used again in one boot, other than the plain mount id.
    const MOUNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = fs::read_to_string(path).map_err(disk::failed("reading", path))?;
    let statx = rustix::fs::statx(rustix::fs::CWD, root, AtFlags::empty(), MOUNT_ID_UNIQUE)
        .map_err(|errno| disk::failed("looking at", root)(errno.into()))?;
    Ok(format!("{} {}", boot.trim(), statx.stx_mnt_id))
}
