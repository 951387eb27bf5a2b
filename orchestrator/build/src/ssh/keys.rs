//! Private keys in OpenSSH's format, and signing with them.

use std::fmt;
use std::path::{Path, PathBuf};

use num_bigint::BigUint;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding,
    RsaKeyPair,
};
use ssh_key::PrivateKey;
use ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};

use super::protocol::put;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("reading the key {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Also a sound key with a number that begins with zeros (one of some hundred ecdsa keys): ssh-key cannot read those.
    #[error(
        "{0} cannot be read as a private key in OpenSSH's format; `ssh-keygen -p -f FILE` rewrites a key of an older \
         format, and an agent takes others (ssh-add)"
    )]
    Format(PathBuf),
    #[error(
        "the key {0} has a passphrase, which cannot be prompted for here; add the key to an agent with ssh-add"
    )]
    Encrypted(PathBuf),
    #[error(
        "the key {path} cannot be used: {kind} is not supported; ed25519, ecdsa of 256 or 384 bits and rsa are, and an \
         agent takes others (ssh-add)"
    )]
    Kind { path: PathBuf, kind: String },
    #[error("the parts of the key {0} do not belong together")]
    Broken(PathBuf),
}

/// The keys of one agent.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

pub(super) struct Key {
    public: Vec<u8>,
    comment: String,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    Ecdsa {
        pair: EcdsaKeyPair,
        algorithm: &'static str,
    },
    Rsa(Box<RsaKeyPair>),
}

/// Of a signature by RSA.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<key {}>", self.comment)
    }
}

impl Keys {
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, KeyError> {
        paths
            .into_iter()
            .map(Key::read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn all(&self) -> &[Key] {
        &self.0
    }
}

impl Key {
    fn read(path: &Path) -> Result<Self, KeyError> {
        let named = || path.to_owned();
        let text = std::fs::read(path).map_err(|source| KeyError::Read {
            path: named(),
            source,
        })?;
        let key = PrivateKey::from_openssh(text).map_err(|_| KeyError::Format(named()))?;
        if key.is_encrypted() {
            return Err(KeyError::Encrypted(named()));
        }
        let other = || KeyError::Kind {
            path: named(),
            kind: key.algorithm().to_string(),
        };
        let secret = match key.key_data() {
            KeypairData::Ed25519(pair) => Ed25519KeyPair::from_seed_and_public_key(
                pair.private.as_ref(),
                pair.public.as_ref(),
            )
            .ok()
            .map(Secret::Ed25519),
            KeypairData::Ecdsa(pair @ EcdsaKeypair::NistP256 { .. }) => ecdsa(
                pair,
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                "ecdsa-sha2-nistp256",
            ),
            KeypairData::Ecdsa(pair @ EcdsaKeypair::NistP384 { .. }) => ecdsa(
                pair,
                &ECDSA_P384_SHA384_FIXED_SIGNING,
                "ecdsa-sha2-nistp384",
            ),
            KeypairData::Rsa(pair) => rsa(pair),
            _ => return Err(other()),
        };
        let secret = secret.ok_or_else(|| KeyError::Broken(named()))?;
        let public = key
            .public_key()
            .to_bytes()
            .map_err(|_| KeyError::Format(named()))?;
        Ok(Self {
            public,
            comment: key.comment().to_owned(),
            secret,
        })
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    pub(super) fn comment(&self) -> &str {
        &self.comment
    }

    /// The signature and what it is called. RSA with the old hash, which no server takes any more, is refused.
    pub(super) fn sign(&self, data: &[u8], hash: Option<Hash>) -> Option<(&'static str, Vec<u8>)> {
        match &self.secret {
            Secret::Ed25519(pair) => Some(("ssh-ed25519", pair.sign(data).as_ref().to_vec())),
            Secret::Ecdsa { pair, algorithm } => {
                let signature = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
                let mut bytes = Vec::new();
                put(&mut bytes, &positive(r));
                put(&mut bytes, &positive(s));
                Some((algorithm, bytes))
            }
            Secret::Rsa(pair) => {
                let (name, encoding): (_, &dyn RsaEncoding) = match hash? {
                    Hash::Sha256 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    Hash::Sha512 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), data, &mut signature)
                    .ok()?;
                Some((name, signature))
            }
        }
    }
}

fn ecdsa(
    pair: &EcdsaKeypair,
    algorithm: &'static EcdsaSigningAlgorithm,
    name: &'static str,
) -> Option<Secret> {
    let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        algorithm,
        private,
        public,
        &SystemRandom::new(),
    )
    .ok()?;
    Some(Secret::Ecdsa {
        pair,
        algorithm: name,
    })
}

/// OpenSSH leaves out two of the parts: they follow from the others.
fn rsa(pair: &RsaKeypair) -> Option<Secret> {
    let number = |part: &ssh_key::Mpint| part.as_positive_bytes().map(BigUint::from_bytes_be);
    let (d, p, q) = (
        number(&pair.private.d)?,
        number(&pair.private.p)?,
        number(&pair.private.q)?,
    );
    let one = BigUint::from(1u8);
    if p <= one || q <= one {
        return None;
    }
    let (exponent_p, exponent_q) = (&d % (&p - &one), &d % (&q - &one));
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: pair.public.n.as_positive_bytes()?.to_vec(),
            e: pair.public.e.as_positive_bytes()?.to_vec(),
        },
        d: d.to_bytes_be(),
        p: p.to_bytes_be(),
        q: q.to_bytes_be(),
        dP: exponent_p.to_bytes_be(),
        dQ: exponent_q.to_bytes_be(),
        qInv: pair.private.iqmp.as_positive_bytes()?.to_vec(),
    };
    RsaKeyPair::from_components(&components)
        .ok()
        .map(|pair| Secret::Rsa(Box::new(pair)))
}

/// A number of the protocol: no needless zeros, and none that looks negative.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let start = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let sign = bytes.get(start).is_some_and(|byte| byte & 0x80 != 0);
    std::iter::repeat_n(0, usize::from(sign))
        .chain(bytes[start..].iter().copied())
        .collect()
}
