//! A signature as cosign stores it beside an image, and what it vouches for.

use serde::Deserialize;

use super::certificate::Logged;
use super::file::SigstoreSigned;
use crate::{Digest, Reference};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no key of the policy made it")]
    Key,
    #[error("it has no certificate")]
    NoCertificate,
    #[error("it has no entry of a transparency log")]
    NoLogEntry,
    #[error("{0}")]
    Certificate(String),
    #[error("what it signs is malformed: {0}")]
    Payload(String),
    #[error("it is for {0}, another image")]
    Digest(String),
    #[error("it is for {signed:?}, which does not count for {image:?}")]
    Identity { signed: String, image: String },
}

/// As fetched: nothing of it is believed yet.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    /// What is signed, a simple signing document.
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
    /// PEM, for signatures without a lasting key.
    pub certificate: Option<String>,
    pub chain: Option<String>,
    /// The entry of a transparency log, JSON.
    pub bundle: Option<String>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: SignedIdentity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedIdentity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Signature {
    pub(super) fn verify(
        &self,
        wanted: &SigstoreSigned,
        image: &Reference,
        digests: &[Digest],
    ) -> Result<(), SignatureError> {
        self.verify_signer(wanted)?;
        let malformed = |reason: String| SignatureError::Payload(reason);
        let payload: Payload = serde_json::from_slice(&self.payload).map_err(|error| malformed(error.to_string()))?;
        let Critical { identity, image: signed, kind } = payload.critical;
        if kind != "cosign container image signature" {
            return Err(malformed(format!("its type is {kind:?}")));
        }
        if !digests.iter().any(|digest| digest.to_string() == signed.digest) {
            return Err(SignatureError::Digest(signed.digest));
        }
        if !wanted.identity.accepts(image, &identity.reference) {
            return Err(SignatureError::Identity { signed: identity.reference, image: image.short() });
        }
        Ok(())
    }

    fn verify_signer(&self, wanted: &SigstoreSigned) -> Result<(), SignatureError> {
        let logged = |signer: &[u8]| {
            let bundle = self.bundle.as_deref().ok_or(SignatureError::NoLogEntry)?;
            let entry = Logged { payload: &self.payload, signature: &self.signature, signer };
            entry.time(&wanted.rekor, bundle).map_err(SignatureError::Certificate)
        };
        if let Some(authority) = &wanted.authority {
            let certificate = self.certificate.as_deref().ok_or(SignatureError::NoCertificate)?.as_bytes();
            let time = logged(certificate)?;
            let chain = self.chain.as_deref().unwrap_or_default().as_bytes();
            let key = authority.key(certificate, chain, time).map_err(SignatureError::Certificate)?;
            return if key.signed(&self.payload, &self.signature) { Ok(()) } else { Err(SignatureError::Key) };
        }
        let Some(key) = wanted.keys.iter().find(|key| key.signed(&self.payload, &self.signature)) else {
            return Err(SignatureError::Key);
        };
        if !wanted.rekor.is_empty() {
            logged(key.pem())?;
        }
        Ok(())
    }
}
