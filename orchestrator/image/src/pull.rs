//! Pulling an image from a registry into the store.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Digest, Image, ProgressSink, Reference, RegistryAuth, Store, StoreError, silent};

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform (os/architecture or os/architecture/variant)")]
pub struct PlatformError(String);

impl Platform {
    /// The machine that this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let valid =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(valid) {
            return Err(PlatformError(text.to_owned()));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
pub struct PullOptions {
    /// `None`: the host's.
    pub platform: Option<Platform>,
    pub auth: Option<RegistryAuth>,
    /// Registries (host or host:port) that may be asked over plain HTTP or with an unknown certificate. Loopback
    /// addresses may be asked over plain HTTP without being listed.
    pub insecure: Vec<String>,
    /// Where `<host>/ca.crt` files are looked up.
    pub certificates: PathBuf,
    pub progress: ProgressSink,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: None,
            auth: None,
            insecure: Vec::new(),
            certificates: PathBuf::from("/etc/docker/certs.d"),
            progress: silent(),
        }
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("platform", &self.platform)
            .field("auth", &self.auth)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// The result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    pub image: Arc<Image>,
    /// The digest that the registry answered for the reference (of the index where there is one).
    pub digest: Digest,
    /// Whether the store had this very image under this name already.
    pub up_to_date: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("storing {reference}")]
    Store { reference: String, source: StoreError },
}

/// Brings an image and its layers into the store.
pub async fn pull(_store: &Arc<Store>, _reference: &Reference, _options: &PullOptions) -> Result<Pulled, PullError> {
    todo!()
}
