//! The wire: what travels over the engine's socket, as JSON.
//!
//! Objects (containers, images, networks, volumes, exec, events) have the shape of the Docker Engine API; what is ours
//! (plan, apply, stacks) lives under `/hoist/v1`. Clients may leave out or null every optional field.

mod check;
mod container;
mod distribution;
mod exec;
mod image;
mod network;
mod object;
mod stack;
mod store;
mod system;

pub use hoist_build::{BuildEvent, OutputStream};
pub use hoist_image::RegistryAuth;
pub use hoist_scheduler::Verb;
use serde::{Deserialize, Deserializer, Serialize};

pub use check::*;
pub use container::*;
pub use distribution::*;
pub use exec::*;
pub use image::*;
pub use network::*;
pub use object::*;
pub use stack::*;
pub use store::*;
pub use system::*;

/// Docker clients send `null` for every absent field.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub message: String,
}
