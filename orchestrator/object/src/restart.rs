//! What a container's restart policy is, and what is remembered of its restarts. The decision is the scheduler's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    pub when: When,
    /// Restarts before giving up; `None`: no limit.
    pub max_attempts: Option<u32>,
    /// Fixed delay between attempts; `None`: docker's doubling one.
    pub delay: Option<Duration>,
    /// How long a container must run for a restart to count as successful, which forgives earlier attempts.
    /// `None`: attempts are never forgiven, as docker does.
    pub window: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    #[default]
    Never,
    /// Exit code other than 0.
    OnFailure,
    Always,
    UnlessStopped,
}

/// What is remembered of a container since somebody started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Restarts by the policy; `ps` and inspect show it.
    pub restarts: u32,
    /// Restarts in a row that did not last; sets the delay.
    pub streak: u32,
}
