//! What changes in a container's life, and how it ended.

use serde::{Deserialize, Serialize};

use crate::restart::History;
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Never started.
    #[default]
    Created,
    Running,
    /// A request stopped it.
    Stopped,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateDoc {
    pub wanted: Wanted,
    /// Boot in which it was last started.
    pub boot: String,
    pub started: Option<Timestamp>,
    /// The same by the steady clock of that boot.
    pub began: Option<Timestamp>,
    pub history: History,
    /// How it last ended, when that is not in the shim's exit record.
    pub exit: Option<ExitDoc>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitDoc {
    pub code: i32,
    pub at: Timestamp,
    /// The same by the steady clock of the boot in which it was started.
    pub ended: Option<Timestamp>,
    pub oom: bool,
    /// Why it could not be started.
    pub error: String,
}

impl ExitDoc {
    /// Presumably killed: no record of its end is left.
    #[must_use]
    pub fn unrecorded(at: Timestamp) -> Self {
        Self {
            code: 137,
            at,
            ..Self::default()
        }
    }
}
