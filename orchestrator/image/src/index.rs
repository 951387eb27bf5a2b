//! Image indexes: what lists the images of one name, one for each platform.

use std::collections::BTreeSet;

use serde_json::json;

use crate::manifest::{Descriptor, Manifest};
use crate::{Digest, Platform};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image's manifest, as an index has it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) platform: Platform,
}

/// The entries that are images, with their platforms. Attestations are not.
pub(crate) fn images(entries: &[Descriptor]) -> impl Iterator<Item = (&Descriptor, Platform)> {
    entries.iter().filter_map(|entry| {
        let attests = entry
            .annotations
            .as_ref()
            .is_some_and(|notes| notes.contains_key("vnd.docker.reference.type"));
        let platform = entry
            .platform
            .as_ref()
            .filter(|platform| !attests && platform.os != "unknown")?;
        Some((entry, platform.clone().into()))
    })
}

/// The index to hand on for these images: the one under which they came if it lists them and nothing else, else a new
/// one, which is the same for the same images.
pub(crate) fn of(came: Option<Vec<u8>>, mut images: Vec<Listed>) -> Vec<u8> {
    let wanted: BTreeSet<Digest> = images.iter().map(|image| image.digest).collect();
    if let Some(bytes) = came
        && let Ok(Manifest::Index(entries)) = Manifest::parse(&bytes, "")
        && entries
            .iter()
            .map(|entry| entry.digest)
            .collect::<BTreeSet<_>>()
            == wanted
    {
        return bytes;
    }
    images.sort_by(|a, b| a.platform.cmp(&b.platform).then(a.digest.cmp(&b.digest)));
    let entries: Vec<serde_json::Value> = images.iter().map(Listed::entry).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })
        .to_string()
        .into_bytes()
}

impl Listed {
    fn entry(&self) -> serde_json::Value {
        let Platform {
            os,
            architecture,
            variant,
        } = &self.platform;
        let mut platform = json!({ "architecture": architecture, "os": os });
        if let Some(variant) = variant {
            platform["variant"] = json!(variant);
        }
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.size, "platform": platform })
    }
}

/// What a manifest or an index says that it is.
pub(crate) fn media_type(document: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(document).ok()?;
    document.get("mediaType")?.as_str().map(str::to_owned)
}
