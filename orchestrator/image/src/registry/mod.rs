//! One registry, spoken to with the OCI distribution protocol. Owns connections, tokens, redirects and retries.

mod access;
mod auth;
mod endpoint;
mod error;
mod locate;
mod token;
mod trust;
mod upload;

use reqwest::header::HeaderName;
use reqwest::{Method, Response};

pub use access::Access;
use endpoint::Call;
use endpoint::Endpoint;
pub(crate) use endpoint::{ATTEMPTS, Payload, Sent, backoff};
pub use error::RegistryError;
pub use trust::web_client;
pub(crate) use upload::Upload;

use crate::Reference;

/// Whether a registry (as [`Reference::registry`] names it) lets the user of `access` in.
pub async fn login(registry: &str, access: &Access) -> Result<(), RegistryError> {
    let endpoint = locate::endpoint(registry, "", access, Vec::new()).await?;
    let url = endpoint.base.join("v2/").expect("a constant relative path joins any base");
    let call = Call { method: Method::GET, headers: Vec::new(), body: Payload::Nothing, what: "its root" };
    endpoint.ask(&url, &call).await.map(drop)
}

/// What is going to be done in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right<'a> {
    Pull,
    /// Pushing, with blobs mounted from these repositories of the same registry.
    Push {
        from: &'a [String],
    },
}

/// A registry and what we may do in one of its repositories.
#[derive(Debug)]
pub(crate) struct Registry {
    endpoint: Endpoint,
}

impl Registry {
    pub(crate) async fn connect(
        reference: &Reference,
        access: &Access,
        right: Right<'_>,
    ) -> Result<Self, RegistryError> {
        let own = |actions: &str| format!("repository:{}:{actions}", reference.repository());
        let scopes = match right {
            Right::Pull => vec![own("pull")],
            Right::Push { from } => {
                let sources = from.iter().map(|source| format!("repository:{source}:pull"));
                std::iter::once(own("pull,push")).chain(sources).collect()
            }
        };
        let endpoint = locate::endpoint(reference.registry(), reference.repository(), access, scopes).await?;
        Ok(Self { endpoint })
    }

    /// `GET /v2/<repository>/<path>`; an answer that is no success is an error naming `what`.
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
        let call = Call { method, headers: headers.to_vec(), body: Payload::Nothing, what };
        self.endpoint.ask(&self.endpoint.url(path)?, &call).await
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
        let call = Call { method: Method::PUT, headers: headers.to_vec(), body, what };
        self.endpoint.ask(&self.endpoint.url(path)?, &call).await
    }

    /// The whole body, if it is not longer than `most`.
    pub(crate) async fn bytes(&self, response: Response, most: u64, what: &str) -> Result<Vec<u8>, RegistryError> {
        self.endpoint.bytes(response, most, what).await
    }

    pub(crate) fn broken(&self, error: reqwest::Error) -> RegistryError {
        RegistryError::of(&self.endpoint.name, error)
    }

    pub(crate) fn protocol(&self, reason: String) -> RegistryError {
        self.endpoint.protocol(reason)
    }
}
