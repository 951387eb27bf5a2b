//! Owns who is drawn in when a container is replaced or restarted: dependents that ask for it (`restart: true`), and
//! whoever lives in its namespaces, which end with it.

use std::collections::BTreeSet;

use crate::observed::{Container, State};
use crate::plan::Reason;
use crate::planner::Context;
use crate::planner::subject::{Fate, Subject, Subjects};

/// `acted_on`: services that the request is about. `dependents`: whether `restart: true` is followed, or namespaces only.
pub(crate) fn follow(
    context: Context<'_>,
    subjects: &mut Subjects<'_>,
    acted_on: &BTreeSet<String>,
    dependents: bool,
) {
    let reach = context.graph.dependents(acted_on, |edge| edge.restart);
    for service in context.graph.order() {
        let asking = context
            .graph
            .direct(service)
            .filter(|(_, edge)| edge.restart && dependents);
        let asking: Vec<&String> = asking.map(|(name, _)| name).collect();
        let replaced = asking
            .iter()
            .find(|name| subjects.values().any(|subject| is_replaced(subject, name)));
        let within = asking.iter().find(|name| reach.contains(**name));
        let members: Vec<String> = subjects
            .values()
            .filter(|subject| subject.service == *service)
            .map(|subject| subject.name.clone())
            .collect();
        for name in members {
            let owner = disturbed_owner(subjects, &name);
            let Some(subject) = subjects
                .get_mut(&name)
                .filter(|subject| subject.fate == Fate::Keep)
            else {
                continue;
            };
            let Some(container) = subject.observed else {
                continue;
            };
            let because = |service: &String| Reason::DependencyReplaced {
                service: service.clone(),
            };
            let mut replaced = replaced
                .filter(|_| !subject.oneoff)
                .map(|name| (*name).clone());
            if container.state.is_running() {
                if let Some(service) = owner.or_else(|| replaced.take()) {
                    subject.fate = Fate::Restart(because(&service));
                }
            } else if was_stopped_by_this_request(context, container) && !subject.oneoff {
                let within = within
                    .map(|name| (*name).clone())
                    .or_else(|| owner_within(context, container, &reach));
                if let Some(service) = owner.or(within) {
                    subject.fate = Fate::Start(because(&service));
                }
            }
        }
    }
}

fn is_replaced(subject: &Subject<'_>, service: &str) -> bool {
    subject.service == service
        && !subject.oneoff
        && matches!(subject.fate, Fate::Replace { .. } | Fate::Restart(_))
}

/// Service of the first container whose namespaces this one lives in and which does not simply run on, or was started
/// again since, so that its namespaces are new ones.
fn disturbed_owner(subjects: &Subjects<'_>, name: &str) -> Option<String> {
    let container = subjects.get(name)?.observed?;
    let owners = container
        .record
        .sharing
        .iter()
        .filter_map(|sharing| subjects.get(sharing.container()));
    let mut disturbed = owners.filter(|owner| {
        let restarted =
            owner.runs() && owner.observed.and_then(|owner| owner.started) > container.started;
        owner.fate.stops() || owner.fate.starts() || owner.fate.makes() || restarted
    });
    disturbed.next().map(|owner| owner.service.clone())
}

/// Service of a container whose namespaces this one lives in, whatever the stack says now, if the request is about it.
fn owner_within(
    context: Context<'_>,
    container: &Container,
    reach: &BTreeSet<String>,
) -> Option<String> {
    let owners = container.record.sharing.iter();
    let mut services = owners.filter_map(|owner| {
        Some(
            &context
                .observed
                .containers
                .get(owner.container())?
                .record
                .service,
        )
    });
    services.find(|service| reach.contains(*service)).cloned()
}

/// An earlier round of this request stopped it on the way to a restart and did not come to starting it again.
fn was_stopped_by_this_request(context: Context<'_>, container: &Container) -> bool {
    let at = context.request.at;
    let stopped = matches!(container.state, State::Exited { at: ended, .. } if ended >= at);
    stopped && container.stopped_by_request && container.started.is_some_and(|started| started < at)
}
