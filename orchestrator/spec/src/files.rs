//! Reading stack files: text → documents → one canonical tree, through `extends` and `include`.
//!
//! Must not know: which files the user named (that is `project`), profiles, the model.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::dotenv;
use crate::interpolate;
use crate::lower::{self, Context};
use crate::merge;
use crate::node::{Data, Map, Node};
use crate::normalize;
use crate::paths;
use crate::report::{Report, Span};
use crate::schema::STACK;
use crate::source::{Kind, Source, SourceError};
use crate::suggest;
use crate::{check, yaml};

/// Files in files in files: more than anyone writes.
const MAX_CHAIN: usize = 64;

pub(crate) type Variables = BTreeMap<String, String>;

pub(crate) struct Loader<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) report: Report,
    pub(crate) home: Option<String>,
    /// Documents by path and folder, so that a file that twenty services extend is read once.
    documents: HashMap<(String, String), Option<Node>>,
}

/// Where a file's contents are to be understood.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: String,
    pub(crate) variables: Variables,
    /// The files that led here, for cycles.
    pub(crate) chain: Vec<String>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(source: &'a dyn Source, home: Option<String>) -> Self {
        Self { source, report: Report::default(), home, documents: HashMap::new() }
    }

    /// Reads a text file that the user (or `from`) named.
    pub(crate) fn text(&mut self, path: &str, from: Option<Span>, what: &str) -> Option<u32> {
        match self.source.read(Path::new(path)) {
            Ok(text) => {
                let name = self.shown(path);
                Some(self.report.add_file(name, text))
            }
            Err(error) => {
                let code = "E0012";
                let entry = self.report.error(code, format!("cannot read {what} {path}: {error}"));
                let entry = match from {
                    Some(span) => entry.at(span, "named here"),
                    None => entry,
                };
                if matches!(error, SourceError::IsDirectory) {
                    let _ = entry.hint("name the file in that folder");
                }
                None
            }
        }
    }

    /// A path as the user sees it from where they are.
    fn shown(&self, path: &str) -> String {
        let here = self.source.working_dir();
        match Path::new(path).strip_prefix(&here) {
            Ok(below) => below.to_string_lossy().into_owned(),
            Err(_) => path.to_owned(),
        }
    }

    /// The canonical tree of a text's documents, merged.
    pub(crate) fn stack(&mut self, file: u32, place: &Place) -> Option<Node> {
        let documents = yaml::parse(&mut self.report, file)?;
        self.documents(documents, place)
    }

    /// The same from documents that were parsed already.
    pub(crate) fn documents(&mut self, documents: Vec<Node>, place: &Place) -> Option<Node> {
        let mut result: Option<Node> = None;
        for document in documents {
            if document.is_null() {
                continue;
            }
            let Some(tree) = self.document(document, place) else { continue };
            result = Some(match result {
                Some(base) => merge::documents(base, tree),
                None => tree,
            });
        }
        result
    }

    fn document(&mut self, document: Node, place: &Place) -> Option<Node> {
        let tree = self.canonical(document, place)?;
        let tree = self.extended(tree, place);
        Some(self.included(tree, place))
    }

    /// One document checked and lowered, `extends` and `include` still in it.
    fn canonical(&mut self, mut document: Node, place: &Place) -> Option<Node> {
        if document.as_map().is_none() {
            let _ = self
                .report
                .error("E0005", "a stack file must be a mapping at its top level")
                .at(document.span, format!("this is {}", document.kind()));
            return None;
        }
        let lookup = |name: &str| place.variables.get(name).cloned();
        interpolate::tree(&mut document, &lookup, &mut self.report);
        if place.chain.len() > 1 {
            // Of a file that others draw from, only what they draw must be whole.
            drop_empty_services(&mut document);
        }
        check::shape(&document, &crate::schema::Shape::Object(&STACK), "", &mut self.report);
        let mut context = Context { dir: place.dir.clone(), home: self.home.clone(), report: &mut self.report };
        Some(lower::document(document, &mut context))
    }

    // ----- extends -----

    fn extended(&mut self, mut tree: Node, place: &Place) -> Node {
        let Some(services) = tree.as_map().and_then(|map| map.get("services")).and_then(Node::as_map).cloned() else {
            return tree;
        };
        if !services.0.iter().any(|entry| entry.value.at(&["extends"]).is_some()) {
            return tree;
        }
        let mut done: HashMap<String, Node> = HashMap::new();
        let mut result = services.clone();
        for entry in &mut result.0 {
            let mut trail = Vec::new();
            if let Some(service) = self.service(&services, &entry.key, place, &mut done, &mut trail) {
                entry.value = service;
            }
        }
        if let Some(node) = tree.as_map_mut().and_then(|map| map.get_mut("services")) {
            node.data = Data::Map(result);
        }
        tree
    }

    /// A service with everything that it extends merged below it.
    fn service(
        &mut self,
        services: &Map,
        name: &str,
        place: &Place,
        done: &mut HashMap<String, Node>,
        trail: &mut Vec<(String, Span)>,
    ) -> Option<Node> {
        if let Some(ready) = done.get(name) {
            return Some(ready.clone());
        }
        let mut service = services.get(name)?.clone();
        let Some(extends) = service.as_map_mut().and_then(|map| map.remove("extends")) else {
            return Some(service);
        };
        if extends.value.tag == Some(crate::node::Tag::Reset) {
            return Some(service);
        }
        let here = place.chain.last().cloned().unwrap_or_default();
        let step = format!("{here}:{name}");
        let span = extends.value.span;
        let Some(base_name) = extends.value.at(&["service"]).and_then(Node::as_str) else {
            let _ = self
                .report
                .error("E0008", format!("`services.{name}.extends` needs the attribute `service`"))
                .at(span, "which service is to be extended?");
            return Some(service);
        };
        let base_name = base_name.to_owned();
        if trail.iter().any(|(seen, _)| *seen == step) || trail.len() > MAX_CHAIN {
            self.extends_cycle(trail, name, span);
            return None;
        }
        trail.push((step, span));
        let base = match extends.value.at(&["file"]).and_then(Node::as_str) {
            Some(file) if *file != here => self.service_of_file(file, &base_name, span, place, trail),
            _ if services.get(&base_name).is_none() => {
                self.no_base(&base_name, "this file", span, services);
                None
            }
            _ => self.service(services, &base_name, place, done, trail),
        };
        trail.pop();
        let merged = match base {
            Some(base) => merge::services(base, service),
            None => service,
        };
        done.insert(name.to_owned(), merged.clone());
        Some(merged)
    }

    fn extends_cycle(&mut self, trail: &[(String, Span)], name: &str, span: Span) {
        let mut names: Vec<&str> = trail.iter().map(|(step, _)| step.rsplit(':').next().unwrap_or_default()).collect();
        names.push(name);
        let mut entry = self
            .report
            .error("E0014", format!("services extend each other in a circle: {}", names.join(" -> ")))
            .at(span, "extends");
        for (_, other) in trail.iter().filter(|(_, other)| *other != span) {
            entry = entry.at(*other, "and this one");
        }
        let _ = entry;
    }

    fn no_base(&mut self, name: &str, place: &str, span: Span, services: &Map) {
        let entry = self
            .report
            .error("E0014", format!("there is no service `{name}` in {place} to extend"))
            .at(span, "extended here");
        if let Some(near) = suggest::closest(name, services.0.iter().map(|entry| entry.key.as_str())) {
            let _ = entry.hint(format!("did you mean `{near}`?"));
        }
    }

    fn service_of_file(
        &mut self,
        path: &str,
        name: &str,
        span: Span,
        place: &Place,
        trail: &mut Vec<(String, Span)>,
    ) -> Option<Node> {
        let dir = paths::parent(path);
        let mut chain = place.chain.clone();
        chain.push(path.to_owned());
        let base_place = Place { dir: dir.clone(), variables: place.variables.clone(), chain };
        let key = (path.to_owned(), dir);
        let tree = match self.documents.get(&key) {
            Some(tree) => tree.clone(),
            None => {
                let file = self.text(path, Some(span), "the file to extend")?;
                let documents = yaml::parse(&mut self.report, file)?;
                let mut tree: Option<Node> = None;
                for document in documents.into_iter().filter(|document| !document.is_null()) {
                    let Some(next) = self.canonical(document, &base_place) else { continue };
                    tree = Some(match tree {
                        Some(base) => merge::documents(base, next),
                        None => next,
                    });
                }
                self.documents.insert(key, tree.clone());
                tree
            }
        };
        let services = tree.as_ref().and_then(|tree| tree.at(&["services"])).and_then(Node::as_map).cloned();
        let services = services.unwrap_or_default();
        if services.get(name).is_none() {
            self.no_base(name, path, span, &services);
            return None;
        }
        let base = self.service(&services, name, &base_place, &mut HashMap::new(), trail)?;
        // Tags of the base file were about its own bases; above it they say nothing.
        Some(settled_service(base))
    }

    // ----- include -----

    fn included(&mut self, mut tree: Node, place: &Place) -> Node {
        let Some(include) = tree.as_map_mut().and_then(|map| map.remove("include")) else { return tree };
        let mut below: Option<Node> = None;
        for item in include.value.as_seq().unwrap_or_default() {
            let Some(part) = self.include(item, place) else { continue };
            below = Some(match below {
                Some(base) => merge::documents(base, part),
                None => part,
            });
        }
        match below {
            Some(below) => merge::documents(below, tree),
            None => tree,
        }
    }

    fn include(&mut self, item: &Node, place: &Place) -> Option<Node> {
        let strings = |node: Option<&Node>| -> Vec<(String, Span)> {
            match node {
                Some(Node { data: Data::Str(text), span, .. }) => vec![(text.clone(), *span)],
                Some(Node { data: Data::Seq(items), .. }) => {
                    items.iter().filter_map(|item| Some((item.as_str()?.to_owned(), item.span))).collect()
                }
                _ => Vec::new(),
            }
        };
        let home = self.home.clone();
        let from = |path: &str| paths::absolute(path, &place.dir, home.as_deref());
        let files = match item.as_str() {
            Some(path) => vec![(path.to_owned(), item.span)],
            None => strings(item.at(&["path"])),
        };
        let Some((first, _)) = files.first() else {
            let _ = self
                .report
                .error("E0008", "`include` needs the attribute `path`")
                .at(item.span, "which file is to be included?");
            return None;
        };
        let first = from(first);
        let dir = match item.at(&["project_directory"]).and_then(Node::as_str) {
            Some(dir) => from(dir),
            None => paths::parent(&first),
        };
        let env_files: Vec<_> =
            strings(item.at(&["env_file"])).into_iter().map(|(path, span)| (from(&path), Some(span))).collect();
        let variables = self.layered_variables(&env_files, &dir, &place.variables);
        let mut result: Option<Node> = None;
        for (path, span) in files {
            if paths::is_remote(&path) {
                let _ = self
                    .report
                    .error("E0020", format!("including `{path}` from elsewhere is not supported yet"))
                    .at(span, "");
                continue;
            }
            let path = from(&path);
            if place.chain.contains(&path) || place.chain.len() > MAX_CHAIN {
                let mut names = place.chain.clone();
                names.push(path);
                let _ = self
                    .report
                    .error("E0015", format!("files include each other in a circle: {}", names.join(" -> ")))
                    .at(span, "included here");
                continue;
            }
            let Some(file) = self.text(&path, Some(span), "the file to include") else { continue };
            let mut chain = place.chain.clone();
            chain.push(path);
            let inner = Place { dir: dir.clone(), variables: variables.clone(), chain };
            let Some(tree) = self.stack(file, &inner) else { continue };
            result = Some(match result {
                Some(base) => merge::documents(base, tree),
                None => tree,
            });
        }
        if let Some(tree) = &mut result {
            normalize::included(tree, &variables, &dir);
            if let Some(map) = tree.as_map_mut() {
                map.remove("name");
                map.remove("version");
            }
        }
        result
    }

    /// The variables of the given files (or of `.env` in `dir`) under those that are known already.
    pub(crate) fn layered_variables(
        &mut self,
        files: &[(String, Option<Span>)],
        dir: &str,
        outer: &Variables,
    ) -> Variables {
        let mut variables = Variables::new();
        let default = format!("{dir}/.env");
        if files.is_empty()
            && self.source.kind(Path::new(&default)) == Kind::File {
                self.read_variables(&default, None, outer, &mut variables);
            }
        for (path, span) in files {
            // `/dev/null` is how the reference says "none".
            if path != "/dev/null" {
                self.read_variables(path, *span, outer, &mut variables);
            }
        }
        variables.extend(outer.iter().map(|(name, value)| (name.clone(), value.clone())));
        variables
    }

    fn read_variables(&mut self, path: &str, span: Option<Span>, outer: &Variables, variables: &mut Variables) {
        let Some(file) = self.text(path, span, "the env file") else { return };
        let text = self.report.text(file);
        self.dotenv(file, &text.text, &|name| outer.get(name).cloned(), variables);
    }

    /// Reads the dialect, reporting what is wrong with its place.
    pub(crate) fn dotenv(
        &mut self,
        file: u32,
        text: &str,
        outside: &dyn Fn(&str) -> Option<String>,
        variables: &mut Variables,
    ) {
        if let Err(error) = dotenv::parse(text, outside, variables) {
            let _ = self.report.error("E0013", error.message).at(Span::new(file, error.start, error.end), "here");
        }
    }
}

fn drop_empty_services(document: &mut Node) {
    let services = document.as_map_mut().and_then(|map| map.get_mut("services")).and_then(Node::as_map_mut);
    for entry in services.into_iter().flat_map(|map| &mut map.0) {
        if entry.value.is_null() {
            entry.value.data = Data::Map(Map::default());
        }
    }
}

fn settled_service(service: Node) -> Node {
    let span = service.span;
    let mut services = Map::default();
    services.set("s", service);
    let mut tree = Map::default();
    tree.set("services", Node::new(span, Data::Map(services)));
    let settled = merge::settle(Node::new(span, Data::Map(tree)));
    settled.at(&["services", "s"]).cloned().unwrap_or(settled)
}
