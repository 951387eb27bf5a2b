//! Where a container is in its life.

use hoist_object::{ExitDoc, Health};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Created,
    Starting,
    Running,
    Paused,
    /// Ended; its restart policy starts it again.
    Restarting {
        exit: ExitDoc,
    },
    Exited(ExitDoc),
    Removed,
}

impl Phase {
    /// Its names and ports are (about to be) live.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused)
    }

    pub fn has_processes(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// The last exit, if it is down.
    pub fn exit(&self) -> Option<&ExitDoc> {
        match self {
            Self::Restarting { exit } | Self::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// In one word, as clients know it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created | Self::Starting => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited(_) => "exited",
            Self::Removed => "removing",
        }
    }
}

/// What followers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    pub health: Health,
    /// Grows with each start.
    pub run: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWhy {
    /// A request: clears the restart history.
    Request,
    /// The restart policy; the history is what the decision said.
    Policy,
}
