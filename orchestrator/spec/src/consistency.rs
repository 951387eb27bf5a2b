//! What must hold between the parts of a stack: references lead somewhere, nothing contradicts, nothing turns in circles.
//!
//! Must not know: how the tree came to be.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::node::{Entry, Map, Node};
use crate::report::{Report, Span};
use crate::schema::SERVICE;
use crate::suggest;

/// Checks the selected services and the objects they share; `inactive` are services that no profile activated.
pub(crate) fn check(tree: &Node, inactive: &Map, checked: &BTreeSet<String>, report: &mut Report) {
    let empty = Map::default();
    let services = tree
        .at(&["services"])
        .and_then(Node::as_map)
        .unwrap_or(&empty);
    let names: HashSet<&str> = services.0.iter().map(|entry| entry.key.as_str()).collect();
    let mut containers: BTreeMap<String, Span> = BTreeMap::new();
    for entry in services
        .0
        .iter()
        .filter(|entry| checked.contains(&entry.key))
    {
        let Some(service) = entry.value.as_map() else {
            continue;
        };
        source(entry, service, report);
        references(tree, entry, service, report);
        extension_networks(entry, service, report);
        dependencies(entry, service, &names, inactive, report);
        replicas(entry, service, report);
        limits(entry, service, report);
        platforms(entry, service, report);
        watch(entry, service, report);
        mount_targets(entry, service, report);
        if let Some(name) = service.get("container_name")
            && let Some(text) = name.as_str()
            && let Some(first) = containers.insert(text.to_owned(), name.span)
        {
            let _ = report
                .error(
                    "E0024",
                    format!("two services have the container name `{text}`"),
                )
                .at(name.span, "used again")
                .at(first, "first used here");
        }
    }
    file_objects(tree, report);
}

fn source(entry: &Entry, service: &Map, report: &mut Report) {
    let image = service
        .get("image")
        .is_some_and(|image| image.as_str() != Some(""));
    // A misspelt `image` was reported already.
    let misspelt = || {
        service.0.iter().any(|entry| {
            SERVICE.field(&entry.key).is_none()
                && suggest::closest(&entry.key, ["image", "build"].into_iter()).is_some()
        })
    };
    // So was a base that is not there.
    let incomplete = |report: &Report| report.has("E0014") || report.has("E0012");
    let nothing = !image && service.get("build").is_none() && service.get("provider").is_none();
    if nothing && !misspelt() && !incomplete(report) {
        let _ = report
            .error(
                "E0019",
                format!("service `{}` has neither `image` nor `build`", entry.key),
            )
            .at(entry.key_span, "what should run?")
            .hint("add `image: NAME`, or `build: .` for the folder's Dockerfile");
    }
}

/// More services are not listed in an error; `config --services` has them.
const LISTED: usize = 12;

/// Services that the command line names must exist.
pub(crate) fn named(tree: &Node, names: &[String], report: &mut Report) {
    let services = tree.at(&["services"]).and_then(Node::as_map);
    for name in names {
        if services.is_some_and(|map| map.get(name).is_some()) {
            continue;
        }
        let entry = report.error("E0023", format!("no such service: {name}"));
        let known: Vec<_> = services
            .into_iter()
            .flat_map(|map| &map.0)
            .map(|entry| entry.key.as_str())
            .collect();
        if let Some(near) = suggest::closest(name, known.iter().copied()) {
            let _ = entry.hint(format!("did you mean `{near}`?"));
        } else if (1..=LISTED).contains(&known.len()) {
            let _ = entry.hint(format!("the services are {}", known.join(", ")));
        }
    }
}

/// Networks and mode before the implicit network is added.
pub(crate) fn network_modes(tree: &Node, report: &mut Report) {
    for entry in tree
        .at(&["services"])
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0)
    {
        let Some(service) = entry.value.as_map() else {
            continue;
        };
        if let (Some(mode), Some(networks)) =
            (service.entry("network_mode"), service.entry("networks"))
        {
            let _ = report
                .error(
                    "E0018",
                    format!(
                        "service `{}`: `network_mode` and `networks` exclude each other",
                        entry.key
                    ),
                )
                .at(mode.key_span, "takes a network from elsewhere")
                .at(networks.key_span, "and joins networks");
        }
    }
}

/// Keys that begin with `x-` belong to the user wherever Compose has keys of its own, and `networks` is such a place.
fn extension_networks(entry: &Entry, service: &Map, report: &mut Report) {
    for network in service
        .get("networks")
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0)
    {
        if network.key.starts_with("x-") {
            let message = format!(
                "service `{}` cannot join a network named `{}`",
                entry.key, network.key
            );
            let _ = report
                .error("E0016", message)
                .at(
                    network.key_span,
                    "what begins with `x-` is an extension, not a network",
                )
                .hint("give the network another name");
        }
    }
}

/// What the reference's loader cannot print, though it is part of the language. `config` keeps to the reference.
pub(crate) fn beyond_the_reference(tree: &Node, report: &mut Report) {
    for entry in tree
        .at(&["services"])
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0)
    {
        for key in entry
            .value
            .at(&["build", "ssh"])
            .and_then(Node::as_seq)
            .unwrap_or_default()
        {
            if key.as_str().is_some_and(|key| key.contains('=')) {
                let _ = report
                    .error("E0026", format!("service `{}`: an SSH key with a path has no printed form", entry.key))
                    .at(key.span, "other tools cannot read this from a printed stack")
                    .hint("name the key only, or print it all the same with `config --no-consistency`");
            }
        }
    }
}

/// A name by which a service uses an object that a section of the stack declares.
struct Reference<'a> {
    kind: &'static str,
    section: &'static str,
    name: &'a str,
    span: Span,
}

fn references(tree: &Node, entry: &Entry, service: &Map, report: &mut Report) {
    let build = |key: &str| service.get("build").and_then(|build| build.at(&[key]));
    let networks = by_key("network", "networks", service.get("networks"));
    let found = networks
        .filter(|network| !network.name.starts_with("x-"))
        .chain(volume_sources(service))
        .chain(by_source("secret", "secrets", service.get("secrets")))
        .chain(by_source("config", "configs", service.get("configs")))
        .chain(by_source("secret", "secrets", build("secrets")))
        .chain(context_services(build("additional_contexts")))
        .chain(by_key("model", "models", service.get("models")));
    for reference in found {
        declared(tree, entry, &reference, report);
    }
}

fn declared(tree: &Node, service: &Entry, reference: &Reference<'_>, report: &mut Report) {
    let Reference {
        kind,
        section,
        name,
        span,
    } = reference;
    let known = tree.at(&[section]).and_then(Node::as_map);
    if known.is_some_and(|map| map.get(name).is_some()) {
        return;
    }
    let message = format!(
        "service `{}` uses the undefined {kind} `{name}`",
        service.key
    );
    let entry = report
        .error("E0016", message)
        .at(*span, format!("no {kind} of this name"));
    let near =
        known.and_then(|map| suggest::closest(name, map.0.iter().map(|entry| entry.key.as_str())));
    let _ = match near {
        Some(near) => entry.hint(format!("did you mean `{near}`?")),
        None => entry.hint(format!(
            "declare it at the top level: `{section}: {{{name}: }}`"
        )),
    };
}

/// The keys of a map.
fn by_key<'a>(
    kind: &'static str,
    section: &'static str,
    node: Option<&'a Node>,
) -> impl Iterator<Item = Reference<'a>> {
    let entries = node
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0);
    entries.map(move |entry| Reference {
        kind,
        section,
        name: &entry.key,
        span: entry.key_span,
    })
}

/// The `source` of each item of a list.
fn by_source<'a>(
    kind: &'static str,
    section: &'static str,
    node: Option<&'a Node>,
) -> impl Iterator<Item = Reference<'a>> {
    let sources = node
        .and_then(Node::as_seq)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.at(&["source"]));
    sources.filter_map(move |source| {
        Some(Reference {
            kind,
            section,
            name: source.as_str()?,
            span: source.span,
        })
    })
}

fn volume_sources(service: &Map) -> impl Iterator<Item = Reference<'_>> {
    let mounts = service
        .get("volumes")
        .and_then(Node::as_seq)
        .unwrap_or_default();
    let named = mounts
        .iter()
        .filter(|mount| mount.at(&["type"]).and_then(Node::as_str) == Some("volume"));
    named.filter_map(|mount| {
        let source = mount.at(&["source"])?;
        let name = source.as_str().filter(|name| !name.is_empty())?;
        Some(Reference {
            kind: "volume",
            section: "volumes",
            name,
            span: source.span,
        })
    })
}

/// `service:NAME` as a context of a build.
fn context_services(contexts: Option<&Node>) -> impl Iterator<Item = Reference<'_>> {
    contexts
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0)
        .filter_map(|context| {
            let name = context.value.as_str()?.strip_prefix("service:")?;
            Some(Reference {
                kind: "service",
                section: "services",
                name,
                span: context.value.span,
            })
        })
}

fn dependencies(
    entry: &Entry,
    service: &Map,
    services: &HashSet<&str>,
    inactive: &Map,
    report: &mut Report,
) {
    for dependency in service
        .get("depends_on")
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(|map| &map.0)
    {
        let name = dependency.key.as_str();
        if services.contains(name) {
            continue;
        }
        let required = dependency
            .value
            .at(&["required"])
            .and_then(Node::as_bool)
            .unwrap_or(true);
        match inactive.entry(name) {
            Some(_) if !required => {}
            None if !required => {
                let _ = report
                    .warning(
                        "W0006",
                        format!(
                            "service `{}` would wait for `{name}`, which does not exist",
                            entry.key
                        ),
                    )
                    .at(dependency.key_span, "not required, so it starts without it");
            }
            Some(other) => inactive_dependency(entry, dependency, other, report),
            None => {
                let message = format!(
                    "service `{}` depends on the undefined service `{name}`",
                    entry.key
                );
                let entry = report
                    .error("E0016", message)
                    .at(dependency.key_span, "no service of this name");
                if let Some(near) = suggest::closest(name, services.iter().copied()) {
                    let _ = entry.hint(format!("did you mean `{near}`?"));
                }
            }
        }
    }
}

fn inactive_dependency(service: &Entry, dependency: &Entry, other: &Entry, report: &mut Report) {
    let profiles = other
        .value
        .at(&["profiles"])
        .and_then(Node::as_seq)
        .unwrap_or_default();
    let profiles: Vec<_> = profiles.iter().filter_map(Node::as_str).collect();
    let (service, name) = (&service.key, &dependency.key);
    let _ = report
        .error(
            "E0016",
            format!("service `{service}` depends on `{name}`, which no active profile includes"),
        )
        .at(dependency.key_span, "needed here")
        .at(other.key_span, "inactive")
        .hint(format!(
            "activate it with `--profile {}`, or set `required: false`",
            profiles.join(" --profile ")
        ));
}

fn number(node: Option<&Node>) -> Option<f64> {
    node?.scalar_text()?.parse().ok()
}

fn replicas(entry: &Entry, service: &Map, report: &mut Report) {
    let scale = service.get("scale");
    let deployed = service
        .get("deploy")
        .and_then(|deploy| deploy.at(&["replicas"]));
    contradiction(
        &entry.key,
        ("scale", scale),
        ("deploy.replicas", deployed),
        report,
    );
    let wanted = scale.or(deployed);
    if let Some(count) = number(wanted)
        && count > 1.0
        && let (Some(name), Some(wanted)) = (service.entry("container_name"), wanted)
    {
        let _ = report
            .error(
                "E0018",
                format!(
                    "service `{}` has a container name and {count} replicas",
                    entry.key
                ),
            )
            .at(name.key_span, "only one container can have this name")
            .at(wanted.span, "but more are wanted");
    }
}

fn limits(entry: &Entry, service: &Map, report: &mut Report) {
    let deployed = |path: &[&str]| {
        service
            .get("deploy")
            .and_then(|deploy| deploy.at(path))
            .cloned()
    };
    for (own, path, label) in [
        (
            "mem_limit",
            ["resources", "limits", "memory"],
            "deploy.resources.limits.memory",
        ),
        (
            "cpus",
            ["resources", "limits", "cpus"],
            "deploy.resources.limits.cpus",
        ),
        (
            "pids_limit",
            ["resources", "limits", "pids"],
            "deploy.resources.limits.pids",
        ),
        (
            "mem_reservation",
            ["resources", "reservations", "memory"],
            "deploy.resources.reservations.memory",
        ),
    ] {
        contradiction(
            &entry.key,
            (own, service.get(own)),
            (label, deployed(&path).as_ref()),
            report,
        );
    }
}

fn contradiction(
    service: &str,
    own: (&str, Option<&Node>),
    other: (&str, Option<&Node>),
    report: &mut Report,
) {
    let (Some(here), Some(there)) = (own.1, other.1) else {
        return;
    };
    if number(Some(here)) != number(Some(there)) {
        let _ = report
            .error(
                "E0018",
                format!(
                    "service `{service}`: `{}` and `{}` say different things",
                    own.0, other.0
                ),
            )
            .at(here.span, "one value")
            .at(there.span, "another value");
    }
}

fn platforms(entry: &Entry, service: &Map, report: &mut Report) {
    let Some(platform) = service.get("platform") else {
        return;
    };
    let Some(platforms) = service
        .get("build")
        .and_then(|build| build.at(&["platforms"]))
    else {
        return;
    };
    let listed = platforms.as_seq().unwrap_or_default();
    if !listed.is_empty() && !listed.iter().any(|item| item.as_str() == platform.as_str()) {
        let _ = report
            .error(
                "E0018",
                format!(
                    "service `{}` is built for other platforms than the one it runs on",
                    entry.key
                ),
            )
            .at(platform.span, "runs on this one")
            .at(platforms.span, "which is not among these");
    }
}

fn watch(entry: &Entry, service: &Map, report: &mut Report) {
    let rules = service
        .get("develop")
        .and_then(|develop| develop.at(&["watch"]))
        .and_then(Node::as_seq);
    for rule in rules.unwrap_or_default() {
        let action = rule
            .at(&["action"])
            .and_then(Node::as_str)
            .unwrap_or_default();
        if action.starts_with("sync") && rule.at(&["target"]).is_none() {
            let _ = report
                .error(
                    "E0008",
                    format!(
                        "service `{}`: a `{action}` rule needs a `target`",
                        entry.key
                    ),
                )
                .at(rule.span, "where to in the container?");
        }
    }
}

/// One place in a container cannot show two things.
fn mount_targets(entry: &Entry, service: &Map, report: &mut Report) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let volumes = service
        .get("volumes")
        .and_then(Node::as_seq)
        .unwrap_or_default();
    let volumes = volumes
        .iter()
        .filter_map(|mount| Some((mount.at(&["target"])?.as_str()?.to_owned(), mount.span)));
    let tmpfs = service
        .get("tmpfs")
        .and_then(Node::as_seq)
        .unwrap_or_default();
    let tmpfs = tmpfs
        .iter()
        .filter_map(|node| Some((node.as_str()?.split(':').next()?.to_owned(), node.span)));
    for (target, span) in volumes.chain(tmpfs) {
        if let Some(first) = seen.insert(target.clone(), span) {
            let _ = report
                .error(
                    "E0024",
                    format!("service `{}` mounts two things at `{target}`", entry.key),
                )
                .at(span, "mounted again")
                .at(first, "first mounted here");
        }
    }
}

fn file_objects(tree: &Node, report: &mut Report) {
    for (section, kind, keys) in [
        ("secrets", "secret", &["file", "environment"][..]),
        ("configs", "config", &["file", "environment", "content"]),
    ] {
        for entry in tree
            .at(&[section])
            .and_then(Node::as_map)
            .into_iter()
            .flat_map(|map| &map.0)
        {
            let Some(object) = entry.value.as_map() else {
                continue;
            };
            if object.get("external").is_some()
                || object.get("driver").is_some() && kind == "config"
            {
                continue;
            }
            let sources: Vec<&Entry> = keys.iter().filter_map(|key| object.entry(key)).collect();
            let listed = keys
                .iter()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ");
            match sources.as_slice() {
                [_] => {}
                [] => {
                    let _ = report
                        .error(
                            "E0008",
                            format!("{kind} `{}` needs one of {listed}", entry.key),
                        )
                        .at(entry.key_span, "where does its content come from?");
                }
                [first, second, ..] => {
                    let _ = report
                        .error(
                            "E0018",
                            format!("{kind} `{}` can have only one of {listed}", entry.key),
                        )
                        .at(second.key_span, "a second source")
                        .at(first.key_span, "the first one");
                }
            }
        }
    }
}

/// Dependencies that turn in a circle, each circle once, as its path.
pub(crate) fn cycles(tree: &Node, report: &mut Report) {
    let Some(services) = tree.at(&["services"]).and_then(Node::as_map) else {
        return;
    };
    let edges: HashMap<&str, Vec<(&str, Span)>> = services
        .0
        .iter()
        .map(|entry| {
            let targets = entry.value.at(&["depends_on"]).and_then(Node::as_map);
            let targets = targets
                .into_iter()
                .flat_map(|map| &map.0)
                .map(|target| (target.key.as_str(), target.key_span));
            (entry.key.as_str(), targets.collect())
        })
        .collect();
    let mut done: HashSet<&str> = HashSet::new();
    for entry in &services.0 {
        let start = entry.key.as_str();
        if done.contains(start) {
            continue;
        }
        // Each frame: a service and how many of its dependencies were followed.
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        let mut spans: Vec<Span> = Vec::new();
        while let Some((name, next)) = path.last_mut() {
            let Some(&(target, span)) = edges.get(name).and_then(|targets| targets.get(*next))
            else {
                done.insert(*name);
                path.pop();
                spans.pop();
                continue;
            };
            *next += 1;
            if let Some(begin) = path.iter().position(|(name, _)| *name == target) {
                let mut circle: Vec<&str> = path[begin..].iter().map(|(name, _)| *name).collect();
                circle.push(target);
                let mut steps: Vec<Span> = spans[begin..].to_vec();
                steps.push(span);
                circle_error(&circle, &steps, report);
            } else if !done.contains(target) && edges.contains_key(target) {
                path.push((target, 0));
                spans.push(span);
            }
        }
    }
}

fn circle_error(circle: &[&str], steps: &[Span], report: &mut Report) {
    let mut entry = report.error(
        "E0017",
        format!(
            "services depend on each other in a circle: {}",
            circle.join(" -> ")
        ),
    );
    for (pair, span) in circle.windows(2).zip(steps) {
        entry = entry.at(*span, format!("`{}` depends on `{}`", pair[0], pair[1]));
    }
    let _ = entry;
}
