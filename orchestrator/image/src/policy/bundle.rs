//! Sigstore's bundle: signature, signer and log entry in one JSON document, as cosign 3 keeps them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::log::Entry;
use super::signature::{Claim, Signature, SignatureError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Certificate>,
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<LogEntry>,
}

/// Of bundles before version 0.3.
#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    log_index: String,
    log_id: LogId,
    #[serde(default)]
    integrated_time: String,
    inclusion_promise: Option<InclusionPromise>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionPromise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

/// What a bundle vouches for an image with.
pub(super) fn signature(json: &[u8]) -> Result<Signature, SignatureError> {
    let bundle: Bundle = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    let Some(Envelope {
        payload,
        payload_type,
        signatures,
    }) = bundle.dsse_envelope
    else {
        return Err(SignatureError::Bundle(
            "it signs a bare digest, not a statement about an image".to_owned(),
        ));
    };
    let Ok([EnvelopeSignature { sig }]) = <[_; 1]>::try_from(signatures) else {
        return Err(SignatureError::Bundle(
            "it has not one signature".to_owned(),
        ));
    };
    let Material {
        certificate,
        x509_certificate_chain,
        tlog_entries,
    } = bundle.verification_material;
    let chain = x509_certificate_chain
        .map(|chain| chain.certificates)
        .unwrap_or_default();
    let certificates: Result<Vec<_>, _> = certificate
        .into_iter()
        .chain(chain)
        .map(|certificate| Ok(CertificateDer::from(decode(&certificate.raw_bytes)?)))
        .collect();
    // A log whose entries carry no promise says when by a timestamp authority, which policy.json has no word for.
    let entry = tlog_entries
        .into_iter()
        .find(|entry| entry.inclusion_promise.is_some());
    Ok(Signature {
        claim: Claim::Statement {
            payload: decode(&payload)?,
            payload_type,
        },
        signature: decode(&sig)?,
        certificates: certificates?,
        entry: entry.map(LogEntry::entry).transpose()?,
    })
}

impl LogEntry {
    fn entry(self) -> Result<Entry, SignatureError> {
        let number = |text: &str| text.parse::<u64>().map_err(|error| malformed(&error));
        let promise = self
            .inclusion_promise
            .map(|promise| promise.signed_entry_timestamp)
            .unwrap_or_default();
        Ok(Entry {
            promise: decode(&promise)?,
            body: self.canonicalized_body,
            time: number(&self.integrated_time)?,
            index: number(&self.log_index)?,
            log: hex::encode(decode(&self.log_id.key_id)?),
        })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, SignatureError> {
    STANDARD.decode(text).map_err(|error| malformed(&error))
}

fn malformed(error: &dyn std::error::Error) -> SignatureError {
    SignatureError::Bundle(format!("it is malformed: {error}"))
}
