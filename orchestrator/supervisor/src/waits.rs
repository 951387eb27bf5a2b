//! What waits for a state of a container. Every state that a container passes through is looked at, so none is missed, and
//! each wait ends at the latest when the container is removed.

use hoist_object::{ExitDoc, Health};
use hoist_scheduler::Readiness;

use crate::condition::{Condition, Outcome, Unready};
use crate::handles::Handles;
use crate::status::{Phase, Status};

/// What a wait sees of its container.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) has_healthcheck: bool,
    pub(crate) is_stopping: bool,
}

#[derive(Debug)]
pub(crate) struct Waiting<H: Handles> {
    condition: Condition,
    /// When the wait began.
    run: u64,
    was_up: bool,
    /// The last exit that was seen.
    last: Option<ExitDoc>,
    pub(crate) reply: H::WaitReply,
}

impl<H: Handles> Waiting<H> {
    pub(crate) fn new(condition: Condition, seen: &View, reply: H::WaitReply) -> Self {
        let Status { phase, run, .. } = &seen.status;
        Self {
            condition,
            run: *run,
            was_up: phase.is_up(),
            last: None,
            reply,
        }
    }

    /// `None`: not decided yet.
    pub(crate) fn outcome(&mut self, seen: &View) -> Option<Outcome> {
        let Status {
            phase, run: now, ..
        } = &seen.status;
        let removed = *phase == Phase::Removed;
        if let Some(exit) = phase.exit() {
            self.last = Some(exit.clone());
        }
        match self.condition {
            Condition::Settled if removed => Some(Outcome::Gone),
            Condition::Settled => {
                (*phase != Phase::Starting && !seen.is_stopping).then_some(Outcome::Reached)
            }
            Condition::Down { run } => (*now != run || !phase.is_up()).then_some(Outcome::Reached),
            Condition::Ready(until) => match ready(seen, until)? {
                Ok(()) => Some(Outcome::Reached),
                Err(reason) => Some(Outcome::Unready(reason)),
            },
            Condition::Ended { fresh } => {
                let counts = !fresh || self.was_up || *now > self.run;
                let over = removed
                    || (counts && phase.exit().is_some())
                    || (!fresh && *phase == Phase::Created);
                over.then(|| Outcome::Exit(phase.exit().cloned()))
            }
            Condition::Removed => removed.then(|| Outcome::Exit(self.last.take())),
        }
    }
}

fn ready(seen: &View, until: Readiness) -> Option<Result<(), Unready>> {
    let has_healthcheck = seen.has_healthcheck;
    if until == Readiness::Healthy && !has_healthcheck {
        return Some(Err(Unready::NoHealthcheck));
    }
    let wants_health =
        until == Readiness::Healthy || (until == Readiness::Ready && has_healthcheck);
    match &seen.status.phase {
        Phase::Created | Phase::Starting | Phase::Restarting { .. } => None,
        Phase::Removed => Some(Err(Unready::Removed)),
        Phase::Running | Phase::Paused => match (until, seen.status.health) {
            (Readiness::Completed, _) => None,
            (_, Health::Unhealthy) if wants_health => Some(Err(Unready::Unhealthy)),
            (_, Health::Healthy) => Some(Ok(())),
            _ if wants_health => None,
            _ => Some(Ok(())),
        },
        Phase::Exited(exit) => Some(match until {
            // It was started, which is all that is asked.
            Readiness::Started if exit.error.is_empty() => Ok(()),
            Readiness::Completed if exit.code == 0 => Ok(()),
            Readiness::Ready if exit.code == 0 && !wants_health => Ok(()),
            _ => Err(Unready::Exited(exit.clone())),
        }),
    }
}
