//! Owns the verbs that change what runs and nothing else: start, stop, restart, kill, pause, unpause. They work on the
//! containers that exist and do not apply changes of the stack.

use std::collections::BTreeSet;

use hoist_object::DependencyCondition;

use crate::action::Readiness;
use crate::digest;
use crate::observed::State;
use crate::plan::Reason;
use crate::planner::assemble::{Decisions, assemble, stop_signal};
use crate::planner::draft::Draft;
use crate::planner::follow::follow;
use crate::planner::subject::{self, Fate, Subjects, is_ready};
use crate::planner::{Context, published};
use crate::problem::{Note, Problem};
use crate::request::{Kill, Restart, Services, Start, Stop};

/// Containers of the selected services, one-offs only where a verb means them too.
struct Chosen<'a> {
    services: BTreeSet<String>,
    subjects: Subjects<'a>,
}

fn choose<'a>(context: Context<'a>, draft: &mut Draft, services: &Services) -> Chosen<'a> {
    let selected = context.selected(draft, services);
    let subjects = subject::existing(context.observed);
    // Only what is asked for by name must be there.
    for service in services.intersection(&selected) {
        if !subjects.values().any(|subject| subject.service == *service) {
            draft.problem(Problem::NoContainer {
                service: service.clone(),
            });
        }
    }
    Chosen {
        services: selected,
        subjects,
    }
}

pub(crate) fn start(context: Context<'_>, draft: &mut Draft, start: &Start) {
    let Chosen {
        services,
        mut subjects,
    } = choose(context, draft, &start.services);
    if start.services.is_empty() {
        nothing_to_start(context, draft, &services, &subjects);
    }
    let unmet = unmet_dependencies(context, &services);
    for subject in subjects.values_mut().filter(|subject| !subject.oneoff) {
        let wanted = services.contains(&subject.service) || unmet.contains(&subject.service);
        let begun = subject
            .observed
            .is_some_and(|container| context.has_begun(container));
        match subject.state() {
            Some(State::Created | State::Exited { .. }) if wanted && !begun => {
                subject.fate = Fate::Start(Reason::Requested);
            }
            Some(State::Paused) if wanted => subject.fate = Fate::Unpause(Reason::Requested),
            _ => {}
        }
    }
    follow(context, &mut subjects, &BTreeSet::new(), false);
    not_applied(context, draft, &services);
    published::existing(context, draft, &subjects);
    let mut decisions = Decisions::new(context.observed, context.graph, subjects);
    if start.wait {
        decisions.wait = services;
    }
    assemble(draft, decisions);
}

/// Services without containers are passed over, as docker compose does; a stack without any container is an error.
fn nothing_to_start(
    context: Context<'_>,
    draft: &mut Draft,
    services: &BTreeSet<String>,
    subjects: &Subjects<'_>,
) {
    let stack = &context.desired.stack;
    let expected = |key: &String| {
        stack
            .services
            .get(key)
            .is_some_and(|service| service.replicas > 0)
    };
    let has_any = subjects.values().any(|subject| !subject.oneoff);
    if !has_any && (context.desired.is_unknown() || services.iter().any(expected)) {
        draft.problem(Problem::NoContainers {
            project: stack.name.clone(),
        });
    }
}

/// Dependencies of the services that are not in the condition they are needed in, and so have to be started too.
fn unmet_dependencies(context: Context<'_>, services: &BTreeSet<String>) -> BTreeSet<String> {
    let mut unmet = BTreeSet::new();
    let mut queue: Vec<&String> = services.iter().collect();
    while let Some(service) = queue.pop() {
        for (dependency, edge) in context.graph.direct(service) {
            let until = match edge.condition {
                DependencyCondition::Started | DependencyCondition::Healthy => Readiness::Started,
                DependencyCondition::CompletedSuccessfully => Readiness::Completed,
            };
            let mut members = context.observed.containers.values();
            let met = members.all(|container| {
                container.record.service != *dependency
                    || container.record.oneoff
                    || is_ready(container.state, until)
            });
            if !met && !services.contains(dependency) && unmet.insert(dependency.clone()) {
                queue.push(dependency);
            }
        }
    }
    unmet
}

pub(crate) fn stop(context: Context<'_>, draft: &mut Draft, stop: &Stop) {
    let Chosen {
        services,
        mut subjects,
    } = choose(context, draft, &stop.services);
    for subject in subjects
        .values_mut()
        .filter(|subject| services.contains(&subject.service))
    {
        if subject.state().is_some_and(State::needs_stop) {
            subject.fate = Fate::Stop(Reason::Requested);
        }
    }
    let mut decisions = Decisions::new(context.observed, context.graph, subjects);
    decisions.timeout = stop.timeout;
    assemble(draft, decisions);
}

pub(crate) fn restart(context: Context<'_>, draft: &mut Draft, restart: &Restart) {
    let Chosen {
        services,
        mut subjects,
    } = choose(context, draft, &restart.services);
    for subject in subjects
        .values_mut()
        .filter(|subject| services.contains(&subject.service) && !subject.oneoff)
    {
        let Some(container) = subject
            .observed
            .filter(|container| container.state != State::Dead)
        else {
            continue;
        };
        if container
            .started
            .is_none_or(|started| started < context.request.at)
        {
            subject.fate = Fate::Restart(Reason::Requested);
        }
    }
    follow(context, &mut subjects, &services, !restart.no_deps);
    not_applied(context, draft, &services);
    published::existing(context, draft, &subjects);
    let mut decisions = Decisions::new(context.observed, context.graph, subjects);
    decisions.timeout = restart.timeout;
    decisions.gates = restart.no_deps.then_some(services);
    assemble(draft, decisions);
}

pub(crate) fn kill(context: Context<'_>, draft: &mut Draft, kill: &Kill) {
    let Chosen {
        services,
        mut subjects,
    } = choose(context, draft, &kill.services);
    for subject in subjects.values_mut() {
        let Some(container) = subject
            .observed
            .filter(|container| container.state.is_running())
        else {
            continue;
        };
        let chosen = services.contains(&subject.service)
            && (kill.remove_orphans
                || !context.is_orphan(&subject.service)
                || kill.services.contains(&subject.service));
        let sent = container
            .signalled
            .is_some_and(|at| at >= context.request.at);
        if chosen && !sent {
            subject.fate = Fate::Kill {
                signal: kill.signal.clone(),
            };
        }
    }
    assemble(
        draft,
        Decisions::new(context.observed, context.graph, subjects),
    );
}

pub(crate) fn pause(context: Context<'_>, draft: &mut Draft, services: &Services) {
    let Chosen {
        services,
        mut subjects,
    } = choose(context, draft, services);
    for subject in subjects
        .values_mut()
        .filter(|subject| services.contains(&subject.service))
    {
        if matches!(subject.state(), Some(State::Running { .. })) {
            subject.fate = Fate::Pause(Reason::Requested);
        }
    }
    assemble(
        draft,
        Decisions::new(context.observed, context.graph, subjects),
    );
}

pub(crate) fn unpause(context: Context<'_>, draft: &mut Draft, services: &Services) {
    let Chosen {
        services,
        mut subjects,
    } = choose(context, draft, services);
    for subject in subjects
        .values_mut()
        .filter(|subject| services.contains(&subject.service))
    {
        if subject.state() == Some(State::Paused) {
            subject.fate = Fate::Unpause(Reason::Requested);
        }
    }
    assemble(
        draft,
        Decisions::new(context.observed, context.graph, subjects),
    );
}

/// People expect `restart` to apply changes; it does not, so it says so.
fn not_applied(context: Context<'_>, draft: &mut Draft, services: &BTreeSet<String>) {
    for (key, service) in context
        .desired
        .stack
        .services
        .iter()
        .filter(|(key, _)| services.contains(*key))
    {
        let fields = digest::fields(context.desired, service);
        let hash = digest::config_hash(&fields);
        let mut own = context
            .observed
            .containers
            .values()
            .filter(|c| c.record.service == *key && !c.record.oneoff);
        if let Some(outdated) = own.find(|container| container.record.config_hash != hash) {
            let fields = digest::changed(&outdated.record.fields, &fields);
            draft.note(Note::NotApplied {
                service: key.clone(),
                fields,
            });
        }
    }
}

/// Signals that end a container for good: its restart policy does not bring it back.
pub(crate) fn ends(signal: &str, own_stop_signal: &str) -> bool {
    let number = |name: &str| {
        let name = name.trim().to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name).to_owned();
        match name.as_str() {
            "9" => "KILL".to_owned(),
            "15" => "TERM".to_owned(),
            "3" => "QUIT".to_owned(),
            "2" => "INT".to_owned(),
            _ => name,
        }
    };
    let signal = number(signal);
    signal == "KILL" || signal == number(own_stop_signal)
}

/// The same for a container as it was observed.
pub(crate) fn ends_container(
    observed: &crate::observed::Observed,
    container: &crate::observed::Container,
    signal: &str,
) -> bool {
    ends(signal, &stop_signal(observed, container))
}
