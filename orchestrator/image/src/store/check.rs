//! Looks the whole store over: every blob against its digest, every layer's files against its diff id, every record
//! against what it refers to. With `repair`, what is broken is restored from what is whole, and dropped where that is
//! not possible, so that the next pull fetches it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::ingest::Draft;
use super::{LayerRecord, Record, State, Store, StoreError, disk};
use crate::{Digest, Hasher, layer};

/// How [`Store::check`] goes about it.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Restore or drop what is broken.
    pub repair: bool,
    /// Only that everything is there and fits together; no content is read.
    pub quick: bool,
    /// Layers of containers: all of them must be there.
    pub in_use: BTreeSet<Digest>,
    /// Layers that are mounted now: these are not replaced or dropped.
    pub mounted: BTreeSet<Digest>,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many were looked at.
    pub images: usize,
    pub layers: usize,
    pub blobs: usize,
    /// Bytes of the blobs.
    pub bytes: u64,
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Nothing is broken any more.
    pub fn is_sound(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.outcome != Outcome::Found)
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder below the store's root, or an image's names.
    pub object: String,
    pub reason: String,
    pub outcome: Outcome,
}

/// What became of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was.
    Found,
    /// It is whole again.
    Restored,
    /// It is gone; a pull brings it back.
    Dropped,
}

/// What helps against a problem of a layer.
enum Repair {
    /// Its blob was unpacked once more.
    Replace(Draft, LayerRecord),
    /// Its files are whole and can make the blob again.
    ForgetBlob,
    Drop,
}

impl Store {
    /// Reads everything, unless it is to be `quick`. Pulls and builds may go on meanwhile.
    pub fn check(&self, options: &CheckOptions) -> Result<CheckReport, StoreError> {
        // What still waits to be written is not damage.
        self.sync()?;
        let (records, layers) = {
            let state = self.state();
            let records: Vec<Record> = state
                .images
                .values()
                .map(|(record, _)| record.clone())
                .collect();
            let mut layers: Vec<LayerRecord> = state.layers.values().cloned().collect();
            layers.sort_by_key(|layer| layer.diff_id);
            (records, layers)
        };
        let mut wanted: Vec<Digest> = layers
            .iter()
            .flat_map(|layer| [Some(layer.diff_id), layer.blob])
            .flatten()
            .collect();
        wanted.extend(records.iter().flat_map(Record::mentioned));
        let _hold = self.hold(&wanted);
        let report = CheckReport {
            images: records.len(),
            layers: layers.len(),
            ..CheckReport::default()
        };
        let mut check = Check {
            store: self,
            options,
            report,
            damaged: BTreeSet::new(),
        };
        check.blobs()?;
        for layer in &layers {
            check.layer(layer)?;
        }
        for record in &records {
            check.image(&record.id)?;
        }
        check.strays()?;
        check.containers();
        Ok(check.report)
    }

    fn replace_layer(&self, draft: &Draft, record: LayerRecord) -> Result<(), StoreError> {
        let trash = self.take_layer(&record.diff_id)?;
        self.name_layer(&draft.0, record)?;
        self.durability.start();
        disk::remove(&trash)
    }

    /// Takes a layer out of the store; what is returned remains to be removed.
    fn take_layer(&self, diff_id: &Digest) -> Result<std::path::PathBuf, StoreError> {
        let mut state = self.state();
        state.layers.remove(diff_id);
        self.retire(&self.layer_folder(diff_id))
    }

    fn write_layer_record(&self, state: &mut State, record: LayerRecord) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&record).map_err(|source| StoreError::Encode {
            what: "a layer record",
            source,
        })?;
        disk::replace(
            &self.root,
            &self.layer_folder(&record.diff_id).join("layer.json"),
            &bytes,
        )?;
        state.layers.insert(record.diff_id, record);
        Ok(())
    }
}

struct Check<'a> {
    store: &'a Store,
    options: &'a CheckOptions,
    report: CheckReport,
    /// Blobs whose content is not theirs.
    damaged: BTreeSet<Digest>,
}

impl Check<'_> {
    /// Reports a problem of which `repaired` is the outcome when `repair` succeeds.
    fn problem(
        &mut self,
        object: impl Into<String>,
        reason: impl Into<String>,
        repaired: Outcome,
        repair: impl FnOnce(&Store) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let outcome = if self.options.repair && repaired != Outcome::Found {
            repair(self.store)?;
            repaired
        } else {
            Outcome::Found
        };
        self.report.problems.push(Problem {
            object: object.into(),
            reason: reason.into(),
            outcome,
        });
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), StoreError> {
        let folder = self.store.root.join("blobs/sha256");
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let entry = entry.map_err(disk::failed("listing", &folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            let object = format!("blobs/sha256/{}", name.display());
            let Some(digest) = name.to_str().and_then(Digest::from_hex) else {
                self.problem(object, "its name is not a digest", Outcome::Dropped, |_| {
                    disk::remove(&path)
                })?;
                continue;
            };
            self.report.blobs += 1;
            self.report.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            if self.options.quick {
                continue;
            }
            match digest_of(&path) {
                Ok(found) if found == digest => {}
                // Collected, or replaced, while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => {
                    self.damaged.insert(digest);
                    let reason = outcome.map_or_else(
                        |error| format!("it cannot be read: {error}"),
                        |_| "its content does not have its digest".to_owned(),
                    );
                    self.problem(object, reason, Outcome::Dropped, |_| disk::remove(&path))?;
                }
            }
        }
        Ok(())
    }

    fn blob_is_whole(&self, digest: &Digest) -> bool {
        !self.damaged.contains(digest) && self.store.blob_file(digest).exists()
    }

    fn layer(&mut self, record: &LayerRecord) -> Result<(), StoreError> {
        let store = self.store;
        // A pull of the same layer waits, and finds what we leave; a layer that is being fetched is verified by that.
        let busy = store.busy(format!("layer {}", record.diff_id));
        let Ok(_working) = busy.try_lock() else {
            return Ok(());
        };
        if !store.has_layer(&record.diff_id) {
            return Ok(());
        }
        let object = format!("layers/{}", record.diff_id.hex());
        let written = fs::read(store.layer_folder(&record.diff_id).join("layer.json"));
        let written = written
            .ok()
            .and_then(|bytes| serde_json::from_slice::<LayerRecord>(&bytes).ok());
        if written.as_ref() != Some(record) {
            self.problem(
                format!("{object}/layer.json"),
                "it is not the layer's record",
                Outcome::Restored,
                |store| store.write_layer_record(&mut store.state(), record.clone()),
            )?;
        }
        let Some((reason, cure)) = self.trouble(record)? else {
            return Ok(());
        };
        if self.options.mounted.contains(&record.diff_id) {
            let reason =
                format!("{reason}; a running container uses it: stop that first, then repair");
            return self.problem(object, reason, Outcome::Found, |_| Ok(()));
        }
        let diff_id = record.diff_id;
        match cure {
            Repair::Replace(draft, record) => {
                self.problem(object, reason, Outcome::Restored, |store| {
                    store.replace_layer(&draft, record)
                })
            }
            Repair::ForgetBlob => self.problem(object, reason, Outcome::Restored, |store| {
                store.write_layer_record(
                    &mut store.state(),
                    LayerRecord {
                        blob: None,
                        ..record.clone()
                    },
                )
            }),
            Repair::Drop => self.problem(object, reason, Outcome::Dropped, |store| {
                let trash = store.take_layer(&diff_id)?;
                disk::remove(&trash)
            }),
        }
    }

    fn trouble(&self, record: &LayerRecord) -> Result<Option<(String, Repair)>, StoreError> {
        let files = self.store.layer_folder(&record.diff_id).join("fs");
        let there = fs::symlink_metadata(&files).is_ok_and(|meta| meta.is_dir());
        let blob = record.blob.filter(|blob| self.blob_is_whole(blob));
        if self.options.quick && there {
            return Ok(match record.blob {
                Some(blob) if !self.store.blob_file(&blob).exists() => {
                    Some((format!("its blob {blob} is missing"), Repair::Drop))
                }
                _ => None,
            });
        }
        let Some(blob) = blob else {
            // What cannot be packed now was not packed before either.
            let packs = there && self.store.pack_layer(&record.diff_id, io::sink()).is_ok();
            return Ok(match record.blob {
                None if packs => None,
                Some(blob) if packs => Some((
                    format!("its blob {blob} is missing or damaged"),
                    Repair::ForgetBlob,
                )),
                _ => Some((
                    "its files are not those of its diff id, and it has no blob".to_owned(),
                    Repair::Drop,
                )),
            });
        };
        let (draft, fresh) = match self.store.draft_of_blob(blob, record.diff_id) {
            Ok(draft) => draft,
            Err(error) => {
                return Ok(Some((
                    format!("its blob cannot be unpacked: {error}"),
                    Repair::Drop,
                )));
            }
        };
        if !there {
            return Ok(Some((
                "its files are missing".to_owned(),
                Repair::Replace(draft, fresh),
            )));
        }
        let difference = layer::difference(&draft.0.join("fs"), &files, &fresh.implicit)
            .map_err(disk::failed("comparing", &files))?;
        Ok(difference.map(|difference| (difference, Repair::Replace(draft, fresh))))
    }

    fn image(&mut self, id: &Digest) -> Result<(), StoreError> {
        let store = self.store;
        let (record, described) = {
            let state = store.state();
            let Some((record, _)) = state.images.get(id) else {
                return Ok(());
            };
            (record.clone(), store.describe(&state, record))
        };
        let object = match record.references.iter().next() {
            Some(name) => format!("image {}", name.short()),
            None => format!("image {id}"),
        };
        if let Err(error) = described {
            let reason = format!("it is incomplete: {error}; pull it again");
            return self.problem(object, reason, Outcome::Dropped, |store| {
                let mut state = store.state();
                store.records.remove(id)?;
                state.images.remove(id);
                store.write_index(&state)
            });
        }
        let written = fs::read(store.records.file(id)).ok();
        let written = written.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        if written.as_ref() != Some(&record) {
            self.problem(
                object.as_str(),
                "its file is not its record",
                Outcome::Restored,
                |store| store.write_record(&mut store.state(), &record),
            )?;
        }
        if record
            .manifest
            .is_some_and(|manifest| !self.blob_is_whole(&manifest))
        {
            let reason = "its manifest is missing or damaged; a pull brings it back";
            self.problem(object, reason, Outcome::Restored, |store| {
                store.put(
                    &mut store.state(),
                    vec![Record {
                        manifest: None,
                        ..record
                    }],
                )
            })?;
        }
        Ok(())
    }

    /// Files and folders that belong to nothing.
    fn strays(&mut self) -> Result<(), StoreError> {
        let store = self.store;
        let mut strays = Vec::new();
        {
            // Under the lock, so that what just got its name is not taken for a stray.
            let state = store.state();
            let known = |folder: &str, name: &str| match folder {
                "images" => {
                    let id = name.strip_suffix(".json").and_then(Digest::from_hex);
                    id.is_some_and(|id| state.images.contains_key(&id))
                }
                _ => Digest::from_hex(name)
                    .is_some_and(|diff_id| state.layers.contains_key(&diff_id)),
            };
            for folder in ["images", "layers"] {
                let path = store.root.join(folder);
                for entry in fs::read_dir(&path).map_err(disk::failed("listing", &path))? {
                    let entry = entry.map_err(disk::failed("listing", &path))?;
                    let name = entry.file_name();
                    if !name.to_str().is_some_and(|name| known(folder, name)) {
                        strays.push((format!("{folder}/{}", name.display()), entry.path()));
                    }
                }
            }
        }
        for (object, path) in strays {
            self.problem(object, "nothing knows it", Outcome::Dropped, |store| {
                store.discard(&path)
            })?;
        }
        Ok(())
    }

    fn containers(&mut self) {
        for layer in &self.options.in_use {
            if !self.store.has_layer(layer) {
                self.report.problems.push(Problem {
                    object: format!("layers/{}", layer.hex()),
                    reason: "a container needs it, and it is missing; pull its image again, or remove the container"
                        .to_owned(),
                    outcome: Outcome::Found,
                });
            }
        }
    }
}

pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}
