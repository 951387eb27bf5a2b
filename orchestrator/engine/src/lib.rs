//! The imperative shell: owns the state on disk, observes the host, executes plans, supervises, and serves the API.
//!
//! Must not know: YAML (the stack comes as the canonical model), terminals, and how any mechanism below works inside.
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod config;

pub use config::{EngineConfig, Places};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {}

/// Runs an engine until it has nothing left to do; blocks, and brings its own runtime.
pub fn serve(_config: EngineConfig) -> Result<(), ServeError> {
    todo!()
}
