//! All that a user has logged in to: docker's configuration, podman's auth.json, and the helpers of registries.conf.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Credentials, CredentialsError, RegistryAuth, helper};
use crate::registry::{Access, RepositoryLocation};

/// The files in the order in which they are asked, then helpers that keep whatever no file has.
#[derive(Debug, Default)]
pub struct Logins {
    files: Vec<(PathBuf, Credentials)>,
    helpers: Vec<String>,
}

impl Logins {
    /// A missing file means no logins.
    pub fn of_user(access: &Access) -> Result<Self, CredentialsError> {
        let read = |path: PathBuf| Credentials::read(&path).map(|file| (path, file));
        let files: Result<Vec<_>, _> = files().into_iter().map(read).collect();
        Ok(Self {
            files: files?,
            helpers: access.credential_helpers()?,
        })
    }

    /// The logins for some servers, by what they hold for: a host, or a namespace of it. Where one cannot be had, the
    /// reason stands in its place: images that are here, and registries that let everybody in, need none.
    pub fn for_places<'a>(
        &self,
        places: impl IntoIterator<Item = &'a RepositoryLocation>,
    ) -> BTreeMap<String, RegistryAuth> {
        places
            .into_iter()
            .filter_map(|place| self.find(&place.host, &place.repository))
            .collect()
    }

    /// Every one of them: where a Dockerfile's bases come from is only known when it is read.
    pub fn all(&self) -> BTreeMap<String, RegistryAuth> {
        let mut names: BTreeSet<String> = self
            .files
            .iter()
            .flat_map(|(_, file)| file.names())
            .collect();
        names.extend(self.helpers.iter().flat_map(|helper| helper::list(helper)));
        let split = |name: &String| {
            let (host, repository) = name.split_once('/').unwrap_or((name, ""));
            self.find(host, repository)
        };
        names.iter().filter_map(split).collect()
    }

    /// The file that still has a login for a registry.
    pub fn kept_in(&self, registry: &str) -> Option<&Path> {
        let knows = |file: &Credentials| matches!(file.find(registry, ""), Ok(Some(_)));
        self.files
            .iter()
            .find(|(_, file)| knows(file))
            .map(|(path, _)| path.as_path())
    }

    fn find(&self, host: &str, repository: &str) -> Option<(String, RegistryAuth)> {
        let in_files = self
            .files
            .iter()
            .map(|(_, file)| file.find(host, repository));
        let in_helpers = self
            .helpers
            .iter()
            .map(|name| Ok(helper::get(name, host)?.map(|auth| (host.to_owned(), auth))));
        let mut trouble = None;
        for found in in_files.chain(in_helpers) {
            match found {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(error) => {
                    let reason = trouble_of(&error);
                    trouble.get_or_insert((
                        host.to_owned(),
                        RegistryAuth {
                            trouble: reason,
                            ..RegistryAuth::default()
                        },
                    ));
                }
            }
        }
        trouble
    }
}

fn trouble_of(error: &CredentialsError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    });
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// One that the environment names comes first; docker's is where a login goes.
fn files() -> Vec<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let volatile = match variable("XDG_RUNTIME_DIR") {
        Some(session) => session.join("containers/auth.json"),
        None => PathBuf::from(format!(
            "/run/containers/{}/auth.json",
            rustix::process::geteuid().as_raw()
        )),
    };
    let lasting =
        variable("XDG_CONFIG_HOME").or_else(|| Some(std::env::home_dir()?.join(".config")));
    let lasting = lasting.map(|folder| folder.join("containers/auth.json"));
    [
        variable("REGISTRY_AUTH_FILE"),
        Credentials::file_of_user(),
        Some(volatile),
        lasting,
    ]
    .into_iter()
    .flatten()
    .collect()
}
