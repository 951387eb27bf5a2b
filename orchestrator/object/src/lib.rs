//! Owns what one container, network or volume is, in no client's dialect: its record, its configuration, its limits, what
//! is wanted of it, how it last ended; and the notations that all dialects share. The serde form of a document is its form on disk; [`form`] gives it its version.
//!
//! Must not know: Compose files, HTTP, clocks, hosts. No type here decides anything.
#![forbid(unsafe_code)]

mod container;
pub mod form;
mod health;
mod image;
mod network;
mod record;
mod restart;
pub mod signal;
mod state;
mod time;
pub mod units;
mod volume;

pub use container::{ContainerDoc, FileContent, FileDoc, MountDoc, MountKind};
pub use health::{Check, Health, HealthPlan, Outcome, Probe, ProbeRecord, Timing};
pub use image::{Healthcheck, ImageDefaults};
pub use network::{NetworkDoc, PREDEFINED_NETWORK};
pub use record::{
    Attachment, Dependency, DependencyCondition, Published, Record, Sharing, Transport,
};
pub use restart::{History, Policy, When};
pub use state::{ExitDoc, StateDoc, Wanted};
pub use time::{Now, Timestamp};
pub use volume::{StackDoc, VolumeDoc};

/// The short form of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
