//! Signatures as cosign keeps them: artifacts beside the image, found by the image's digest.
//!
//! cosign 1 and 2 put simple signing documents under a tag of their own; cosign 3 attaches bundles, which the referrers
//! API lists, or an index under a tag where a registry does not have it.

use base64::Engine as _;
use serde::Deserialize;

use crate::Digest;
use crate::manifest::Descriptor;
use crate::policy::{Annotations, Signature, SignatureError};
use crate::referrers::{self, MANIFEST, Referrer};
use crate::registry::{Registry, RegistryError};

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Of every version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// A signing document is a few hundred bytes, a bundle some thousand.
const MAX_DOCUMENT: u64 = 256 << 10;
/// Of one image and kind; anyone who may push could add more without end.
const MAX_SIGNATURES: usize = 64;

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// What can be read of a signature, or why it cannot.
type Found = Vec<Result<Signature, SignatureError>>;

/// All signatures that the registry has for a digest.
pub(crate) async fn fetch(registry: &Registry, digest: &Digest) -> Result<Found, RegistryError> {
    let lookup = SignatureLookup {
        registry,
        what: format!("the signatures of {digest}"),
    };
    let mut found = lookup.tagged(digest).await?;
    found.extend(lookup.referring(digest).await?);
    Ok(found)
}

struct SignatureLookup<'a> {
    registry: &'a Registry,
    what: String,
}

impl SignatureLookup<'_> {
    async fn tagged(&self, digest: &Digest) -> Result<Found, RegistryError> {
        let path = format!("manifests/sha256-{}.sig", digest.hex());
        let Some(Manifest { layers }) = self.manifest(&path).await? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for layer in layers
            .into_iter()
            .filter(|layer| layer.media_type == SIMPLE)
            .take(MAX_SIGNATURES)
        {
            let annotation = |name: &str| layer.annotations.as_ref()?.get(name).map(String::as_str);
            let Some(signature) = annotation("dev.cosignproject.cosign/signature")
                .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            else {
                continue;
            };
            let payload = self.blob(&layer).await?;
            let annotations = Annotations {
                certificate: annotation("dev.sigstore.cosign/certificate"),
                chain: annotation("dev.sigstore.cosign/chain"),
                entry: annotation("dev.sigstore.cosign/bundle"),
            };
            found.push(Signature::simple(payload, signature, &annotations));
        }
        Ok(found)
    }

    async fn referring(&self, digest: &Digest) -> Result<Found, RegistryError> {
        // Some tools leave the type out of the list; then the manifest says it.
        let may_be_bundle = |referrer: &Referrer| match referrer.artifact_type.as_deref() {
            Some(kind) => kind.is_empty() || kind.starts_with(BUNDLE),
            None => true,
        };
        let referrers = referrers::list(self.registry, digest, &self.what).await?;
        let mut found = Vec::new();
        for referrer in referrers
            .iter()
            .filter(|referrer| may_be_bundle(referrer))
            .take(MAX_SIGNATURES)
        {
            let path = format!("manifests/{}", referrer.digest);
            let Some(Manifest { layers }) = self.manifest(&path).await? else {
                continue;
            };
            for layer in layers
                .iter()
                .filter(|layer| layer.media_type.starts_with(BUNDLE))
                .take(1)
            {
                found.push(Signature::bundle(&self.blob(layer).await?));
            }
        }
        Ok(found)
    }

    async fn manifest(&self, path: &str) -> Result<Option<Manifest>, RegistryError> {
        referrers::document(self.registry, path, MANIFEST, &self.what).await
    }

    async fn blob(&self, layer: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let answer = self
            .registry
            .get(&format!("blobs/{}", layer.digest), &[], &self.what)
            .await?;
        let bytes = self
            .registry
            .bytes(answer, MAX_DOCUMENT, &self.what)
            .await?;
        if Digest::of(&bytes) != layer.digest {
            return Err(self
                .registry
                .protocol(format!("{} do not have their digest", self.what)));
        }
        Ok(bytes)
    }
}
