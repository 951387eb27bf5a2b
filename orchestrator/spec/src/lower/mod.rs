//! Short forms into long forms, strings into typed values, relative paths into absolute ones: one document's tree
//! becomes its canonical tree, attribute by attribute. One file per kind of section.
//!
//! Must not know: other documents, profiles, defaults that depend on the whole stack.

pub(crate) mod build;
pub(crate) mod devices;
pub(crate) mod hosts;
pub(crate) mod mounts;
pub(crate) mod parts;
pub(crate) mod ports;
pub(crate) mod relations;
pub(crate) mod resources;
pub(crate) mod secrets;
mod words;

use crate::node::{Data, Entry, Map, Node, Tag};
use crate::paths;
use crate::report::Report;
use crate::schema::{Object, STACK, Shape, Special};
use crate::units;

use parts::Written;

/// Where a document stands.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Absolute folder that relative paths start from.
    pub(crate) dir: String,
    pub(crate) home: Option<String>,
    /// Relative paths stay as they are, unless a file must be read; those of files in other folders start from this one.
    pub(crate) relative_to: Option<String>,
    pub(crate) report: &'a mut Report,
}

impl Context<'_> {
    pub(crate) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') || self.relative_to.as_ref() == Some(&self.dir) {
            return path.to_owned();
        }
        let absolute = paths::absolute(path, &self.dir, self.home.as_deref());
        match self
            .relative_to
            .as_ref()
            .and_then(|dir| absolute.strip_prefix(dir)?.strip_prefix('/'))
        {
            Some(below) => format!("./{below}"),
            None => absolute,
        }
    }

    /// The same for a file that this crate is going to read.
    pub(crate) fn resolve_to_read(&self, node: &mut Node) {
        if let Data::Str(path) = &mut node.data
            && !path.is_empty()
            && !path.starts_with('/')
        {
            *path = paths::absolute(path, &self.dir, self.home.as_deref());
        }
    }

    /// A short form as it stands in its file.
    pub(crate) fn written(&self, node: &Node) -> Written {
        Written::new(node.span, self.report)
    }

    /// Makes a string node an absolute path.
    pub(crate) fn resolve(&self, node: &mut Node) {
        if let Data::Str(path) = &mut node.data
            && !paths::is_windows(path)
            && !path.is_empty()
        {
            *path = self.absolute(path);
        }
    }
}

/// The canonical form of a checked document.
pub(crate) fn document(node: Node, context: &mut Context<'_>) -> Node {
    object(node, &STACK, "", context)
}

/// The canonical form of a checked value.
pub(crate) fn value(mut node: Node, shape: &Shape, path: &str, context: &mut Context<'_>) -> Node {
    if node.tag == Some(Tag::Reset) {
        return node;
    }
    match shape {
        Shape::Object(inner) => return object(node, inner, path, context),
        Shape::Special(special, inner) => {
            return self::special(node, *special, inner, path, context);
        }
        Shape::Either(shapes) => return either(node, shapes, path, context),
        Shape::List(item) => {
            if let Data::Seq(items) = node.data {
                let items = items
                    .into_iter()
                    .map(|node| value(node, item, &format!("{path}[]"), context))
                    .collect();
                node.data = Data::Seq(items);
            }
        }
        Shape::Map(inner) => {
            if let Data::Map(map) = node.data {
                let entries = map.0.into_iter().map(|entry| {
                    let path = format!("{path}.*");
                    Entry {
                        value: value(entry.value, inner, &path, context),
                        ..entry
                    }
                });
                node.data = Data::Map(Map(entries.collect()));
            }
        }
        _ => node.data = scalar(node.data, shape),
    }
    node
}

/// Conversions that need neither a place nor a context.
fn scalar(data: Data, shape: &Shape) -> Data {
    match (shape, data) {
        (Shape::Bool, Data::Str(text)) => units::boolean(&text).map_or(Data::Str(text), Data::Bool),
        (Shape::Int, Data::Str(text)) => units::integer(&text).map_or(Data::Str(text), Data::Int),
        (Shape::Int, Data::Float(number)) => {
            units::whole(number).map_or(Data::Float(number), Data::Int)
        }
        (Shape::Num, Data::Str(text)) => text.trim().parse().map_or(Data::Str(text), Data::Float),
        (Shape::Bytes, Data::Str(text)) => {
            Data::Str(hoist_object::units::bytes(&text).map_or(text, |bytes| bytes.to_string()))
        }
        (Shape::Bytes, Data::Int(number)) => Data::Str(number.to_string()),
        (Shape::Bytes, Data::Float(number)) => {
            units::whole(number).map_or(Data::Float(number), |number| Data::Str(number.to_string()))
        }
        (Shape::Duration, Data::Str(text)) => Data::Str(
            hoist_object::units::duration(&text)
                .map(hoist_object::units::duration_text)
                .unwrap_or(text),
        ),
        (_, data) => data,
    }
}

fn either(mut node: Node, shapes: &[Shape], path: &str, context: &mut Context<'_>) -> Node {
    let takes_text = shapes.iter().any(|shape| matches!(shape, Shape::Str));
    if takes_text && let Some(text) = node.scalar_text() {
        node.data = Data::Str(text);
        return node;
    }
    let fitting = shapes.iter().find(|shape| match shape {
        Shape::Object(_) | Shape::Map(_) => node.as_map().is_some(),
        Shape::List(_) => node.as_seq().is_some(),
        Shape::Bool => matches!(node.data, Data::Bool(_) | Data::Str(_)),
        Shape::Int | Shape::Num => {
            matches!(node.data, Data::Int(_) | Data::Float(_) | Data::Str(_))
        }
        _ => false,
    });
    match fitting {
        Some(shape) => value(node, shape, path, context),
        None => node,
    }
}

fn object(mut node: Node, table: &Object, path: &str, context: &mut Context<'_>) -> Node {
    let Data::Map(map) = node.data else {
        return node;
    };
    let mut entries = Vec::with_capacity(map.0.len());
    for entry in map.0 {
        // An attribute without a value is not set; a tag still has something to say to the merge.
        if entry.value.is_null()
            && entry.value.tag.is_none()
            && !entry.key.starts_with("x-")
            && !path.is_empty()
        {
            continue;
        }
        let place = if path.is_empty() {
            entry.key.clone()
        } else {
            format!("{path}.{}", entry.key)
        };
        let value = match table.field(&entry.key) {
            Some(field) => self::attribute(entry.value, &field.shape, &place, context),
            None => entry.value,
        };
        entries.push(Entry { value, ..entry });
    }
    node.data = Data::Map(Map(entries));
    finish(node, path, context)
}

fn attribute(node: Node, shape: &Shape, path: &str, context: &mut Context<'_>) -> Node {
    // A text whose variables are still in it may become anything.
    let open = matches!(shape, Shape::Special(..))
        && node
            .as_str()
            .is_some_and(|text| context.report.trusts(text));
    if node.tag == Some(Tag::Reset) || open && !path.ends_with(".build") {
        return node;
    }
    match shape {
        Shape::StringOrList => listed(node),
        Shape::Command => command(node, path, context),
        Shape::Table => table(node, false, context),
        Shape::Labels => table(node, true, context),
        _ => value(node, shape, path, context),
    }
}

/// What a section as a whole needs once its attributes are canonical.
fn finish(mut node: Node, path: &str, context: &mut Context<'_>) -> Node {
    match path {
        "services.*" => resources::service(&mut node, context),
        "volumes.*" => resources::volume(&mut node, context),
        "networks.*" => resources::external(&mut node, "networks", context),
        "secrets.*" | "configs.*" => {
            resources::external(&mut node, &path[..path.len() - 2], context);
            if let Some(file) = node.as_map_mut().and_then(|map| map.get_mut("file")) {
                context.resolve(file);
            }
        }
        "services.*.develop.watch[]" => {
            let span = node.span;
            if let Some(rule) = node.as_map_mut() {
                if let Some(path) = rule.get_mut("path") {
                    context.resolve(path);
                }
                // The reference prints a command in every rule, null where there is none.
                rule.set_default("exec", Node::new(span, Data::Map(Map::default())));
                if let Some(exec) = rule.get_mut("exec").and_then(Node::as_map_mut) {
                    exec.set_default("command", Node::new(span, Data::Null));
                }
            }
        }
        path if path.starts_with("services.*.blkio_config.") => {
            for entry in node.as_map_mut().into_iter().flat_map(|map| &mut map.0) {
                entry.key.make_ascii_lowercase();
            }
        }
        // The reference prints a command in every hook, null where there is none.
        "services.*.pre_start[]" => {
            let span = node.span;
            if let Some(hook) = node.as_map_mut() {
                hook.set_default("command", Node::new(span, Data::Null));
            }
        }
        "services.*.deploy.resources.reservations.devices[]" | "services.*.gpus[]" => {
            devices::request(&mut node, path, context);
        }
        _ => {}
    }
    node
}

fn special(
    node: Node,
    special: Special,
    inner: &Shape,
    path: &str,
    context: &mut Context<'_>,
) -> Node {
    match special {
        Special::Build => build::section(node, inner, path, context),
        Special::Ssh => build::ssh(node),
        Special::DependsOn => relations::depends_on(value(node, inner, path, context)),
        Special::Networks | Special::References => {
            relations::references(value(node, inner, path, context))
        }
        Special::EnvFile => relations::env_files(value(node, inner, path, context), context),
        Special::Devices => devices::mappings(value(node, inner, path, context), context),
        Special::Gpus => devices::gpus(value(node, inner, path, context)),
        Special::DeviceCount => devices::count(node, context),
        Special::ExtraHosts => hosts::list(value(node, inner, path, context), context),
        Special::HealthTest => relations::health_test(node, context),
        Special::Mounts => mounts::list(value(node, inner, path, context), context),
        Special::Ports => ports::list(value(node, inner, path, context), context),
        Special::SecretMounts => secrets::mounts(value(node, inner, path, context), path, context),
        Special::FileMode => secrets::mode(node, context),
        Special::Ulimits | Special::External => value(node, inner, path, context),
        Special::ProviderOptions => relations::provider_options(node),
    }
}

/// `a` is `[a]`.
pub(crate) fn listed(mut node: Node) -> Node {
    if let Data::Str(text) = node.data {
        node.data = Data::Seq(vec![Node::string(node.span, text)]);
    }
    node
}

/// Words of a string. `''` is an empty list: the image's command is cleared.
fn command(mut node: Node, path: &str, context: &mut Context<'_>) -> Node {
    let Data::Str(text) = &node.data else {
        return node;
    };
    let key = path.rsplit('.').next().unwrap_or(path);
    let Some(split) = words::split(text) else {
        let _ = context
            .report
            .error("E0009", format!("`{key}` cannot be split into words"))
            .at(node.span, "a quote is not closed");
        return node;
    };
    if let Some(operator) = split.operator {
        let _ = context
            .report
            .warning(
                "W0005",
                format!("no shell reads `{key}`: `{operator}` is passed on as a plain character"),
            )
            .at(node.span, "this is split into words and run as it is")
            .hint(format!(
                "for a shell's syntax, write `{key}: [\"sh\", \"-c\", \"…\"]`"
            ));
    }
    node.data = Data::Seq(
        split
            .words
            .into_iter()
            .map(|word| Node::string(node.span, word))
            .collect(),
    );
    node
}

/// `[KEY=VALUE]` and mappings with scalar values become mappings of strings.
fn table(mut node: Node, empty_when_open: bool, context: &Context<'_>) -> Node {
    let open = || {
        if empty_when_open {
            Data::Str(String::new())
        } else {
            Data::Null
        }
    };
    let mut map = Map::default();
    match node.data {
        Data::Seq(items) => {
            for item in items {
                let Some(text) = item.as_str() else { continue };
                let (key, data, span) = match text.split_once('=') {
                    Some((key, value)) => (
                        key.to_owned(),
                        Data::Str(value.to_owned()),
                        context.written(&item).after('='),
                    ),
                    None => (text.to_owned(), open(), item.span),
                };
                map.set(&key, Node { data, span, ..item });
            }
        }
        Data::Map(entries) => {
            for entry in entries.0 {
                let data = entry.value.scalar_text().map_or_else(open, Data::Str);
                map.0.push(Entry {
                    value: Node {
                        data,
                        ..entry.value
                    },
                    ..entry
                });
            }
        }
        other => {
            node.data = other;
            return node;
        }
    }
    node.data = Data::Map(map);
    node
}
