//! The doors of an engine: its process, its socket, its HTTP API. A handler parses a request, calls one method of the
//! engine's handle, and renders what it returns.
//!
//! [`docker`] has the form of the Docker Engine API, [`hoist`] what only hoist has. Must not know: the engine's state, and
//! how anything is done.
#![forbid(unsafe_code)]

mod answer;
mod claim;
mod docker;
mod door;
mod gone;
mod hoist;
mod routes;
mod serve;
mod tarballs;
mod upload;

pub use hoist_engine::EngineConfig;
pub use serve::{ServeError, serve};
