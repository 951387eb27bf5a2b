//! Credentials for registries.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The JSON of docker's `X-Registry-Auth`, and of `POST /auth`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAuth {
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub password: String,
    #[serde(
        default,
        rename = "identitytoken",
        skip_serializing_if = "String::is_empty"
    )]
    pub identity_token: String,
    /// A token that the registry takes as it is.
    #[serde(
        default,
        rename = "registrytoken",
        skip_serializing_if = "String::is_empty"
    )]
    pub registry_token: String,
    #[serde(
        default,
        rename = "serveraddress",
        skip_serializing_if = "String::is_empty"
    )]
    pub server_address: String,
    /// Why the user's credentials could not be read. It matters only to a registry that asks for some. (Ours.)
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret must not reach a log by way of a derived Debug.
        f.debug_struct("RegistryAuth")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// `POST /auth`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthAnswer {
    pub status: String,
    pub identity_token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_in_debug_output() {
        let auth = RegistryAuth {
            username: "me".into(),
            password: "hunter2".into(),
            ..RegistryAuth::default()
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
