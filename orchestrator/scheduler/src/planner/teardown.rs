//! Owns the way down: `down` is the plan towards the empty stack, `rm` takes away stopped containers.

use std::collections::BTreeSet;

use crate::names::image_reference;
use crate::observed::State;
use crate::plan::Reason;
use crate::planner::assemble::{Decisions, assemble};
use crate::planner::draft::Draft;
use crate::planner::subject::{self, Fate, Subjects};
use crate::planner::{Context, networks};
use crate::problem::Note;
use crate::request::{Down, ImageRemoval, Remove};

pub(crate) fn down(context: Context<'_>, draft: &mut Draft, down: &Down) {
    let selected = context.selected(draft, &down.services);
    let mut subjects = subject::existing(context.observed);
    let mut left = BTreeSet::new();
    for subject in subjects
        .values_mut()
        .filter(|subject| selected.contains(&subject.service))
    {
        let orphan =
            context.is_orphan(&subject.service) && !down.services.contains(&subject.service);
        if orphan && !down.remove_orphans {
            left.insert(subject.name.clone());
            continue;
        }
        let why = if orphan {
            Reason::Orphan
        } else {
            Reason::Requested
        };
        subject.fate = Fate::Remove {
            why,
            anonymous_volumes: down.volumes,
        };
    }
    if !left.is_empty() {
        draft.note(Note::Orphans { containers: left });
    }
    let mut decisions = Decisions::new(context.observed, context.graph, subjects);
    decisions.timeout = down.timeout;
    // With services named, what they share with the others stays.
    if down.services.is_empty() {
        for network in context
            .observed
            .networks
            .values()
            .filter(|network| networks::goes_with(context, network))
        {
            let holders = networks::holders(context, &network.name, &decisions.subjects);
            if holders.is_empty() {
                decisions
                    .old_networks
                    .push((network.name.clone(), Reason::Requested));
            } else if !network.is_predefined() {
                draft.note(Note::NetworkKept {
                    network: network.name.clone(),
                    holders,
                });
            }
        }
        if down.volumes {
            decisions.old_volumes = volumes(context, &decisions.subjects);
        }
        decisions.old_images = images(context, down.images, &decisions.subjects);
    }
    assemble(draft, decisions);
}

/// Named volumes of the project that nobody uses any more. External ones have another owner.
fn volumes(context: Context<'_>, subjects: &Subjects<'_>) -> BTreeSet<String> {
    let stack = &context.desired.stack;
    let own = context
        .observed
        .volumes
        .values()
        .filter(|volume| volume.project == stack.name && !volume.key.is_empty());
    own.filter(|volume| {
        let external = stack
            .volumes
            .values()
            .any(|known| known.external && known.name == volume.name);
        let declared = context.desired.is_unknown() || stack.volumes.contains_key(&volume.key);
        let used = context.observed.containers.values().any(|container| {
            let goes = subjects
                .get(&container.record.name)
                .is_some_and(|subject| subject.fate.removes());
            container.record.volumes.contains(&volume.name) && !goes
        });
        declared && !external && !used && volume.foreign_users.is_empty()
    })
    .map(|volume| volume.name.clone())
    .collect()
}

fn images(
    context: Context<'_>,
    removal: ImageRemoval,
    subjects: &Subjects<'_>,
) -> BTreeSet<String> {
    let project = &context.desired.stack.name;
    let from_stack = context.desired.stack.services.iter();
    let from_stack = from_stack.map(|(key, service)| {
        (
            image_reference(project, key, service),
            service.image.is_none(),
        )
    });
    let gone = subjects
        .values()
        .filter(|subject| subject.fate.removes())
        .filter_map(|subject| subject.observed);
    let recorded = gone
        .filter(|_| context.desired.is_unknown())
        .map(|container| {
            let record = &container.record;
            (
                record.image.clone(),
                record.image == format!("{project}-{}", record.service),
            )
        });
    let wanted = from_stack.chain(recorded).filter(|(reference, local)| {
        let used = subjects.values().any(|subject| {
            !subject.fate.removes()
                && subject
                    .observed
                    .is_some_and(|container| container.record.image == *reference)
        });
        let meant = match removal {
            ImageRemoval::None => false,
            ImageRemoval::Local => *local,
            ImageRemoval::All => true,
        };
        meant
            && !used
            && context
                .observed
                .images
                .keys()
                .any(|name| name.reference == *reference)
    });
    wanted.map(|(reference, _)| reference).collect()
}

pub(crate) fn remove(context: Context<'_>, draft: &mut Draft, remove: &Remove) {
    let selected = context.selected(draft, &remove.services);
    let mut subjects = subject::existing(context.observed);
    for subject in subjects
        .values_mut()
        .filter(|subject| selected.contains(&subject.service) && !subject.oneoff)
    {
        let orphan =
            context.is_orphan(&subject.service) && !remove.services.contains(&subject.service);
        let stopped = !subject.state().is_some_and(State::needs_stop);
        if !orphan && (stopped || remove.stop) {
            subject.fate = Fate::Remove {
                why: Reason::Requested,
                anonymous_volumes: remove.volumes,
            };
        }
    }
    assemble(
        draft,
        Decisions::new(context.observed, context.graph, subjects),
    );
}
