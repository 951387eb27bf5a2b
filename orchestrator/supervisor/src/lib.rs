//! Owns the lives of containers: starts, exits, restarts, health, execs, and what waits for them.
//!
//! One function, [`Supervisor::handle`], takes an [`Event`] and the time and answers the [`Effect`]s that follow from it.
//! An event is a fact or a request about one object; what it leads to is decided from the state, not from the event's
//! content. Decisions about restarts and health are the scheduler's; this is their state and their timing.
//!
//! Must not know: clocks, tasks, files, shims, hosts. What the engine needs back with an effect (a connection to a shim,
//! the reply channel of a request) passes through as a type of [`Handles`], unread.
#![forbid(unsafe_code)]

mod condition;
mod container;
mod effect;
mod event;
mod exec;
mod handles;
mod status;
mod supervisor;
mod timer;
mod waits;

pub use condition::{Condition, Outcome, Unready};
pub use container::{Container, HealthRun};
pub use effect::{Effect, Notice, Peer, StartAnswer, StartTicket, StopAnswer, Subject};
pub use event::{End, Event, ShimEvent};
pub use exec::Exec;
pub use handles::{Handles, Summary};
pub use status::{Phase, StartWhy, Status};
pub use supervisor::Supervisor;
pub use timer::{Forget, Timer};
