//! The user's credentials: found, checked by the engine, kept and forgotten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoist_image::{Access, Credentials, Logins, Place, Reference, places_of};
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

    /// Where a login for a registry is still to be found.
    pub fn still_logged_in(registry: &str) -> std::result::Result<Option<PathBuf>, CredentialsError> {
        Ok(Logins::of_user(&Access::default())?.kept_in(registry).map(Path::to_owned))
    }

    /// The user's credentials for the servers of these images, mirrors included.
    /// References that do not parse are left out: the engine says so better.
    pub fn credentials<'a>(references: impl IntoIterator<Item = &'a str>) -> Found {
        let access = Access::default();
        let references = references.into_iter().filter_map(|text| Reference::parse(text).ok());
        let places: Vec<Place> = references.flat_map(|reference| places_of(&reference, &access)).collect();
        Ok(Logins::of_user(&access)?.for_places(&places))
    }

    /// The same for every registry that the user has credentials for: where a Dockerfile's bases come from is only known
    /// when it is read.
    pub fn every_credential() -> Found {
        Ok(Logins::of_user(&Access::default())?.all())
    }
}
