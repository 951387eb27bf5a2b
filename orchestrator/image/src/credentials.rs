//! Registry credentials of the user: `~/.docker/config.json` and credential helpers. Called by the client, never by the
//! engine, which may run with another HOME.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// The name under which docker files its hub's credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";

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
    /// Why the user's credentials cannot be had. It matters only to a registry that asks for some.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
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
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a docker client configuration")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("the credentials for {registry} in the docker configuration are malformed")]
    Malformed { registry: String },
    #[error("{0:?} is not the name of a credential helper")]
    HelperName(String),
    #[error("running the credential helper {program}")]
    Helper { program: String, source: std::io::Error },
    #[error("the credential helper {program} failed for {registry}: {output}")]
    HelperFailed { program: String, registry: String, output: String },
}

/// A parsed docker client configuration.
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
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

/// What a helper answers.
#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Credentials {
    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; a missing file is no credentials.
    pub fn of_user() -> Result<Self, CredentialsError> {
        let folder = match std::env::var_os("DOCKER_CONFIG") {
            Some(folder) => PathBuf::from(folder),
            None => match std::env::home_dir() {
                Some(home) => home.join(".docker"),
                None => return Ok(Self::default()),
            },
        };
        Self::read(&folder.join("config.json"))
    }

    pub fn read(file: &Path) -> Result<Self, CredentialsError> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| CredentialsError::Parse { path: file.to_owned(), source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(CredentialsError::Read { path: file.to_owned(), source }),
        }
    }

    /// What [`Credentials::get`] says; when it fails, the reason in place of credentials. Images that are there, and
    /// registries that let everybody in, do not need a helper that works.
    pub fn get_or_trouble(&self, registry: &str) -> Option<RegistryAuth> {
        self.get(registry).unwrap_or_else(|error| {
            let mut trouble = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                trouble.push_str(": ");
                trouble.push_str(&error.to_string());
                cause = error.source();
            }
            Some(RegistryAuth { trouble, ..RegistryAuth::default() })
        })
    }

    /// The registries that the user has credentials for, as [`crate::Reference::registry`] names them.
    pub fn registries(&self) -> BTreeSet<String> {
        let mut keys: Vec<String> = self.auths.keys().chain(self.helpers.keys()).cloned().collect();
        if let Some(store) = self.store.as_deref().filter(|store| !store.is_empty()) {
            keys.extend(list_of_helper(store));
        }
        let registry = |key: &String| match bare(key) {
            hub if keys_of_hub().contains(&hub) => "docker.io".to_owned(),
            other => other,
        };
        keys.iter().map(registry).filter(|name| !name.is_empty()).collect()
    }

    /// The credentials for a registry (as [`crate::Reference::registry`] names it), asking its helper when one is set.
    pub fn get(&self, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
        let keys = keys(registry);
        let helper = keys.iter().find_map(|key| Some((key, self.helpers.get(key)?)));
        if let Some((key, helper)) = helper {
            return ask_helper(helper, key);
        }
        if let Some(store) = self.store.as_deref().filter(|store| !store.is_empty()) {
            let primary = keys.first().expect("every registry has a key");
            let found = ask_helper(store, primary)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let entry = self.auths.iter().find(|(key, _)| keys.contains(key) || keys.contains(&bare(key)));
        match entry {
            Some((_, entry)) => entry.decode(registry),
            None => Ok(None),
        }
    }
}

impl Entry {
    fn decode(&self, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
        let malformed = || CredentialsError::Malformed { registry: registry.to_owned() };
        let mut auth = RegistryAuth {
            username: self.username.clone().unwrap_or_default(),
            password: self.password.clone().unwrap_or_default(),
            identity_token: self.identitytoken.clone().unwrap_or_default(),
            server_address: registry.to_owned(),
            trouble: String::new(),
        };
        if let Some(encoded) = self.auth.as_deref().filter(|encoded| !encoded.is_empty()) {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
            let text = String::from_utf8(decoded).map_err(|_| malformed())?;
            let (username, password) = text.split_once(':').ok_or_else(malformed)?;
            username.clone_into(&mut auth.username);
            password.trim_end_matches('\0').clone_into(&mut auth.password);
        }
        // A login through a store leaves an empty entry behind.
        let empty = auth.username.is_empty() && auth.identity_token.is_empty();
        Ok((!empty).then_some(auth))
    }
}

/// The keys under which a registry's entry may be filed.
fn keys(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => std::iter::once(HUB_KEY.to_owned()).chain(keys_of_hub()).collect(),
        other => vec![other.to_owned()],
    }
}

fn keys_of_hub() -> [String; 3] {
    ["index.docker.io", "docker.io", "registry-1.docker.io"].map(str::to_owned)
}

/// `https://host/v1/` as plain `host`.
fn bare(key: &str) -> String {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    host.split('/').next().unwrap_or_default().to_owned()
}

fn helper_program(helper: &str) -> Result<String, CredentialsError> {
    if helper.is_empty() || !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(CredentialsError::HelperName(helper.to_owned()));
    }
    Ok(format!("docker-credential-{helper}"))
}

/// The servers that a helper knows; none when it cannot say.
fn list_of_helper(helper: &str) -> Vec<String> {
    let Ok(program) = helper_program(helper) else { return Vec::new() };
    let output = Command::new(program).arg("list").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let servers =
        output.ok().and_then(|output| serde_json::from_slice::<BTreeMap<String, String>>(&output.stdout).ok());
    servers.unwrap_or_default().into_keys().collect()
}

fn ask_helper(helper: &str, registry: &str) -> Result<Option<RegistryAuth>, CredentialsError> {
    let program = helper_program(helper)?;
    let failed = |source| CredentialsError::Helper { program: program.clone(), source };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A helper that does not read its input says why on its output.
    let _ = stdin.write_all(registry.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // The protocol's words for "nothing there".
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(CredentialsError::HelperFailed { program, registry: registry.to_owned(), output: said });
    }
    // The parse error is left out: it may quote the secret.
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout).map_err(|_| CredentialsError::HelperFailed {
        program: program.clone(),
        registry: registry.to_owned(),
        output: "its answer is not valid JSON".to_owned(),
    })?;
    let mut auth = RegistryAuth { server_address: registry.to_owned(), ..RegistryAuth::default() };
    if answer.username == "<token>" {
        auth.identity_token = answer.secret;
    } else {
        auth.username = answer.username;
        auth.password = answer.secret;
    }
    Ok(Some(auth))
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
        assert_eq!((hub.username.as_str(), hub.password.as_str()), ("me", "pa:ss"));
        assert!(credentials.get("r.example").unwrap().is_some());
        assert_eq!(credentials.get("t.example").unwrap().unwrap().identity_token, "tok");
        assert_eq!(credentials.get("empty.example").unwrap(), None);
        assert_eq!(credentials.get("other.example").unwrap(), None);
    }

    #[test]
    fn registries_with_credentials_are_listed_by_their_names() {
        let credentials = parse(&format!(
            r#"{{"auths":{{"{HUB_KEY}":{{}},"https://r.example/v2/":{{}}}},"credHelpers":{{"127.0.0.1:5000":"x"}}}}"#
        ));
        let names: Vec<String> = credentials.registries().into_iter().collect();
        assert_eq!(names, ["127.0.0.1:5000", "docker.io", "r.example"]);
    }

    #[test]
    fn a_broken_helper_is_trouble_only_for_who_needs_it() {
        let credentials = parse(r#"{"credHelpers":{"x.example":"is-not-there"}}"#);
        let auth = credentials.get_or_trouble("x.example").unwrap();
        assert!(auth.trouble.contains("docker-credential-is-not-there"), "{}", auth.trouble);
        assert!(auth.username.is_empty());
        assert_eq!(credentials.get_or_trouble("y.example"), None);
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let auth = RegistryAuth { username: "me".into(), password: "hunter2".into(), ..RegistryAuth::default() };
        assert!(!format!("{auth:?}").contains("hunter2"));
        let credentials = parse(r#"{"auths":{"x":{"auth":"aHVudGVyMg=="}}}"#);
        assert!(!format!("{credentials:?}").contains("aHVudGVyMg"));
    }

    #[test]
    fn a_helper_name_cannot_be_a_path() {
        let credentials = parse(r#"{"credHelpers":{"x.example":"../../bin/sh"}}"#);
        assert!(matches!(credentials.get("x.example"), Err(CredentialsError::HelperName(_))));
    }
}
