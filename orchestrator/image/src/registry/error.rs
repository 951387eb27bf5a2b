//! What goes wrong between us and a registry, in words a user can act on.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::configuration::ConfigurationError;

/// What goes wrong between us and a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(
        "registry {registry}: unknown host {host} (is there a network? `hoist load` takes images from archives)"
    )]
    UnknownHost { registry: String, host: String },
    #[error("registry {registry}: connection refused by {host}")]
    Refused { registry: String, host: String },
    #[error("registry {registry}: no TLS connection")]
    Tls { registry: String, source: Innermost },
    #[error("registry {registry}: no answer")]
    Unreachable { registry: String, source: Innermost },
    #[error("registry {registry}: the connection broke")]
    Broken { registry: String, source: Innermost },
    #[error("registry {registry}: authentication required for {repository}; {hint}")]
    Unauthorized {
        registry: String,
        repository: String,
        hint: String,
    },
    #[error("registry {registry}: access to {repository} denied")]
    Denied {
        registry: String,
        repository: String,
    },
    #[error("registry {registry}: {what} not found in {repository}{detail}")]
    NotFound {
        registry: String,
        repository: String,
        what: String,
        detail: String,
    },
    #[error("registry {registry}: too many requests; try again later or log in")]
    TooManyRequests {
        registry: String,
        wait: Option<Duration>,
    },
    #[error("registry {registry}: answered {status}{detail}")]
    Status {
        registry: String,
        status: u16,
        detail: String,
        wait: Option<Duration>,
    },
    #[error("registry {registry}: {reason}")]
    Protocol { registry: String, reason: String },
    #[error(
        "registry {registry}: it asks for credentials to be sent to {realm}, which is refused: {reason}"
    )]
    Realm {
        registry: String,
        realm: String,
        reason: &'static str,
    },
    #[error("reading {path} of the store")]
    Local { path: PathBuf, source: io::Error },
    #[error("registry {registry}: the configuration of registries")]
    Configuration {
        registry: String,
        source: Box<ConfigurationError>,
    },
    #[error("registry {registry}: {prefix} is blocked by {path}")]
    Blocked {
        registry: String,
        prefix: String,
        path: PathBuf,
    },
    #[error("registry {registry}: reading certificate {path}")]
    Certificate {
        registry: String,
        path: String,
        source: io::Error,
    },
    #[error("registry {registry}: setting up TLS")]
    TlsSetup {
        registry: String,
        source: rustls::Error,
    },
    #[error("registry {registry}: {variable} of the engine's environment names no proxy")]
    Proxy {
        registry: String,
        variable: &'static str,
        source: reqwest::Error,
    },
    #[error("registry {registry}: setting up HTTP")]
    Setup {
        registry: String,
        source: reqwest::Error,
    },
}

/// What an error of the HTTP client comes down to: each of its layers only says that the one below failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Innermost(String);

impl Innermost {
    fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut innermost: &(dyn Error + 'static) = &error;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        Self(innermost.to_string())
    }
}

impl RegistryError {
    pub(super) fn of(registry: &str, source: reqwest::Error) -> Self {
        let registry = registry.to_owned();
        let host = source
            .url()
            .and_then(reqwest::Url::host_str)
            .unwrap_or(&registry)
            .to_owned();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&source);
        while let Some(error) = cause {
            let innermost = unwrap_io(error);
            if innermost.is::<rustls::Error>() {
                return Self::Tls {
                    registry,
                    source: Innermost::of(source),
                };
            }
            let refused = |io: &io::Error| io.kind() == io::ErrorKind::ConnectionRefused;
            if innermost.downcast_ref::<io::Error>().is_some_and(refused) {
                return Self::Refused { registry, host };
            }
            // hyper-util's resolver step has no public type.
            if error.to_string().starts_with("dns error") {
                return Self::UnknownHost { registry, host };
            }
            cause = error.source();
        }
        let passing = !source.is_connect() && !source.is_timeout();
        let source = Innermost::of(source);
        if passing {
            Self::Broken { registry, source }
        } else {
            Self::Unreachable { registry, source }
        }
    }

    /// Whether the same request may well succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::TooManyRequests { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }

    /// Whether no registry can be reached.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::UnknownHost { .. }
                | Self::Refused { .. }
                | Self::Tls { .. }
                | Self::Unreachable { .. }
        )
    }

    /// How long the server wants to be left alone.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { wait, .. } | Self::Status { wait, .. } => *wait,
            _ => None,
        }
    }
}

/// An `io::Error` that wraps another error names that error's source as its own, and so hides what it wraps.
fn unwrap_io<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(inner) = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        error = inner;
    }
    error
}
