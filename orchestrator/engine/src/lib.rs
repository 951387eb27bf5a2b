//! The imperative shell: owns the state on disk, observes the host, executes plans, supervises, and serves the API.
//!
//! One task owns everything that changes ([`world`]); it is fed by one closed event enum and never waits. Requests on
//! stacks are carried out by sessions ([`execute`]): observe, plan, act, and again until the plan is empty. What an
//! action does is in [`actions`]. Firewall and names follow the world in a task of their own ([`wiring`]).
//!
//! Must not know: YAML (the stack comes as the canonical model), terminals, and how any mechanism below works inside.
#![forbid(unsafe_code)]

mod actions;
mod activity;
mod adopt;
mod api;
mod archive;
mod attach;
mod build;
mod building;
mod buildnet;
mod bundle;
mod changes;
mod claim;
mod config;
mod contact;
mod contents;
mod copytree;
mod door;
mod driver;
mod emulator;
mod engine;
mod error;
mod exec;
mod execute;
mod feed;
mod leftovers;
mod logging;
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
mod readiness;
mod refill;
mod rootview;
mod rundir;
mod serve;
mod shims;
mod staging;
mod stats;
mod still;
mod store;
mod usage;
mod volumes;
mod wiring;
mod world;

pub use config::EngineConfig;
pub use serve::{ServeError, serve};
