//! From the name of a registry to the servers that are asked for it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Client, StatusCode, Url};
use tokio::sync::{Mutex, OnceCell};

use super::Access;
use super::configuration::{Configuration, Locations, RepositoryLocation};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::trust::{Trust, client};
use crate::RegistryAuth;

/// One server that may have the repository; spoken to when it is first needed.
#[derive(Debug)]
pub(super) struct Server {
    place: RepositoryLocation,
    insecure: bool,
    auth: Option<RegistryAuth>,
    certificates: Vec<PathBuf>,
    scopes: Vec<String>,
    endpoint: OnceCell<Endpoint>,
    away: AtomicBool,
}

/// The servers for a repository: mirrors in order, then the registry itself. Never empty.
pub(super) fn servers(
    registry: &str,
    repository: &str,
    by_digest: bool,
    access: &Access,
    scopes: &dyn Fn(&str) -> Vec<String>,
) -> Result<Vec<Server>, RegistryError> {
    let configured = Configuration::read(&access.configuration).map_err(|source| {
        RegistryError::Configuration {
            registry: registry.to_owned(),
            source: Box::new(source),
        }
    })?;
    let places = match configured.places(registry, repository, by_digest) {
        Locations::Ask(places) => places,
        Locations::Blocked(prefix) => {
            let (registry, path) = (registry.to_owned(), access.configuration.clone());
            return Err(RegistryError::Blocked {
                registry,
                prefix,
                path,
            });
        }
    };
    let server = |place: RepositoryLocation| Server {
        insecure: place.insecure || access.insecure.contains(&place.host),
        auth: access.auth_of(&place).cloned(),
        certificates: access.certificates.clone(),
        scopes: scopes(&place.repository),
        endpoint: OnceCell::new(),
        away: AtomicBool::new(false),
        place,
    };
    Ok(places.into_iter().map(server).collect())
}

impl Server {
    pub(super) async fn endpoint(&self) -> Result<&Endpoint, RegistryError> {
        self.endpoint.get_or_try_init(|| self.connect()).await
    }

    pub(super) fn into_place(self) -> RepositoryLocation {
        self.place
    }

    /// It did not answer, and is not asked again for this operation.
    pub(super) fn give_up(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Finds out how the server is spoken to.
    async fn connect(&self) -> Result<Endpoint, RegistryError> {
        let name = self.place.host.clone();
        let host = if name == "docker.io" {
            "registry-1.docker.io"
        } else {
            &name
        };
        let trust = Trust::of_host(&name, &self.certificates)?;
        // An authority that is configured for a registry is used.
        let lenient = self.insecure && !trust.has_authority();
        let client = client(&name, &trust, lenient)?;
        let base = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/")).map_err(|error| RegistryError::Protocol {
                registry: name.clone(),
                reason: format!("its name makes no address: {error}"),
            })
        };
        let secure = base("https")?;
        let plain_allowed = (self.insecure || is_loopback(&secure)) && !trust.has_authority();
        let base = if plain_allowed {
            probe(&client, &name, secure, base("http")?).await?
        } else {
            secure
        };
        Ok(Endpoint {
            client,
            repository: self.place.repository.clone(),
            base,
            auth: self.auth.clone(),
            scopes: self.scopes.clone(),
            authorization: Mutex::new(None),
            lasting: OnceLock::new(),
            name,
        })
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// TLS where the registry speaks it, plain HTTP only where it does not.
async fn probe(client: &Client, name: &str, secure: Url, plain: Url) -> Result<Url, RegistryError> {
    let ask = |base: &Url| {
        let url = base
            .join("v2/")
            .expect("a constant relative path joins any base");
        client.get(url).send()
    };
    let Err(error) = ask(&secure).await else {
        return Ok(secure);
    };
    let error = RegistryError::of(name, error);
    if matches!(
        error,
        RegistryError::Refused { .. } | RegistryError::UnknownHost { .. }
    ) {
        return Err(error);
    }
    match ask(&plain).await {
        // Go's servers answer plain HTTP on a TLS port with this status; then the TLS error is the one that matters.
        Ok(response) if response.status() == StatusCode::BAD_REQUEST => Err(error),
        Ok(_) => Ok(plain),
        Err(_) => Err(error),
    }
}
