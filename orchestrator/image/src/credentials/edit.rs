//! Login and logout: what changes in docker's client configuration. Everything else in the file stays as it is.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Credentials, CredentialsError, RegistryAuth, bare, helper, keys};

/// Where credentials went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the file, from which every reader can decode them.
    File(PathBuf),
    Helper(String),
}

impl Credentials {
    /// Keeps credentials where the user's configuration says: in a helper, else in the file itself.
    pub fn keep(registry: &str, auth: &RegistryAuth) -> Result<Kept, CredentialsError> {
        Self::keep_in(
            &Self::file_of_user().ok_or(CredentialsError::NoHome)?,
            registry,
            auth,
        )
    }

    /// Forgets them; `false` when there were none.
    pub fn forget(registry: &str) -> Result<bool, CredentialsError> {
        Self::forget_in(
            &Self::file_of_user().ok_or(CredentialsError::NoHome)?,
            registry,
        )
    }

    fn keep_in(file: &Path, registry: &str, auth: &RegistryAuth) -> Result<Kept, CredentialsError> {
        let configured = Self::read(file)?;
        let keys = keys(registry);
        let key = keys.first().expect("every registry has a key");
        let (entry, kept) = match configured.keeper(&keys) {
            Some((key, helper)) => {
                helper::store(helper, key, auth)?;
                // As docker: the empty entry tells that there is one elsewhere.
                (Value::Object(Map::new()), Kept::Helper(helper.clone()))
            }
            None => (entry(auth), Kept::File(file.to_owned())),
        };
        change(file, |auths| {
            remove(auths, &keys);
            auths.insert(key.clone(), entry);
        })?;
        Ok(kept)
    }

    fn forget_in(file: &Path, registry: &str) -> Result<bool, CredentialsError> {
        let configured = Self::read(file)?;
        let keys = keys(registry);
        let erased = match configured.keeper(&keys) {
            Some((key, helper)) => helper::erase(helper, key)?,
            None => false,
        };
        if !configured.auths.keys().any(|key| is_one_of(key, &keys)) {
            return Ok(erased);
        }
        change(file, |auths| remove(auths, &keys))?;
        Ok(true)
    }
}

fn entry(auth: &RegistryAuth) -> Value {
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let mut entry = Map::new();
    if !auth.username.is_empty() {
        entry.insert(
            "auth".to_owned(),
            encode(format!("{}:{}", auth.username, auth.password)).into(),
        );
    }
    if !auth.identity_token.is_empty() {
        entry.insert(
            "identitytoken".to_owned(),
            auth.identity_token.clone().into(),
        );
    }
    Value::Object(entry)
}

fn is_one_of(key: &str, keys: &[String]) -> bool {
    keys.iter()
        .any(|wanted| wanted == key || *wanted == bare(key))
}

fn remove(auths: &mut Map<String, Value>, keys: &[String]) {
    auths.retain(|key, _| !is_one_of(key, keys));
}

/// Replaces the file atomically, and readable by its owner alone.
fn change(file: &Path, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<(), CredentialsError> {
    let unreadable = |source| CredentialsError::Parse {
        path: file.to_owned(),
        source,
    };
    let mut document: Map<String, Value> = match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(unreadable)?,
        Err(error) if error.kind() == ErrorKind::NotFound => Map::new(),
        Err(source) => {
            return Err(CredentialsError::Read {
                path: file.to_owned(),
                source,
            });
        }
    };
    let auths = document
        .entry("auths")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(auths) = auths {
        edit(auths);
    }
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))
        .map_err(unreadable)?;
    text.push(b'\n');
    replace(file, &text).map_err(|source| CredentialsError::Write {
        path: file.to_owned(),
        source,
    })
}

fn replace(file: &Path, text: &[u8]) -> std::io::Result<()> {
    // A link stays one: what it points to is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let fresh = folder.join(format!(".config.json.{}", std::process::id()));
    let written = (|| {
        let _ = fs::remove_file(&fresh);
        let mut new = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        new.write_all(text)?;
        new.sync_all()?;
        fs::rename(&fresh, &file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn login(password: &str) -> RegistryAuth {
        RegistryAuth {
            username: "me".to_owned(),
            password: password.to_owned(),
            ..RegistryAuth::default()
        }
    }

    #[test]
    fn a_login_changes_its_entry_alone_and_a_logout_takes_it_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/config.json");
        assert_eq!(
            Credentials::keep_in(&file, "r.example:5000", &login("a:b")).unwrap(),
            Kept::File(file.clone())
        );
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read = || Credentials::read(&file).unwrap();
        assert_eq!(
            read().get("r.example:5000").unwrap().unwrap().password,
            "a:b"
        );

        fs::write(
            &file,
            r#"{"psFormat":"x","auths":{"https://docker.io/v1/":{"auth":"b2xkOm9sZA=="},"o":{}}}"#,
        )
        .unwrap();
        Credentials::keep_in(&file, "docker.io", &login("new")).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("\"psFormat\": \"x\"") && text.contains("\t\"auths\""),
            "{text}"
        );
        assert!(
            !text.contains("b2xkOm9sZA=="),
            "the entry under an older key is replaced\n{text}"
        );
        assert_eq!(read().get("docker.io").unwrap().unwrap().password, "new");
        assert!(Credentials::forget_in(&file, "docker.io").unwrap());
        assert!(!Credentials::forget_in(&file, "docker.io").unwrap());
        assert_eq!(read().get("docker.io").unwrap(), None);
        assert!(fs::read_to_string(&file).unwrap().contains("psFormat"));
    }

    #[test]
    fn a_file_that_is_no_configuration_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, "no json").unwrap();
        assert!(matches!(
            Credentials::keep_in(&file, "r.example", &login("x")),
            Err(CredentialsError::Parse { .. })
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), "no json");
    }
}
