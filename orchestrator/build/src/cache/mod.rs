//! The build cache: what is known of steps that were run before, here or elsewhere.
//!
//! A [`Record`] says under the key of a step which layer it leaves. Keys are digests of contents, so a record means the
//! same on every machine: a set of records with the layers that they name can be exported, and imported by somebody who
//! has neither. A record is enough to go on with the next step; its layer is only fetched when something has to be done
//! with its files. Nothing of this is proof: whoever writes a cache decides what its steps leave (docs/build-cache.md),
//! so a record from elsewhere counts for the builds that name its source, and for no other.

mod document;
mod export;
mod import;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hoist_image::{CacheEntry, Digest, Platforms, StoreError};
use tokio::sync::OnceCell;

use crate::execute::Reporter;
use crate::host::Host;
use crate::request::BuildRequest;

pub(crate) use import::INLINE;
use import::Imported;

/// What is known under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) result: CachedResult,
    pub(crate) created: Option<String>,
    /// The imported cache that says so; `None`: it was done here.
    pub(crate) from: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CachedResult {
    /// A step leaves this layer.
    Layer(Digest),
    /// A pattern picks content of this digest from a tree.
    Picked(Digest),
}

/// Records name layers that no cache has; these records are not used again.
#[derive(Debug)]
pub(crate) struct Lost;

/// The cache as one build sees it.
#[derive(Debug)]
pub(crate) struct Cache {
    host: Host,
    request: BuildRequest,
    reporter: Reporter,
    /// Opened when something is not known here.
    imported: OnceCell<Vec<Arc<Imported>>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What this build went by, by key.
    records: BTreeMap<Digest, Record>,
    lost: BTreeSet<Digest>,
}

impl Cache {
    pub(crate) fn new(host: &Host, request: &BuildRequest, reporter: &Reporter) -> Self {
        Self {
            host: host.clone(),
            request: request.clone(),
            reporter: reporter.clone(),
            imported: OnceCell::new(),
            seen: Mutex::default(),
        }
    }

    /// What this machine knows. Blocks.
    pub(crate) fn local(&self, key: &Digest) -> Option<Record> {
        let record = from_entry(self.host.store.cache_get(key)?)?;
        let asked_for = |from: &String| {
            self.request
                .cache_from
                .iter()
                .any(|source| source.to_string() == *from)
        };
        if !record.from.as_ref().is_none_or(asked_for) {
            return None;
        }
        self.accept(key, record)
    }

    /// What the imported caches know.
    pub(crate) async fn elsewhere(&self, key: &Digest) -> Option<Record> {
        let record = self
            .imported()
            .await
            .iter()
            .find_map(|imported| imported.record(key))?;
        self.accept(key, record)
    }

    /// Whether there is anybody else to ask.
    pub(crate) fn has_sources(&self) -> bool {
        !self.request.cache_from.is_empty()
    }

    async fn imported(&self) -> &[Arc<Imported>] {
        let open = || async {
            // An image is a cache of its own platform's steps.
            let named = self
                .request
                .platforms
                .iter()
                .filter_map(|platform| platform.parse().ok());
            let mut platforms: Vec<Platforms> = named.map(Platforms::One).collect();
            if platforms.is_empty() {
                platforms.push(Platforms::Host);
            }
            let each = self
                .request
                .cache_from
                .iter()
                .flat_map(|source| platforms.iter().map(move |of| (source, of)));
            let opened = each
                .map(|(source, of)| import::open(&self.host, &self.reporter, source, of.clone()));
            futures_util::future::join_all(opened)
                .await
                .into_iter()
                .flatten()
                .collect()
        };
        self.imported.get_or_init(open).await
    }

    fn accept(&self, key: &Digest, record: Record) -> Option<Record> {
        let mut seen = self.seen();
        if let CachedResult::Layer(layer) = &record.result
            && seen.lost.contains(layer)
            && !self.host.store.has_layer(layer)
        {
            return None;
        }
        seen.records.insert(*key, record.clone());
        Some(record)
    }

    /// Notes what was done here. Blocks.
    pub(crate) fn put(
        &self,
        key: &Digest,
        result: CachedResult,
        created: Option<String>,
    ) -> Result<(), StoreError> {
        let record = Record {
            result,
            created,
            from: None,
        };
        self.host
            .store
            .cache_put(key, &to_entry(&self.host.store, &record))?;
        self.seen().records.insert(*key, record);
        Ok(())
    }

    /// Makes layers be in the store.
    pub(crate) async fn fetch(&self, layers: &[Digest]) -> Result<(), Lost> {
        let absent: BTreeSet<Digest> = layers
            .iter()
            .copied()
            .filter(|layer| !self.host.store.has_layer(layer))
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        let imported = self.imported().await;
        let fetched = absent.into_iter().map(|layer| async move {
            for source in imported {
                if source.fetch(&self.host, &self.reporter, layer).await {
                    return true;
                }
            }
            self.seen().lost.insert(layer);
            false
        });
        let fetched = futures_util::future::join_all(fetched).await;
        if fetched.into_iter().all(|fetched| fetched) {
            Ok(())
        } else {
            Err(Lost)
        }
    }

    /// The build starts again with what is left.
    pub(crate) fn start_again(&self) {
        self.seen().records.clear();
    }

    /// Keeps what came from elsewhere for the next build that names the same source. Blocks.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        let records: Vec<(Digest, Record)> = {
            let seen = self.seen();
            let foreign = seen
                .records
                .iter()
                .filter(|(_, record)| record.from.is_some());
            foreign
                .map(|(key, record)| (*key, record.clone()))
                .collect()
        };
        for (key, record) in records {
            let entry = to_entry(&self.host.store, &record);
            if self.host.store.cache_get(&key).as_ref() != Some(&entry) {
                self.host.store.cache_put(&key, &entry)?;
            }
        }
        Ok(())
    }

    // A panic elsewhere leaves plain data behind.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_entry(store: &hoist_image::Store, record: &Record) -> CacheEntry {
    let mut data = serde_json::Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            data.insert(name.to_owned(), value.into());
        }
    };
    put("created", record.created.clone());
    put("from", record.from.clone());
    let layer = match record.result {
        // One that is not here has nothing to be kept.
        CachedResult::Layer(layer) if store.has_layer(&layer) => Some(layer),
        CachedResult::Layer(layer) => {
            put("leaves", Some(layer.to_string()));
            None
        }
        CachedResult::Picked(content) => {
            put("picked", Some(content.to_string()));
            None
        }
    };
    CacheEntry {
        layer,
        data: data.into(),
    }
}

fn from_entry(entry: CacheEntry) -> Option<Record> {
    let text = |name: &str| {
        entry
            .data
            .get(name)
            .and_then(|value| value.as_str())
            .map(str::to_owned)
    };
    let digest = |name: &str| text(name).and_then(|text| Digest::parse(&text).ok());
    let result = match (entry.layer, digest("leaves"), digest("picked")) {
        (Some(layer), ..) | (None, Some(layer), _) => CachedResult::Layer(layer),
        (None, None, Some(content)) => CachedResult::Picked(content),
        (None, None, None) => return None,
    };
    Some(Record {
        result,
        created: text("created"),
        from: text("from"),
    })
}
