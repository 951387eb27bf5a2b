//! What a build went by, handed on: its records, and the layers of the result or of every step.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use hoist_image::{CacheExport, CacheLayer, Digest, ImageConfig, SentLayer};

use super::document::Document;
use super::import::INLINE;
use super::{Cache, CachedResult, Record};
use crate::error::BuildError;
use crate::execute::chain;
use crate::request::{CacheDestination, CacheMode, CacheTarget};

impl Cache {
    /// Writes every cache that the request asks for, but those that go into the image. `result`: the image's layers.
    pub(crate) async fn export(&self, result: &[Digest]) -> Result<(), BuildError> {
        for target in &self.request.cache_to {
            let CacheDestination::Place(place) = &target.destination else {
                continue;
            };
            let running = self.reporter.started(&format!("[cache] export {place}"));
            match self.write(target, place, result).await {
                Ok(()) => running.done(),
                Err(error) => {
                    running.failed(&chain(&error));
                    if !target.ignore_error {
                        return Err(BuildError::Export {
                            place: place.to_string(),
                            source: Box::new(error),
                        });
                    }
                    self.reporter.warning(format!(
                        "warning: the cache {place} is not written: {}",
                        chain(&error)
                    ));
                }
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        target: &CacheTarget,
        place: &hoist_image::CachePlace,
        result: &[Digest],
    ) -> Result<(), hoist_image::CacheError> {
        let records = self.seen().records.clone();
        let result: BTreeSet<&Digest> = result.iter().collect();
        let layers: BTreeSet<Digest> = layers(&records)
            .filter(|layer| target.mode == CacheMode::Max || result.contains(layer))
            .collect();
        let layers: Vec<CacheLayer> = layers
            .into_iter()
            .map(|diff_id| {
                // A source that was not queried has no record that this build used.
                let opened = self.imported.get().into_iter().flatten();
                CacheLayer {
                    diff_id,
                    from: opened
                        .into_iter()
                        .find_map(|imported| imported.layer(&diff_id)),
                }
            })
            .collect();
        let export = CacheExport::begin(
            &self.host.store,
            place,
            &self.host.registries.access,
            &layers,
        )?;
        let sent: Vec<SentLayer> = export
            .layers(&layers)
            .await?
            .into_iter()
            .flatten()
            .collect();
        export
            .finish(Document::new(&records, &sent).bytes(), &sent)
            .await
            .map(drop)
    }

    /// Puts the records into an image's configuration, when the request asks for that.
    pub(crate) fn inline(&self, config: &mut ImageConfig) {
        if self
            .request
            .cache_to
            .iter()
            .any(|target| target.destination == CacheDestination::Inline)
        {
            let document = Document::within(&self.seen().records, &config.rootfs.diff_ids);
            let text = base64::engine::general_purpose::STANDARD.encode(document.records());
            config.other.insert(INLINE.to_owned(), text.into());
        }
    }
}

fn layers(records: &BTreeMap<Digest, Record>) -> impl Iterator<Item = Digest> + '_ {
    records.values().filter_map(|record| match record.result {
        CachedResult::Layer(layer) => Some(layer),
        CachedResult::Picked(_) => None,
    })
}
