//! The user's credentials for registries: found, kept and forgotten where docker keeps them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoist_api::RegistryAuth;
use hoist_image::{
    Access, Credentials, CredentialsError, Kept, Logins, Reference, RepositoryLocation, places_of,
};

type Found = Result<BTreeMap<String, RegistryAuth>, CredentialsError>;

/// Keeps credentials in docker's configuration of this user, or in the helper that it names.
pub(crate) fn keep(registry: &str, auth: &RegistryAuth) -> Result<Kept, CredentialsError> {
    let RegistryAuth {
        username,
        password,
        identity_token,
        registry_token,
        server_address,
        trouble,
    } = auth.clone();
    let auth = hoist_image::RegistryAuth {
        username,
        password,
        identity_token,
        registry_token,
        server_address,
        trouble,
    };
    Credentials::keep(registry, &auth)
}

/// Where a login for a registry is still to be found.
pub(crate) fn still_kept(registry: &str) -> Result<Option<PathBuf>, CredentialsError> {
    Ok(Logins::of_user(&Access::default())?
        .kept_in(registry)
        .map(Path::to_owned))
}

/// The user's credentials for the servers of these images, mirrors included.
/// References that do not parse are left out: the engine says so better.
pub(crate) fn of_images<'a>(references: impl IntoIterator<Item = &'a str>) -> Found {
    let access = Access::default();
    let references = references
        .into_iter()
        .filter_map(|text| Reference::parse(text).ok());
    let places: Vec<RepositoryLocation> = references
        .flat_map(|reference| places_of(&reference, &access))
        .collect();
    Ok(sent(Logins::of_user(&access)?.for_places(&places)))
}

/// The same for every registry that the user has credentials for: where a Dockerfile's bases come from is only known
/// when it is read.
pub(crate) fn all() -> Found {
    Ok(sent(Logins::of_user(&Access::default())?.all()))
}

/// As they travel to the engine.
fn sent(found: BTreeMap<String, hoist_image::RegistryAuth>) -> BTreeMap<String, RegistryAuth> {
    let sent = |auth: hoist_image::RegistryAuth| {
        let hoist_image::RegistryAuth {
            username,
            password,
            identity_token,
            registry_token,
            server_address,
            trouble,
        } = auth;
        RegistryAuth {
            username,
            password,
            identity_token,
            registry_token,
            server_address,
            trouble,
        }
    };
    found
        .into_iter()
        .map(|(registry, auth)| (registry, sent(auth)))
        .collect()
}
