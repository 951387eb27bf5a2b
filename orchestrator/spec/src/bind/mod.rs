//! The canonical tree bound to the model: every attribute has its type and its field.
//!
//! Must not know: short forms, files, merging. What the model has no place for goes to the [`Collector`].

mod build;
mod confined;
mod kinds;
mod names;
mod network;
mod service;
mod storage;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::inert::{Collector, Judge};
use crate::model::{Stack, Ulimit};
use crate::node::{Data, Entry, Map, Node};
use crate::report::Report;
use crate::size::{self, TooMany};
use crate::suggest;
use crate::units;

pub use confined::CAPABILITIES;
pub use network::is_bridge_name;
pub(crate) use storage::tmpfs;

/// Makes the model of a checked, normalised tree.
pub(crate) fn stack(mut tree: Node, name: String, judge: Judge, report: &mut Report) -> Stack {
    no_nul(&tree, report);
    let mut inert = Collector::new(judge);
    inert.take(&mut tree, report);
    let empty = Map::default();
    let top = tree.as_map().unwrap_or(&empty);
    let mut stack = Stack {
        name,
        ..Stack::default()
    };
    let section = |name: &str| {
        top.get(name)
            .and_then(Node::as_map)
            .map(|map| map.0.as_slice())
            .unwrap_or_default()
    };
    let blank = Node::new(tree.span, Data::Map(Map::default()));
    fn fields<'a>(entry: &'a Entry, blank: &'a Node) -> &'a Node {
        if entry.value.is_null() {
            blank
        } else {
            &entry.value
        }
    }
    for entry in section("services") {
        let node = fields(entry, &blank);
        let mut reader = Reader::new(node, &["services", &entry.key], &mut inert, report);
        stack
            .services
            .insert(entry.key.clone(), service::service(&mut reader));
    }
    for entry in section("networks") {
        let node = fields(entry, &blank);
        let mut reader = Reader::new(node, &["networks", &entry.key], &mut inert, report);
        stack
            .networks
            .insert(entry.key.clone(), network::network(&mut reader));
    }
    for entry in section("volumes") {
        let node = fields(entry, &blank);
        let mut reader = Reader::new(node, &["volumes", &entry.key], &mut inert, report);
        stack
            .volumes
            .insert(entry.key.clone(), storage::volume(&mut reader));
    }
    for (name, target) in [
        ("secrets", &mut stack.secrets),
        ("configs", &mut stack.configs),
    ] {
        for entry in section(name) {
            let node = fields(entry, &blank);
            let mut reader = Reader::new(node, &[name, &entry.key], &mut inert, report);
            target.insert(entry.key.clone(), storage::file_object(&mut reader));
        }
    }
    sizes(&tree, &stack, report);
    stack.extensions = extensions(top);
    stack.inert = inert.finish();
    stack
}

/// No program, path or variable can have one, and what a file has of them reaches it in other ways.
fn no_nul(node: &Node, report: &mut Report) {
    match &node.data {
        Data::Str(text) if text.contains('\0') => {
            let _ = report
                .error("E0009", "a value has a NUL character")
                .at(node.span, "no program can take this");
        }
        Data::Seq(items) => items.iter().for_each(|item| no_nul(item, report)),
        Data::Map(map) => map.0.iter().for_each(|entry| no_nul(&entry.value, report)),
        _ => {}
    }
}

/// Whether one machine can be meant, with the place that says how many.
fn sizes(tree: &Node, stack: &Stack, report: &mut Report) {
    let Err(problem) = size::check(stack, &BTreeMap::new()) else {
        return;
    };
    let place = match &problem {
        TooMany::Replicas { service, .. } => {
            let service = ["services", service];
            let count = |path: &[&str]| tree.at(&service).and_then(|service| service.at(path));
            count(&["scale"])
                .or_else(|| count(&["deploy", "replicas"]))
                .or_else(|| count(&[]))
        }
        TooMany::Containers(_) | TooMany::Ports(_) => tree.at(&["services"]),
    };
    let _ = report
        .error("E0028", problem.to_string())
        .at(place.unwrap_or(tree).span, "this many");
}

/// The `x-` attributes of a section.
fn extensions(map: &Map) -> BTreeMap<String, serde_json::Value> {
    let own = map.0.iter().filter(|entry| entry.key.starts_with("x-"));
    own.map(|entry| (entry.key.clone(), entry.value.to_json()))
        .collect()
}

/// Reads the attributes of one section.
struct Reader<'a> {
    map: &'a Map,
    node: &'a Node,
    path: Vec<String>,
    inert: &'a mut Collector,
    report: &'a mut Report,
}

static EMPTY: Map = Map(Vec::new());

impl<'a> Reader<'a> {
    fn new(
        node: &'a Node,
        path: &[&str],
        inert: &'a mut Collector,
        report: &'a mut Report,
    ) -> Self {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        Self {
            map: node.as_map().unwrap_or(&EMPTY),
            node,
            path,
            inert,
            report,
        }
    }

    /// The reader of a section below this one, when it is there.
    fn section(&mut self, key: &str) -> Option<Reader<'_>> {
        let node = self.map.get(key)?;
        Some(self.below(node, key))
    }

    fn below<'b>(&'b mut self, node: &'b Node, key: &str) -> Reader<'b> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        Reader {
            map: node.as_map().unwrap_or(&EMPTY),
            node,
            path,
            inert: self.inert,
            report: self.report,
        }
    }

    fn item<'b>(&'b mut self, node: &'b Node, key: &str, index: usize) -> Reader<'b> {
        let mut reader = self.below(node, key);
        reader.path.push(index.to_string());
        reader
    }

    fn string(&self, key: &str) -> Option<String> {
        self.map
            .get(key)?
            .scalar_text()
            .filter(|text| !text.is_empty())
    }

    fn text(&self, key: &str) -> String {
        self.string(key).unwrap_or_default()
    }

    fn boolean(&self, key: &str) -> Option<bool> {
        self.map.get(key)?.as_bool()
    }

    fn flag(&self, key: &str) -> bool {
        self.boolean(key).unwrap_or(false)
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.string(key)?.parse().ok()
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        hoist_object::units::duration(&self.string(key)?)
    }

    /// A number of the wanted type; reports one that does not fit.
    fn number<T: TryFrom<i64>>(&mut self, key: &str) -> Option<T> {
        let node = self.map.get(key)?;
        let value = match &node.data {
            Data::Int(value) => Some(*value),
            Data::Float(value) => units::whole(*value),
            Data::Str(text) => text.parse().ok(),
            _ => None,
        };
        let fitting = value.and_then(|value| T::try_from(value).ok());
        if fitting.is_none() {
            let text = node.scalar_text().unwrap_or_default();
            self.invalid(key, &format!("`{text}` is out of range"));
        }
        fitting
    }

    /// A value with a notation of its own.
    fn parsed<T: FromStr>(&mut self, key: &str, what: &str) -> Option<T> {
        let text = self.string(key).filter(|text| !text.is_empty())?;
        let value = text.parse().ok();
        if value.is_none() {
            self.invalid(key, &format!("`{text}` is not {what}"));
        }
        value
    }

    fn invalid(&mut self, key: &str, problem: &str) {
        let span = self.map.get(key).map_or(self.node.span, |node| node.span);
        let path = self.path.join(".");
        let _ = self
            .report
            .error("E0009", format!("`{path}.{key}`: {problem}"))
            .at(span, "this value");
    }

    /// A word that is not one of the known ones.
    fn unknown_word(&mut self, key: &str, text: &str, known: &[&str], more: &str) {
        let span = self.map.get(key).map_or(self.node.span, |node| node.span);
        let path = self.path.join(".");
        let message = format!(
            "`{path}.{key}`: `{text}` is not {} or {more}",
            known.join(", ")
        );
        let entry = self.report.error("E0009", message).at(span, "this value");
        if let Some(near) = suggest::closest(text, known.iter().copied()) {
            let _ = entry.hint(format!("did you mean `{near}`?"));
        }
    }

    fn items(&self, key: &str) -> &'a [Node] {
        self.map.get(key).and_then(Node::as_seq).unwrap_or_default()
    }

    fn entries(&self, key: &str) -> &'a [crate::node::Entry] {
        self.map
            .get(key)
            .and_then(Node::as_map)
            .map(|map| map.0.as_slice())
            .unwrap_or_default()
    }

    fn strings(&self, key: &str) -> Vec<String> {
        self.items(key)
            .iter()
            .filter_map(Node::scalar_text)
            .collect()
    }

    fn table(&self, key: &str) -> BTreeMap<String, String> {
        let texts = self.entries(key).iter();
        texts
            .map(|entry| {
                (
                    entry.key.clone(),
                    entry.value.scalar_text().unwrap_or_default(),
                )
            })
            .collect()
    }

    fn open_table(&self, key: &str) -> BTreeMap<String, Option<String>> {
        self.entries(key)
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.scalar_text()))
            .collect()
    }

    fn hosts(&self, key: &str) -> BTreeMap<String, Vec<String>> {
        let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in self.strings(key) {
            if let Some((name, address)) = text.split_once('=') {
                hosts
                    .entry(name.to_owned())
                    .or_default()
                    .push(address.to_owned());
            }
        }
        hosts
    }

    fn addresses<T: FromStr>(&mut self, key: &str) -> Vec<T> {
        let mut addresses = Vec::new();
        for node in self.items(key) {
            let text = node.scalar_text().unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let path = self.path.join(".");
                    let message = format!("`{path}.{key}`: `{text}` is not an address");
                    let _ = self
                        .report
                        .error("E0009", message)
                        .at(node.span, "this value");
                }
            }
        }
        addresses
    }

    /// Carries an attribute of this section, and refuses it unless it may be carried.
    fn not_yet(&mut self, key: &str, what: &str) {
        if let Some(node) = self.map.get(key) {
            let mut path = self.path.clone();
            path.push(key.to_owned());
            self.inert.not_yet(&path, node, what, self.report);
        }
    }

    /// Refuses the value of an attribute; the model has a place for it.
    fn not_acted_on(&mut self, key: &str, what: &str) {
        if let Some(node) = self.map.get(key) {
            let mut path = self.path.clone();
            path.push(key.to_owned());
            self.inert.refuse(&path, node.span, what, self.report);
        }
    }

    /// Refuses values of an attribute that hoist has no means for.
    fn only(&mut self, key: &str, known: &[&str]) {
        if let Some(node) = self.map.get(key)
            && let Some(text) = node.as_str()
            && !text.is_empty()
            && !known.contains(&text)
        {
            self.inert.refuse(
                &self.path,
                node.span,
                &format!("the {key} `{text}`"),
                self.report,
            );
        }
    }

    /// Refuses an external resource with an empty name: it could not be found.
    fn named(&mut self) {
        if self.boolean("external") == Some(true) && self.string("name").is_none() {
            self.inert.refuse(
                &self.path,
                self.node.span,
                "an external resource without a name",
                self.report,
            );
        }
    }

    fn carry(&mut self, key: &str) {
        if let Some(node) = self.map.get(key) {
            let mut path = self.path.clone();
            path.push(key.to_owned());
            self.inert.carry(&path, node);
        }
    }
}

/// `ulimits` of a service or a build.
fn ulimits(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Ulimit> {
    let mut ulimits = BTreeMap::new();
    let entries = reader.entries(key);
    let Some(mut section) = reader.section(key) else {
        return ulimits;
    };
    for entry in entries {
        let ulimit = if entry.value.as_map().is_some() {
            let mut both = section.below(&entry.value, &entry.key);
            both.number("soft")
                .zip(both.number("hard"))
                .map(|(soft, hard)| Ulimit {
                    soft,
                    hard,
                    single: false,
                })
        } else {
            section.number(&entry.key).map(|limit| Ulimit {
                soft: limit,
                hard: limit,
                single: true,
            })
        };
        if let Some(ulimit) = ulimit {
            ulimits.insert(entry.key.clone(), ulimit);
        }
    }
    ulimits
}
