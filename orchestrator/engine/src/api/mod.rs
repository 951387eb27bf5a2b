//! The HTTP API: routes, and the types that travel.

pub mod types;
