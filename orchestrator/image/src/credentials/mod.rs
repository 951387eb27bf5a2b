//! Registry credentials of the user: `~/.docker/config.json`, podman's files of the same form, and credential helpers.
//! Called by the client, never by the engine, which may run with another HOME.

mod edit;
mod helper;
mod logins;

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
pub use edit::Kept;
pub use logins::Logins;
use serde::Deserialize;

use crate::registry::ConfigurationError;

/// The name under which docker files its hub's credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What one registry is asked with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
    pub identity_token: String,
    /// A token that the registry takes as it is.
    pub registry_token: String,
    pub server_address: String,
    /// Why the user's credentials cannot be had. It matters only to a registry that asks for some.
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

/// Why credentials were not found or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("writing {path}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("there is no home to keep credentials in; set DOCKER_CONFIG to a folder")]
    NoHome,
    #[error("{path} does not have the form of docker's config.json")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the credentials for {registry} in the docker configuration are malformed")]
    Malformed { registry: String },
    #[error("{0:?} is not the name of a credential helper")]
    HelperName(String),
    #[error("running the credential helper {program}")]
    Helper {
        program: String,
        source: std::io::Error,
    },
    #[error("the credential helper {program} failed for {registry}: {output}")]
    HelperFailed {
        program: String,
        registry: String,
        output: String,
    },
}

/// One file in the form of docker's `config.json`, which podman's `auth.json` has too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Credentials {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

impl Credentials {
    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    fn file_of_user() -> Option<PathBuf> {
        let folder = match std::env::var_os("DOCKER_CONFIG") {
            Some(folder) => PathBuf::from(folder),
            None => std::env::home_dir()?.join(".docker"),
        };
        Some(folder.join("config.json"))
    }

    /// A file of docker's or podman's form; one that is not there has nothing.
    pub fn read(file: &Path) -> Result<Self, CredentialsError> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| CredentialsError::Parse {
                path: file.to_owned(),
                source,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(CredentialsError::Read {
                path: file.to_owned(),
                source,
            }),
        }
    }

    /// What there are credentials for: registries as [`crate::Reference::registry`] names them, and namespaces of them.
    fn names(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .auths
            .keys()
            .chain(self.helpers.keys())
            .cloned()
            .collect();
        if let Some(store) = self.store.as_deref().filter(|store| !store.is_empty()) {
            keys.extend(helper::list(store));
        }
        let name = |key: &String| match bare(key) {
            hub if keys_of_hub().contains(&hub) => "docker.io".to_owned(),
            other => other,
        };
        keys.iter()
            .map(name)
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// The credentials for a repository and what they hold for, asking the registry's helper when one is set. Podman
    /// files some under a namespace: `quay.io/team`; the longest counts.
    fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<(String, RegistryAuth)>, CredentialsError> {
        let whole = format!("{registry}/{repository}");
        let namespaces =
            std::iter::successors(Some(whole.as_str()), |name| Some(name.rsplit_once('/')?.0));
        for namespace in namespaces.filter(|name| name.contains('/')) {
            if let Some(entry) = self.auths.get(namespace)
                && let Some(auth) = entry.decode(registry)?
            {
                return Ok(Some((namespace.to_owned(), auth)));
            }
        }
        Ok(self.get(registry)?.map(|auth| (registry.to_owned(), auth)))
    }

    fn get(&self, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
        let keys = keys(registry);
        if let Some((key, helper)) = self.own_helper(&keys) {
            return helper::get(helper, key);
        }
        if let Some(store) = self.store.as_deref().filter(|store| !store.is_empty()) {
            let primary = keys.first().expect("every registry has a key");
            let found = helper::get(store, primary)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let entry = self
            .auths
            .iter()
            .find(|(key, _)| keys.contains(key) || keys.contains(&bare(key)));
        match entry {
            Some((_, entry)) => entry.decode(registry),
            None => Ok(None),
        }
    }
}

impl Credentials {
    fn own_helper<'a>(&'a self, keys: &'a [String]) -> Option<(&'a String, &'a String)> {
        keys.iter()
            .find_map(|key| Some((key, self.helpers.get(key)?)))
    }

    /// The program that keeps a registry's credentials, and the key that it has them under.
    fn keeper<'a>(&'a self, keys: &'a [String]) -> Option<(&'a String, &'a String)> {
        let store = self.store.as_ref().filter(|store| !store.is_empty());
        self.own_helper(keys)
            .or_else(|| Some((keys.first()?, store?)))
    }
}

impl Entry {
    fn decode(&self, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
        let malformed = || CredentialsError::Malformed {
            registry: registry.to_owned(),
        };
        let mut auth = RegistryAuth {
            username: self.username.clone().unwrap_or_default(),
            password: self.password.clone().unwrap_or_default(),
            identity_token: self.identitytoken.clone().unwrap_or_default(),
            registry_token: self.registrytoken.clone().unwrap_or_default(),
            server_address: registry.to_owned(),
            trouble: String::new(),
        };
        if let Some(encoded) = self.auth.as_deref().filter(|encoded| !encoded.is_empty()) {
            let decoded = base64::engine::general_purpose::STANDARD
                .decode(encoded.trim())
                .map_err(|_| malformed())?;
            let text = String::from_utf8(decoded).map_err(|_| malformed())?;
            let (username, password) = text.split_once(':').ok_or_else(malformed)?;
            username.clone_into(&mut auth.username);
            password
                .trim_end_matches('\0')
                .clone_into(&mut auth.password);
        }
        // A login through a store leaves an empty entry behind.
        let empty = auth.username.is_empty()
            && auth.identity_token.is_empty()
            && auth.registry_token.is_empty();
        Ok((!empty).then_some(auth))
    }
}

/// The keys under which a registry's entry may be filed.
fn keys(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => std::iter::once(HUB_KEY.to_owned())
            .chain(keys_of_hub())
            .collect(),
        other => vec![other.to_owned()],
    }
}

fn keys_of_hub() -> [String; 3] {
    ["index.docker.io", "docker.io", "registry-1.docker.io"].map(str::to_owned)
}

/// `https://host/v1/` as plain `host`; a path that is not an address is a namespace and stays.
fn bare(key: &str) -> String {
    let address = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let (host, path) = address
        .unwrap_or(key)
        .split_once('/')
        .unwrap_or((address.unwrap_or(key), ""));
    let is_api = address.is_some() || matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    if is_api {
        host.to_owned()
    } else {
        key.trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Credentials {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn entries_are_found_under_their_old_and_new_keys() {
        let encoded = base64::engine::general_purpose::STANDARD.encode("me:pa:ss");
        let credentials = parse(&format!(
            r#"{{"auths":{{"{HUB_KEY}":{{"auth":"{encoded}"}},"https://r.example/v2/":{{"auth":"{encoded}"}},
            "t.example":{{"identitytoken":"tok"}},"empty.example":{{}}}},"HttpHeaders":{{}}}}"#
        ));
        let hub = credentials.get("docker.io").unwrap().unwrap();
        assert_eq!(
            (hub.username.as_str(), hub.password.as_str()),
            ("me", "pa:ss")
        );
        assert!(credentials.get("r.example").unwrap().is_some());
        assert_eq!(
            credentials
                .get("t.example")
                .unwrap()
                .unwrap()
                .identity_token,
            "tok"
        );
        assert_eq!(credentials.get("empty.example").unwrap(), None);
        assert_eq!(credentials.get("other.example").unwrap(), None);
    }

    #[test]
    fn what_has_credentials_is_listed_by_its_name() {
        let credentials = parse(&format!(
            r#"{{"auths":{{"{HUB_KEY}":{{}},"https://r.example/v2/":{{}},"quay.io/team":{{}}}},
            "credHelpers":{{"127.0.0.1:5000":"x"}}}}"#
        ));
        let mut names = credentials.names();
        names.sort();
        assert_eq!(
            names,
            ["127.0.0.1:5000", "docker.io", "quay.io/team", "r.example"]
        );
    }

    #[test]
    fn the_credentials_of_the_longest_namespace_count() {
        let entry =
            |user: &str| base64::engine::general_purpose::STANDARD.encode(format!("{user}:x"));
        let credentials = parse(&format!(
            r#"{{"auths":{{"quay.io":{{"auth":"{}"}},"quay.io/team":{{"auth":"{}"}},"r.example/a":{{"auth":"{}"}}}}}}"#,
            entry("all"),
            entry("team"),
            entry("a")
        ));
        let of = |registry: &str, repository: &str| {
            let found = credentials.find(registry, repository).unwrap();
            found.map_or_else(String::new, |(name, auth)| {
                format!("{} by {name}", auth.username)
            })
        };
        assert_eq!(of("quay.io", "team/app"), "team by quay.io/team");
        assert_eq!(of("quay.io", "teams/app"), "all by quay.io");
        assert_eq!(of("quay.io", ""), "all by quay.io");
        assert_eq!(of("r.example", "a"), "a by r.example/a");
        assert_eq!(
            of("r.example", "b"),
            "",
            "a namespace's credentials are for nobody else"
        );
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let auth = RegistryAuth {
            username: "me".into(),
            password: "hunter2".into(),
            ..RegistryAuth::default()
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
        let credentials = parse(r#"{"auths":{"x":{"auth":"aHVudGVyMg=="}}}"#);
        assert!(!format!("{credentials:?}").contains("aHVudGVyMg"));
    }

    #[test]
    fn a_helper_name_cannot_be_a_path() {
        let credentials = parse(r#"{"credHelpers":{"x.example":"../../bin/sh"}}"#);
        assert!(matches!(
            credentials.get("x.example"),
            Err(CredentialsError::HelperName(_))
        ));
    }
}
