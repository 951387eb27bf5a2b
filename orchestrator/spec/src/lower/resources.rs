//! Top-level networks, volumes, secrets and configs; and what belongs to a service as a whole.

use crate::node::{Data, Map, Node};
use crate::paths;

use super::Context;

/// `external: {name: x}` is `external: true` with `name: x`; `external: false` is nothing. External resources are
/// not the stack's, so it cannot say how to create them.
pub(crate) fn external(node: &mut Node, section: &str, context: &mut Context<'_>) {
    let Some(map) = node.as_map_mut() else { return };
    let Some(entry) = map.entry("external").cloned() else {
        return;
    };
    match &entry.value.data {
        Data::Bool(false) => {
            map.remove("external");
            return;
        }
        Data::Map(inner) => {
            if let Some(name) = inner.get("name").cloned() {
                if let Some(other) = map.entry("name") {
                    let _ = context
                        .report
                        .error(
                            "E0018",
                            format!("`{section}`: `name` and `external.name` exclude each other"),
                        )
                        .at(name.span, "named here")
                        .at(other.key_span, "and here")
                        .hint("keep `name`, and write `external: true`");
                } else {
                    let _ = context
                        .report
                        .warning("W0001", format!("`{section}`: `external.name` is obsolete"))
                        .at(name.span, "named here")
                        .hint("write `external: true` and `name` beside it");
                }
                map.set_default("name", name);
            }
            let span = entry.value.span;
            map.set("external", Node::new(span, Data::Bool(true)));
        }
        _ => {}
    }
    // As in the reference: options of an external network are accepted and ignored.
    if section == "networks" {
        return;
    }
    for key in [
        "driver",
        "driver_opts",
        "labels",
        "ipam",
        "internal",
        "attachable",
        "file",
        "environment",
        "content",
    ] {
        let said = map
            .entry(key)
            .filter(|other| other.value.as_map().is_none_or(|map| !map.0.is_empty()));
        if let Some(other) = said {
            let _ = context
                .report
                .error(
                    "E0018",
                    format!("`{section}`: `external` and `{key}` exclude each other"),
                )
                .at(other.key_span, "says how to make it")
                .at(entry.key_span, "says that it exists already");
        }
    }
}

/// A local volume that binds a folder names it relative to the file.
pub(crate) fn volume(node: &mut Node, context: &mut Context<'_>) {
    external(node, "volumes", context);
    let Some(map) = node.as_map_mut() else { return };
    let local = map
        .get("driver")
        .and_then(Node::as_str)
        .is_none_or(|driver| driver == "local");
    let Some(options) = map.get_mut("driver_opts").and_then(Node::as_map_mut) else {
        return;
    };
    let binds = options
        .get("o")
        .and_then(Node::as_str)
        .is_some_and(|o| o.split(',').any(|word| word == "bind"));
    if local
        && binds
        && let Some(Node {
            data: Data::Str(device),
            ..
        }) = options.get_mut("device")
    {
        *device = context.absolute(device);
    }
}

/// Label files have paths; variables and profiles have rules for their names.
pub(crate) fn service(node: &mut Node, context: &mut Context<'_>) {
    let Some(map) = node.as_map_mut() else { return };
    if let Some(Node {
        data: Data::Seq(files),
        ..
    }) = map.get_mut("label_file")
    {
        files
            .iter_mut()
            .for_each(|file| context.resolve_to_read(file));
    }
    expand_extends(map, context);
    if let Some(environment) = map.get("environment").and_then(Node::as_map) {
        for entry in &environment.0 {
            if entry.key.ends_with([' ', '\t']) {
                let _ = context
                    .report
                    .error(
                        "E0009",
                        format!(
                            "the variable `{}` has a space at the end of its name",
                            entry.key
                        ),
                    )
                    .at(entry.key_span, "remove the space before `=`");
            }
        }
    }
    if let Some(name) = map.get("container_name")
        && let Some(text) = name.as_str()
    {
        let valid = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() > 1
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !valid && !context.report.trusts(text) {
            let _ = context
                .report
                .error("E0009", format!("`{text}` cannot be a container name"))
                .at(name.span, "letters, digits, `_`, `.` and `-`, at least two, beginning with a letter or digit");
        }
    }
}

/// `extends: base` is `extends: {service: base}`.
fn expand_extends(map: &mut Map, context: &Context<'_>) {
    let Some(extends) = map.get_mut("extends") else {
        return;
    };
    let span = extends.span;
    if let Data::Str(name) = &extends.data {
        let mut long = Map::default();
        long.set("service", Node::string(span, name.clone()));
        extends.data = Data::Map(long);
    }
    if let Some(file) = extends.as_map_mut().and_then(|map| map.get_mut("file"))
        && file.as_str().is_some_and(|file| !paths::is_remote(file))
    {
        context.resolve_to_read(file);
    }
}
