//! What a registry has under a name, without bringing any of it here.

use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};

use crate::manifest::{ACCEPTED, MAX_CONFIG, MAX_MANIFEST, Manifest, ManifestError};
use crate::registry::{Access, Registry, RegistryError, RepositoryAction};
use crate::{Digest, ImageConfig, Platform, Reference};

/// The manifest or index that a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub digest: Digest,
    pub media_type: String,
    /// Bytes of the manifest or index itself.
    pub size: u64,
    /// What can be pulled; only [`describe`] fills it in.
    pub platforms: Vec<Platform>,
}

/// Why a name was not looked up.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("looking up {image}")]
    Registry {
        image: String,
        source: Box<RegistryError>,
    },
    #[error("looking up {image}")]
    Manifest {
        image: String,
        source: Box<ManifestError>,
    },
    #[error("looking up {image}: the registry answered with digest {found}")]
    Digest { image: String, found: Digest },
}

impl ResolveError {
    /// The registry answers, and has nothing of that name.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Registry { source, .. } if matches!(**source, RegistryError::NotFound { .. }))
    }
}

/// The digest that the registry has for a reference now. One request without a body where the registry says it in a
/// header; such requests do not count as pulls where pulls are limited.
pub async fn resolve(reference: &Reference, access: &Access) -> Result<Described, ResolveError> {
    let lookup = Lookup::start(reference, access)?;
    match lookup.header().await? {
        Some(described) => Ok(described),
        None => Ok(lookup.manifest().await?.0),
    }
}

/// The same with the platforms that can be pulled, for which the manifest itself has to come.
pub async fn describe(reference: &Reference, access: &Access) -> Result<Described, ResolveError> {
    let lookup = Lookup::start(reference, access)?;
    let (mut described, manifest) = lookup.manifest().await?;
    let manifest = Manifest::parse(&manifest, &described.media_type)
        .map_err(|error| lookup.manifest_error(error))?;
    described.platforms = match manifest {
        Manifest::Index(entries) => {
            let platforms = entries.into_iter().filter_map(|entry| entry.platform);
            platforms
                .filter(|platform| platform.os != "unknown")
                .map(Platform::from)
                .collect()
        }
        Manifest::Image { config, .. } => vec![lookup.platform(config.digest).await?],
    };
    Ok(described)
}

struct Lookup<'a> {
    reference: &'a Reference,
    registry: Registry,
    path: String,
}

impl<'a> Lookup<'a> {
    fn start(reference: &'a Reference, access: &Access) -> Result<Self, ResolveError> {
        let failed = |source| ResolveError::Registry {
            image: reference.short(),
            source: Box::new(source),
        };
        let registry = Registry::open(reference, access, RepositoryAction::Pull).map_err(failed)?;
        Ok(Self {
            reference,
            registry,
            path: format!("manifests/{}", reference.target()),
        })
    }

    /// `None` when the registry does not say it this way.
    async fn header(&self) -> Result<Option<Described>, ResolveError> {
        let answer = self
            .registry
            .head(&self.path, &[(ACCEPT, ACCEPTED.to_owned())], &self.what())
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            // The reason of a refusal comes with a body, and some registries do not know this method.
            Err(
                RegistryError::NotFound { .. }
                | RegistryError::Status {
                    status: 400..=499, ..
                },
            ) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let Some(digest) =
            header("docker-content-digest").and_then(|text| Digest::parse(text).ok())
        else {
            return Ok(None);
        };
        self.check(digest)?;
        let size = header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        Ok(size.map(|size| Described {
            digest,
            media_type: media_type(&answer),
            size,
            platforms: Vec::new(),
        }))
    }

    async fn manifest(&self) -> Result<(Described, Vec<u8>), ResolveError> {
        let answer = self
            .registry
            .get(&self.path, &[(ACCEPT, ACCEPTED.to_owned())], &self.what())
            .await;
        let answer = answer.map_err(|error| self.failed(error))?;
        let media_type = media_type(&answer);
        let bytes = self
            .registry
            .bytes(answer, MAX_MANIFEST, "the manifest")
            .await;
        let bytes = bytes.map_err(|error| self.failed(error))?;
        let digest = Digest::of(&bytes);
        self.check(digest)?;
        Ok((
            Described {
                digest,
                media_type,
                size: bytes.len() as u64,
                platforms: Vec::new(),
            },
            bytes,
        ))
    }

    async fn platform(&self, config: Digest) -> Result<Platform, ResolveError> {
        let answer = self
            .registry
            .get(&format!("blobs/{config}"), &[], "the configuration")
            .await;
        let answer = answer.map_err(|error| self.failed(error))?;
        let bytes = self
            .registry
            .bytes(answer, MAX_CONFIG, "the configuration")
            .await;
        let bytes = bytes.map_err(|error| self.failed(error))?;
        if Digest::of(&bytes) != config {
            return Err(self.digest(Digest::of(&bytes)));
        }
        let config: ImageConfig = serde_json::from_slice(&bytes)
            .map_err(|error| self.manifest_error(ManifestError::Config(error)))?;
        Ok(Platform {
            os: config.os,
            architecture: config.architecture,
            variant: config.variant,
        })
    }

    fn check(&self, found: Digest) -> Result<(), ResolveError> {
        match self.reference.digest() {
            Some(expected) if expected != found => Err(self.digest(found)),
            _ => Ok(()),
        }
    }

    fn what(&self) -> String {
        format!("manifest {}", self.reference.target())
    }

    fn digest(&self, found: Digest) -> ResolveError {
        ResolveError::Digest {
            image: self.reference.short(),
            found,
        }
    }

    fn failed(&self, source: RegistryError) -> ResolveError {
        ResolveError::Registry {
            image: self.reference.short(),
            source: Box::new(source),
        }
    }

    fn manifest_error(&self, source: ManifestError) -> ResolveError {
        ResolveError::Manifest {
            image: self.reference.short(),
            source: Box::new(source),
        }
    }
}

fn media_type(answer: &Response) -> String {
    let text = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}
