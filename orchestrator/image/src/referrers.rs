//! What a registry has attached to an image: signatures, provenance, bills of materials.
//!
//! Owns how it is found: the referrers API, the index under a tag where a registry does not have it, cosign's own tags, and
//! BuildKit's entries of the image's index. Must not know what any of it means.

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::manifest::{ACCEPTED, Descriptor, MAX_MANIFEST, Manifest, printable};
use crate::registry::{Access, Registry, RegistryError, RepositoryAction};
use crate::{Digest, Reference, ResolveError};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What cosign 1 and 2 put under tags made of the digest.
const TAGS: [&str; 3] = ["sig", "att", "sbom"];

/// Something that belongs to an image and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub digest: Digest,
    /// What it says it is; empty when it does not.
    pub kind: String,
    /// Bytes of its manifest.
    pub size: u64,
    /// How it is attached.
    pub found: Attached,
}

/// How a registry attaches something to an image (distribution-spec, "Listing Referrers", and what came before it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attached {
    /// It names the image as its subject.
    Referrer,
    /// It has this tag, which is made of the image's digest.
    Tag(String),
    /// It stands beside the image in the index.
    Index,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Referrer {
    pub digest: Digest,
    pub size: u64,
    pub artifact_type: Option<String>,
}

/// What is attached to the image, or the index, that a name leads to.
pub async fn attachments(
    reference: &Reference,
    access: &Access,
) -> Result<Vec<Attachment>, ResolveError> {
    let failed = |source| ResolveError::Registry {
        image: reference.short(),
        source: Box::new(source),
    };
    let registry = Registry::open(reference, access, RepositoryAction::Pull).map_err(failed)?;
    let (digest, mut attachments) = of_index(&registry, reference).await?;
    let what = format!("what is attached to {digest}");
    let referrers = list(&registry, &digest, &what).await.map_err(failed)?;
    attachments.extend(referrers.into_iter().map(|referrer| Attachment {
        digest: referrer.digest,
        kind: printable(&referrer.artifact_type.unwrap_or_default()),
        size: referrer.size,
        found: Attached::Referrer,
    }));
    for suffix in TAGS {
        let tag = format!("sha256-{}.{suffix}", digest.hex());
        attachments.extend(tagged(&registry, &tag, &what).await.map_err(failed)?);
    }
    Ok(attachments)
}

/// The digest of a name, and the attestations in its index.
async fn of_index(
    registry: &Registry,
    reference: &Reference,
) -> Result<(Digest, Vec<Attachment>), ResolveError> {
    let failed = |source| ResolveError::Registry {
        image: reference.short(),
        source: Box::new(source),
    };
    let target = reference.target();
    let what = format!("manifest {target}");
    let answer = registry
        .get(
            &format!("manifests/{target}"),
            &[(ACCEPT, ACCEPTED.to_owned())],
            &what,
        )
        .await;
    let answer = answer.map_err(failed)?;
    let delivered = header(&answer, CONTENT_TYPE.as_str());
    let bytes = registry
        .bytes(answer, MAX_MANIFEST, "the manifest")
        .await
        .map_err(failed)?;
    let digest = Digest::of(&bytes);
    if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
        return Err(failed(
            registry.protocol(format!("{expected} has digest {digest}")),
        ));
    }
    // Something may be attached to what is not an image, too.
    let Ok(Manifest::Index(entries)) = Manifest::parse(&bytes, &delivered) else {
        return Ok((digest, Vec::new()));
    };
    let attached = |entry: Descriptor| {
        let kind = entry
            .annotations
            .as_ref()?
            .get("vnd.docker.reference.type")?;
        Some(Attachment {
            digest: entry.digest,
            kind: printable(kind),
            size: entry.size,
            found: Attached::Index,
        })
    };
    Ok((digest, entries.into_iter().filter_map(attached).collect()))
}

async fn tagged(
    registry: &Registry,
    tag: &str,
    what: &str,
) -> Result<Option<Attachment>, RegistryError> {
    let answer = registry
        .head(
            &format!("manifests/{tag}"),
            &[(ACCEPT, ACCEPTED.to_owned())],
            what,
        )
        .await;
    let answer = match answer {
        Err(
            RegistryError::NotFound { .. }
            | RegistryError::Status {
                status: 400..=499, ..
            },
        ) => return Ok(None),
        other => other?,
    };
    let Ok(digest) = Digest::parse(&header(&answer, "docker-content-digest")) else {
        return Ok(None);
    };
    let size = header(&answer, CONTENT_LENGTH.as_str())
        .parse()
        .unwrap_or_default();
    let kind = printable(&header(&answer, CONTENT_TYPE.as_str()));
    Ok(Some(Attachment {
        digest,
        kind,
        size,
        found: Attached::Tag(tag.to_owned()),
    }))
}

fn header(answer: &reqwest::Response, name: &str) -> String {
    answer
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// What names `digest` as its subject.
pub(crate) async fn list(
    registry: &Registry,
    digest: &Digest,
    what: &str,
) -> Result<Vec<Referrer>, RegistryError> {
    let listed =
        match document::<Index>(registry, &format!("referrers/{digest}"), INDEX, what).await {
            // Some registries answer what they do not know with a page for people.
            Ok(None) | Err(RegistryError::Protocol { .. }) => {
                document(
                    registry,
                    &format!("manifests/sha256-{}", digest.hex()),
                    INDEX,
                    what,
                )
                .await?
            }
            listed => listed?,
        };
    Ok(listed.map(|index| index.manifests).unwrap_or_default())
}

/// `None`: the registry has nothing there, or does not know what is asked.
pub(crate) async fn document<T: DeserializeOwned>(
    registry: &Registry,
    path: &str,
    kind: &str,
    what: &str,
) -> Result<Option<T>, RegistryError> {
    let answer = match registry.get(path, &[(ACCEPT, kind.to_owned())], what).await {
        Err(
            RegistryError::NotFound { .. }
            | RegistryError::Status {
                status: 400..=499, ..
            },
        ) => return Ok(None),
        other => other?,
    };
    let bytes = registry.bytes(answer, MAX_MANIFEST, what).await?;
    let parsed = serde_json::from_slice(&bytes);
    parsed
        .map(Some)
        .map_err(|error| registry.protocol(format!("{what} are malformed: {error}")))
}
