//! Owns the verbs that bring what exists to what is desired: up, create, scale, and the dependencies of run.
//!
//! The routine is a sequence: which services are meant, what each of their containers is worth, who is drawn in by that,
//! what must be made or had for it; `assemble` puts it in order.

mod classify;
mod goal;

use std::collections::{BTreeMap, BTreeSet};

use hoist_object::DependencyCondition;
use hoist_spec::model::Service;

use crate::action::{Action, ContainerSpec};
use crate::names::ImageName;
use crate::plan::Reason;
use crate::planner::addresses::{self, Making};
use crate::planner::assemble::{Decisions, assemble, is_attached};
use crate::planner::draft::Draft;
use crate::planner::follow::follow;
use crate::planner::images::{self, Need};
use crate::planner::networks::{self, Origin, Places};
use crate::planner::spec::{self, Parts};
use crate::planner::subject::{self, Fate, Subject, Subjects};
use crate::planner::{Context, published, volumes};
use crate::problem::{Note, Problem};

pub(crate) use goal::Goal;

pub(crate) fn plan(context: Context<'_>, draft: &mut Draft, mut goal: Goal<'_>) {
    let oneoff = goal.oneoff(context, draft);
    let scope = goal.scope(context, draft);
    let needs = needs(context, &goal, &scope, oneoff.as_ref());
    let deferred = deferred(context, draft, &needs);
    let changed = if goal.no_recreate {
        BTreeSet::new()
    } else {
        remake(context, draft, &scope)
    };
    // While something is being fetched its containers stay, and so do their networks.
    let remake = if deferred.is_empty() {
        changed.clone()
    } else {
        BTreeSet::new()
    };

    let mut subjects = subject::existing(context.observed);
    let pass = classify::Pass {
        context,
        goal: &goal,
        needs: &needs,
        deferred: &deferred,
        remake: &remake,
    };
    for service in &scope {
        pass.service(draft, &mut subjects, service);
    }
    if let Some(oneoff) = &oneoff {
        subjects
            .entry(oneoff.name.clone())
            .or_insert_with(|| oneoff.subject());
    }
    orphans(context, draft, &goal, &mut subjects);
    refuse_remaking_in_use(context, draft, &changed, &subjects);
    if goal.start {
        follow(context, &mut subjects, &scope, !goal.no_deps);
        draft.running = running(&subjects, &scope);
    }

    let definitions: Vec<&Service> = scope
        .iter()
        .filter_map(|key| context.desired.stack.services.get(key))
        .chain(oneoff.as_ref().map(|oneoff| &oneoff.service))
        .collect();
    let networks = definitions
        .iter()
        .flat_map(|service| service.networks.keys());
    let places = networks::decide(context, draft, &networks.collect(), &remake);
    let volumes = definitions
        .iter()
        .flat_map(|service| volumes::keys(service));
    let new_volumes = volumes::decide(context, draft, &volumes.collect());
    let making = making(context, &subjects, oneoff.as_ref());
    draft.concludes = making.iter().any(|made| made.subject.oneoff);
    check(context, draft, &needs, &subjects, &making);
    let specs = specs(context, draft, &goal, &needs, &subjects, &making, &places);

    let images = image_steps(context, &goal, &needs, &making);
    other_platforms(context, draft, &needs, &making);
    let mut decisions = Decisions::new(context.observed, context.graph, subjects);
    decisions.specs = specs;
    decisions.images = images;
    decisions.image_order = images::order(&context.desired.stack);
    decisions.new_volumes = new_volumes;
    decisions.timeout = goal.timeout;
    // Of a one-off's dependencies none is in the scope then.
    decisions.gates = goal.no_deps.then(|| scope.clone());
    if goal.wait && goal.start {
        decisions.wait = scope.difference(&deferred).cloned().collect();
    }
    network_steps(context, &goal, places, &mut decisions);
    assemble(draft, decisions);
}

/// Containers of the services meant that run already and stay as they are.
fn running(subjects: &Subjects<'_>, scope: &BTreeSet<String>) -> Vec<String> {
    subjects
        .values()
        .filter(|subject| scope.contains(&subject.service) && !subject.oneoff)
        .filter(|subject| subject.fate == Fate::Keep && subject.runs())
        .map(|subject| subject.name.clone())
        .collect()
}

/// The containers to be made, each with the service that describes it.
fn making<'a>(
    context: Context<'a>,
    subjects: &'a Subjects<'a>,
    oneoff: Option<&'a goal::Oneoff>,
) -> Vec<Making<'a>> {
    let service_of = |subject: &Subject<'_>| match oneoff {
        Some(oneoff) if oneoff.name == subject.name => Some(&oneoff.service),
        _ => context.desired.stack.services.get(&subject.service),
    };
    subjects
        .values()
        .filter(|subject| subject.fate.makes())
        .filter_map(|subject| {
            Some(Making {
                subject,
                service: service_of(subject)?,
            })
        })
        .collect()
}

/// How the images are had that the containers to be made need.
fn image_steps(
    context: Context<'_>,
    goal: &Goal<'_>,
    needs: &Needs,
    making: &[Making<'_>],
) -> BTreeMap<ImageName, (Action, Reason)> {
    let mut images = BTreeMap::new();
    for (service, (reference, need)) in needs {
        let wanted = matches!(need, Need::Refresh { .. })
            || making.iter().any(|made| made.subject.service == *service);
        if let Some(step) = need.step().filter(|_| wanted) {
            images.entry(fetched(reference, &step.0)).or_insert(step);
            context_images(context, service, goal, &mut images);
        }
    }
    images
}

/// Images that stand for a name, and are not for the platform that the service asks for.
fn other_platforms(context: Context<'_>, draft: &mut Draft, needs: &Needs, making: &[Making<'_>]) {
    for (key, (reference, need)) in needs {
        let made = making.iter().find(|made| made.subject.service == *key);
        let Some(wanted) = made
            .and_then(|made| made.service.platform.clone())
            .filter(|_| need.step().is_none())
        else {
            continue;
        };
        let image = context
            .observed
            .images
            .get(&ImageName::new(reference, Some(&wanted)));
        if let Some(image) = image.and_then(|image| image.other_platform.clone()) {
            draft.note(Note::OtherPlatform {
                service: key.clone(),
                wanted,
                image,
            });
        }
    }
}

/// The images that a build takes files from, as far as they are missing or to be made again.
fn context_images(
    context: Context<'_>,
    service: &str,
    goal: &Goal<'_>,
    images: &mut BTreeMap<ImageName, (Action, Reason)>,
) {
    let stack = &context.desired.stack;
    for key in images::with_contexts(stack, BTreeSet::from([service.to_owned()])) {
        let Some(other) = stack.services.get(&key).filter(|_| key != service) else {
            continue;
        };
        if let Some(step) = images::need(context, &key, other, goal.fetching).step() {
            let reference = crate::names::image_reference(&stack.name, &key, other);
            images.entry(fetched(&reference, &step.0)).or_insert(step);
        }
    }
}

/// What a pull or build leaves in the store.
fn fetched(reference: &str, action: &Action) -> ImageName {
    let platform = match action {
        Action::PullImage { platform, .. } | Action::BuildImage { platform, .. } => platform,
        _ => "",
    };
    ImageName::new(reference, Some(platform))
}

/// By service: the image's reference and how it is come by.
pub(crate) type Needs = BTreeMap<String, (String, Need)>;

fn needs(
    context: Context<'_>,
    goal: &Goal<'_>,
    scope: &BTreeSet<String>,
    oneoff: Option<&goal::Oneoff>,
) -> Needs {
    let services = context.desired.stack.services.iter();
    services
        .filter(|(key, service)| {
            let needed = scope.contains(*key) && goal.replicas(key, service) > 0;
            needed || oneoff.is_some_and(|oneoff| oneoff.key == **key)
        })
        .map(|(key, service)| {
            let reference =
                crate::names::image_reference(&context.desired.stack.name, key, service);
            (
                key.clone(),
                (
                    reference,
                    images::need(context, key, service, goal.fetching),
                ),
            )
        })
        .collect()
}

/// Services whose containers are decided on only when their image, or that of a service they need, has been fetched.
fn deferred(context: Context<'_>, draft: &mut Draft, needs: &Needs) -> BTreeSet<String> {
    let mut waiting = BTreeSet::new();
    for service in needs
        .iter()
        .filter(|(_, (_, need))| matches!(need, Need::Refresh { .. }))
        .map(|(key, _)| key)
    {
        let containers: BTreeSet<String> = context
            .observed
            .containers
            .values()
            .filter(|container| container.record.service == *service && !container.record.oneoff)
            .map(|container| container.record.name.clone())
            .collect();
        if !containers.is_empty() {
            draft.note(Note::ReplacedIfImageChanges {
                service: service.clone(),
                containers,
            });
            waiting.insert(service.clone());
        }
    }
    context.graph.dependents(&waiting, |_| true)
}

/// Changed networks that can be made anew: every container of the stack's services on them is in scope. A request for
/// some services does not touch the others, so otherwise the network stays as it is.
fn remake(context: Context<'_>, draft: &mut Draft, scope: &BTreeSet<String>) -> BTreeSet<String> {
    let stack = &context.desired.stack;
    let keys = scope
        .iter()
        .filter_map(|key| stack.services.get(key))
        .flat_map(|service| service.networks.keys());
    let used: BTreeSet<&String> = keys
        .filter_map(|key| stack.networks.get(key))
        .map(|network| &network.name)
        .collect();
    let mut remake = BTreeSet::new();
    for network in networks::changed(context)
        .into_iter()
        .filter(|network| used.contains(network))
    {
        let attached = context
            .observed
            .containers
            .values()
            .filter(|container| is_attached(container, &network));
        let others = attached.filter(|container| {
            let service = &container.record.service;
            stack.services.contains_key(service) && !scope.contains(service)
        });
        let holders: BTreeSet<String> = others
            .map(|container| container.record.name.clone())
            .collect();
        if holders.is_empty() {
            remake.insert(network);
        } else {
            draft.note(Note::NetworkNotApplied { network, holders });
        }
    }
    remake
}

/// Whoever is on a network that must be made anew, and is not the stack's to replace, stands in the way.
fn refuse_remaking_in_use(
    context: Context<'_>,
    draft: &mut Draft,
    changed: &BTreeSet<String>,
    subjects: &Subjects<'_>,
) {
    let replaceable = |holder: &String| {
        let subject = subjects.get(holder);
        subject
            .is_some_and(|s| !s.oneoff && context.desired.stack.services.contains_key(&s.service))
    };
    for network in changed {
        let mut holders = networks::holders(context, network, subjects);
        holders.retain(|holder| !replaceable(holder));
        if !holders.is_empty() {
            draft.problem(Problem::NetworkInUse {
                network: network.clone(),
                holders,
            });
        }
    }
}

fn orphans(context: Context<'_>, draft: &mut Draft, goal: &Goal<'_>, subjects: &mut Subjects<'_>) {
    let here = context.desired.working_dir.display().to_string();
    let mut left = BTreeSet::new();
    let mut elsewhere: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for subject in subjects.values_mut() {
        let Some(container) = subject
            .observed
            .filter(|_| !subject.oneoff && context.is_orphan(&subject.service))
        else {
            continue;
        };
        let origin = &container.record.working_dir;
        if !origin.is_empty() && *origin != here {
            elsewhere
                .entry(origin.clone())
                .or_default()
                .insert(subject.name.clone());
        } else if goal.remove_orphans {
            subject.fate = Fate::Remove {
                why: Reason::Orphan,
                anonymous_volumes: false,
            };
        } else {
            left.insert(subject.name.clone());
        }
    }
    for (working_dir, containers) in elsewhere {
        draft.note(Note::OtherOrigin {
            containers,
            working_dir,
        });
    }
    if !left.is_empty() {
        draft.note(Note::Orphans { containers: left });
    }
}

/// What would make the new containers impossible, found before anything is touched.
fn check(
    context: Context<'_>,
    draft: &mut Draft,
    needs: &Needs,
    subjects: &Subjects<'_>,
    making: &[Making<'_>],
) {
    for Making { subject, .. } in making {
        if let Some((reference, Need::Unavailable)) = needs.get(&subject.service) {
            draft.problem(Problem::ImageMissing {
                service: subject.service.clone(),
                reference: reference.clone(),
            });
        }
        if let Some(project) = context.observed.foreign_containers.get(&subject.name) {
            let (service, name, project) = (
                subject.service.clone(),
                subject.name.clone(),
                project.clone(),
            );
            draft.problem(Problem::NameTaken {
                service,
                name,
                project,
            });
        }
    }
    for subject in subjects.values().filter(|subject| subject.fate.starts()) {
        for (dependency, edge) in context.graph.direct(&subject.service) {
            let healthy = edge.condition == DependencyCondition::Healthy && edge.required;
            if healthy && lacks_healthcheck(context, needs, dependency) {
                let (service, dependent) = (dependency.clone(), subject.service.clone());
                draft.problem(Problem::NoHealthcheck { service, dependent });
            }
        }
    }
}

/// Known to have none; an image that is not there yet may bring one.
fn lacks_healthcheck(context: Context<'_>, needs: &Needs, service: &str) -> bool {
    let Some(definition) = context.desired.stack.services.get(service) else {
        return false;
    };
    match (spec::has_healthcheck(definition), needs.get(service)) {
        (Some(has), _) => !has,
        (None, Some((_, Need::Stored { id }))) => {
            let mut stored = context.observed.images.values();
            stored
                .find(|image| image.id == *id)
                .is_some_and(|image| !image.has_healthcheck)
        }
        (None, _) => false,
    }
}

fn specs(
    context: Context<'_>,
    draft: &mut Draft,
    goal: &Goal<'_>,
    needs: &Needs,
    subjects: &Subjects<'_>,
    making: &[Making<'_>],
    places: &Places,
) -> BTreeMap<String, ContainerSpec> {
    let addresses = addresses::decide(context, draft, subjects, making, places);
    let mut ports = published::decide(context, draft, subjects, making);
    let mut specs = BTreeMap::new();
    for Making { subject, service } in making {
        let Some((_, need)) = needs.get(&subject.service) else {
            continue;
        };
        let aliases = if subject.oneoff && !goal.use_aliases() {
            Vec::new()
        } else {
            vec![subject.service.clone()]
        };
        let inherited = subject
            .observed
            .filter(|_| !goal.renews(&subject.service))
            .map(|old| old.anonymous.clone());
        let parts = Parts {
            desired: context.desired,
            subject,
            service,
            image: need.source(),
            networks: addresses::attachments(&subject.name, &aliases, service, places, &addresses),
            ports: ports.remove(&subject.name).unwrap_or_default(),
            sharing: spec::sharing(context, draft, subjects, &subject.service, service),
            volumes_from: spec::volumes_from(context, draft, subjects, &subject.service, service),
            inherited: inherited.unwrap_or_default(),
        };
        specs.insert(subject.name.clone(), spec::container(parts));
    }
    specs
}

fn network_steps(
    context: Context<'_>,
    goal: &Goal<'_>,
    places: Places,
    decisions: &mut Decisions<'_>,
) {
    for place in places.into_values() {
        match place.origin {
            Origin::Existing => {}
            Origin::Missing(spec) => decisions.new_networks.push((*spec, Reason::Missing)),
            Origin::Changed(spec) => {
                let why = Reason::ConfigChanged { fields: Vec::new() };
                decisions.old_networks.push((place.name, why.clone()));
                decisions.new_networks.push((*spec, why));
            }
        }
    }
    if !goal.remove_orphans {
        return;
    }
    let stack = &context.desired.stack;
    for network in context
        .observed
        .networks
        .values()
        .filter(|network| network.project == stack.name)
    {
        let wanted = stack
            .networks
            .values()
            .any(|wanted| wanted.name == network.name);
        if !wanted && networks::holders(context, &network.name, &decisions.subjects).is_empty() {
            decisions
                .old_networks
                .push((network.name.clone(), Reason::Orphan));
        }
    }
}
