//! The files of the images' records, and which of them wait for other files to be on the disk.
//!
//! When a name moves to an image whose layers have not reached the disk, the file of the image that had the name keeps it
//! until they have: a power cut in between then costs the new image, and the name is with the old one as before. Until
//! the file is written, [`Store::recover`](super::Store) lets the younger of the two have the name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{MARK, Record, RecordLayer, State, Store, StoreError, disk};
use crate::{Digest, Reference};

#[derive(Debug)]
pub(super) struct Records {
    root: PathBuf,
    /// Held while a file is written, so that what waits never replaces what came later.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    records: BTreeMap<Digest, (u64, Record)>,
    count: u64,
}

/// Records that waited at some moment.
pub(super) struct Due(Vec<(Digest, u64)>);

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Records {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            waiting: Mutex::default(),
        }
    }

    pub(super) fn file(&self, id: &Digest) -> PathBuf {
        self.root.join("images").join(format!("{}.json", id.hex()))
    }

    /// Durably, and not before these are on the disk.
    pub(super) fn write(&self, record: &Record, after: Vec<PathBuf>) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        waiting.records.remove(&record.id);
        disk::replace_after(&self.root, &self.file(&record.id), &encode(record)?, after)
    }

    /// Of an image whose layers are not on the disk either.
    pub(super) fn write_lazily(&self, record: &Record) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        waiting.records.remove(&record.id);
        disk::replace_lazily(&self.root, &self.file(&record.id), &encode(record)?)
    }

    /// Once everything that was written before is on the disk.
    pub(super) fn write_later(&self, record: Record) {
        let mut waiting = self.waiting();
        waiting.count += 1;
        let number = waiting.count;
        waiting.records.insert(record.id, (number, record));
    }

    pub(super) fn remove(&self, id: &Digest) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        waiting.records.remove(id);
        disk::remove(&self.file(id))
    }

    /// Before a name is removed: no other image's record may restore it.
    pub(super) fn write_waiting(&self) -> Result<(), StoreError> {
        self.settle(self.due())
    }

    pub(super) fn due(&self) -> Due {
        Due(self
            .waiting()
            .records
            .iter()
            .map(|(id, (number, _))| (*id, *number))
            .collect())
    }

    /// Writes what is still as it was then.
    pub(super) fn settle(&self, due: Due) -> Result<(), StoreError> {
        for (id, number) in due.0 {
            let mut waiting = self.waiting();
            if let Some((now, record)) = waiting.records.get(&id)
                && *now == number
            {
                disk::replace(&self.root, &self.file(&id), &encode(record)?)?;
                waiting.records.remove(&id);
            }
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Durably if all of the image is on the disk or comes back from its blobs; else it is with its layers.
    pub(super) fn write_record(
        &self,
        state: &mut State,
        record: &Record,
    ) -> Result<(), StoreError> {
        match self.outlives_a_cut(record) {
            true => self.records.write(record, self.fresh_blobs(state, record)),
            false => self.records.write_lazily(record),
        }
    }

    pub(super) fn outlives_a_cut(&self, record: &Record) -> bool {
        let marked = |layer: &RecordLayer| self.layer_folder(&layer.diff_id).join(MARK).exists();
        record
            .layers
            .iter()
            .all(|layer| layer.blob.is_some() || marked(layer))
    }

    /// What has to be on the disk before the record is: documents that it names, and the names of blobs.
    fn fresh_blobs(&self, state: &mut State, record: &Record) -> Vec<PathBuf> {
        let digests = record
            .repo_digests
            .iter()
            .filter_map(Reference::digest)
            .chain(record.indexes.values().copied());
        let documents = digests.chain([record.id]).chain(record.manifest);
        let fresh = documents
            .filter(|digest| state.fresh.remove(digest))
            .map(|digest| self.blob_file(&digest));
        fresh.chain([self.root.join("blobs/sha256")]).collect()
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec_pretty(record).map_err(|source| StoreError::Encode {
        what: "an image record",
        source,
    })
}
