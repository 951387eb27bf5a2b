//! Manifests and indexes as registries and archives carry them, read with suspicion.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Digest, Platform, index};

pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// overlayfs and docker agree on about this many.
const MAX_LAYERS: usize = 127;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// BuildKit's name for the records of a build cache.
pub(crate) const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_ZSTD_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Why a manifest, an index or a configuration is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is not valid JSON of its kind")]
    Json(#[source] serde_json::Error),
    #[error(
        "the manifest is of the old schema 1, which no digest protects; push the image again with a current tool"
    )]
    Schema1,
    #[error("the manifest says schema version {0}, not 2")]
    Version(u64),
    #[error("the manifest is ambiguous: it has both layers and manifests")]
    Ambiguous,
    #[error("the manifest is neither an image nor an index")]
    Neither,
    #[error("the manifest calls itself {inside}, but was delivered as {outside}")]
    MediaType { inside: String, outside: String },
    #[error("it is not a container image but an artifact of type {0}")]
    Artifact(String),
    #[error("layer {0} is a foreign layer, to be fetched from elsewhere; such images are refused")]
    Foreign(Digest),
    #[error("layer {digest} has the unknown media type {media_type}")]
    LayerType { digest: Digest, media_type: String },
    #[error("{0} layers are more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    #[error("the configuration is {0} bytes long")]
    LongConfig(u64),
    #[error("nested indexes are refused")]
    Nested,
    #[error("it has no image for platform {wanted}, only for {available}")]
    NoPlatform { wanted: String, available: String },
    #[error("the configuration is not valid")]
    Config(#[source] serde_json::Error),
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("it is an image for {found}, not for {wanted}")]
    OtherPlatform { wanted: String, found: String },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub platform: Option<DescribedPlatform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DescribedPlatform {
    pub architecture: String,
    pub os: String,
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug)]
pub(crate) enum Manifest {
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
    Index(Vec<Descriptor>),
}

impl Manifest {
    /// `delivered` is the Content-Type or the media type of the descriptor that led here; empty when unknown.
    pub(crate) fn parse(bytes: &[u8], delivered: &str) -> Result<Self, ManifestError> {
        let delivered = delivered.split(';').next().unwrap_or_default().trim();
        if delivered.starts_with("application/vnd.docker.distribution.manifest.v1+") {
            return Err(ManifestError::Schema1);
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        match raw.schema_version {
            Some(2) => {}
            Some(1) => return Err(ManifestError::Schema1),
            other => return Err(ManifestError::Version(other.unwrap_or(0))),
        }
        if let Some(inside) = raw.media_type
            && delivered.starts_with("application/vnd.")
            && inside != delivered
        {
            return Err(ManifestError::MediaType {
                inside: printable(&inside),
                outside: printable(delivered),
            });
        }
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) => Self::image(config, layers, raw.artifact_type),
            (None, None, Some(manifests)) => Ok(Self::Index(manifests)),
            (_, Some(_), Some(_)) | (Some(_), _, Some(_)) => Err(ManifestError::Ambiguous),
            _ => Err(ManifestError::Neither),
        }
    }

    fn image(
        config: Descriptor,
        layers: Vec<Descriptor>,
        artifact_type: Option<String>,
    ) -> Result<Self, ManifestError> {
        if !matches!(
            config.media_type.as_str(),
            "application/vnd.oci.image.config.v1+json"
                | "application/vnd.docker.container.image.v1+json"
        ) {
            let kind = artifact_type
                .filter(|kind| !kind.is_empty())
                .unwrap_or(config.media_type);
            return Err(ManifestError::Artifact(printable(&kind)));
        }
        if config.size > MAX_CONFIG {
            return Err(ManifestError::LongConfig(config.size));
        }
        if layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(layers.len()));
        }
        known_layers(&layers)?;
        Ok(Self::Image { config, layers })
    }

    /// The configuration and the layers of a build cache; `None`: it is something else.
    pub(crate) fn cache(
        bytes: &[u8],
    ) -> Result<Option<(Descriptor, Vec<Descriptor>)>, ManifestError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) if config.media_type == CACHE_CONFIG => {
                if config.size > MAX_CONFIG {
                    return Err(ManifestError::LongConfig(config.size));
                }
                known_layers(&layers)?;
                Ok(Some((config, layers)))
            }
            _ => Ok(None),
        }
    }
}

/// Refuses layers that are no tars, and those that would have to come from elsewhere.
fn known_layers(layers: &[Descriptor]) -> Result<(), ManifestError> {
    for layer in layers {
        match layer.media_type.as_str() {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {}
            other if other.contains("foreign") || other.contains("nondistributable") => {
                return Err(ManifestError::Foreign(layer.digest));
            }
            other => {
                return Err(ManifestError::LayerType {
                    digest: layer.digest,
                    media_type: printable(other),
                });
            }
        }
    }
    Ok(())
}

/// What a manifest says of itself, for a message: it may have been made to steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect()
}

/// The entry of an index for a platform.
pub(crate) fn choose<'a>(
    entries: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, ManifestError> {
    let best = index::images(entries)
        .filter_map(|(entry, platform)| Some((platform.rank(wanted)?, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry);
    // An index with a single entry that names no platform at all is what simple tools write.
    let only = match entries {
        [entry] if entry.platform.is_none() => Some(entry),
        _ => None,
    };
    best.or(only).ok_or_else(|| ManifestError::NoPlatform {
        wanted: wanted.to_string(),
        available: match index::images(entries)
            .map(|(_, platform)| platform.to_string())
            .collect::<Vec<_>>()
        {
            names if names.is_empty() => "none".to_owned(),
            names => printable(&names.join(", ")),
        },
    })
}

impl From<DescribedPlatform> for Platform {
    fn from(described: DescribedPlatform) -> Self {
        let DescribedPlatform {
            architecture,
            os,
            variant,
        } = described;
        Self {
            os,
            architecture,
            variant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: Digest::of(format!("{os}{architecture}{variant:?}").as_bytes()),
            size: 1,
            artifact_type: None,
            platform: Some(DescribedPlatform {
                architecture: architecture.to_owned(),
                os: os.to_owned(),
                variant: variant.map(str::to_owned),
            }),
            annotations: None,
        }
    }

    #[test]
    fn the_best_variant_that_the_machine_runs_is_chosen() {
        let entries = [
            entry("linux", "arm", Some("v5")),
            entry("linux", "arm", Some("v7")),
            entry("linux", "amd64", None),
        ];
        let choose = |platform: &str| choose(&entries, &platform.parse().unwrap());
        assert_eq!(choose("linux/arm/v7").unwrap().digest, entries[1].digest);
        assert_eq!(choose("linux/arm/v6").unwrap().digest, entries[0].digest);
        assert_eq!(choose("linux/amd64").unwrap().digest, entries[2].digest);
        let error = choose("linux/s390x").unwrap_err().to_string();
        assert_eq!(
            error,
            "it has no image for platform linux/s390x, only for linux/arm/v5, linux/arm/v7, linux/amd64"
        );
    }

    #[test]
    fn an_attestation_is_never_chosen() {
        assert!(choose(&[entry("unknown", "unknown", None)], &Platform::host()).is_err());
    }

    #[test]
    fn ambiguous_manifests_are_refused() {
        let descriptor = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":1}}"#,
            Digest::of(b"x")
        );
        let parse =
            |text: &str, delivered: &str| Manifest::parse(text.as_bytes(), delivered).map(drop);
        let both =
            format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"manifests":[]}}"#);
        assert!(matches!(parse(&both, ""), Err(ManifestError::Ambiguous)));
        let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let image = "application/vnd.oci.image.manifest.v1+json";
        assert!(matches!(
            parse(index, image),
            Err(ManifestError::MediaType { .. })
        ));
        assert!(parse(index, "application/vnd.oci.image.index.v1+json").is_ok());
        assert!(matches!(
            parse(r#"{"schemaVersion":1}"#, ""),
            Err(ManifestError::Schema1)
        ));
        let traversal = both.replace("sha256:", "sha256:../../");
        assert!(matches!(parse(&traversal, ""), Err(ManifestError::Json(_))));
    }
}
