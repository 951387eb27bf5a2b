//! The imperative shell: owns the state on disk, observes the host, executes plans and supervises.
//!
//! One task owns everything that changes ([`world`]); it is fed by one closed event enum and never waits. Requests on
//! stacks are carried out by sessions ([`execute`]): observe, plan, act, and again until the plan is empty. What an
//! action does is in [`actions`]. Firewall and names follow the world in a task of their own ([`wiring`]).
//!
//! Its public face is [`Handle`]. Must not know: HTTP, the form of docker's answers, YAML (the stack comes as the canonical
//! model), terminals, and how any mechanism below works inside.
#![forbid(unsafe_code)]

mod actions;
mod activity;
mod adopt;
mod archive;
mod attach;
mod build;
mod building;
mod buildnet;
mod bundle;
mod changes;
mod config;
mod contact;
mod contents;
mod copytree;
mod driver;
mod emulator;
mod engine;
mod error;
mod exec;
mod execute;
mod feed;
mod handle;
mod image_news;
mod leftovers;
pub mod logging;
mod logs;
mod lower;
mod making;
mod mounted;
mod names;
mod observe;
mod outbox;
mod probe;
mod processes;
mod projects;
mod pump;
pub mod readiness;
mod refill;
mod rootview;
mod rundir;
mod running;
mod shims;
mod staging;
mod stats;
mod still;
mod store;
mod usage;
mod view;
mod volumes;
mod wiring;
mod world;

pub use actions::StepError;
pub use activity::Busy;
pub use archive::{Held, PathStat};
pub use bundle::BundleOut;
pub use config::EngineConfig;
pub use engine::{now, rfc3339};
pub use error::chain;
pub use exec::{ExecConfig, ExecEntry};
pub use execute::{all_credentials, credentials, phase as phase_text};
pub use feed::Happening;
pub use handle::*;
pub use hoist_runtime::Attach;
pub use hoist_supervisor::Phase;
pub use image_news::{ImageInbox, ImageNews};
pub use logs::{Line, Wanted, moment};
pub use making::Terms;
pub use outbox::{Inbox, Piece};
pub use processes::Processes;
pub use running::{RunLock, Running, StartError, Trouble};
pub use stats::{Counters, Measured, Traffic, Usage};
pub use view::{ContainerView, NetworkView, StackView, VolumeView};

/// What a process does before it runs an engine.
pub mod process {
    pub use hoist_runtime::descriptors::{SoftLimit, raise as raise_descriptors};
    pub use hoist_runtime::engine_lock::acquire as acquire_lock;

    pub use crate::store::make_folder;
}

/// `02:42:ac:11:00:02`
pub fn parse_mac(text: &str) -> Result<[u8; 6]> {
    text.parse::<hoist_network::Mac>()
        .map(|mac| mac.0)
        .map_err(|error| StepError::bad(error.to_string()))
}
