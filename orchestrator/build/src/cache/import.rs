//! A cache from elsewhere: opened once, asked by key, its layers fetched one by one. Whatever is wrong with it is a
//! warning: a build without a cache is only slower.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use hoist_image::{
    CacheDocument, CachePlace, Digest, OpenCache, Platforms, PullOptions, open_cache,
};

use super::document::{Document, Parsed};
use super::{CachedResult, Record};
use crate::execute::{Reporter, chain};
use crate::host::Host;

/// Where images carry records.
pub(crate) const INLINE: &str = "moby.buildkit.cache.v0";

#[derive(Debug)]
pub(crate) struct Imported {
    name: String,
    cache: Arc<OpenCache>,
    records: BTreeMap<Digest, (CachedResult, Option<String>)>,
    /// By diff id: which layer of the cache.
    layers: BTreeMap<Digest, usize>,
}

#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error(transparent)]
    Open(#[from] hoist_image::CacheError),
    #[error("its records are not what they should be")]
    Records(#[from] serde_json::Error),
    #[error("its records are not base64")]
    Encoding(#[from] base64::DecodeError),
    #[error("it carries no records; export it with type=inline")]
    NoRecords,
    #[error("it was written by another builder, which names steps in another way")]
    OtherBuilder,
}

pub(super) async fn open(
    host: &Host,
    reporter: &Reporter,
    place: &CachePlace,
    platforms: Platforms,
) -> Option<Arc<Imported>> {
    let running = reporter.started(&format!("[cache] import {place}"));
    match read(host, place, platforms).await {
        Ok(imported) => {
            running.done();
            Some(Arc::new(imported))
        }
        Err(error) => {
            running.failed(&chain(&error));
            reporter.warning(format!(
                "warning: the cache {place} is not used: {}",
                chain(&error)
            ));
            None
        }
    }
}

async fn read(
    host: &Host,
    place: &CachePlace,
    platforms: Platforms,
) -> Result<Imported, ImportError> {
    let options = PullOptions {
        platforms,
        ..host.registries.clone()
    };
    let cache = open_cache(&host.store, place, &options).await?;
    let blobs = cache.blobs();
    let (parsed, layers) = match &cache.document {
        CacheDocument::Records(bytes) => {
            let parsed = Document::parse(bytes)?;
            let layers = blobs
                .iter()
                .enumerate()
                .filter_map(|(index, blob)| Some((*parsed.diff_ids.get(blob)?, index)));
            let layers = layers.collect();
            (parsed, layers)
        }
        CacheDocument::Image(config) => {
            let text = config
                .other
                .get(INLINE)
                .and_then(|value| value.as_str())
                .ok_or(ImportError::NoRecords)?;
            let parsed =
                Document::parse_records(&base64::engine::general_purpose::STANDARD.decode(text)?)?;
            let layers = config
                .rootfs
                .diff_ids
                .iter()
                .enumerate()
                .map(|(index, diff_id)| (*diff_id, index))
                .collect();
            (parsed, layers)
        }
    };
    let Parsed {
        records, foreign, ..
    } = parsed;
    if records.is_empty() && foreign > 0 {
        return Err(ImportError::OtherBuilder);
    }
    Ok(Imported {
        name: place.to_string(),
        cache: Arc::new(cache),
        records,
        layers,
    })
}

impl Imported {
    pub(super) fn record(&self, key: &Digest) -> Option<Record> {
        let (result, created) = self.records.get(key)?.clone();
        Some(Record {
            result,
            created,
            from: Some(self.name.clone()),
        })
    }

    /// The layer's place in the cache, for exporting it again.
    pub(super) fn layer(&self, diff_id: &Digest) -> Option<(Arc<OpenCache>, usize)> {
        Some((Arc::clone(&self.cache), *self.layers.get(diff_id)?))
    }

    /// `false`: it does not have the layer, or something else under its name.
    pub(super) async fn fetch(&self, host: &Host, reporter: &Reporter, diff_id: Digest) -> bool {
        let Some(index) = self.layers.get(&diff_id) else {
            return false;
        };
        let running = reporter.started(&format!(
            "[cache] bring {} from {}",
            diff_id.short(),
            self.name
        ));
        match self.cache.fetch(&host.store, *index, diff_id).await {
            Ok(()) => {
                running.done();
                true
            }
            Err(error) => {
                running.failed(&chain(&error));
                let layer = diff_id.short();
                reporter.warning(format!(
                    "warning: layer {layer} of the cache {} is not used: {}",
                    self.name,
                    chain(&error)
                ));
                false
            }
        }
    }
}
