//! Compares one document with the table of [`crate::schema`]: unknown attributes, wrong types, missing attributes.
//!
//! Must not know: what attributes mean, or other files.

use crate::node::{Data, Entry, Node, Tag};
use crate::report::Report;
use crate::schema::{Object, Shape};
use crate::suggest;
use crate::units;

/// Reports everything in `node` that the shape does not allow. `path` names it in messages. One flat match: an arm for
/// each kind of shape.
pub(crate) fn shape(node: &Node, shape: &Shape, path: &str, report: &mut Report) {
    if node.tag == Some(Tag::Reset) || node.as_str().is_some_and(|text| report.trusts(text)) {
        return;
    }
    match (shape, &node.data) {
        (Shape::Null, Data::Null) | (Shape::Str, Data::Str(_)) => {}
        (Shape::Bool, Data::Bool(_)) | (Shape::Int | Shape::Num | Shape::Bytes, Data::Int(_)) => {}
        (Shape::Num, Data::Float(_)) => {}
        // Lower the barrier a little where the reference does: `1e3` and `2.0` are whole numbers.
        (Shape::Int | Shape::Bytes, Data::Float(value)) if value.fract() == 0.0 => {}
        (
            Shape::Bool | Shape::Int | Shape::Num | Shape::Bytes | Shape::Duration | Shape::Word(_),
            Data::Str(text),
        ) => {
            text_value(node, text, shape, path, report);
        }
        (Shape::List(item), Data::Seq(items)) => {
            for (index, node) in items.iter().enumerate() {
                self::shape(node, item, &format!("{path}[{index}]"), report);
            }
        }
        (Shape::Map(value), Data::Map(map)) => {
            for entry in &map.0 {
                if !path.contains('.') {
                    name(entry, path, report);
                }
                if !(entry.key.starts_with("x-")
                    && path == "services"
                    && entry.value.as_map().is_none())
                {
                    self::shape(
                        &entry.value,
                        value,
                        &format!("{path}.{}", entry.key),
                        report,
                    );
                }
            }
        }
        (Shape::Object(object), Data::Map(_)) => attributes(node, object, path, report),
        (Shape::StringOrList, Data::Str(_)) | (Shape::Command, Data::Str(_) | Data::Null) => {}
        (Shape::StringOrList | Shape::Command | Shape::Table | Shape::Labels, Data::Seq(items)) => {
            for (index, item) in items.iter().enumerate() {
                self::shape(item, &Shape::Str, &format!("{path}[{index}]"), report);
            }
        }
        (Shape::Table | Shape::Labels, Data::Map(map)) => {
            for entry in &map.0 {
                if entry.value.scalar_text().is_none() && !entry.value.is_null() {
                    wrong(
                        &entry.value,
                        "a string, number, boolean or null",
                        &format!("{path}.{}", entry.key),
                        report,
                    );
                }
            }
        }
        (Shape::Either(shapes), _) => either(node, shapes, path, report),
        (Shape::Special(_, inner), _) => self::shape(node, inner, path, report),
        _ => wrong(node, &expected(shape), path, report),
    }
}

/// Names of services and resources become parts of paths, host names and labels.
fn name(entry: &Entry, section: &str, report: &mut Report) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if entry.key.is_empty()
        || !entry.key.chars().all(plain)
        || matches!(entry.key.as_str(), "." | "..")
    {
        let _ = report
            .error(
                "E0009",
                format!("`{}` cannot be a name in `{section}`", entry.key),
            )
            .at(
                entry.key_span,
                "names have letters, digits, `.`, `_` and `-`",
            );
    }
}

/// Values that may be written as strings, since interpolation makes strings.
fn text_value(node: &Node, text: &str, shape: &Shape, path: &str, report: &mut Report) {
    let problem = match shape {
        Shape::Bool => units::boolean(text)
            .is_none()
            .then(|| "is not a boolean".to_owned()),
        Shape::Int => units::integer(text)
            .is_none()
            .then(|| "is not a whole number".to_owned()),
        Shape::Num => text
            .trim()
            .parse::<f64>()
            .is_err()
            .then(|| "is not a number".to_owned()),
        Shape::Bytes => hoist_object::units::bytes(text)
            .is_none()
            .then(|| "is not a size like 512m or 2gb".to_owned()),
        Shape::Duration => hoist_object::units::duration(text)
            .is_none()
            .then(|| "is not a duration like 1m30s".to_owned()),
        Shape::Word(words) if !words.contains(&text) => Some(format!(
            "is not one of {}",
            words
                .iter()
                .map(|w| format!("`{w}`"))
                .collect::<Vec<_>>()
                .join(", ")
        )),
        _ => None,
    };
    if let Some(problem) = problem {
        let mut entry = report
            .error("E0009", format!("`{path}`: `{text}` {problem}"))
            .at(node.span, "this value");
        if let Shape::Word(words) = shape
            && let Some(word) = suggest::closest(text, words.iter().copied())
        {
            entry = entry.hint(format!("did you mean `{word}`?"));
        }
        let _ = entry;
    }
}

fn either(node: &Node, shapes: &[Shape], path: &str, report: &mut Report) {
    match shapes.iter().find(|shape| fits(node, shape)) {
        Some(shape) => self::shape(node, shape, path, report),
        None => {
            let words: Vec<String> = shapes.iter().map(expected).collect();
            wrong(node, &words.join(" or "), path, report);
        }
    }
}

/// Whether a shape is of the node's type at all.
fn fits(node: &Node, shape: &Shape) -> bool {
    match shape {
        Shape::Null => node.is_null(),
        Shape::Str | Shape::Word(_) | Shape::Duration => node.as_str().is_some(),
        Shape::Bool => matches!(node.data, Data::Bool(_) | Data::Str(_)),
        Shape::Int | Shape::Num | Shape::Bytes => {
            matches!(node.data, Data::Int(_) | Data::Float(_) | Data::Str(_))
        }
        Shape::List(_) => node.as_seq().is_some(),
        Shape::Map(_) | Shape::Object(_) => node.as_map().is_some(),
        Shape::StringOrList | Shape::Command => node.as_str().is_some() || node.as_seq().is_some(),
        Shape::Table | Shape::Labels => node.as_map().is_some() || node.as_seq().is_some(),
        Shape::Either(shapes) => shapes.iter().any(|shape| fits(node, shape)),
        Shape::Special(_, inner) => fits(node, inner),
    }
}

fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Null => "null".into(),
        Shape::Str => "a string".into(),
        Shape::Word(words) => words.join(" | "),
        Shape::Duration => "a duration".into(),
        Shape::Bool => "a boolean".into(),
        Shape::Int => "a whole number".into(),
        Shape::Num => "a number".into(),
        Shape::Bytes => "a size".into(),
        Shape::List(_) => "a list".into(),
        Shape::Map(_) | Shape::Object(_) => "a mapping".into(),
        Shape::StringOrList | Shape::Command => "a string or a list of strings".into(),
        Shape::Table | Shape::Labels => "a mapping or a list of KEY=VALUE".into(),
        Shape::Either(shapes) => shapes.iter().map(expected).collect::<Vec<_>>().join(" or "),
        Shape::Special(_, inner) => expected(inner),
    }
}

fn wrong(node: &Node, expected: &str, path: &str, report: &mut Report) {
    // As it stands in the file: `1.10` is a number that prints as 1.1.
    let written = report.written(node.span);
    let mut entry = report
        .error("E0007", format!("`{path}` must be {expected}"))
        .at(node.span, format!("this is {}", node.kind()));
    if expected == "a duration"
        && let Some(text) = node.scalar_text()
    {
        entry = entry.hint(format!("give it a unit: `{text}s`"));
    } else if expected.contains("a string") && node.scalar_text().is_some() && !written.is_empty() {
        entry = entry.hint(format!(
            "quote it: \"{written}\"; without quotes, YAML reads {}",
            node.kind()
        ));
    } else if node.as_seq().is_some() && expected.starts_with("a mapping") {
        entry = entry.hint("take the `-` away: a mapping has `NAME: …` on each line");
    } else if path.contains("environment[")
        && let Some([only]) = node.as_map().map(|map| map.0.as_slice())
        && let Some(value) = only.value.scalar_text()
    {
        entry = entry.hint(format!("in a list, write `{}={value}`", only.key));
    } else if expected.contains("a list")
        && let Some(text) = node.scalar_text()
    {
        entry = entry.hint(format!("write it as a list: [\"{text}\"]"));
    }
    let _ = entry;
}

fn attributes(node: &Node, object: &Object, path: &str, report: &mut Report) {
    let Some(map) = node.as_map() else { return };
    for entry in &map.0 {
        if object.extensible && entry.key.starts_with("x-") {
            continue;
        }
        let place = if path.is_empty() {
            entry.key.clone()
        } else {
            format!("{path}.{}", entry.key)
        };
        match object.field(&entry.key) {
            Some(field) => shape(&entry.value, &field.shape, &place, report),
            None => {
                let owner = if path.is_empty() {
                    "the top level".to_owned()
                } else {
                    format!("`{path}`")
                };
                let mut found = report
                    .error(
                        "E0006",
                        format!("unknown attribute `{}` in {owner}", entry.key),
                    )
                    .at(entry.key_span, "not an attribute of Compose");
                if let Some(name) =
                    suggest::closest(&entry.key, object.fields.iter().map(|field| field.name))
                {
                    found = found.hint(format!("did you mean `{name}`?"));
                } else if path.is_empty() && is_service(&entry.value) {
                    found = found.hint(format!(
                        "services stand below `services:`; indent `{}` under it",
                        entry.key
                    ));
                } else if object.extensible {
                    found = found.hint(format!(
                        "attributes of your own begin with `x-`: `x-{}`",
                        entry.key
                    ));
                }
                let _ = found;
            }
        }
    }
}

fn is_service(node: &Node) -> bool {
    node.as_map()
        .is_some_and(|map| map.get("image").is_some() || map.get("build").is_some())
}

/// Reports attributes that are missing in the merged tree: a single file may leave to another what it does not change.
pub(crate) fn required(node: &Node, shape: &Shape, path: &str, report: &mut Report) {
    match (shape, &node.data) {
        (Shape::Object(object), Data::Map(map)) => {
            for name in object.required {
                if map.get(name).is_none_or(Node::is_null) {
                    let _ = report
                        .error("E0008", format!("`{path}` needs the attribute `{name}`"))
                        .at(node.span, format!("`{name}` is missing here"));
                }
            }
            for entry in &map.0 {
                if let Some(field) = object.field(&entry.key) {
                    let place = if path.is_empty() {
                        entry.key.clone()
                    } else {
                        format!("{path}.{}", entry.key)
                    };
                    required(&entry.value, &field.shape, &place, report);
                }
            }
        }
        (Shape::Map(inner), Data::Map(map)) => {
            for entry in &map.0 {
                required(
                    &entry.value,
                    inner,
                    &format!("{path}.{}", entry.key),
                    report,
                );
            }
        }
        (Shape::List(item), Data::Seq(items)) => {
            for (index, node) in items.iter().enumerate() {
                required(node, item, &format!("{path}[{index}]"), report);
            }
        }
        (Shape::Special(_, inner), _) => required(node, inner, path, report),
        (Shape::Either(shapes), _) => {
            if let Some(shape) = shapes.iter().find(|shape| fits(node, shape)) {
                required(node, shape, path, report);
            }
        }
        _ => {}
    }
}
