//! Records as JSON, in the shape of BuildKit's `cacheconfig.v0`: layers with their place in the manifest, and records
//! that point to them. BuildKit's keys are others, so neither builder takes the other's records for its own; registries
//! and tools see one kind of document.
//!
//! Imported documents are untrusted: every index and path in them is checked before use.

use std::collections::BTreeMap;

use hoist_image::{Digest, SentLayer};
use serde::{Deserialize, Serialize};

use super::{CachedResult, Record};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Document {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<DocumentLayer>,
    #[serde(default)]
    records: Vec<DocumentRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DocumentLayer {
    blob: Digest,
    parent: i64,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Annotations {
    media_type: String,
    #[serde(rename = "diffID")]
    diff_id: String,
    size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct DocumentRecord {
    digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<CacheResult>,
    /// Ours alone: what the key stands for, also where the layer is not in this cache.
    #[serde(
        default,
        rename = "dev.hoist.result",
        skip_serializing_if = "Option::is_none"
    )]
    result: Option<DocumentResult>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CacheResult {
    layer: usize,
    #[serde(default, rename = "createdAt", skip_serializing_if = "Option::is_none")]
    created: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DocumentResult {
    Layer(Digest),
    Picked(Digest),
}

/// Records, and which layer of the manifest has which diff id.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) records: BTreeMap<Digest, (CachedResult, Option<String>)>,
    /// Records that another builder wrote.
    pub(super) foreign: usize,
    /// By blob.
    pub(super) diff_ids: BTreeMap<Digest, Digest>,
}

impl Document {
    /// With the layers of a manifest, in its order.
    pub(super) fn new(records: &BTreeMap<Digest, Record>, layers: &[SentLayer]) -> Self {
        let described = layers.iter().map(|layer| DocumentLayer {
            blob: layer.blob,
            parent: -1,
            annotations: Annotations {
                media_type: layer.media_type.clone(),
                diff_id: layer.diff_id.to_string(),
                size: layer.size,
            },
        });
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        Self {
            layers: described.collect(),
            ..Self::within(records, &diff_ids)
        }
    }

    /// With layers that something else describes: an image's.
    pub(super) fn within(records: &BTreeMap<Digest, Record>, layers: &[Digest]) -> Self {
        let record = |(key, record): (&Digest, &Record)| {
            let (result, place) = match record.result {
                CachedResult::Layer(layer) => (
                    DocumentResult::Layer(layer),
                    layers.iter().position(|id| *id == layer),
                ),
                CachedResult::Picked(content) => (DocumentResult::Picked(content), None),
            };
            let place = place.map(|layer| CacheResult {
                layer,
                created: record.created.clone(),
            });
            DocumentRecord {
                digest: *key,
                layers: place.into_iter().collect(),
                result: Some(result),
            }
        };
        Self {
            layers: Vec::new(),
            records: records.iter().map(record).collect(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("digests, numbers and texts are JSON")
    }

    pub(super) fn records(&self) -> Vec<u8> {
        serde_json::to_vec(&self.records).expect("digests, numbers and texts are JSON")
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
        Ok(serde_json::from_slice::<Self>(bytes)?.parsed())
    }

    pub(super) fn parse_records(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
        Ok(Self {
            layers: Vec::new(),
            records: serde_json::from_slice(bytes)?,
        }
        .parsed())
    }

    fn parsed(self) -> Parsed {
        let mut parsed = Parsed::default();
        for record in self.records {
            let created = record
                .layers
                .into_iter()
                .next()
                .and_then(|place| place.created);
            match record.result {
                Some(DocumentResult::Layer(layer)) => {
                    parsed.records.insert(
                        record.digest,
                        (
                            CachedResult::Layer(layer),
                            created.filter(|time| is_time(time)),
                        ),
                    );
                }
                Some(DocumentResult::Picked(content)) => {
                    parsed
                        .records
                        .insert(record.digest, (CachedResult::Picked(content), None));
                }
                None => parsed.foreign += 1,
            }
        }
        for layer in self.layers {
            if let Ok(diff_id) = Digest::parse(&layer.annotations.diff_id) {
                parsed.diff_ids.insert(layer.blob, diff_id);
            }
        }
        parsed
    }
}

/// It goes into images' histories as it is.
fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(result: CachedResult, created: Option<&str>) -> Record {
        Record {
            result,
            created: created.map(str::to_owned),
            from: None,
        }
    }

    #[test]
    fn records_survive_the_journey() {
        let [key, other, layer, content, blob] =
            [1, 2, 3, 4, 5].map(|number: u8| Digest::of(&[number]));
        let time = "2026-01-02T03:04:05Z";
        let records = BTreeMap::from([
            (key, record(CachedResult::Layer(layer), Some(time))),
            (other, record(CachedResult::Picked(content), None)),
        ]);
        let sent = SentLayer {
            diff_id: layer,
            blob,
            size: 7,
            media_type: "x".to_owned(),
        };
        let parsed = Document::parse(&Document::new(&records, &[sent]).bytes()).unwrap();
        assert_eq!(
            parsed.records[&key],
            (CachedResult::Layer(layer), Some(time.to_owned()))
        );
        assert_eq!(
            parsed.records[&other],
            (CachedResult::Picked(content), None)
        );
        assert_eq!(parsed.diff_ids, BTreeMap::from([(blob, layer)]));
        let parsed =
            Document::parse_records(&Document::within(&records, &[layer]).records()).unwrap();
        assert_eq!(parsed.records.len(), 2);
    }

    #[test]
    fn another_builders_records_are_counted_and_nothing_else() {
        let text = format!(
            r#"{{"layers":[{{"blob":"{0}","parent":-1,"annotations":{{"mediaType":"m","diffID":"{0}","size":1}}}}],
                "records":[{{"digest":"{0}","layers":[{{"layer":0,"createdAt":"2026-01-02T03:04:05Z"}}],
                "inputs":[[{{"selector":"s","link":0}}]]}}]}}"#,
            Digest::of(b"theirs")
        );
        let parsed = Document::parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.records.len(), parsed.foreign), (0, 1));
    }

    #[test]
    fn a_time_that_is_none_is_dropped() {
        let (key, layer) = (Digest::of(b"k"), Digest::of(b"l"));
        let records =
            BTreeMap::from([(key, record(CachedResult::Layer(layer), Some("\u{1b}[2J")))]);
        let parsed =
            Document::parse_records(&Document::within(&records, &[layer]).records()).unwrap();
        assert_eq!(parsed.records[&key].1, None);
    }
}
