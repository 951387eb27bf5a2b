//! Which images a name means.
//!
//! A name belongs to one image, or to the images of one index, one for each platform; a record's `indexes` says for which
//! of its names it is one of several. A name that an image gets is taken from the images that had it, but for those of the
//! same index.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Image, Record, State, Store, StoreError};
use crate::index::{self, Listed};
use crate::portable::Portable;
use crate::{Digest, Platform, Reference};

impl Store {
    /// By the name it was stored under: its tag, or where there is one the digest of an index, a manifest or a
    /// configuration. Of several images that for this machine.
    pub fn find(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.named(reference).into_iter().next()
    }

    /// The same for a platform; `None` also when the name has other platforms only.
    pub fn find_for(&self, reference: &Reference, platform: &Platform) -> Option<Arc<Image>> {
        best(self.named(reference), platform)
    }

    /// All images that have the name, this machine's first.
    pub fn named(&self, reference: &Reference) -> Vec<Arc<Image>> {
        let state = self.state();
        let by_digest = |record: &Record, digest: Digest| {
            record.repo_digests.contains(&reference.with_digest(digest))
                || record.id == digest
                || record.manifest == Some(digest)
        };
        let means = |record: &Record| match reference.digest() {
            Some(digest) => by_digest(record, digest),
            None => record.references.contains(reference),
        };
        let mut found: Vec<Arc<Image>> = state
            .images
            .values()
            .filter(|(record, _)| means(record))
            .map(|(_, image)| Arc::clone(image))
            .collect();
        let host = Platform::host();
        found.sort_by_cached_key(|image| {
            let platform = image.config.platform();
            let rank = platform.rank(&host);
            (rank.is_none(), rank, platform)
        });
        found
    }

    /// By what a user types: a reference, an id, or an unambiguous prefix of an id (with or without `sha256:`).
    pub fn resolve(&self, name: &str) -> Option<Arc<Image>> {
        self.matching(name).into_iter().next()
    }

    /// The same for a platform; `None` also when there are other platforms only.
    pub fn resolve_for(&self, name: &str, platform: &Platform) -> Option<Arc<Image>> {
        best(self.matching(name), platform)
    }

    /// All images that [`Store::resolve`] chooses from, this machine's first.
    pub fn matching(&self, name: &str) -> Vec<Arc<Image>> {
        if let Ok(id) = Digest::parse(name) {
            return self.image(&id).into_iter().collect();
        }
        if let Ok(reference) = Reference::parse(name) {
            let named = self.named(&reference);
            if !named.is_empty() {
                return named;
            }
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if prefix.len() < 2
            || !prefix
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Vec::new();
        }
        let state = self.state();
        let matching = state
            .images
            .values()
            .filter(|(record, _)| record.id.hex().starts_with(prefix));
        let matching: Vec<Arc<Image>> = matching.map(|(_, image)| Arc::clone(image)).collect();
        if matching.len() == 1 {
            matching
        } else {
            Vec::new()
        }
    }

    /// Adds a name to what a name or an id means: to all images of an index.
    pub fn tag(&self, name: &str, reference: &Reference) -> Result<(), StoreError> {
        let source = Reference::parse(name).ok();
        let images = self.matching(name);
        let mut state = self.state();
        self.records.write_waiting()?;
        let mut records = Vec::new();
        for image in &images {
            let Some((record, _)) = state.images.get(&image.id) else {
                continue;
            };
            let index = source
                .as_ref()
                .and_then(|source| record.indexes.get(source))
                .copied();
            // Several images of one digest are no index that could be named again.
            if index.is_none() && !records.is_empty() {
                break;
            }
            let mut record = record.clone();
            record.give(reference, index);
            records.push(record);
        }
        if records.is_empty() {
            return Err(StoreError::NoSuchImage(name.to_owned()));
        }
        self.put(&mut state, records)
    }

    /// Gives names to images for several platforms at once, and returns the digest of the index that lists them.
    pub fn add_index(
        &self,
        images: &[Digest],
        references: &[Reference],
    ) -> Result<Digest, StoreError> {
        let missing = |id: &Digest| StoreError::NoSuchImage(id.to_string());
        let mut records = self.records(|record| images.contains(&record.id));
        if let Some(id) = images
            .iter()
            .find(|id| !records.iter().any(|record| record.id == **id))
        {
            return Err(missing(id));
        }
        let listed = |record: &Record| {
            let image = self.image(&record.id).ok_or_else(|| missing(&record.id))?;
            Ok(Portable::of(self, record)?.listed(image.config.platform()))
        };
        let listed: Vec<Listed> = records
            .iter()
            .map(listed)
            .collect::<Result<_, StoreError>>()?;
        let document = index::of(None, listed);
        let _hold = self.hold(&[Digest::of(&document)]);
        let index = self.put_blob(&document)?;
        for reference in references
            .iter()
            .filter(|reference| reference.tag().is_some())
        {
            records
                .iter_mut()
                .for_each(|record| record.give(reference, Some(index)));
        }
        self.put(&mut self.state(), records)?;
        Ok(index)
    }

    /// Notes that registries know the image under a digest, so that it is found by that.
    pub fn add_digest(&self, image: &Digest, reference: &Reference) -> Result<(), StoreError> {
        let mut state = self.state();
        let Some((record, _)) = state.images.get(image) else {
            return Err(StoreError::NoSuchImage(image.to_string()));
        };
        let mut record = record.clone();
        record.repo_digests.extend(
            reference
                .digest()
                .map(|digest| reference.with_digest(digest)),
        );
        self.put(&mut state, vec![record])
    }

    /// Takes a name away; its images stay.
    pub fn untag(&self, reference: &Reference) -> Result<(), StoreError> {
        let mut state = self.state();
        self.records.write_waiting()?;
        let has = |record: &Record| {
            record.references.contains(reference) || record.repo_digests.contains(reference)
        };
        let owners = state
            .images
            .values()
            .map(|(record, _)| record)
            .filter(|record| has(record));
        let mut records: Vec<Record> = owners.cloned().collect();
        if records.is_empty() {
            return Err(StoreError::NoSuchImage(reference.short()));
        }
        for record in &mut records {
            record.drop_name(reference);
            record.repo_digests.remove(reference);
        }
        self.put(&mut state, records)
    }

    /// Stores a record, merging its names with those that the image has. Every layer must be in the store.
    pub(crate) fn register(&self, mut record: Record) -> Result<Arc<Image>, StoreError> {
        let mut state = self.state();
        if let Some((old, image)) = state.images.get(&record.id) {
            for name in &old.references {
                if !record.references.contains(name) {
                    record.give(name, old.indexes.get(name).copied());
                }
            }
            record.repo_digests.extend(old.repo_digests.iter().cloned());
            record.manifest = record.manifest.or(old.manifest);
            for (new, old) in record.layers.iter_mut().zip(&old.layers) {
                new.blob = new.blob.or(old.blob);
            }
            // A build whose every step is cached ends here: nothing to write, nothing to wait for.
            if (Record {
                stored: old.stored,
                ..record.clone()
            }) == *old
            {
                return Ok(Arc::clone(image));
            }
        }
        let id = record.id;
        self.put(&mut state, vec![record])?;
        let (_, image) = state
            .images
            .get(&id)
            .ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
        Ok(Arc::clone(image))
    }

    /// Writes records and takes their names from other images. On disk the new owners come first: after a crash between
    /// the writes both have the name, and [`Store::recover`] lets the youngest keep it. The others keep their names on disk
    /// until the new owners are there to stay.
    pub(super) fn put(&self, state: &mut State, records: Vec<Record>) -> Result<(), StoreError> {
        let ids: BTreeSet<Digest> = records.iter().map(|record| record.id).collect();
        let mut robbed: Vec<Record> = Vec::new();
        for (other, _) in state
            .images
            .values()
            .filter(|(other, _)| !ids.contains(&other.id))
        {
            let lost = |name: &&Reference| {
                records
                    .iter()
                    .any(|record| record.references.contains(*name) && !record.shares(other, name))
            };
            let lost: Vec<Reference> = other.references.iter().filter(lost).cloned().collect();
            if !lost.is_empty() {
                let mut other = other.clone();
                lost.iter().for_each(|name| other.drop_name(name));
                robbed.push(other);
            }
        }
        let safe = records.iter().all(|record| self.outlives_a_cut(record));
        let oldest = records.iter().map(|record| record.stored).min();
        for record in records {
            let image = Arc::new(self.describe(state, &record)?);
            if state
                .images
                .get(&record.id)
                .is_none_or(|(old, _)| *old != record)
            {
                self.write_record(state, &record)?;
            }
            state.images.insert(record.id, (record, image));
        }
        for record in robbed {
            let image = Arc::new(self.describe(state, &record)?);
            if safe || oldest < Some(record.stored) {
                self.write_record(state, &record)?;
            } else {
                self.records.write_later(record.clone());
            }
            state.images.insert(record.id, (record, image));
        }
        self.write_index(state)?;
        self.durability.start();
        Ok(())
    }
}

impl Image {
    /// Whether the name is that of an index, which may list images for other platforms.
    pub fn is_listed(&self, reference: &Reference) -> bool {
        match reference.digest() {
            Some(digest) => self.manifest != Some(digest) && self.id != digest,
            None => self.indexes.contains_key(reference),
        }
    }
}

impl Record {
    /// Takes a name, alone or as one of the images of an index.
    pub(crate) fn give(&mut self, name: &Reference, index: Option<Digest>) {
        self.references.insert(name.clone());
        match index {
            Some(index) => drop(self.indexes.insert(name.clone(), index)),
            None => drop(self.indexes.remove(name)),
        }
    }

    pub(super) fn drop_name(&mut self, name: &Reference) {
        self.references.remove(name);
        self.indexes.remove(name);
    }

    /// Whether both may have the name: they are of one index.
    pub(super) fn shares(&self, other: &Self, name: &Reference) -> bool {
        self.indexes
            .get(name)
            .is_some_and(|index| other.indexes.get(name) == Some(index))
    }
}

fn best(images: Vec<Arc<Image>>, platform: &Platform) -> Option<Arc<Image>> {
    let ranked = images
        .into_iter()
        .filter_map(|image| Some((image.config.platform().rank(platform)?, image)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, image)| image)
}
