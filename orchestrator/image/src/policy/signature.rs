//! A signature as cosign stores it beside an image, and what it vouches for.

use std::borrow::Cow;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::bundle;
use super::file::SigstoreSigned;
use super::identity::Identity;
use super::log::{Entry, Logged, pem_content};
use crate::{Digest, Reference};

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no key of the policy made it")]
    Key,
    #[error("it has no certificate")]
    NoCertificate,
    #[error("it has no entry of a transparency log with the log's promise")]
    NoLogEntry,
    #[error("{0}")]
    Certificate(String),
    #[error("what it signs is malformed: {0}")]
    Payload(String),
    #[error("it is a bundle that does not count: {0}")]
    Bundle(String),
    #[error("it is for {0}, another image")]
    Digest(String),
    #[error("it is for {signed:?}, which does not count for {image:?}")]
    Identity { signed: String, image: String },
    #[error(
        "it names a digest and no repository, which counts where signedIdentity is matchRepository alone"
    )]
    Nameless,
}

/// As fetched: nothing of it is believed yet.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(super) claim: Claim,
    pub(super) signature: Vec<u8>,
    /// Of the signer first, for signatures without a lasting key.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) entry: Option<Entry>,
}

/// What is signed.
#[derive(Debug, Clone)]
pub(super) enum Claim {
    /// A simple signing document: cosign 1 and 2.
    Simple(Vec<u8>),
    /// An in-toto statement in a DSSE envelope: cosign 3.
    Statement {
        payload: Vec<u8>,
        payload_type: String,
    },
}

/// The annotations of a simple signing document.
#[derive(Debug, Default)]
pub(crate) struct Annotations<'a> {
    /// PEM.
    pub certificate: Option<&'a str>,
    pub chain: Option<&'a str>,
    /// JSON.
    pub entry: Option<&'a str>,
}

#[derive(Deserialize)]
struct Simple {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    sha256: String,
}

impl Signature {
    pub(crate) fn simple(
        payload: Vec<u8>,
        signature: Vec<u8>,
        annotations: &Annotations<'_>,
    ) -> Result<Self, SignatureError> {
        let texts = [annotations.certificate, annotations.chain];
        let certificates: Result<Vec<_>, _> = texts
            .into_iter()
            .flatten()
            .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()))
            .collect();
        let certificates = certificates
            .map_err(|_| SignatureError::Certificate("its certificate is no PEM".to_owned()))?;
        let entry = annotations
            .entry
            .map(Entry::from_annotation)
            .transpose()
            .map_err(SignatureError::Certificate)?;
        Ok(Self {
            claim: Claim::Simple(payload),
            signature,
            certificates,
            entry,
        })
    }

    pub(crate) fn bundle(json: &[u8]) -> Result<Self, SignatureError> {
        bundle::signature(json)
    }

    pub(super) fn verify(
        &self,
        wanted: &SigstoreSigned,
        image: &Reference,
        digests: &[Digest],
    ) -> Result<(), SignatureError> {
        self.verify_signer(wanted)?;
        self.claim.verify(&wanted.identity, image, digests)
    }

    fn verify_signer(&self, wanted: &SigstoreSigned) -> Result<(), SignatureError> {
        let message = self.claim.message();
        let logged = |signer: &[u8]| {
            let entry = self.entry.as_ref().ok_or(SignatureError::NoLogEntry)?;
            let (payload, enveloped) = match &self.claim {
                Claim::Simple(payload) => (payload, false),
                Claim::Statement { payload, .. } => (payload, true),
            };
            let logged = Logged {
                payload,
                signature: &self.signature,
                signer,
                enveloped,
            };
            logged
                .time(&wanted.rekor, entry)
                .map_err(SignatureError::Certificate)
        };
        if let Some(authority) = &wanted.authority {
            let (leaf, chain) = self
                .certificates
                .split_first()
                .ok_or(SignatureError::NoCertificate)?;
            let time = logged(leaf)?;
            let key = authority
                .key(leaf, chain, time)
                .map_err(SignatureError::Certificate)?;
            return if key.signed(&message, &self.signature) {
                Ok(())
            } else {
                Err(SignatureError::Key)
            };
        }
        let Some(key) = wanted
            .keys
            .iter()
            .find(|key| key.signed(&message, &self.signature))
        else {
            return Err(SignatureError::Key);
        };
        if !wanted.rekor.is_empty() {
            logged(&pem_content(key.pem()).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Claim {
    /// The bytes under the signature.
    fn message(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Simple(payload) => Cow::Borrowed(payload),
            // DSSE's pre-authentication encoding: the type of the payload is signed with it.
            Self::Statement {
                payload,
                payload_type,
            } => {
                let head = format!(
                    "DSSEv1 {} {payload_type} {} ",
                    payload_type.len(),
                    payload.len()
                );
                Cow::Owned([head.as_bytes(), payload].concat())
            }
        }
    }

    fn verify(
        &self,
        identity: &Identity,
        image: &Reference,
        digests: &[Digest],
    ) -> Result<(), SignatureError> {
        let malformed = |reason: String| SignatureError::Payload(reason);
        let parsed = |error: serde_json::Error| malformed(error.to_string());
        match self {
            Self::Simple(payload) => {
                let Simple { critical } = serde_json::from_slice(payload).map_err(parsed)?;
                if critical.kind != "cosign container image signature" {
                    return Err(malformed(format!("its type is {:?}", critical.kind)));
                }
                if !digests
                    .iter()
                    .any(|digest| digest.to_string() == critical.image.digest)
                {
                    return Err(SignatureError::Digest(critical.image.digest));
                }
                let signed = critical.identity.reference;
                if !identity.accepts(image, &signed) {
                    return Err(SignatureError::Identity {
                        signed,
                        image: image.short(),
                    });
                }
                Ok(())
            }
            Self::Statement {
                payload,
                payload_type,
            } => {
                if payload_type != "application/vnd.in-toto+json" {
                    return Err(malformed(format!("its type is {payload_type:?}")));
                }
                let statement: Statement = serde_json::from_slice(payload).map_err(parsed)?;
                let what = (statement.kind.as_str(), statement.predicate_type.as_str());
                // Provenance or a bill of materials is signed with the same key, and says nothing for the image.
                if what
                    != (
                        "https://in-toto.io/Statement/v1",
                        "https://sigstore.dev/cosign/sign/v1",
                    )
                {
                    return Err(malformed(format!(
                        "it is a statement of {:?}",
                        statement.predicate_type
                    )));
                }
                let Ok([Subject { digest }]) = <[_; 1]>::try_from(statement.subject) else {
                    return Err(malformed("it is not about one subject".to_owned()));
                };
                if !digests.iter().any(|known| known.hex() == digest.sha256) {
                    return Err(SignatureError::Digest(format!("sha256:{}", digest.sha256)));
                }
                // It was found in the image's repository, and that is all there is to compare.
                if *identity == (Identity::Repository {}) {
                    Ok(())
                } else {
                    Err(SignatureError::Nameless)
                }
            }
        }
    }
}
