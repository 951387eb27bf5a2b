//! The transparency log: its promise that it holds a signature since some time.
//!
//! Everything is checked offline: the log's key comes from the policy, the entry from the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::key::Key;
use crate::Digest;

/// An entry with the log's signature under it, whichever form it came in.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub promise: Vec<u8>,
    /// Base64, as the log signs it.
    pub body: String,
    pub time: u64,
    pub index: u64,
    /// Hexadecimal.
    pub log: String,
}

impl Entry {
    /// What cosign writes beside a simple signing document.
    pub(super) fn from_annotation(text: &str) -> Result<Self, String> {
        let malformed = |reason: String| format!("its log entry is malformed: {reason}");
        let written: Annotation =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let promise = STANDARD
            .decode(written.promise)
            .map_err(|error| malformed(error.to_string()))?;
        let Payload {
            body,
            time,
            index,
            log,
        } = written.payload;
        Ok(Self {
            promise,
            body,
            time,
            index,
            log,
        })
    }
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    body: String,
    #[serde(rename = "integratedTime")]
    time: u64,
    #[serde(rename = "logIndex")]
    index: u64,
    #[serde(rename = "logID")]
    log: String,
}

#[derive(Deserialize)]
#[serde(tag = "kind", content = "spec", rename_all = "lowercase")]
enum Body {
    HashedRekord { data: Data, signature: Signed },
    Dsse(Envelope),
}

/// Beside `kind` and `spec`; all that is known has this one.
#[derive(Deserialize)]
struct Version {
    #[serde(rename = "apiVersion")]
    version: String,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct Signed {
    content: String,
    #[serde(rename = "publicKey")]
    key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "payloadHash")]
    payload: Hash,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    signature: String,
    /// PEM.
    verifier: String,
}

/// What a log must have written down.
pub(super) struct Logged<'a> {
    /// Without an envelope around it.
    pub payload: &'a [u8],
    pub signature: &'a [u8],
    /// DER of the key or the certificate.
    pub signer: &'a [u8],
    pub enveloped: bool,
}

impl Logged<'_> {
    /// When the log got it, if the entry is a promise of one of these logs about just this signature.
    pub(super) fn time(&self, logs: &[Key], entry: &Entry) -> Result<u64, String> {
        // The form that the log signs: sorted keys, no space.
        let canonical = format!(
            r#"{{"body":{},"integratedTime":{},"logID":{},"logIndex":{}}}"#,
            serde_json::Value::from(entry.body.as_str()),
            entry.time,
            serde_json::Value::from(entry.log.as_str()),
            entry.index
        );
        if !logs
            .iter()
            .any(|log| log.signed(canonical.as_bytes(), &entry.promise))
        {
            return Err("its log entry is not signed by the log of the policy".to_owned());
        }
        let unknown = |reason: String| format!("its log entry is of an unknown kind: {reason}");
        let body = decode(&entry.body)?;
        let version: Version =
            serde_json::from_slice(&body).map_err(|error| unknown(error.to_string()))?;
        if version.version != "0.0.1" {
            return Err(unknown(format!("version {}", version.version)));
        }
        let (hash, signature, signer) =
            match serde_json::from_slice(&body).map_err(|error| unknown(error.to_string()))? {
                Body::HashedRekord { data, signature } if !self.enveloped => {
                    (data.hash, signature.content, signature.key.content)
                }
                Body::Dsse(Envelope {
                    payload,
                    signatures,
                }) if self.enveloped => match <[_; 1]>::try_from(signatures) {
                    Ok(
                        [
                            EnvelopeSignature {
                                signature,
                                verifier,
                            },
                        ],
                    ) => (payload, signature, verifier),
                    Err(_) => return Err(unknown("not one signature".to_owned())),
                },
                _ => return Err("its log entry is about another signature".to_owned()),
            };
        if hash.algorithm != "sha256" {
            return Err(unknown(format!("hash {}", hash.algorithm)));
        }
        let same_signer = pem_content(&decode(&signer)?).as_deref() == Some(self.signer);
        if hash.value != Digest::of(self.payload).hex()
            || decode(&signature)? != self.signature
            || !same_signer
        {
            return Err("its log entry is about another signature".to_owned());
        }
        Ok(entry.time)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text)
        .map_err(|_| "its log entry is malformed".to_owned())
}

/// DER of whatever PEM holds: two texts of one certificate may differ in their line ends.
pub(super) fn pem_content(pem: &[u8]) -> Option<Vec<u8>> {
    if let Ok(certificate) = CertificateDer::from_pem_slice(pem) {
        return Some(certificate.to_vec());
    }
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    SubjectPublicKeyInfoRef::from_der(&key).ok()?.to_der().ok()
}
