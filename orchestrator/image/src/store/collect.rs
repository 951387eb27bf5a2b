//! Removing images, and collecting what nothing refers to.

use std::collections::BTreeSet;
use std::fs;

use super::{CacheEntry, Record, Store, StoreError, disk};
use crate::{Digest, Reference};

/// How far [`Store::collect`] goes beyond what nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Also remove images that no name refers to, unless a container uses one of their layers.
    pub dangling: bool,
    /// Also remove images of which no container uses the top layer, named or not.
    pub unused: bool,
    /// Also forget build cache entries.
    pub cache: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Collected {
    pub images: Vec<Digest>,
    pub layers: Vec<Digest>,
    /// Bytes of what was removed: layers' content and blobs.
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
    #[error("image {name} is used by a container; force its removal to take its name away all the same")]
    InUse { name: String },
    #[error("image {id} has several names ({names}); force its removal to take all of them away")]
    SeveralNames { id: String, names: String },
    #[error("removing image {name}")]
    Store { name: String, source: StoreError },
}

impl Store {
    /// docker's `rmi`: takes the name away, and deletes the image with its last name. An image in `in_use` (ids of
    /// images that containers were made from) is deleted only when `force` is set; its layers stay until collected.
    pub fn remove(&self, name: &str, force: bool, in_use: &BTreeSet<Digest>) -> Result<Removed, RemoveError> {
        let failed = |source| RemoveError::Store { name: name.to_owned(), source };
        let image = self.resolve(name).ok_or_else(|| RemoveError::NoSuchImage(name.to_owned()))?;
        let mut state = self.state();
        let Some((record, _)) = state.images.get(&image.id) else {
            return Err(RemoveError::NoSuchImage(name.to_owned()));
        };
        let mut record = record.clone();
        let named = Reference::parse(name).ok().filter(|reference| record.references.contains(reference));
        let mut removed = Removed::default();
        match named {
            Some(reference) if record.references.len() > 1 => {
                record.references.remove(&reference);
                self.put(&mut state, record).map_err(failed)?;
                removed.untagged.push(reference);
                return Ok(removed);
            }
            None if record.references.len() > 1 && !force => {
                let names: Vec<String> = record.references.iter().map(Reference::short).collect();
                return Err(RemoveError::SeveralNames { id: image.id.short(), names: names.join(", ") });
            }
            _ => {}
        }
        if in_use.contains(&image.id) && !force {
            return Err(RemoveError::InUse { name: name.to_owned() });
        }
        disk::remove(&self.record_file(&image.id)).map_err(failed)?;
        disk::sync_parent(&self.record_file(&image.id)).map_err(failed)?;
        state.images.remove(&image.id);
        self.write_index(&state).map_err(failed)?;
        removed.untagged.extend(record.references);
        removed.deleted.push(image.id);
        Ok(removed)
    }

    /// Removes layers and blobs that no image, cache entry, [`crate::Hold`] or container (`layers_in_use`) refers to.
    pub fn collect(&self, layers_in_use: &BTreeSet<Digest>, scope: Scope) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        if scope.cache {
            disk::empty(&self.root.join("cache"))?;
        }
        // Held to the end: a pull that finishes now registers its image after us, with layers that it holds.
        let mut state = self.state();
        let unwanted: Vec<Digest> = state
            .images
            .values()
            .filter(|(record, _)| {
                let top_in_use = record.layers.last().is_some_and(|top| layers_in_use.contains(&top.diff_id));
                !top_in_use && (scope.unused || scope.dangling && record.references.is_empty())
            })
            .map(|(record, _)| record.id)
            .collect();
        for id in unwanted {
            disk::remove(&self.record_file(&id))?;
            state.images.remove(&id);
            collected.images.push(id);
        }
        if !collected.images.is_empty() {
            self.write_index(&state)?;
        }
        let mut wanted: BTreeSet<Digest> = layers_in_use.clone();
        wanted.extend(self.holds.held());
        for (record, _) in state.images.values() {
            wanted.extend(record.mentioned());
        }
        wanted.extend(self.cached_layers()?);
        let layers: Vec<Digest> = state.layers.keys().copied().filter(|layer| !wanted.contains(layer)).collect();
        let mut trash = Vec::new();
        for diff_id in layers {
            trash.push(self.retire(&self.layer_folder(&diff_id))?);
            if let Some(record) = state.layers.remove(&diff_id) {
                collected.bytes += record.size;
            }
            collected.layers.push(diff_id);
        }
        // A layer that a container or the cache keeps is worth its blob too.
        let blobs: Vec<Digest> = state.layers.values().filter_map(|record| record.blob).collect();
        wanted.extend(blobs);
        for folder in ["blobs/sha256", super::partial::FOLDER] {
            let folder = self.root.join(folder);
            for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
                let entry = entry.map_err(disk::failed("listing", &folder))?;
                let digest = entry.file_name().to_str().and_then(Digest::from_hex);
                if digest.is_none_or(|digest| !wanted.contains(&digest)) {
                    collected.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                    disk::remove(&entry.path())?;
                }
            }
        }
        // Removing many files takes its time, which nobody else has to spend.
        drop(state);
        for folder in trash {
            disk::remove(&folder)?;
        }
        collected.layers.sort();
        Ok(collected)
    }

    fn cached_layers(&self) -> Result<Vec<Digest>, StoreError> {
        let folder = self.root.join("cache");
        let mut layers = Vec::new();
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let entry = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<CacheEntry>(&bytes).ok());
            layers.extend(entry.and_then(|entry| entry.layer));
        }
        Ok(layers)
    }
}

impl Record {
    /// Everything that the image needs.
    pub(crate) fn mentioned(&self) -> impl Iterator<Item = Digest> + '_ {
        let layers = self.layers.iter().flat_map(|layer| [Some(layer.diff_id), layer.blob]);
        [Some(self.id), self.manifest].into_iter().chain(layers).flatten()
    }
}
