//! How registries may be spoken to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::RegistryAuth;

/// Whose credentials are used, whose certificates are believed, and what may go without any.
#[derive(Debug, Clone)]
pub struct Access {
    /// By registry, as [`crate::Reference::registry`] names it.
    pub auth: BTreeMap<String, RegistryAuth>,
    /// Registries (host or host:port) that may be asked over plain HTTP or with an unknown certificate. Loopback
    /// addresses may be asked over plain HTTP without being listed.
    pub insecure: Vec<String>,
    /// Where `<host>/ca.crt` files are looked up.
    pub certificates: PathBuf,
}

impl Default for Access {
    fn default() -> Self {
        Self { auth: BTreeMap::new(), insecure: Vec::new(), certificates: PathBuf::from("/etc/docker/certs.d") }
    }
}
