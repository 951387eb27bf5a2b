//! Signatures without a lasting key: a short-lived certificate says who signed, and a transparency log says when.
//!
//! Everything is checked offline: the authority and the log's key come from the policy, the entry of the log from the
//! signature.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::key::Key;
use crate::Digest;

/// 1.3.6.1.5.5.7.3.3, as DER without tag and length.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
/// The issuer of the signer's identity; the old form is bare text, the new one a UTF8String.
const ISSUER_TEXT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

/// Who may hand out certificates, and to whom.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    anchors: Vec<TrustAnchor<'static>>,
    issuer: String,
    email: String,
}

impl Authority {
    pub(super) fn new(pem: &[u8], issuer: &str, email: &str) -> Result<Self, String> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| "fulcio's certificates are no PEM".to_owned())?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| format!("a certificate of fulcio cannot be used: {error}"))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err("fulcio's file holds no certificate".to_owned());
        }
        if issuer.is_empty() || email.is_empty() {
            return Err("fulcio needs oidcIssuer and subjectEmail".to_owned());
        }
        Ok(Self { anchors, issuer: issuer.to_owned(), email: email.to_owned() })
    }

    /// The key of a certificate that this authority gave to the right person and that was valid at `time`.
    pub(super) fn key(&self, certificate: &[u8], chain: &[u8], time: u64) -> Result<Key, String> {
        let leaf = CertificateDer::from_pem_slice(certificate).map_err(|_| "its certificate is no PEM".to_owned())?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| "its certificate chain is no PEM".to_owned())?;
        let entity =
            EndEntityCert::try_from(&leaf).map_err(|error| format!("its certificate is malformed: {error}"))?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.anchors,
                &chain,
                time,
                KeyUsage::required(CODE_SIGNING),
                None,
                None,
            )
            .map_err(|error| format!("its certificate is not one of fulcio's of that time: {error}"))?;
        self.check_signer(&leaf)?;
        Key::from_der(&entity.subject_public_key_info())
    }

    fn check_signer(&self, leaf: &[u8]) -> Result<(), String> {
        let malformed = |error: x509_cert::der::Error| format!("its certificate is malformed: {error}");
        let certificate = Certificate::from_der(leaf).map_err(malformed)?;
        let certificate = certificate.tbs_certificate();
        let mut issuers = Vec::new();
        for extension in certificate.extensions().into_iter().flatten() {
            let value = extension.extn_value.as_bytes();
            if extension.extn_id == ISSUER_TEXT {
                issuers.push(String::from_utf8_lossy(value).into_owned());
            } else if extension.extn_id == ISSUER {
                issuers.push(Utf8StringRef::from_der(value).map_err(malformed)?.to_string());
            }
        }
        if issuers.is_empty() || issuers.iter().any(|issuer| *issuer != self.issuer) {
            return Err(format!("its signer was named by {}, not {:?}", quoted(&issuers), self.issuer));
        }
        let names = certificate.get_extension::<SubjectAltName>().map_err(malformed)?;
        let emails: Vec<String> = names
            .into_iter()
            .flat_map(|(_, names)| names.0)
            .filter_map(|name| match name {
                GeneralName::Rfc822Name(email) => Some(email.as_str().to_owned()),
                _ => None,
            })
            .collect();
        if !emails.contains(&self.email) {
            return Err(format!("its signer is {}, not {:?}", quoted(&emails), self.email));
        }
        Ok(())
    }
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "nobody".to_owned();
    }
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// The log's promise that it holds the signature.
#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    entry: Entry,
}

#[derive(Deserialize)]
struct Entry {
    body: String,
    #[serde(rename = "integratedTime")]
    time: u64,
    #[serde(rename = "logIndex")]
    index: u64,
    #[serde(rename = "logID")]
    log: String,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename = "hashedrekord")]
struct Body {
    #[serde(rename = "apiVersion")]
    version: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signed,
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

/// What a log must have written down.
pub(super) struct Logged<'a> {
    pub payload: &'a [u8],
    pub signature: &'a [u8],
    /// PEM of the key or the certificate.
    pub signer: &'a [u8],
}

impl Logged<'_> {
    /// When the log got it, if the bundle is a promise of one of these logs about just this signature.
    pub(super) fn time(&self, logs: &[Key], bundle: &str) -> Result<u64, String> {
        let bundle: Bundle =
            serde_json::from_str(bundle).map_err(|error| format!("its log entry is malformed: {error}"))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| "its log entry is malformed".to_owned());
        let promise = decode(&bundle.promise)?;
        let entry = &bundle.entry;
        // The form that the log signs: sorted keys, no space.
        let canonical = format!(
            r#"{{"body":{},"integratedTime":{},"logID":{},"logIndex":{}}}"#,
            serde_json::Value::from(entry.body.as_str()),
            entry.time,
            serde_json::Value::from(entry.log.as_str()),
            entry.index
        );
        if !logs.iter().any(|log| log.signed(canonical.as_bytes(), &promise)) {
            return Err("its log entry is not signed by the log of the policy".to_owned());
        }
        let body: Body = serde_json::from_slice(&decode(&entry.body)?)
            .map_err(|error| format!("its log entry is of an unknown kind: {error}"))?;
        let same_signer = pem_content(&decode(&body.spec.signature.key.content)?) == pem_content(self.signer);
        let (hash, signature) = (&body.spec.data.hash, &body.spec.signature.content);
        if body.version != "0.0.1" || hash.algorithm != "sha256" {
            return Err("its log entry is of an unknown kind".to_owned());
        }
        if hash.value != Digest::of(self.payload).hex() || decode(signature)? != self.signature || !same_signer {
            return Err("its log entry is about another signature".to_owned());
        }
        Ok(entry.time)
    }
}

/// DER of whatever PEM holds: two texts of one certificate may differ in their line ends.
fn pem_content(pem: &[u8]) -> Option<Vec<u8>> {
    if let Ok(certificate) = CertificateDer::from_pem_slice(pem) {
        return Some(certificate.to_vec());
    }
    let key = rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    x509_cert::spki::SubjectPublicKeyInfoRef::from_der(&key).ok()?.to_der().ok()
}
