//! Attributes that the model carries without acting on them: taken out of the tree before it is bound to the model,
//! put back when the model is printed.
//!
//! Must not know: what the attributes mean.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::advice;
use crate::model::Inert;
use crate::node::{self, Data, Node};
use crate::report::{Entry, Report, Span};
use crate::schema::{Object, STACK, Shape, Support};

/// Whether what is only carried is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Refuse,
    /// Carried, and said to be refused elsewhere.
    Tell,
    Carry,
}

/// What is judged, and how.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) policy: Policy,
    /// Services that the request is about; the others are only carried. `None`: all.
    pub(crate) requested: Option<BTreeSet<String>>,
}

impl Judge {
    fn of(&self, path: &[String]) -> Policy {
        match (path, &self.requested) {
            ([section, service, ..], Some(requested))
                if section == "services" && !requested.contains(service) =>
            {
                Policy::Carry
            }
            _ => self.policy,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Collector {
    judge: Judge,
    found: Vec<Inert>,
}

impl Collector {
    pub(crate) fn new(judge: Judge) -> Self {
        Self {
            judge,
            found: Vec::new(),
        }
    }

    /// Takes everything out of the tree that the table says is not acted on.
    pub(crate) fn take(&mut self, tree: &mut Node, report: &mut Report) {
        let mut path = Vec::new();
        self.object(tree, &STACK, &mut path, report);
    }

    /// Carries a value, and reports that it is not acted on.
    pub(crate) fn not_yet(
        &mut self,
        path: &[String],
        node: &Node,
        what: &str,
        report: &mut Report,
    ) {
        self.refuse(path, node.span, what, report);
        self.carry(path, node);
    }

    /// Whether what cannot be acted on is spoken of at all.
    pub(crate) fn judges(&self, path: &[String]) -> bool {
        self.judge.of(path) != Policy::Carry
    }

    /// Whether what is only carried is an error.
    pub(crate) fn refuses(&self, path: &[String]) -> bool {
        self.judge.of(path) == Policy::Refuse
    }

    /// Only reports; the model has a place for the value.
    pub(crate) fn refuse(&self, path: &[String], at: Span, what: &str, report: &mut Report) {
        self.refuse_with(path, at, what, advice::of(path, what), report);
    }

    /// The same with what to write instead.
    pub(crate) fn refuse_with(
        &self,
        path: &[String],
        at: Span,
        what: &str,
        way_out: &str,
        report: &mut Report,
    ) {
        if self.judges(path) {
            let message = format!("`{}`: {what} is not supported yet", path.join("."));
            let entry = self.judgement(path, "E0020", message, report);
            let _ = entry
                .at(at, "hoist cannot act on this, and does not ignore it")
                .hint(way_out);
        }
    }

    /// An error; a warning where the stack is only printed.
    pub(crate) fn judgement<'a>(
        &self,
        path: &[String],
        code: &'static str,
        message: String,
        report: &'a mut Report,
    ) -> Entry<'a> {
        match self.judge.of(path) {
            Policy::Refuse => report.error(code, message),
            Policy::Tell | Policy::Carry => report.warning(code, message),
        }
    }

    pub(crate) fn carry(&mut self, path: &[String], node: &Node) {
        self.found.push(Inert {
            path: path.to_vec(),
            value: node.to_json(),
        });
    }

    /// What was found, in the order in which it can be put back.
    pub(crate) fn finish(mut self) -> Vec<Inert> {
        self.found.sort_by(|a, b| order(&a.path, &b.path));
        self.found
    }

    fn object(
        &mut self,
        node: &mut Node,
        table: &Object,
        path: &mut Vec<String>,
        report: &mut Report,
    ) {
        let Some(map) = node.as_map_mut() else { return };
        let depth = path.len();
        let mut kept = Vec::with_capacity(map.0.len());
        for mut entry in std::mem::take(&mut map.0) {
            path.push(entry.key.clone());
            let support = match table.field(&entry.key) {
                Some(field) => {
                    self.nested(&mut entry.value, &field.shape, path, report);
                    Some(field.support)
                }
                // `x-` of the stack and of a service have a place in the model.
                None if depth == 0 || depth == 2 && path[0] == "services" => Some(Support::Yes),
                None => None,
            };
            match support {
                // An empty section says nothing; `placement` is always printed.
                Some(Support::Warn)
                    if entry.value.as_map().is_some_and(|map| map.0.is_empty()) && depth > 2 => {}
                Some(Support::Yes | Support::Part | Support::Printed) => kept.push(entry),
                Some(Support::Modelled) => {
                    self.refuse(
                        path,
                        entry.key_span,
                        &format!("the attribute `{}`", entry.key),
                        report,
                    );
                    kept.push(entry);
                }
                Some(Support::NotYet) => {
                    let key = entry.key.clone();
                    let at = Node {
                        span: entry.key_span,
                        ..entry.value
                    };
                    self.not_yet(path, &at, &format!("the attribute `{key}`"), report);
                }
                Some(Support::Warn) => {
                    if self.refuses(path) {
                        let _ = report
                            .warning("W0003", format!("`{}` has no effect", path.join(".")))
                            .at(entry.key_span, no_effect(&entry.key));
                    }
                    self.carry(path, &entry.value);
                }
                None => self.carry(path, &entry.value),
            }
            path.pop();
        }
        map.0 = kept;
    }

    fn nested(
        &mut self,
        node: &mut Node,
        shape: &Shape,
        path: &mut Vec<String>,
        report: &mut Report,
    ) {
        match shape {
            Shape::Object(table) => self.object(node, table, path, report),
            Shape::Special(_, inner) => self.nested(node, inner, path, report),
            Shape::Either(shapes) => {
                let fitting = shapes.iter().find(|shape| match shape {
                    Shape::Object(_) | Shape::Map(_) => node.as_map().is_some(),
                    Shape::List(_) => node.as_seq().is_some(),
                    _ => false,
                });
                if let Some(shape) = fitting {
                    self.nested(node, shape, path, report);
                }
            }
            Shape::Map(value) => {
                for entry in node.as_map_mut().into_iter().flat_map(|map| &mut map.0) {
                    path.push(entry.key.clone());
                    self.nested(&mut entry.value, value, path, report);
                    path.pop();
                }
            }
            Shape::List(item) => {
                if let Data::Seq(items) = &mut node.data {
                    for (index, node) in items.iter_mut().enumerate() {
                        path.push(index.to_string());
                        self.nested(node, item, path, report);
                        path.pop();
                    }
                }
            }
            _ => {}
        }
    }
}

/// Why an attribute that is accepted does nothing.
fn no_effect(key: &str) -> &'static str {
    match key {
        "update_config" | "rollback_config" => "all containers that differ are replaced, at once",
        "develop" => "only `watch` would act on this, and hoist has none yet",
        "uid" | "gid" | "mode" => {
            "the mount of a step decides: `RUN --mount=type=secret,id=…,uid=…,gid=…,mode=…`"
        }
        _ => "nothing on one machine acts on this",
    }
}

/// List indices by number, so that items come back in their order.
fn order(a: &[String], b: &[String]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let by_number = match (a.parse::<usize>(), b.parse::<usize>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => Ordering::Equal,
        };
        let ordering = by_number.then_with(|| a.cmp(b));
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.len().cmp(&b.len())
}

/// Puts a value back into a printed stack. What it belonged to may be gone by now; then so is it.
pub(crate) fn restore(root: &mut Value, inert: &Inert) {
    let Some((last, parents)) = inert.path.split_last() else {
        return;
    };
    let mut at = root;
    for (depth, key) in parents.iter().enumerate() {
        // Sections inside a service or resource may have nothing else in them; the service itself is never made up.
        let next = match at {
            Value::Object(map) => {
                if depth >= 2 && !map.contains_key(key) {
                    map.insert(key.clone(), Value::Null);
                }
                map.get_mut(key)
            }
            Value::Array(items) => key
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return };
        if next.is_null() {
            *next = if LISTS.contains(&key.as_str()) {
                Value::Array(Vec::new())
            } else {
                Value::Object(Map::new())
            };
        }
        at = next;
    }
    match at {
        Value::Object(map) => {
            map.insert(last.clone(), inert.value.clone());
        }
        Value::Array(items) => {
            if let Ok(index) = last.parse::<usize>() {
                items.insert(index.min(items.len()), inert.value.clone());
            }
        }
        _ => {}
    }
}

/// Attributes whose items can be inert one by one.
const LISTS: [&str; 2] = ["ports", "volumes"];

impl Node {
    pub(crate) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Int(value) => Value::from(*value),
            Data::Float(value) => match crate::units::whole(*value) {
                Some(whole) => Value::from(whole),
                None => serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number),
            },
            Data::Str(text) => Value::String(text.clone()),
            Data::Seq(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(map) => Value::Object(
                map.0
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// A tree without places.
    pub(crate) fn from_json(value: &Value) -> Self {
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(value) => Data::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Data::Int(value),
                (None, Some(value)) => Data::Float(value),
                (None, None) => Data::Null,
            },
            Value::String(text) => Data::Str(text.clone()),
            Value::Array(items) => Data::Seq(items.iter().map(Self::from_json).collect()),
            Value::Object(map) => {
                let mut entries = node::Map::default();
                for (key, value) in map {
                    entries.set(key, Self::from_json(value));
                }
                Data::Map(entries)
            }
        };
        Self::new(crate::report::Span::default(), data)
    }
}
