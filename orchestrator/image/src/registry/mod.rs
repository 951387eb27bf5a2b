//! One registry, spoken to with the OCI distribution protocol. Owns connections, tokens, redirects and retries.

mod access;
mod auth;
mod configuration;
mod endpoint;
mod error;
mod locate;
mod proxy;
mod token;
mod trust;
mod upload;

use reqwest::header::HeaderName;
use reqwest::{Method, Response};

pub use access::Access;
pub use configuration::{ConfigurationError, RepositoryLocation};
use endpoint::ApiRequest;
pub(crate) use endpoint::{ATTEMPTS, Payload, Sent, backoff};
pub use error::RegistryError;
use locate::Server;
pub use trust::web_client;
pub(crate) use upload::Upload;

use crate::Reference;

/// There is another registry to ask.
const MIRROR_ATTEMPTS: u32 = 2;

/// Whether a registry (as [`Reference::registry`] names it) lets the user of `access` in. Some hand out a token then
/// that is to be kept in place of the password.
pub async fn login(registry: &str, access: &Access) -> Result<Option<String>, RegistryError> {
    let servers = locate::servers(registry, "", false, access, &|_| Vec::new())?;
    let endpoint = primary(&servers).endpoint().await?;
    let url = endpoint
        .base
        .join("v2/")
        .expect("a constant relative path joins any base");
    let call = ApiRequest {
        method: Method::GET,
        headers: Vec::new(),
        body: Payload::Nothing,
        what: "its root",
    };
    endpoint.ask(&url, &call).await?;
    Ok(endpoint.lasting.get().cloned())
}

/// The servers that may be asked for an image: its registry, or what registries.conf names in its place.
pub fn places_of(reference: &Reference, access: &Access) -> Vec<RepositoryLocation> {
    let by_digest = reference.digest().is_some();
    let servers = locate::servers(
        reference.registry(),
        reference.repository(),
        by_digest,
        access,
        &|_| Vec::new(),
    );
    // The request for the image reports what is wrong with the configuration.
    servers.map_or_else(
        |_| Vec::new(),
        |servers| servers.into_iter().map(Server::into_place).collect(),
    )
}

fn primary(servers: &[Server]) -> &Server {
    servers
        .last()
        .expect("the registry itself is always among its servers")
}

/// What is going to be done in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepositoryAction<'a> {
    Pull,
    /// Pushing, with blobs mounted from these repositories of the same registry.
    Push {
        from: &'a [String],
    },
}

/// A registry and what we may do in one of its repositories. Mirrors are asked first, for what is read alone.
#[derive(Debug)]
pub(crate) struct Registry {
    name: String,
    servers: Vec<Server>,
}

impl Registry {
    pub(crate) fn open(
        reference: &Reference,
        access: &Access,
        right: RepositoryAction<'_>,
    ) -> Result<Self, RegistryError> {
        let scopes = |repository: &str| {
            let own = |actions: &str| format!("repository:{repository}:{actions}");
            match right {
                RepositoryAction::Pull => vec![own("pull")],
                RepositoryAction::Push { from } => {
                    let sources = from
                        .iter()
                        .map(|source| format!("repository:{source}:pull"));
                    std::iter::once(own("pull,push")).chain(sources).collect()
                }
            }
        };
        let (name, repository) = (reference.registry(), reference.repository());
        let servers = locate::servers(
            name,
            repository,
            reference.digest().is_some(),
            access,
            &scopes,
        )?;
        Ok(Self {
            name: name.to_owned(),
            servers,
        })
    }

    /// `GET /v2/<repository>/<path>`; a response without success is an error naming `what`.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, RegistryError> {
        self.read(Method::GET, path, headers, what).await
    }

    /// The same without a body.
    pub(crate) async fn head(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, RegistryError> {
        self.read(Method::HEAD, path, headers, what).await
    }

    async fn read(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, RegistryError> {
        let call = ApiRequest {
            method,
            headers: headers.to_vec(),
            body: Payload::Nothing,
            what,
        };
        let (itself, mirrors) = self
            .servers
            .split_last()
            .expect("the registry itself is always among its servers");
        for mirror in mirrors.iter().filter(|mirror| !mirror.is_away()) {
            let asked = async {
                let endpoint = mirror.endpoint().await?;
                endpoint
                    .ask_times(MIRROR_ATTEMPTS, &endpoint.url(path)?, &call)
                    .await
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a mirror does not help"
                    );
                    if error.is_absence() {
                        mirror.give_up();
                    }
                }
            }
        }
        let endpoint = itself.endpoint().await?;
        endpoint.ask(&endpoint.url(path)?, &call).await
    }

    /// `PUT /v2/<repository>/<path>`.
    pub(crate) async fn put(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
        bytes: Vec<u8>,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let body = Payload::Bytes(bytes.into());
        let call = ApiRequest {
            method: Method::PUT,
            headers: headers.to_vec(),
            body,
            what,
        };
        let endpoint = primary(&self.servers).endpoint().await?;
        endpoint.ask(&endpoint.url(path)?, &call).await
    }

    /// The whole body, if it is not longer than `most`.
    pub(crate) async fn bytes(
        &self,
        response: Response,
        most: u64,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        endpoint::bytes(&self.name, response, most, what).await
    }

    pub(crate) fn broken(&self, error: reqwest::Error) -> RegistryError {
        RegistryError::of(&self.name, error)
    }

    pub(crate) fn protocol(&self, reason: String) -> RegistryError {
        RegistryError::Protocol {
            registry: self.name.clone(),
            reason,
        }
    }
}
