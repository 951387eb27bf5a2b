//! What follows from the whole stack: names, the implicit network, implicit dependencies, values of open variables,
//! env and label files, profiles.
//!
//! Must not know: how files were found or merged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::canonical;
use crate::dotenv;
use crate::files::{Loader, Variables};
use crate::node::{Data, Entry, Map, Node, ValueOrigin};
use crate::report::Span;
use crate::source::Kind;

/// Which services take part.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) profiles: BTreeSet<String>,
    pub(crate) named: Vec<String>,
}

/// Takes the services out that no profile activates.
pub(crate) fn apply_profiles(tree: &mut Node, selection: &Selection) -> Map {
    let Some(services) = tree
        .as_map_mut()
        .and_then(|map| map.get_mut("services"))
        .and_then(Node::as_map_mut)
    else {
        return Map::default();
    };
    let profiles_of = |service: &Node| -> Vec<String> {
        let items = service
            .at(&["profiles"])
            .and_then(Node::as_seq)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let mut active = selection.profiles.clone();
    for name in &selection.named {
        if let Some(service) = services.get(name) {
            active.extend(profiles_of(service));
        }
    }
    let is_active = |service: &Node| {
        let profiles = profiles_of(service);
        profiles.is_empty()
            || active.contains("*")
            || profiles.iter().any(|profile| active.contains(profile))
    };
    let (on, off) = std::mem::take(&mut services.0)
        .into_iter()
        .partition(|entry: &Entry| is_active(&entry.value));
    services.0 = on;
    Map(off)
}

/// The active services of these names and their dependencies; all services when there are no names.
pub(crate) fn with_dependencies(tree: &Node, named: &[String]) -> BTreeSet<String> {
    let services = tree
        .at(&["services"])
        .and_then(Node::as_map)
        .map(|map| map.0.as_slice())
        .unwrap_or_default();
    if named.is_empty() {
        return services.iter().map(|entry| entry.key.clone()).collect();
    }
    let (mut found, mut open) = (BTreeSet::new(), named.to_vec());
    while let Some(name) = open.pop() {
        let needed = tree
            .at(&["services", &name, "depends_on"])
            .and_then(Node::as_map);
        if found.insert(name) {
            open.extend(
                needed
                    .into_iter()
                    .flat_map(|map| &map.0)
                    .map(|entry| entry.key.clone()),
            );
        }
    }
    found
}

/// Reads back what [`canonical::EMPTY`] lists.
pub(crate) fn emptied(tree: &mut Node) {
    let listed = |node: &mut Node| {
        let span = node.span;
        let Some(map) = node.as_map_mut() else { return };
        let Some(entry) = map.remove(canonical::EMPTY) else {
            return;
        };
        for key in entry
            .value
            .as_seq()
            .unwrap_or_default()
            .iter()
            .filter_map(Node::as_str)
        {
            map.set_default(key, Node::string(span, ""));
        }
    };
    for section_name in ["networks", "volumes", "configs", "secrets"] {
        section(tree, section_name)
            .into_iter()
            .flat_map(|map| &mut map.0)
            .for_each(|entry| listed(&mut entry.value));
    }
    for entry in section(tree, "services")
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        if let Some(build) = entry
            .value
            .as_map_mut()
            .and_then(|map| map.get_mut("build"))
        {
            listed(build);
        }
    }
}

/// Names of resources; without a project only of the external ones.
pub(crate) fn names(tree: &mut Node, project: Option<&str>) {
    for section in ["networks", "volumes", "configs", "secrets"] {
        let Some(map) = tree
            .as_map_mut()
            .and_then(|map| map.get_mut(section))
            .and_then(Node::as_map_mut)
        else {
            continue;
        };
        for entry in &mut map.0 {
            let span = entry.key_span;
            if entry.value.is_null() {
                entry.value.data = Data::Map(Map::default());
            }
            let Some(resource) = entry.value.as_map_mut() else {
                continue;
            };
            let external = resource.get("external").and_then(Node::as_bool) == Some(true);
            let name = match project {
                _ if external => entry.key.clone(),
                Some(project) => format!("{project}_{}", entry.key),
                None => continue,
            };
            // A name that is nothing stays nothing where there is no other to make.
            if resource
                .get("name")
                .is_none_or(|name| name.as_str() == Some("") && !external)
            {
                resource.remove("name");
                resource.set_default("name", Node::string(span, name));
            }
        }
    }
}

/// Services that say nothing about networks meet on `default`.
pub(crate) fn default_network(tree: &mut Node) {
    let mut used = None;
    if let Some(services) = section(tree, "services") {
        for entry in &mut services.0 {
            let span = entry.key_span;
            let Some(service) = entry.value.as_map_mut() else {
                continue;
            };
            if service.get("provider").is_some() || service.get("network_mode").is_some() {
                continue;
            }
            let empty = service
                .get("networks")
                .is_none_or(|node| node.as_map().is_none_or(|map| map.0.is_empty()));
            if empty {
                let mut networks = Map::default();
                networks.set("default", Node::new(span, Data::Null));
                service.remove("networks");
                service.set_default("networks", Node::new(span, Data::Map(networks)));
            }
            if service
                .get("networks")
                .is_some_and(|networks| networks.at(&["default"]).is_some())
            {
                used = Some(span);
            }
        }
    }
    if let (Some(span), Some(map)) = (used, tree.as_map_mut()) {
        map.set_default("networks", Node::new(span, Data::Map(Map::default())));
        if let Some(networks) = map.get_mut("networks").and_then(Node::as_map_mut) {
            networks.set_default("default", Node::new(span, Data::Null));
        }
    }
}

fn section<'a>(tree: &'a mut Node, name: &str) -> Option<&'a mut Map> {
    tree.as_map_mut()?.get_mut(name)?.as_map_mut()
}

/// Links and shared namespaces are dependencies, too.
fn implicit_dependencies(service: &mut Map) {
    let mut found: Vec<(String, Span, bool)> = Vec::new();
    for link in service
        .get("links")
        .and_then(Node::as_seq)
        .unwrap_or_default()
    {
        if let Some(text) = link.as_str() {
            found.push((
                text.split(':').next().unwrap_or_default().to_owned(),
                link.span,
                true,
            ));
        }
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(name) = node.as_str().and_then(|text| text.strip_prefix("service:"))
        {
            found.push((name.to_owned(), node.span, true));
        }
    }
    for source in service
        .get("volumes_from")
        .and_then(Node::as_seq)
        .unwrap_or_default()
    {
        if let Some(text) = source
            .as_str()
            .filter(|text| !text.starts_with("container:"))
        {
            found.push((
                text.split(':').next().unwrap_or_default().to_owned(),
                source.span,
                false,
            ));
        }
    }
    for (name, span, restart) in found {
        let mut dependency = Map::default();
        dependency.set("condition", Node::string(span, "service_started"));
        if restart {
            dependency.set("restart", Node::new(span, Data::Bool(true)));
        }
        dependency.set("required", Node::new(span, Data::Bool(true)));
        service.set_default("depends_on", Node::new(span, Data::Map(Map::default())));
        if let Some(map) = service.get_mut("depends_on").and_then(Node::as_map_mut) {
            map.set_default(&name, Node::new(span, Data::Map(dependency)));
        }
    }
}

/// Defaults inside every service.
pub(crate) fn services(tree: &mut Node) {
    for entry in section(tree, "services")
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        if let Some(map) = entry.value.as_map_mut() {
            service(map);
        }
    }
}

/// Where a build is, unless it says so.
pub(crate) fn builds(tree: &mut Node, variables: &Variables, project_dir: &str) {
    for entry in section(tree, "services")
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        let Some(node) = entry
            .value
            .as_map_mut()
            .and_then(|map| map.get_mut("build"))
        else {
            continue;
        };
        let span = node.span;
        let Some(build) = node.as_map_mut() else {
            continue;
        };
        build.set_default("context", Node::string(span, project_dir));
        if build.get("dockerfile_inline").is_none() {
            build.set_default("dockerfile", Node::string(span, "Dockerfile"));
        }
        if let Some(args) = build.get_mut("args").and_then(Node::as_map_mut) {
            close(args, variables);
            args.0.retain(|entry| !entry.value.is_null());
        }
    }
}

/// Gives variables without a value the caller's.
pub(crate) fn environments(tree: &mut Node, variables: &Variables) {
    for entry in section(tree, "services")
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        if let Some(environment) = entry
            .value
            .as_map_mut()
            .and_then(|map| map.get_mut("environment"))
            .and_then(Node::as_map_mut)
        {
            close(environment, variables);
        }
    }
}

/// Folds the files that services name into their values. Those of services that are not `checked` may be missing, and so
/// may all, when nothing is made.
pub(crate) fn fold_service_files(
    tree: &mut Node,
    variables: &Variables,
    checked: &BTreeSet<String>,
    loader: &mut Loader<'_>,
) {
    for entry in section(tree, "services")
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        if let Some(map) = entry.value.as_map_mut() {
            let mark = loader.report.mark();
            fold_files(map, variables, loader);
            if loader.report.forgiving || !checked.contains(&entry.key) {
                loader.report.forget(mark);
            }
        }
    }
}

fn service(service: &mut Map) {
    if let Some(Node {
        data: Data::Str(policy),
        ..
    }) = service.get_mut("pull_policy")
        && policy == "if_not_present"
    {
        "missing".clone_into(policy);
    }
    for entry in service
        .get_mut("depends_on")
        .and_then(Node::as_map_mut)
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        let span = entry.value.span;
        if let Some(dependency) = entry.value.as_map_mut() {
            dependency.set_default("required", Node::new(span, Data::Bool(true)));
        }
    }
    let image = service.get("image").cloned();
    for hook in service
        .get_mut("pre_start")
        .and_then(seq_mut)
        .into_iter()
        .flatten()
    {
        if let (Some(hook), Some(image)) = (hook.as_map_mut(), &image) {
            hook.set_default("image", image.clone());
        }
    }
    implicit_dependencies(service);
}

fn seq_mut(node: &mut Node) -> Option<&mut Vec<Node>> {
    match &mut node.data {
        Data::Seq(items) => Some(items),
        _ => None,
    }
}

/// What an included file leaves open is filled from its own folder and variables, not from the including stack's.
pub(crate) fn included(tree: &mut Node, variables: &Variables, dir: &str) {
    for entry in section(tree, "services")
        .into_iter()
        .flat_map(|map| &mut map.0)
    {
        let Some(service) = entry.value.as_map_mut() else {
            continue;
        };
        if let Some(environment) = service.get_mut("environment").and_then(Node::as_map_mut) {
            close(environment, variables);
        }
        if let Some(node) = service.get_mut("build") {
            let span = node.span;
            if let Some(build) = node.as_map_mut() {
                build.set_default("context", Node::string(span, dir));
                if let Some(args) = build.get_mut("args").and_then(Node::as_map_mut) {
                    close(args, variables);
                }
            }
        }
    }
}

/// A key without a value takes the caller's.
fn close(map: &mut Map, variables: &Variables) {
    for entry in &mut map.0 {
        if entry.value.is_null()
            && let Some(value) = variables.get(&entry.key)
        {
            entry.value.data = Data::Str(value.clone());
            entry.value.origin = ValueOrigin::Variable;
        }
    }
}

/// Folds `env_file` into `environment` and `label_file` into `labels`.
fn fold_files(service: &mut Map, variables: &Variables, loader: &mut Loader<'_>) {
    if let Some(files) = service.remove("env_file") {
        let own = table_of(service.get("environment"));
        let mut collected: Variables = own
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.clone()?)))
            .collect();
        let mut below = Map::default();
        for item in files.value.as_seq().unwrap_or_default() {
            let set = env_file(item, variables, &own, &mut collected, loader);
            fold(&mut below, set, &collected, ValueOrigin::EnvFile);
        }
        put_over(service, "environment", below, files.value.span);
    }
    if let Some(files) = service.remove("label_file") {
        let mut collected = Variables::new();
        let mut below = Map::default();
        for item in files.value.as_seq().unwrap_or_default() {
            let Some(path) = item.as_str().map(str::to_owned) else {
                continue;
            };
            let Some(file) = loader.text(&path, Some(item.span), "the label file") else {
                continue;
            };
            let text = loader.report.text(file);
            let set = loader.dotenv(
                file,
                &text.text,
                &|name| variables.get(name).cloned(),
                &mut collected,
            );
            fold(&mut below, set, &collected, ValueOrigin::LabelFile);
        }
        put_over(service, "labels", below, files.value.span);
    }
}

fn table_of(node: Option<&Node>) -> BTreeMap<String, Option<String>> {
    let entries = node
        .and_then(Node::as_map)
        .map(|map| map.0.as_slice())
        .unwrap_or_default();
    entries
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.scalar_text()))
        .collect()
}

/// Adds what one file set, over what the files before it did.
fn fold(below: &mut Map, set: Vec<(String, Span)>, values: &Variables, origin: ValueOrigin) {
    for (name, span) in set {
        let Some(value) = values.get(&name) else {
            continue;
        };
        let node = Node {
            origin,
            ..Node::string(span, value.clone())
        };
        match below.get_mut(&name) {
            Some(slot) if slot.span.file == span.file => *slot = node,
            Some(slot) => {
                let old = std::mem::replace(slot, Node::new(span, Data::Null));
                *slot = node.over(old);
            }
            None => below.set(&name, node),
        }
    }
}

/// The service's own values over those of the files.
fn put_over(service: &mut Map, key: &str, below: Map, span: Span) {
    let mut merged = below;
    for mut entry in service
        .remove(key)
        .and_then(|entry| entry.value.as_map().cloned())
        .unwrap_or_default()
        .0
    {
        match merged.get_mut(&entry.key) {
            Some(_) if entry.value.is_null() => {}
            Some(slot) => {
                let old = std::mem::replace(slot, Node::new(span, Data::Null));
                *slot = entry.value.over(old);
            }
            None => {
                entry.key_span = entry.value.span;
                merged.0.push(entry);
            }
        }
    }
    service.set(key, Node::new(span, Data::Map(merged)));
}

fn env_file(
    item: &Node,
    variables: &Variables,
    own: &BTreeMap<String, Option<String>>,
    collected: &mut Variables,
    loader: &mut Loader<'_>,
) -> Vec<(String, Span)> {
    let nothing = Vec::new();
    let Some(path) = item.at(&["path"]).and_then(Node::as_str).map(str::to_owned) else {
        return nothing;
    };
    let required = item
        .at(&["required"])
        .and_then(Node::as_bool)
        .unwrap_or(true);
    if !required && loader.source.kind(Path::new(&path)) == Kind::Missing {
        return nothing;
    }
    let span = item.at(&["path"]).map_or(item.span, |node| node.span);
    let Some(file) = loader.text(&path, Some(span), "the env file") else {
        return nothing;
    };
    let text = loader.report.text(file);
    let outside = |name: &str| {
        variables
            .get(name)
            .cloned()
            .or_else(|| own.get(name).cloned().flatten())
    };
    let format_span = item.at(&["format"]).map_or(item.span, |node| node.span);
    match item.at(&["format"]).and_then(Node::as_str) {
        Some("raw") if loader.as_reference => {
            let _ = loader
                .report
                .error("E0026", "the reference loader reads no raw env files")
                .at(format_span, "other tools may refuse this format")
                .hint("`up` reads it; print it all the same with `config --no-consistency`");
        }
        Some("raw") => {
            let mut set = Vec::new();
            dotenv::parse_raw(&text.text, &outside, collected, &mut set);
            return set
                .into_iter()
                .map(|(name, at)| (name, Span::new(file, at.start, at.end)))
                .collect();
        }
        None | Some("" | "default") => return loader.dotenv(file, &text.text, &outside, collected),
        Some(other) => {
            let _ = loader
                .report
                .error(
                    "E0009",
                    format!("`env_file.format`: `{other}` is not a format"),
                )
                .at(format_span, "the only one is `raw`");
        }
    }
    nothing
}

/// Networks, volumes, secrets and configs that no active service uses go away.
pub(crate) fn drop_unused(tree: &mut Node) {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let none = Map::default();
    let services = tree
        .at(&["services"])
        .and_then(Node::as_map)
        .unwrap_or(&none);
    for Entry { value: service, .. } in &services.0 {
        for network in service
            .at(&["networks"])
            .and_then(Node::as_map)
            .into_iter()
            .flat_map(|map| &map.0)
        {
            used.entry("networks")
                .or_default()
                .insert(network.key.clone());
        }
        for mount in service
            .at(&["volumes"])
            .and_then(Node::as_seq)
            .unwrap_or_default()
        {
            if mount.at(&["type"]).and_then(Node::as_str) == Some("volume")
                && let Some(name) = mount.at(&["source"]).and_then(Node::as_str)
            {
                used.entry("volumes").or_default().insert(name.to_owned());
            }
        }
        for (section, path) in [
            ("secrets", &["secrets"][..]),
            ("secrets", &["build", "secrets"]),
            ("configs", &["configs"]),
        ] {
            for grant in service.at(path).and_then(Node::as_seq).unwrap_or_default() {
                if let Some(name) = grant.at(&["source"]).and_then(Node::as_str) {
                    used.entry(section).or_default().insert(name.to_owned());
                }
            }
        }
        for model in service
            .at(&["models"])
            .and_then(Node::as_map)
            .into_iter()
            .flat_map(|map| &map.0)
        {
            used.entry("models").or_default().insert(model.key.clone());
        }
    }
    for name in ["networks", "volumes", "secrets", "configs", "models"] {
        if let Some(map) = section(tree, name) {
            map.0
                .retain(|entry| used.get(name).is_some_and(|used| used.contains(&entry.key)));
        }
    }
}
