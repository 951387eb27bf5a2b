//! What a caller asks for: one build, and the parts of the world that it lends to the build.
//!
//! Everything here is plain data. Paths are the caller's; variables such as build arguments are resolved before they get
//! here, because the engine runs with another environment than the user.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use hoist_image::{CachePlace, DigestError, LayoutName};

use crate::remote::Remote;
use crate::ssh::Agent;

/// One build, as `docker build` and Compose's `build` ask for it.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    pub context: ContextSource,
    /// More contexts, by the names that `FROM` and `--from` have for them.
    pub contexts: BTreeMap<String, NamedContext>,
    pub dockerfile: DockerfileSource,
    /// Build arguments. `None`: named without a value and unset in the caller, so the ARG's default applies.
    pub args: BTreeMap<String, Option<String>>,
    /// The stage to build, by name or number; the last one when absent.
    pub target: Option<String>,
    /// Over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// References under which the result is listed. May be empty.
    pub tags: Vec<String>,
    /// What to build for, as `os/arch[/variant]`: several make an index of images. Empty: this machine.
    pub platforms: Vec<String>,
    /// Run every step again, whatever the cache knows.
    pub no_cache: bool,
    /// Ask the registry for newer base images.
    pub pull: bool,
    /// The network of RUN steps without a `--network` of their own.
    pub network: NetworkMode,
    /// Lines for /etc/hosts in RUN steps: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Bytes of /dev/shm in RUN steps.
    pub shm_size: Option<u64>,
    /// What `RUN --mount=type=secret,id=…` may read. Never part of a layer, a cache key, the history or a message.
    pub secrets: BTreeMap<String, SecretBytes>,
    /// For `RUN --mount=type=ssh`, and (`default`) for git over ssh.
    pub ssh: BTreeMap<String, Agent>,
    /// What steps may ask for beyond the sandbox.
    pub entitlements: BTreeSet<Entitlement>,
    /// Stages of which every step is run again.
    pub no_cache_filter: Vec<String>,
    /// Limits of RUN steps: name, soft, hard; -1 is none.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Caches that are asked for what is not known here, in this order.
    pub cache_from: Vec<CachePlace>,
    /// Caches that are written after the build.
    pub cache_to: Vec<CacheTarget>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    pub destination: CacheDestination,
    pub mode: CacheMode,
    /// A cache that cannot be written is a warning, and not the failure of the build.
    pub ignore_error: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheDestination {
    /// The configuration of the image: the cache travels with the image.
    Inline,
    Place(CachePlace),
}

/// Which layers go into an exported cache. Records are of every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// The result's own.
    #[default]
    Min,
    /// Those of every step.
    Max,
}

/// Where the files are that COPY and ADD take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// Absolute.
    Folder(PathBuf),
    /// A git repository, a tar archive or a Dockerfile, by URL.
    Remote(String),
}

impl ContextSource {
    /// What a path or URL names. A relative path is the caller's to resolve.
    pub fn parse(text: &str) -> Self {
        match Remote::parse(text) {
            Some(_) => Self::Remote(text.to_owned()),
            None => Self::Folder(PathBuf::from(text)),
        }
    }
}

impl Default for ContextSource {
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

/// A context beside the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Absolute.
    Folder(PathBuf),
    /// An image's files, by its reference.
    Image(String),
    /// An image of an OCI layout folder, absolute.
    Layout(LayoutName),
    /// A git repository, or a tar archive, by URL.
    Remote(String),
}

impl NamedContext {
    /// `docker-image://REFERENCE`, `oci-layout://FOLDER[:TAG][@DIGEST]`, a URL, or a path.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        if let Some(image) = text.strip_prefix("docker-image://") {
            return Ok(Self::Image(image.to_owned()));
        }
        if let Some(layout) = text.strip_prefix("oci-layout://") {
            return LayoutName::parse(layout).map(Self::Layout);
        }
        Ok(match ContextSource::parse(text) {
            ContextSource::Remote(url) => Self::Remote(url),
            ContextSource::Folder(path) => Self::Folder(path),
        })
    }
}

/// What `--allow` and `entitlements` name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    NetworkHost,
    SecurityInsecure,
}

impl Entitlement {
    /// By BuildKit's name; `None`: there is none of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "network.host" => Some(Self::NetworkHost),
            "security.insecure" => Some(Self::SecurityInsecure),
            _ => None,
        }
    }
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
        })
    }
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// Relative to the context, or absolute.
    File(PathBuf),
    /// The text itself, as in Compose's `dockerfile_inline`.
    Inline(String),
}

impl Default for DockerfileSource {
    fn default() -> Self {
        Self::File(PathBuf::from("Dockerfile"))
    }
}

/// Network of a RUN step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// A network with a way out and name resolution, chosen by the engine.
    #[default]
    Default,
    None,
    Host,
    /// A network of the engine's, by name.
    Named(String),
}

impl NetworkMode {
    /// From the text that Compose's `build.network` and `RUN --network` use.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Default,
            "none" => Self::None,
            "host" => Self::Host,
            other => Self::Named(other.to_owned()),
        }
    }
}

/// The bytes of a secret; shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
