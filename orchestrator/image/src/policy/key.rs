//! Public keys and what they signed.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EDWARDS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

#[derive(Clone)]
pub(super) struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: Vec<u8>,
    /// As it was written; empty for the key of a certificate.
    pem: Vec<u8>,
}

impl Key {
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "a key is no PEM PUBLIC KEY".to_owned())?;
        Ok(Self {
            pem: pem.to_owned(),
            ..Self::from_der(&info)?
        })
    }

    /// From a SubjectPublicKeyInfo.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        let info = SubjectPublicKeyInfoRef::from_der(der)
            .map_err(|error| format!("a key is malformed: {error}"))?;
        let curve = || info.algorithm.parameters_oid().ok();
        let algorithm: &'static dyn VerificationAlgorithm = match info.algorithm.oid {
            EC if curve() == Some(P256) => &ECDSA_P256_SHA256_ASN1,
            EC if curve() == Some(P384) => &ECDSA_P384_SHA384_ASN1,
            RSA => &RSA_PKCS1_2048_8192_SHA256,
            EDWARDS => &ED25519,
            _ => return Err("a key is neither ECDSA (P-256, P-384), RSA nor Ed25519".to_owned()),
        };
        let bytes = info
            .subject_public_key
            .as_bytes()
            .ok_or("a key is malformed")?
            .to_owned();
        Ok(Self {
            algorithm,
            bytes,
            pem: Vec::new(),
        })
    }

    pub(super) fn pem(&self) -> &[u8] {
        &self.pem
    }

    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}
