//! Signatures without a lasting key: a short-lived certificate says who signed. When it was valid is for a log to say.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{ObjectIdentifier, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::key::Key;

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
            let certificate =
                certificate.map_err(|_| "fulcio's certificates are no PEM".to_owned())?;
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
        Ok(Self {
            anchors,
            issuer: issuer.to_owned(),
            email: email.to_owned(),
        })
    }

    /// The key of a certificate that this authority gave to the right person and that was valid at `time`.
    /// `chain`: what may lie between the two.
    pub(super) fn key(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        time: u64,
    ) -> Result<Key, String> {
        let entity = EndEntityCert::try_from(leaf)
            .map_err(|error| format!("its certificate is malformed: {error}"))?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.anchors,
                chain,
                time,
                KeyUsage::required(CODE_SIGNING),
                None,
                None,
            )
            .map_err(|error| {
                format!("its certificate is not one of fulcio's of that time: {error}")
            })?;
        self.check_signer(leaf)?;
        Key::from_der(&entity.subject_public_key_info())
    }

    fn check_signer(&self, leaf: &[u8]) -> Result<(), String> {
        let malformed =
            |error: x509_cert::der::Error| format!("its certificate is malformed: {error}");
        let certificate = Certificate::from_der(leaf).map_err(malformed)?;
        let certificate = certificate.tbs_certificate();
        let mut issuers = Vec::new();
        for extension in certificate.extensions().into_iter().flatten() {
            let value = extension.extn_value.as_bytes();
            if extension.extn_id == ISSUER_TEXT {
                issuers.push(String::from_utf8_lossy(value).into_owned());
            } else if extension.extn_id == ISSUER {
                issuers.push(
                    Utf8StringRef::from_der(value)
                        .map_err(malformed)?
                        .to_string(),
                );
            }
        }
        if issuers.is_empty() || issuers.iter().any(|issuer| *issuer != self.issuer) {
            return Err(format!(
                "its signer was named by {}, not {:?}",
                quoted(&issuers),
                self.issuer
            ));
        }
        let names = certificate
            .get_extension::<SubjectAltName>()
            .map_err(malformed)?;
        let emails: Vec<String> = names
            .into_iter()
            .flat_map(|(_, names)| names.0)
            .filter_map(|name| match name {
                GeneralName::Rfc822Name(email) => Some(email.as_str().to_owned()),
                _ => None,
            })
            .collect();
        if !emails.contains(&self.email) {
            return Err(format!(
                "its signer is {}, not {:?}",
                quoted(&emails),
                self.email
            ));
        }
        Ok(())
    }
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "nobody".to_owned();
    }
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}
