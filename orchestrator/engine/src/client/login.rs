//! The user's credentials: found, checked by the engine, kept and forgotten.

use std::collections::{BTreeMap, BTreeSet};

use hoist_image::{Access, Credentials, Reference, hosts_of};
pub use hoist_image::{CredentialsError, Kept, ReferenceError, registry_of};

use super::{Client, Result};
use crate::api::types::{AuthAnswer, RegistryAuth};

type Found = std::result::Result<BTreeMap<String, RegistryAuth>, CredentialsError>;

impl Client {
    /// Whether the registry in `server_address` lets the user in.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<AuthAnswer> {
        self.post_json("/auth", auth).await
    }

    /// Keeps credentials in docker's configuration of this user, or in the helper that it names.
    pub fn keep_credentials(registry: &str, auth: &RegistryAuth) -> std::result::Result<Kept, CredentialsError> {
        Credentials::keep(registry, auth)
    }

    /// `false` when there were none.
    pub fn forget_credentials(registry: &str) -> std::result::Result<bool, CredentialsError> {
        Credentials::forget(registry)
    }

    /// The user's credentials for the servers of these images, from docker's configuration and helpers.
    /// References that do not parse are left out: the engine says so better.
    pub fn credentials<'a>(references: impl IntoIterator<Item = &'a str>) -> Found {
        let user = Credentials::of_user()?;
        let registries: BTreeSet<String> = references
            .into_iter()
            .filter_map(|text| Reference::parse(text).ok())
            .flat_map(|reference| hosts_of(&reference, &Access::default()))
            .collect();
        Ok(Self::gather(&user, registries))
    }

    /// The user's credentials for the registry of one image.
    pub fn credential(image: &str) -> std::result::Result<Option<RegistryAuth>, CredentialsError> {
        let user = Credentials::of_user()?;
        Ok(Reference::parse(image).ok().and_then(|reference| user.get_or_trouble(reference.registry())))
    }

    /// The same for every registry that the user has credentials for: where a Dockerfile's bases come from is only known
    /// when it is read.
    pub fn every_credential() -> Found {
        let user = Credentials::of_user()?;
        let registries = user.registries();
        Ok(Self::gather(&user, registries))
    }

    fn gather(user: &Credentials, registries: BTreeSet<String>) -> BTreeMap<String, RegistryAuth> {
        let mut found = BTreeMap::new();
        for registry in registries {
            if let Some(auth) = user.get_or_trouble(&registry) {
                found.insert(registry, auth);
            }
        }
        found
    }
}
