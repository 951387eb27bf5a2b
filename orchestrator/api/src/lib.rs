//! What travels over the engine's socket: the types of requests and answers as JSON, and the frames of streams.
//!
//! Objects (containers, images, networks, volumes, exec, events) have the form of the Docker Engine API ([`docker`]); what
//! only hoist has (plan, apply, stacks, bundles) is under `/hoist/v1` ([`hoist`]). Clients may leave out or null every
//! optional field. Also here is what a client and the engine that it starts must agree on: [`places`], [`environment`].
//!
//! Of hoist's other crates it knows the scheduler alone, for the request of a stack: its [`Verb`] travels as it is, so that
//! there is no second list of options. Must not know: sockets, HTTP, the engine's state.
#![forbid(unsafe_code)]

pub mod docker;
pub mod environment;
pub mod frames;
pub mod hoist;
mod kind;
pub mod places;

pub use docker::*;
pub use hoist::*;
pub use hoist_scheduler::Verb;
pub use kind::{ErrorBody, ErrorKind};

use serde::{Deserialize, Deserializer};

/// Docker clients send `null` for every absent field.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
