//! How registries may be spoken to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::configuration::{Configuration, ConfigurationError, RepositoryLocation};
use crate::RegistryAuth;

/// Whose credentials are used, whose certificates are believed, what may go without any, and what is asked instead.
#[derive(Debug, Clone)]
pub struct Access {
    /// By host of the server that is asked, as [`crate::Reference::registry`] names it, or by a namespace of it; a mirror
    /// is sent its own alone.
    pub auth: BTreeMap<String, RegistryAuth>,
    /// Registries (host or host:port) that may be asked over plain HTTP or with an unknown certificate. Loopback
    /// addresses may be asked over plain HTTP without being listed.
    pub insecure: Vec<String>,
    /// Hold `<host>/` with authorities (`*.crt`) and our own certificate (`*.cert` with its `*.key`); of several folders
    /// for a host the first counts.
    pub certificates: Vec<PathBuf>,
    /// registries.conf, with its `.d` folder beside it. Read for every operation: a change needs no new engine.
    pub configuration: PathBuf,
}

impl Access {
    /// The credentials of the longest namespace that the place is in.
    pub(super) fn auth_of(&self, place: &RepositoryLocation) -> Option<&RegistryAuth> {
        let whole = format!("{}/{}", place.host, place.repository);
        std::iter::successors(Some(whole.as_str()), |name| Some(name.rsplit_once('/')?.0))
            .find_map(|name| self.auth.get(name))
    }

    /// Programs that keep what no file has, as registries.conf names them.
    pub(crate) fn credential_helpers(&self) -> Result<Vec<String>, ConfigurationError> {
        Ok(Configuration::read(&self.configuration)?.credential_helpers)
    }
}

impl Default for Access {
    /// A user's own file is read in place of the machine's, as podman has it.
    fn default() -> Self {
        let machine = PathBuf::from("/etc/containers");
        let user = std::env::var_os("XDG_CONFIG_HOME")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        let user = user
            .or_else(|| Some(std::env::home_dir()?.join(".config")))
            .map(|folder| folder.join("containers"));
        let named = std::env::var_os("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from);
        let configuration = named.or_else(|| {
            let own = user.as_ref()?.join("registries.conf");
            own.exists().then_some(own)
        });
        let certificates = user
            .iter()
            .chain([&machine])
            .map(|folder| folder.join("certs.d"));
        Self {
            auth: BTreeMap::new(),
            insecure: Vec::new(),
            certificates: certificates
                .chain([PathBuf::from("/etc/docker/certs.d")])
                .collect(),
            configuration: configuration.unwrap_or_else(|| machine.join("registries.conf")),
        }
    }
}
