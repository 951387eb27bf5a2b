//! The printed form of a [`Stack`]: what `config` shows and what travels to the engine.
//!
//! Must not know: where the stack came from.

mod build;
mod kinds;
mod order;
mod service;
mod top;
mod yaml;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::bind;
use crate::diagnostic::{Diagnostic, Severity};
use crate::inert::{self, Judge, Policy};
use crate::model::Stack;
use crate::node::Node;
use crate::normalize;
use crate::report::Report;
use crate::units;

/// Where inactive services are listed: Compose has no place for them.
const INACTIVE: &str = "x-hoist-inactive";

/// The canonical Compose model. `$` is doubled, so that the text can be loaded as a stack file again.
///
/// Services that no profile activates are named under `x-hoist-inactive`; the rest is what the reference prints.
pub fn to_json(stack: &Stack) -> Value {
    let mut root = top::stack(stack);
    for inert in &stack.inert {
        inert::restore(&mut root, inert);
    }
    if !stack.inactive.is_empty()
        && let Value::Object(map) = &mut root
    {
        map.insert(INACTIVE.to_owned(), Value::from(stack.inactive.clone()));
    }
    order::stack(&mut root);
    rename_block_devices(&mut root, capital);
    map_text(root, &|text| text.replace('$', "$$"))
}

/// What is shown of [`to_json`]: without the keys that only travel to an engine.
pub fn shown(stack: &Stack) -> Value {
    let mut root = to_json(stack);
    let strip = |node: &mut Value| {
        if let Value::Object(map) = node {
            map.remove(EMPTY);
            map.remove(INACTIVE);
        }
    };
    strip(&mut root);
    for section in ["services", "networks", "volumes", "configs", "secrets"] {
        for entry in root
            .get_mut(section)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(Map::values_mut)
        {
            strip(entry);
            entry.get_mut("build").into_iter().for_each(strip);
        }
    }
    root
}

/// The reference's JSON has capital letters in the lists of `blkio_config`, its YAML has not.
fn rename_block_devices(root: &mut Value, rename: fn(&str) -> String) {
    for service in entries(root, "services") {
        let sections = service
            .get_mut("blkio_config")
            .and_then(Value::as_object_mut);
        for device in sections
            .into_iter()
            .flat_map(Map::values_mut)
            .filter_map(Value::as_array_mut)
            .flatten()
        {
            if let Value::Object(map) = device {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, value)| (rename(&key), value))
                    .collect();
            }
        }
    }
}

fn capital(key: &str) -> String {
    let mut chars = key.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(chars)
        .collect()
}

/// The same as YAML, without what is there only because JSON shows it: attributes that are not set, empty sections.
pub fn to_yaml(stack: &Stack) -> String {
    laid_out(to_json(stack))
}

/// What is shown of [`to_yaml`].
pub fn shown_yaml(stack: &Stack) -> String {
    laid_out(shown(stack))
}

fn laid_out(mut root: Value) -> String {
    rename_block_devices(&mut root, str::to_ascii_lowercase);
    for service in entries(&mut root, "services") {
        service.retain(|_, value| !value.is_null());
        if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
            deploy.retain(|_, value| !is_empty(value));
        }
        let rules = service
            .get_mut("develop")
            .and_then(|develop| develop.get_mut("watch"));
        for rule in rules
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            if let Some(exec) = rule.get_mut("exec").and_then(Value::as_object_mut) {
                exec.retain(|_, value| !value.is_null());
            }
            rule.retain(|_, value| !is_empty(value));
        }
    }
    for network in entries(&mut root, "networks") {
        network.retain(|key, value| key != "ipam" || !is_empty(value));
    }
    value_to_yaml(&root)
}

fn entries<'a>(
    root: &'a mut Value,
    section: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let section = root.get_mut(section).and_then(Value::as_object_mut);
    section
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
}

fn is_empty(section: &Value) -> bool {
    section.as_object().is_some_and(Map::is_empty)
}

/// A tree that was never bound to the model, in the order in which stacks are printed.
pub(crate) fn in_order(name: String, mut tree: Value) -> Value {
    tree.sort_all_objects();
    let mut all = Map::new();
    all.insert("name".to_owned(), Value::String(name));
    if let Value::Object(mut map) = tree {
        for section in [
            "services", "networks", "volumes", "secrets", "configs", "models",
        ] {
            all.extend(map.remove_entry(section));
        }
        all.extend(map);
    }
    Value::Object(all)
}

/// YAML of a value that is printed as it is, laid out as the reference does.
pub fn value_to_yaml(value: &Value) -> String {
    yaml::text(value)
}

/// Reads what [`to_json`] wrote. Lossless: `from_json(&to_json(s)) == s`.
pub fn from_json(value: &Value) -> Result<Stack, Vec<Diagnostic>> {
    let mut report = Report::default();
    // Places in here are of no use to anyone, but diagnostics need a text to point at.
    report.add_file("<canonical>".to_owned(), String::new());
    let mut plain = map_text(value.clone(), &|text| text.replace("$$", "$"));
    rename_block_devices(&mut plain, str::to_ascii_lowercase);
    let mut tree = Node::from_json(&plain);
    normalize::emptied(&mut tree);
    let mut inactive = Vec::new();
    let mut name = String::new();
    match tree.as_map_mut() {
        Some(map) => {
            if let Some(entry) = map.remove(INACTIVE) {
                inactive = entry
                    .value
                    .as_seq()
                    .unwrap_or_default()
                    .iter()
                    .filter_map(Node::scalar_text)
                    .collect();
            }
            if let Some(entry) = map.remove("name") {
                name = entry.value.scalar_text().unwrap_or_default();
            }
        }
        None => {
            let _ = report.error("E0005", "a canonical stack must be an object");
        }
    }
    let mut stack = bind::stack(
        tree,
        name,
        Judge {
            policy: Policy::Carry,
            requested: None,
        },
        &mut report,
    );
    stack.inactive = inactive;
    let diagnostics = report.finish();
    if diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(diagnostics);
    }
    Ok(stack)
}

fn map_text(value: Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(if text.contains('$') {
            change(&text)
        } else {
            text
        }),
        Value::Array(items) => items
            .into_iter()
            .map(|item| map_text(item, change))
            .collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    (
                        if key.contains('$') { change(&key) } else { key },
                        map_text(value, change),
                    )
                })
                .collect(),
        ),
        value => value,
    }
}

/// Attributes of a section that were set to nothing. The reference prints them as if they were not set, which would
/// mean their default when the output is read again.
pub(crate) const EMPTY: &str = "x-hoist-empty";

/// An object under construction; what is not set is left out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn maybe<T: Into<Value>>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn text(&mut self, key: &str, value: Option<&String>) {
        self.maybe(key, value.cloned());
    }

    /// A text that has a default of its own, so that nothing is not the same as not set.
    fn text_or_empty(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            self.put(EMPTY, vec![Value::from(key)]);
        } else {
            self.put(key, value);
        }
    }

    fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.put(key, true);
        }
    }

    fn strings(&mut self, key: &str, items: &[String]) {
        if !items.is_empty() {
            self.put(key, items.to_vec());
        }
    }

    fn list(&mut self, key: &str, items: Vec<Value>) {
        if !items.is_empty() {
            self.put(key, items);
        }
    }

    fn table(&mut self, key: &str, table: &BTreeMap<String, String>) {
        if !table.is_empty() {
            self.put(
                key,
                table
                    .iter()
                    .map(|(k, v)| (k.clone(), Value::from(v.clone())))
                    .collect::<Map<_, _>>(),
            );
        }
    }

    fn section(&mut self, key: &str, section: Self) {
        if !section.0.is_empty() {
            self.put(key, section.0);
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// A whole number is printed without a fraction.
fn decimal(value: f64) -> Value {
    match units::whole(value) {
        Some(whole) => Value::from(whole),
        None => Value::from(value),
    }
}
