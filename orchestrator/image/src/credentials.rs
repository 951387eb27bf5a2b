//! Registry credentials of the user: `~/.docker/config.json` and credential helpers. Called by the client, never by the
//! engine, which may run with another HOME.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What one registry is asked with; the JSON is that of docker's `X-Registry-Auth`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAuth {
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub password: String,
    #[serde(default, rename = "identitytoken", skip_serializing_if = "String::is_empty")]
    pub identity_token: String,
    #[serde(default, rename = "serveraddress", skip_serializing_if = "String::is_empty")]
    pub server_address: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret must not reach a log by way of a derived Debug.
        f.debug_struct("RegistryAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("reading {path}")]
    Read { path: String, source: std::io::Error },
}

/// A parsed docker client configuration.
#[derive(Debug, Clone, Default)]
pub struct Credentials {}

impl Credentials {
    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; a missing file is no credentials.
    pub fn of_user() -> Result<Self, CredentialsError> {
        todo!()
    }

    pub fn read(_file: &Path) -> Result<Self, CredentialsError> {
        todo!()
    }

    /// The credentials for a registry (as [`crate::Reference::registry`] names it), asking its helper when one is set.
    pub fn get(&self, _registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
        todo!()
    }
}
