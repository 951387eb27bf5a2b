//! Signatures as cosign keeps them: an artifact beside the image, under a tag made of the image's digest.

use base64::Engine as _;
use reqwest::header::ACCEPT;
use serde::Deserialize;

use crate::Digest;
use crate::manifest::{Descriptor, MAX_MANIFEST};
use crate::policy::Signature;
use crate::registry::{Registry, RegistryError};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// A signing document is a few hundred bytes.
const MAX_PAYLOAD: u64 = 256 << 10;
/// Of one image; whoever may push could add more without end.
const MAX_SIGNATURES: usize = 64;

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// All signatures that the registry has for a digest. What is malformed is left out: it could not count anyway.
pub(crate) async fn fetch(registry: &Registry, digest: &Digest) -> Result<Vec<Signature>, RegistryError> {
    let path = format!("manifests/sha256-{}.sig", digest.hex());
    let what = format!("the signatures of {digest}");
    let answer = match registry.get(&path, &[(ACCEPT, MANIFEST.to_owned())], &what).await {
        Err(RegistryError::NotFound { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let bytes = registry.bytes(answer, MAX_MANIFEST, &what).await?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| registry.protocol(format!("{what} are malformed: {error}")))?;
    let mut signatures = Vec::new();
    for layer in manifest.layers.into_iter().filter(|layer| layer.media_type == PAYLOAD).take(MAX_SIGNATURES) {
        let annotation = |name: &str| layer.annotations.as_ref()?.get(name).cloned();
        let Some(signature) = annotation("dev.cosignproject.cosign/signature")
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
        else {
            continue;
        };
        let answer = registry.get(&format!("blobs/{}", layer.digest), &[], &what).await?;
        let payload = registry.bytes(answer, MAX_PAYLOAD, &what).await?;
        if Digest::of(&payload) != layer.digest {
            return Err(registry.protocol(format!("{what} do not have their digest")));
        }
        signatures.push(Signature {
            payload,
            signature,
            certificate: annotation("dev.sigstore.cosign/certificate"),
            chain: annotation("dev.sigstore.cosign/chain"),
            bundle: annotation("dev.sigstore.cosign/bundle"),
        });
    }
    Ok(signatures)
}
