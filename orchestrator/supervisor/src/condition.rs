//! What requests wait for, and what they hear.

use hoist_object::ExitDoc;
use hoist_scheduler::Readiness;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is neither on its way up nor being stopped.
    Settled,
    /// This run is over.
    Down {
        run: u64,
    },
    Ready(Readiness),
    /// It is down. `fresh`: only an exit that happens from now on counts.
    Ended {
        fresh: bool,
    },
    Removed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Reached,
    /// It will not come to that.
    Unready(Unready),
    /// `None`: it never ran.
    Exit(Option<ExitDoc>),
    /// It was removed, or never was.
    Gone,
}

/// Why a container is not ready and will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unready {
    NoHealthcheck,
    Unhealthy,
    Removed,
    Exited(ExitDoc),
}
