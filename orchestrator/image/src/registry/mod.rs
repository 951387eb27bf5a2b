//! One registry, spoken to with the OCI distribution protocol. Owns connections, tokens, redirects and retries.

mod access;
mod auth;
mod error;
mod http;
mod trust;

pub use access::Access;
pub use error::RegistryError;
pub(crate) use http::{ATTEMPTS, Registry, backoff};
