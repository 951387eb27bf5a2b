//! Removing images, and collecting what nothing refers to.

use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

use super::{CacheEntry, Record, State, Store, StoreError, disk};
use crate::{Digest, Reference};

/// How far [`Store::collect`] goes beyond what nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Also remove images that no name refers to, unless a container uses one of their layers.
    pub dangling: bool,
    /// Also remove images of which no container uses the top layer, named or not.
    pub unused: bool,
    /// Also forget build cache entries that were last used before this time.
    pub cache: Option<SystemTime>,
}

/// What went when the store was cleaned up.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Ids.
    pub images: Vec<Digest>,
    /// Diff ids.
    pub layers: Vec<Digest>,
    /// Bytes of what was removed: layers' content and blobs.
    pub bytes: u64,
}

/// What went with the removal of an image: names, and ids of images that nothing refers to any more.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    pub untagged: Vec<Reference>,
    pub deleted: Vec<Digest>,
}

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error(
        "image {name} is used by a container; force its removal to take its name away all the same"
    )]
    InUse { name: String },
    #[error("image {id} has several names ({names}); force its removal to take all of them away")]
    SeveralNames { id: String, names: String },
    #[error("removing image {name}")]
    Store { name: String, source: StoreError },
}

impl Store {
    /// docker's `rmi`: takes the name away, and deletes each image with its last name. An image in `in_use` (ids of
    /// images that containers were made from) is deleted only when `force` is set; its layers stay until collected.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        in_use: &BTreeSet<Digest>,
    ) -> Result<Removed, RemoveError> {
        let failed = |source| RemoveError::Store {
            name: name.to_owned(),
            source,
        };
        let reference = Reference::parse(name).ok();
        let images = self.matching(name);
        let mut state = self.state();
        let named = |record: &Record| {
            reference
                .as_ref()
                .is_some_and(|name| record.references.contains(name))
        };
        let records = images
            .iter()
            .filter_map(|image| state.images.get(&image.id))
            .map(|(record, _)| record.clone());
        // A name means all images that have it; anything else one image.
        let mut records: Vec<Record> = records.collect();
        let by_name = records.first().is_some_and(named);
        records.truncate(if by_name { records.len() } else { 1 });
        if records.is_empty() {
            return Err(RemoveError::NoSuchImage(name.to_owned()));
        }
        let (kept, gone): (Vec<Record>, Vec<Record>) = records
            .into_iter()
            .partition(|record| by_name && record.references.len() > 1);
        if let [record] = &gone[..]
            && !by_name
            && !force
            && record.references.len() > 1
        {
            let names: Vec<String> = record.references.iter().map(Reference::short).collect();
            return Err(RemoveError::SeveralNames {
                id: record.id.short(),
                names: names.join(", "),
            });
        }
        if !force && gone.iter().any(|record| in_use.contains(&record.id)) {
            return Err(RemoveError::InUse {
                name: name.to_owned(),
            });
        }
        self.records.write_waiting().map_err(failed)?;
        let mut removed = Removed::default();
        for record in &gone {
            self.records.remove(&record.id).map_err(failed)?;
            disk::sync_parent(&self.records.file(&record.id)).map_err(failed)?;
            state.images.remove(&record.id);
            removed.deleted.push(record.id);
        }
        removed
            .untagged
            .extend(gone.into_iter().flat_map(|record| record.references));
        if by_name {
            removed.untagged.extend(reference.clone());
        }
        removed.untagged.sort();
        removed.untagged.dedup();
        let poorer = kept.into_iter().map(|mut record| {
            reference.iter().for_each(|name| record.drop_name(name));
            record
        });
        self.put(&mut state, poorer.collect()).map_err(failed)?;
        Ok(removed)
    }

    /// Removes layers and blobs that no image, cache entry, [`crate::Hold`] or container (`layers_in_use`) refers to.
    pub fn collect(
        &self,
        layers_in_use: &BTreeSet<Digest>,
        scope: Scope,
    ) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        if let Some(before) = scope.cache {
            self.forget_entries(before)?;
        }
        // Held to the end: a pull that finishes now registers its image after us, with layers that it holds.
        let mut state = self.state();
        collected.images = self.remove_unused_images(&mut state, layers_in_use, scope)?;
        let mut wanted: BTreeSet<Digest> = layers_in_use.clone();
        wanted.extend(self.holds.held());
        for (record, _) in state.images.values() {
            wanted.extend(record.mentioned());
        }
        wanted.extend(self.cached_layers()?);
        let layers: Vec<Digest> = state
            .layers
            .keys()
            .copied()
            .filter(|layer| !wanted.contains(layer))
            .collect();
        let mut trash = Vec::new();
        for diff_id in layers {
            trash.push(self.retire(&self.layer_folder(&diff_id))?);
            if let Some(record) = state.layers.remove(&diff_id) {
                collected.bytes += record.size;
            }
            collected.layers.push(diff_id);
        }
        // A layer that a container or the cache keeps is worth its blob too.
        let blobs: Vec<Digest> = state
            .layers
            .values()
            .filter_map(|record| record.blob)
            .collect();
        wanted.extend(blobs);
        collected.bytes += self.remove_other_blobs(&wanted)?;
        // Removing many files takes time, so it is done without the lock.
        drop(state);
        for folder in trash {
            disk::remove(&folder)?;
        }
        collected.layers.sort();
        Ok(collected)
    }

    /// Removes the images that the scope is about and no container uses; returns their ids.
    fn remove_unused_images(
        &self,
        state: &mut State,
        layers_in_use: &BTreeSet<Digest>,
        scope: Scope,
    ) -> Result<Vec<Digest>, StoreError> {
        let is_unused = |record: &Record| {
            let top_in_use = record
                .layers
                .last()
                .is_some_and(|top| layers_in_use.contains(&top.diff_id));
            !top_in_use && (scope.unused || scope.dangling && record.references.is_empty())
        };
        let records = state.images.values().map(|(record, _)| record);
        let unused: Vec<Digest> = records
            .filter(|record| is_unused(record))
            .map(|record| record.id)
            .collect();
        if unused.is_empty() {
            return Ok(unused);
        }
        self.records.write_waiting()?;
        for id in &unused {
            self.records.remove(id)?;
            state.images.remove(id);
        }
        self.write_index(state)?;
        Ok(unused)
    }

    /// Removes all blobs and unfinished downloads but the wanted ones; returns how many bytes they had.
    fn remove_other_blobs(&self, wanted: &BTreeSet<Digest>) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for folder in ["blobs/sha256", super::partial::FOLDER] {
            let folder = self.root.join(folder);
            for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
                let entry = entry.map_err(disk::failed("listing", &folder))?;
                let digest = entry.file_name().to_str().and_then(Digest::from_hex);
                if digest.is_none_or(|digest| !wanted.contains(&digest)) {
                    bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                    disk::remove(&entry.path())?;
                }
            }
        }
        Ok(bytes)
    }

    fn forget_entries(&self, before: SystemTime) -> Result<(), StoreError> {
        let folder = self.root.join("cache");
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let entry = entry.map_err(disk::failed("listing", &folder))?;
            if entry
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|used| used < before)
            {
                disk::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn cached_layers(&self) -> Result<Vec<Digest>, StoreError> {
        let folder = self.root.join("cache");
        let mut layers = Vec::new();
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let entry = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<CacheEntry>(&bytes).ok());
            layers.extend(entry.and_then(|entry| entry.layer));
        }
        Ok(layers)
    }
}

impl Record {
    /// Everything that the image needs.
    pub(crate) fn mentioned(&self) -> impl Iterator<Item = Digest> + '_ {
        let layers = self
            .layers
            .iter()
            .flat_map(|layer| [Some(layer.diff_id), layer.blob]);
        [Some(self.id), self.manifest]
            .into_iter()
            .chain(layers)
            .flatten()
            .chain(self.indexes.values().copied())
    }
}
