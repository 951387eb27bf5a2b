//! Owns the difference between desired and actual as a value: ordered steps, problems that forbid them, notes beside
//! them. Must not know how it was made ([`crate::plan()`]) or how far it was carried out ([`crate::Progress`]).

mod json;
mod text;

use crate::action::Action;
use crate::problem::{Note, Problem};

/// Index of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// Steps stand in an order in which they could be done one by one: `after` only names earlier steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    pub project: String,
    pub steps: Vec<Step>,
    /// When there is one, the plan must not be carried out at all.
    pub problems: Vec<Problem>,
    pub notes: Vec<Note>,
    /// Selected containers that already run as desired: no action.
    pub running: Vec<String>,
    /// Once it is carried out, the request is fulfilled, whatever is observed then: a one-off may be gone by that time,
    /// and must not run twice.
    pub concludes: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: StepId,
    pub action: Action,
    /// Steps that must have succeeded before.
    pub after: Vec<StepId>,
    pub why: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is wanted and not there.
    Missing,
    /// It is there, wanted running, and is not.
    NotRunning,
    /// Attributes of the service (or network) differ; their Compose names.
    ConfigChanged {
        fields: Vec<String>,
    },
    /// The reference means another image than the container runs.
    ImageChanged,
    /// `--force-recreate`, `--always-recreate-deps`, `--renew-anon-volumes`, `--build`, `--pull`.
    Forced,
    /// A service that it depends on (with `restart: true`), or whose namespaces it shares, is replaced or restarted.
    DependencyReplaced {
        service: String,
    },
    /// A network it is attached to must be made anew.
    NetworkChanged {
        network: String,
    },
    /// A fixed address of the stack is held by this one, which has no right to it.
    AddressNeeded {
        network: String,
    },
    /// Half made or damaged.
    Broken,
    /// No service of the stack owns it.
    Orphan,
    ScaledDown,
    /// The verb says so.
    Requested,
    /// These services start only then.
    Condition {
        dependents: Vec<String>,
    },
    /// Its restart policy says so.
    RestartPolicy {
        attempt: u32,
    },
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// May be carried out.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(id.0)
    }
}
