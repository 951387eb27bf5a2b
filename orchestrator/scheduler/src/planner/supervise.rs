//! Owns recovery without anybody asking: what its restart policy wants is started, from the records alone, so no file is
//! needed. Conditions of `depends_on` hold here too, on a crash and after a boot: a container whose dependency is on its
//! way waits for it. Nothing is waited for inside the plan; the next event leads to the next plan.

use std::collections::BTreeSet;

use hoist_object::{Dependency, DependencyCondition, Health};

use crate::observed::{Container, State};
use crate::plan::Reason;
use crate::planner::Context;
use crate::planner::assemble::{Decisions, assemble};
use crate::planner::draft::Draft;
use crate::planner::subject::{self, Fate};
use crate::problem::Note;
use crate::restart::{Cause, Decision, Exit, Rest, decide};

pub(crate) fn plan(context: Context<'_>, draft: &mut Draft) {
    let mut subjects = subject::existing(context.observed);
    let coming = coming(context);
    for subject in subjects.values_mut() {
        let Some(container) = subject.observed else {
            continue;
        };
        match decision(context, container) {
            Some(Decision::Start { history }) => match held_by(context, container, &coming) {
                Some(by) => draft.note(Note::Held {
                    container: subject.name.clone(),
                    by,
                }),
                None => {
                    subject.fate = Fate::Start(Reason::RestartPolicy {
                        attempt: history.restarts,
                    })
                }
            },
            Some(Decision::Stay(Rest::GivenUp)) => draft.note(Note::GivenUp {
                container: subject.name.clone(),
            }),
            // One that waits has its timer already.
            Some(Decision::Wait { .. } | Decision::Stay(_)) | None => {}
        }
    }
    // The namespaces of a container that was started again are new ones.
    let left_behind: Vec<(String, String)> = subjects
        .values()
        .filter(|subject| subject.fate == Fate::Keep && subject.runs())
        .filter_map(|subject| {
            let container = subject.observed?;
            let owners = container
                .record
                .sharing
                .iter()
                .filter_map(|sharing| subjects.get(sharing.container()));
            let mut newer = owners.filter(|owner| {
                owner.fate.starts()
                    || (owner.runs() && owner.observed.and_then(|o| o.started) > container.started)
            });
            newer
                .next()
                .map(|owner| (subject.name.clone(), owner.service.clone()))
        })
        .collect();
    for (name, service) in left_behind {
        if let Some(subject) = subjects.get_mut(&name) {
            subject.fate = Fate::Restart(Reason::DependencyReplaced { service });
        }
    }
    assemble_without_waits(context, draft, subjects);
}

/// Dependencies were judged above, from what is; steps of this plan only keep their order.
fn assemble_without_waits(
    context: Context<'_>,
    draft: &mut Draft,
    subjects: subject::Subjects<'_>,
) {
    let empty = crate::graph::ServiceGraph::default();
    assemble(draft, Decisions::new(context.observed, &empty, subjects));
}

/// What its policy says; `None` while it runs or was never started.
fn decision(context: Context<'_>, container: &Container) -> Option<Decision> {
    let (State::Exited { code, at } | State::Restarting { code, at }) = container.state else {
        return None;
    };
    let started = container.started?;
    let cause = container.exit_cause();
    if container.record.oneoff && cause != Cause::Own {
        return None;
    }
    let exit = Exit {
        code,
        at,
        started,
        cause,
    };
    Some(decide(
        &container.record.restart,
        &container.history,
        &exit,
        context.now,
    ))
}

impl Container {
    /// Why its last run ended.
    pub fn exit_cause(&self) -> Cause {
        match (self.lost_in_reboot, self.stopped_by_request) {
            (true, false) => Cause::Reboot,
            (true, true) => Cause::RebootAfterStop,
            (false, true) => Cause::Requested,
            (false, false) => Cause::Own,
        }
    }
}

/// Services with a container that will be running or ready without anybody's doing.
fn coming(context: Context<'_>) -> BTreeSet<&str> {
    let containers = context
        .observed
        .containers
        .values()
        .filter(|container| !container.record.oneoff);
    let coming = containers.filter(|container| match container.state {
        State::Running { health } => health == Health::Starting,
        _ => matches!(
            decision(context, container),
            Some(Decision::Start { .. } | Decision::Wait { .. })
        ),
    });
    coming
        .map(|container| container.record.service.as_str())
        .collect()
}

/// A dependency that is on its way to what this container needs. One that is not (unhealthy, given up) holds nobody
/// back: a service that limps is better than one that stays down.
fn held_by(context: Context<'_>, container: &Container, coming: &BTreeSet<&str>) -> Option<String> {
    let waits = |(service, dependency): (&String, &Dependency)| {
        let members = context
            .observed
            .containers
            .values()
            .filter(|c| c.record.service == **service && !c.record.oneoff);
        let mut members = members.map(|container| container.state);
        let unmet = match dependency.condition {
            DependencyCondition::Started => !members.any(State::is_running),
            DependencyCondition::Healthy => !members.any(|state| {
                matches!(
                    state,
                    State::Running {
                        health: Health::Healthy | Health::None
                    }
                )
            }),
            // Done once is done: jobs are not run again on a crash.
            DependencyCondition::CompletedSuccessfully => false,
        };
        unmet && coming.contains(service.as_str())
    };
    container
        .record
        .depends_on
        .iter()
        .find(|entry| waits(*entry))
        .map(|(service, _)| service.clone())
}
