//! One registry, spoken to with the OCI distribution protocol. Owns connections, tokens, redirects and retries.

mod auth;
mod error;
mod http;

pub use error::RegistryError;
pub(crate) use http::{ATTEMPTS, Registry, Settings, backoff};
