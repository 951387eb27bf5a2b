//! Owns which images must be had first, and whether what comes of it can replace containers.

use std::collections::{BTreeMap, BTreeSet};

use hoist_spec::model::{self, Service};

use crate::action::{Action, ImageSource};
use crate::names::{ImageName, image_reference};
use crate::plan::Reason;
use crate::planner::Context;
use crate::planner::draft::Draft;
use crate::problem::Problem;
use crate::request::{Build, Pull, PullPolicy};

/// What the command line says about fetching.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fetching {
    pub(crate) build: bool,
    pub(crate) no_build: bool,
    pub(crate) pull: Option<PullPolicy>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Need {
    /// In the store, and good.
    Stored { id: String },
    /// In the store under this id, and to be fetched again: the id may change.
    Refresh {
        id: String,
        action: Action,
        why: Reason,
    },
    /// Not in the store.
    Fetch { action: Action, why: Reason },
    /// Not in the store, and it may not be fetched.
    Unavailable,
}

impl Need {
    pub(crate) fn source(&self) -> ImageSource {
        match self {
            Self::Stored { id } => ImageSource::Stored { id: id.clone() },
            Self::Refresh { .. } | Self::Fetch { .. } | Self::Unavailable => ImageSource::Fetched,
        }
    }

    pub(crate) fn step(&self) -> Option<(Action, Reason)> {
        match self {
            Self::Refresh { action, why, .. } | Self::Fetch { action, why } => {
                Some((action.clone(), why.clone()))
            }
            Self::Stored { .. } | Self::Unavailable => None,
        }
    }
}

/// How the image of a service is come by.
pub(crate) fn need(context: Context<'_>, key: &str, service: &Service, fetching: Fetching) -> Need {
    let reference = image_reference(&context.desired.stack.name, key, service);
    let (key, service) = builder(context, &reference)
        .filter(|_| service.build.is_none())
        .unwrap_or((key, service));
    let name = ImageName::new(&reference, service.platform.as_deref());
    let stored = context.observed.images.get(&name);
    let policy = fetching.pull.map_or(service.pull_policy, |policy| {
        Some(match policy {
            PullPolicy::Always => model::PullPolicy::Always,
            PullPolicy::Missing => model::PullPolicy::Missing,
            PullPolicy::Never => model::PullPolicy::Never,
        })
    });
    // A pull policy in the file beside a build section prefers the registry; one on the command line does not.
    let registry_first = service.image.is_some()
        && matches!(
            service.pull_policy,
            Some(
                model::PullPolicy::Always
                    | model::PullPolicy::Missing
                    | model::PullPolicy::Every(_)
            )
        );
    let build = service
        .build
        .as_ref()
        .filter(|_| fetching.build || fetching.no_build || !registry_first);
    // Only what is run is built on the way: `build` makes the others.
    let build_one = |build: &model::Build| {
        let mut build = build.clone();
        if build.platforms.len() > 1 {
            build.platforms = service.platform.iter().cloned().collect();
        }
        build_step(&reference, key, service, &build)
    };
    let step = build.map_or_else(|| pull_step(&reference, service), build_one);
    let Some(image) = stored else {
        let allowed = if build.is_some() {
            !fetching.no_build
        } else {
            policy != Some(model::PullPolicy::Never)
        };
        return if allowed {
            Need::Fetch {
                action: step,
                why: Reason::Missing,
            }
        } else {
            Need::Unavailable
        };
    };
    let again = if build.is_some() {
        !fetching.no_build && (fetching.build || policy == Some(model::PullPolicy::Build))
    } else {
        match policy {
            Some(model::PullPolicy::Always) => true,
            Some(model::PullPolicy::Every(age)) => image
                .refreshed
                .is_none_or(|last| context.now.since(last) >= age),
            _ => false,
        }
    };
    let id = image.id.clone();
    if again && !is_fresh(context, &name) {
        Need::Refresh {
            id,
            action: step,
            why: Reason::Forced,
        }
    } else {
        Need::Stored { id }
    }
}

/// The service that builds a reference. Others that only name it share its image: no registry has it.
fn builder<'a>(context: Context<'a>, reference: &str) -> Option<(&'a str, &'a Service)> {
    let stack = &context.desired.stack;
    let mut services = stack
        .services
        .iter()
        .map(|(key, service)| (key.as_str(), service));
    services.find(|(key, service)| {
        service.build.is_some() && image_reference(&stack.name, key, service) == reference
    })
}

/// Services whose images a build takes files from: `additional_contexts: {name: service:KEY}`.
fn contexts(service: &Service) -> impl Iterator<Item = &str> {
    let build = service.build.iter();
    build
        .flat_map(|build| build.additional_contexts.values())
        .filter_map(|context| context.strip_prefix("service:"))
}

/// The services, and those that their builds take files from.
pub(crate) fn with_contexts(stack: &model::Stack, services: BTreeSet<String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut open: Vec<String> = services.into_iter().collect();
    while let Some(key) = open.pop() {
        if let Some(service) = stack.services.get(&key).filter(|_| !all.contains(&key)) {
            open.extend(contexts(service).map(str::to_owned));
            all.insert(key);
        }
    }
    all
}

/// Which builds take files from the images of which others: pairs of references, the later one first.
pub(crate) fn order(stack: &model::Stack) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (key, service) in &stack.services {
        for context in contexts(service) {
            // Builds on each other cannot be ordered: that is an error when they run.
            let on_each_other =
                with_contexts(stack, BTreeSet::from([context.to_owned()])).contains(key);
            if let Some(other) = stack.services.get(context).filter(|_| !on_each_other) {
                let name = |key: &str, service| image_reference(&stack.name, key, service);
                pairs.push((name(key, service), name(context, other)));
            }
        }
    }
    pairs
}

/// Pulled or built by this very request.
fn is_fresh(context: Context<'_>, name: &ImageName) -> bool {
    let image = context.observed.images.get(name);
    context.request.refreshed.contains(name)
        || image
            .and_then(|image| image.refreshed)
            .is_some_and(|last| last >= context.request.at)
}

fn pull_step(reference: &str, service: &Service) -> Action {
    Action::PullImage {
        reference: reference.to_owned(),
        platform: service.platform.clone().unwrap_or_default(),
    }
}

fn build_step(reference: &str, key: &str, service: &Service, build: &model::Build) -> Action {
    Action::BuildImage {
        reference: reference.to_owned(),
        service: key.to_owned(),
        build: Box::new(build.clone()),
        platform: service.platform.clone().unwrap_or_default(),
    }
}

/// `hoist pull`.
pub(crate) fn pull(context: Context<'_>, draft: &mut Draft, pull: &Pull) {
    let mut services = context.selected(draft, &pull.services);
    if pull.include_deps {
        services = context.graph.closure(&services);
    }
    let mut steps = BTreeMap::new();
    for (key, service) in context
        .desired
        .stack
        .services
        .iter()
        .filter(|(key, _)| services.contains(*key))
    {
        let skip = service.image.is_none() || (pull.ignore_buildable && service.build.is_some());
        let name = ImageName::of(&context.desired.stack.name, key, service);
        let present = context.observed.images.contains_key(&name);
        let enough = match pull.policy {
            Some(PullPolicy::Never) => true,
            Some(PullPolicy::Missing) => present,
            Some(PullPolicy::Always) | None => false,
        };
        let fresh = present && is_fresh(context, &name);
        if skip || enough || fresh {
            continue;
        }
        let step = pull_step(&name.reference, service);
        steps.entry(name).or_insert(step);
    }
    for action in steps.into_values() {
        draft.step(action, Reason::Requested);
    }
}

/// `hoist build`.
pub(crate) fn build(context: Context<'_>, draft: &mut Draft, build: &Build) {
    let mut services = context.selected(draft, &build.services);
    if build.with_dependencies {
        services = context.graph.closure(&services);
    }
    let services = with_contexts(&context.desired.stack, services);
    let mut steps = BTreeMap::new();
    for (key, service) in context
        .desired
        .stack
        .services
        .iter()
        .filter(|(key, _)| services.contains(*key))
    {
        let Some(section) = &service.build else {
            if build.services.contains(key) {
                draft.problem(Problem::NotBuildable {
                    service: key.clone(),
                });
            }
            continue;
        };
        let reference = image_reference(&context.desired.stack.name, key, service);
        let name = ImageName::new(&reference, service.platform.as_deref());
        if context.observed.images.contains_key(&name) && is_fresh(context, &name) {
            continue;
        }
        let mut section = section.clone();
        section.no_cache |= build.no_cache;
        section.pull |= build.pull;
        section.args.extend(build.args.clone());
        section
            .cache_from
            .splice(0..0, build.cache_from.iter().cloned());
        section.cache_to.extend(build.cache_to.iter().cloned());
        section.network = build.network.clone().or(section.network);
        section
            .ssh
            .extend(build.ssh.iter().map(|(id, path)| model::BuildSsh {
                id: id.clone(),
                path: path.clone(),
            }));
        steps
            .entry(reference.clone())
            .or_insert_with(|| build_step(&reference, key, service, &section));
    }
    let steps = steps
        .into_iter()
        .map(|(reference, action)| (reference, draft.step(action, Reason::Requested)));
    let steps: BTreeMap<_, _> = steps.collect();
    for (later, first) in order(&context.desired.stack) {
        if let (Some(later), Some(first)) = (steps.get(&later), steps.get(&first)) {
            draft.after(*later, *first);
        }
    }
}
