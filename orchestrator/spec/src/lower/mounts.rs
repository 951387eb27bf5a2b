//! `volumes` of a service: `[SOURCE:]TARGET[:OPTIONS]` and the long form.

use crate::node::{Data, Map, Node};
use crate::paths;

use super::Context;
use super::parts::Written;

pub(crate) fn list(mut node: Node, context: &mut Context<'_>) -> Node {
    let Data::Seq(items) = &mut node.data else {
        return node;
    };
    for item in items {
        if let Data::Str(text) = &item.data {
            match short(text, &context.written(item)) {
                Ok(long) => item.data = Data::Map(long),
                Err(_) if context.report.trusts(text) => continue,
                Err(problem) => {
                    let _ = context
                        .report
                        .error("E0009", format!("`{text}` is not a volume: {problem}"))
                        .at(item.span, "[SOURCE:]TARGET[:OPTIONS]");
                    continue;
                }
            }
        }
        complete(item, context);
    }
    node
}

/// Paths absolute and clean; what a mount needs is there.
fn complete(item: &mut Node, context: &mut Context<'_>) {
    let span = item.span;
    let Some(map) = item.as_map_mut() else { return };
    if map
        .get("source")
        .is_some_and(|source| source.as_str() == Some(""))
    {
        map.remove("source");
    }
    let kind = map
        .get("type")
        .and_then(Node::as_str)
        .unwrap_or_default()
        .to_owned();
    if kind == "bind" {
        match map.get_mut("source") {
            Some(source) if source.as_str().is_some_and(|s| !s.is_empty()) => {
                context.resolve(source)
            }
            _ => {
                let _ = context
                    .report
                    .error("E0008", "a bind mount needs a `source`")
                    .at(span, "which file or folder of the host?");
            }
        }
    }
    if let Some(Node {
        data: Data::Str(target),
        ..
    }) = map.get_mut("target")
        && target.starts_with('/')
    {
        *target = paths::clean(target);
    }
    if let Some(size) = map.get("tmpfs").and_then(|tmpfs| tmpfs.at(&["size"]))
        && size.as_str().is_some_and(|size| size.starts_with('-'))
    {
        let _ = context
            .report
            .error("E0009", "`tmpfs.size` must not be negative")
            .at(size.span, "this value");
    }
    if let Some(Node {
        data: Data::Map(bind),
        ..
    }) = map.get_mut("bind")
        && bind.get("create_host_path").and_then(Node::as_bool) == Some(true)
    {
        bind.remove("create_host_path");
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MountError {
    #[error("it is empty")]
    Empty,
    #[error("there is nothing between two colons")]
    EmptyPart,
    #[error("it has too many colons")]
    TooMany,
}

/// The long form of `[SOURCE:]TARGET[:OPTIONS]`.
pub(crate) fn short(text: &str, written: &Written) -> Result<Map, MountError> {
    let span = written.whole();
    let mut map = Map::default();
    match text.len() {
        0 => return Err(MountError::Empty),
        1 | 2 => {
            map.set("type", Node::string(span, "volume"));
            map.set("target", Node::string(span, text));
            return Ok(map);
        }
        _ => {}
    }
    let mut parts = sections(text);
    // `v:/data` is a volume with a short name, not a folder of drive `v:`.
    if parts.len() == 1 && text.get(1..3) == Some(":/") {
        parts = text.split(':').map(str::to_owned).collect();
    }
    if parts.iter().any(String::is_empty) {
        return Err(MountError::EmptyPart);
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options.as_str()),
        _ => return Err(MountError::TooMany),
    };
    let places = written.split(':', parts.len());
    let (source_at, target_at) = (places[0], places[usize::from(source.is_some())]);
    let options_at = places[places.len() - 1];
    let bind = source.is_some_and(|source| is_path(source));
    map.set(
        "type",
        Node::string(source_at, if bind { "bind" } else { "volume" }),
    );
    if let Some(source) = source {
        map.set("source", Node::string(source_at, source.clone()));
    }
    map.set("target", Node::string(target_at, target.clone()));
    let (mut detail, mut other) = (Map::default(), Map::default());
    for option in options.split(',') {
        match option {
            "ro" => map.set("read_only", Node::new(options_at, Data::Bool(true))),
            "nocopy" if !bind => detail.set("nocopy", Node::new(options_at, Data::Bool(true))),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                let section = if bind { &mut detail } else { &mut other };
                section.set("propagation", Node::string(options_at, option));
            }
            "z" | "Z" => {
                let section = if bind { &mut detail } else { &mut other };
                section.set("selinux", Node::string(options_at, option));
            }
            _ => {}
        }
    }
    if !other.0.is_empty() {
        map.set("bind", Node::new(options_at, Data::Map(other)));
    }
    let kind = if bind { "bind" } else { "volume" };
    if detail.0.is_empty() {
        map.set_default(kind, Node::new(span, Data::Map(detail)));
    } else {
        map.set(kind, Node::new(options_at, Data::Map(detail)));
    }
    Ok(map)
}

/// Splits at colons, but not inside `${…}` and not after a drive letter.
fn sections(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut braces = 0usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' if chars.peek() == Some(&'{') => {
                chars.next();
                braces += 1;
                part.push_str("${");
            }
            '{' if braces > 0 => {
                braces += 1;
                part.push(c);
            }
            '}' if braces > 0 => {
                braces -= 1;
                part.push(c);
            }
            ':' if braces == 0 && !(is_drive(&part) && parts.len() < 2) => {
                parts.push(std::mem::take(&mut part))
            }
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

fn is_drive(part: &str) -> bool {
    part.len() == 1 && part.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~']) || paths::is_windows(source)
}
