//! Owns the Compose language: file text in, canonical [`model::Stack`] out, diagnostics with spans on the way.
//!
//! Must not know: files (they come through `Source`), the process environment (`Env`), engines, containers, clocks.

pub mod model;
