//! The Compose language as a table: every attribute, the shapes its value may have, and what hoist does about it.
//!
//! The checker, the expander, the list of refused attributes and docs/compose-support.md all read this one table.
//! Must not know: how a shape is checked or expanded.

mod json;
mod table;

pub use json::json_schema;
pub(crate) use table::{SERVICE, STACK};

/// What hoist does with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It is in the model and acted on.
    Yes,
    /// As `Yes`, but some of its values are refused by name.
    Part,
    /// In the model and printed by `config`; says nothing to an engine on one Linux machine.
    Printed,
    /// In the model and printed by `config`, but nothing acts on it yet; `up` refuses it.
    Modelled,
    /// Known and printed by `config`; `up` refuses it.
    NotYet,
    /// Accepted with one warning: nothing on one machine can act on it.
    Warn,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Null,
    Str,
    Bool,
    Int,
    Num,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number of bytes, with a unit when it is a string.
    Bytes,
    /// `1m30s`.
    Duration,
    List(&'static Self),
    /// Keys are the user's own.
    Map(&'static Self),
    Object(&'static Object),
    /// By the type of what is there.
    Either(&'static [Self]),
    /// `string | [string]`, made a list.
    StringOrList,
    /// Shell words or a list.
    Command,
    /// `KEY=VALUE` list or mapping, made a mapping; a key without a value stays open.
    Table,
    /// The same, but a key without a value is an empty string.
    Labels,
    /// A short form that has its own file under `lower/`; the shape is what the checker accepts.
    Special(Special, &'static Self),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Build,
    DependsOn,
    Devices,
    EnvFile,
    External,
    ExtraHosts,
    Gpus,
    DeviceCount,
    HealthTest,
    Mounts,
    Networks,
    Ports,
    SecretMounts,
    Ssh,
    Ulimits,
    References,
    FileMode,
    ProviderOptions,
}

#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fields: &'static [Field],
    pub(crate) required: &'static [&'static str],
    /// `x-` keys are the user's own.
    pub(crate) extensible: bool,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) support: Support,
}

impl Object {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Every attribute's path (`services.*.build.args`) with what hoist does about it, in the order of the table.
pub fn attributes() -> Vec<(String, Support)> {
    let mut rows = Vec::new();
    rows_of(&STACK, "", &mut rows);
    rows
}

fn rows_of(object: &Object, prefix: &str, rows: &mut Vec<(String, Support)>) {
    for field in object.fields {
        let path = if prefix.is_empty() {
            field.name.to_owned()
        } else {
            format!("{prefix}.{}", field.name)
        };
        rows.push((path.clone(), field.support));
        if matches!(field.support, Support::Yes | Support::Part) {
            nested_rows(&field.shape, &path, rows);
        }
    }
}

fn nested_rows(shape: &Shape, path: &str, rows: &mut Vec<(String, Support)>) {
    match shape {
        Shape::Object(object) => rows_of(object, path, rows),
        Shape::List(item) => nested_rows(item, &format!("{path}[]"), rows),
        Shape::Map(value) => nested_rows(value, &format!("{path}.*"), rows),
        Shape::Special(_, inner) => nested_rows(inner, path, rows),
        Shape::Either(shapes) => shapes
            .iter()
            .for_each(|shape| nested_rows(shape, path, rows)),
        _ => {}
    }
}
