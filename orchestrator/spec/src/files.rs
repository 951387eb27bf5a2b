//! Reading stack files: text → documents → one canonical tree, through `extends` and `include`.
//!
//! Must not know: which files the user named (that is `project`), profiles, the model.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::dotenv;
use crate::interpolate::{self, VariableReference};
use crate::lower::{self, Context};
use crate::merge;
use crate::node::{Data, Map, Node, ValueOrigin};
use crate::report::{Report, Span};
use crate::schema::STACK;
use crate::source::{Kind, Source, SourceError};
use crate::{check, yaml};

/// Files in files in files: more than anyone writes.
pub(crate) const MAX_CHAIN: usize = 64;

pub(crate) type Variables = BTreeMap<String, String>;

type Interpolate = fn(&mut Node, &dyn Fn(&str) -> Option<String>, &mut Report);

pub(crate) struct Loader<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) report: Report,
    pub(crate) home: Option<String>,
    /// Refuse what the reference loader cannot read.
    pub(crate) as_reference: bool,
    /// The project's folder, when relative paths are to stay as they are.
    pub(crate) relative_to: Option<String>,
    /// Variables that texts refer to, when they are not replaced.
    pub(crate) references: BTreeMap<String, VariableReference>,
    /// How many files were included so far.
    pub(crate) included: usize,
    /// Documents by path and folder, so that a file that twenty services extend is read once.
    pub(crate) documents: HashMap<(String, String), Option<Node>>,
}

/// Where a file's contents are to be understood.
#[derive(Debug, Clone)]
pub(crate) struct FileScope {
    pub(crate) dir: String,
    pub(crate) variables: Variables,
    /// The files that led here, for cycles.
    pub(crate) chain: Vec<String>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(source: &'a dyn Source, home: Option<String>) -> Self {
        Self {
            source,
            report: Report::default(),
            home,
            as_reference: false,
            relative_to: None,
            references: BTreeMap::new(),
            included: 0,
            documents: HashMap::new(),
        }
    }

    /// Reads a text file that the user (or `from`) named.
    pub(crate) fn text(&mut self, path: &str, from: Option<Span>, what: &str) -> Option<u32> {
        match self.source.read(Path::new(path)) {
            Ok(text) => {
                let length = text.len();
                let name = self.shown(path);
                let file = self.report.add_file(name, text);
                if let Some(span) = from {
                    let how = match what {
                        "the file to extend" => "extended from here",
                        "the file to include" => "included from here",
                        _ => "named here",
                    };
                    self.report.led_to(file, span, how);
                }
                // One file may be named again and again.
                let span = from.unwrap_or(Span::new(file, 0, 0));
                self.report.spend(length, span).then_some(file)
            }
            Err(error) => {
                let code = "E0012";
                let entry = self
                    .report
                    .error(code, format!("cannot read {what} {path}: {error}"));
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
    pub(crate) fn stack(&mut self, file: u32, scope: &FileScope) -> Option<Node> {
        let documents = yaml::parse(&mut self.report, file)?;
        self.documents(documents, scope)
    }

    /// The same from documents that were parsed already.
    pub(crate) fn documents(&mut self, documents: Vec<Node>, scope: &FileScope) -> Option<Node> {
        let mut result: Option<Node> = None;
        for document in documents {
            if document.is_null() {
                continue;
            }
            let Some(mut tree) = self.document(document, scope) else {
                continue;
            };
            result = Some(match result {
                Some(base) => {
                    tree.mark(ValueOrigin::Override);
                    merge::documents(base, tree)
                }
                None => tree,
            });
        }
        result
    }

    fn document(&mut self, document: Node, scope: &FileScope) -> Option<Node> {
        let tree = self.canonical_with(document, scope, interpolate::document)?;
        let tree = self.extended(tree, scope);
        Some(self.included(tree, scope))
    }

    /// One document checked and lowered, `extends` and `include` still in it.
    pub(crate) fn canonical(&mut self, document: Node, scope: &FileScope) -> Option<Node> {
        self.canonical_with(document, scope, interpolate::tree)
    }

    fn canonical_with(
        &mut self,
        mut document: Node,
        scope: &FileScope,
        interpolate: Interpolate,
    ) -> Option<Node> {
        if document.as_map().is_none() {
            let _ = self
                .report
                .error("E0005", "a stack file must be a mapping at its top level")
                .at(document.span, format!("this is {}", document.kind()));
            return None;
        }
        let lookup = |name: &str| scope.variables.get(name).cloned();
        if self.report.lenient {
            crate::interpolate::references(&document, &mut self.references);
        } else {
            interpolate(&mut document, &lookup, &mut self.report);
        }
        if scope.chain.len() > 1 {
            // Of a file that others draw from, only what they draw must be whole.
            drop_empty_services(&mut document);
        }
        check::shape(
            &document,
            &crate::schema::Shape::Object(&STACK),
            "",
            &mut self.report,
        );
        let mut context = Context {
            dir: scope.dir.clone(),
            home: self.home.clone(),
            relative_to: self.relative_to.clone(),
            report: &mut self.report,
        };
        Some(lower::document(document, &mut context))
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
        if files.is_empty() && self.source.kind(Path::new(&default)) == Kind::File {
            self.read_variables(&default, None, outer, &mut variables);
        }
        for (path, span) in files {
            // `/dev/null` is how the reference says "none".
            if path != "/dev/null" {
                self.read_variables(path, *span, outer, &mut variables);
            }
        }
        variables.extend(
            outer
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        variables
    }

    fn read_variables(
        &mut self,
        path: &str,
        span: Option<Span>,
        outer: &Variables,
        variables: &mut Variables,
    ) {
        let Some(file) = self.text(path, span, "the env file") else {
            return;
        };
        let text = self.report.text(file);
        let assignments = self.dotenv(
            file,
            &text.text,
            &|name| outer.get(name).cloned(),
            variables,
        );
        // Of what one file says twice, only the last counts.
        let last: BTreeMap<String, Span> = assignments.into_iter().collect();
        for (name, span) in last {
            if let Some(value) = variables.get(&name) {
                self.report.variables.set(&name, value, span);
            }
        }
    }

    /// Reads the dialect, reporting what is wrong with its place. What was set where comes back.
    pub(crate) fn dotenv(
        &mut self,
        file: u32,
        text: &str,
        outside: &dyn Fn(&str) -> Option<String>,
        variables: &mut Variables,
    ) -> Vec<(String, Span)> {
        let mut assignments = Vec::new();
        if let Err(error) = dotenv::parse(
            text,
            outside,
            variables,
            &mut assignments,
            &self.report.budget,
        ) {
            let _ = self
                .report
                .error(error.code, error.message)
                .at(Span::new(file, error.start, error.end), "here");
        }
        let spans = assignments
            .into_iter()
            .map(|(name, range)| (name, Span::new(file, range.start, range.end)));
        spans.collect()
    }
}

fn drop_empty_services(document: &mut Node) {
    let services = document
        .as_map_mut()
        .and_then(|map| map.get_mut("services"))
        .and_then(Node::as_map_mut);
    for entry in services.into_iter().flat_map(|map| &mut map.0) {
        if entry.value.is_null() {
            entry.value.data = Data::Map(Map::default());
        }
    }
}
