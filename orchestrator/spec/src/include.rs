//! `include`: other stacks below this one, each with its own folder and variables.
//!
//! Must not know: how documents are read (that is `files`).

use crate::files::{FileScope, Loader, MAX_CHAIN};
use crate::node::{Data, Node, ValueOrigin};
use crate::report::Span;
use crate::{merge, normalize, paths};

/// Files that one stack may include; files that include others twice multiply quickly.
const MAX_INCLUDED: usize = 1000;

impl Loader<'_> {
    pub(crate) fn included(&mut self, mut tree: Node, scope: &FileScope) -> Node {
        let Some(include) = tree.as_map_mut().and_then(|map| map.remove("include")) else {
            return tree;
        };
        let mut below: Option<Node> = None;
        for item in include.value.as_seq().unwrap_or_default() {
            let Some(part) = self.include(item, scope) else {
                continue;
            };
            below = Some(match below {
                Some(base) => {
                    self.conflicts(&base, &part, item.span);
                    merge::documents(base, part)
                }
                None => part,
            });
        }
        match below {
            Some(below) => merge::documents(below, tree),
            None => tree,
        }
    }

    /// Included stacks stand side by side: what two of them define must be the same thing.
    fn conflicts(&mut self, base: &Node, part: &Node, span: Span) {
        for section in [
            "services", "networks", "volumes", "secrets", "configs", "models",
        ] {
            let Some(known) = base.at(&[section]).and_then(Node::as_map) else {
                continue;
            };
            for entry in part
                .at(&[section])
                .and_then(Node::as_map)
                .into_iter()
                .flat_map(|map| &map.0)
            {
                let Some(other) = known.entry(&entry.key) else {
                    continue;
                };
                if same_value(&other.value, &entry.value) {
                    continue;
                }
                let kind = section.trim_end_matches('s');
                let _ = self
                    .report
                    .error("E0027", format!("two included files define the {kind} `{}` differently", entry.key))
                    .at(entry.key_span, "defined again")
                    .at(other.key_span, "first defined here")
                    .at(span, "the second one is included here")
                    .hint("give one of them another name, or include both with one `path: [FIRST, SECOND]`");
            }
        }
    }

    fn include(&mut self, item: &Node, scope: &FileScope) -> Option<Node> {
        let home = self.home.clone();
        let from = |path: &str| paths::absolute(path, &scope.dir, home.as_deref());
        let files = match item.as_str() {
            Some(path) => vec![(path.to_owned(), item.span)],
            None => one_or_more(item.at(&["path"])),
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
        let env_files: Vec<_> = one_or_more(item.at(&["env_file"]))
            .into_iter()
            .map(|(path, span)| (from(&path), Some(span)))
            .collect();
        let variables = self.layered_variables(&env_files, &dir, &scope.variables);
        let inner = FileScope {
            dir: dir.clone(),
            variables: variables.clone(),
            chain: scope.chain.clone(),
        };
        let mut result: Option<Node> = None;
        for (path, span) in files {
            if paths::is_remote(&path) {
                let _ = self
                    .report
                    .error(
                        "E0020",
                        format!("including `{path}` from elsewhere is not supported yet"),
                    )
                    .at(span, "hoist reads files of this machine only");
                continue;
            }
            let Some(tree) = self.include_file(from(&path), span, inner.clone()) else {
                continue;
            };
            result = Some(match result {
                Some(base) => merge::documents(base, tree),
                None => tree,
            });
        }
        if let Some(tree) = &mut result {
            tree.mark(ValueOrigin::Include);
            normalize::included(tree, &variables, &dir);
            if let Some(map) = tree.as_map_mut() {
                map.remove("name");
                map.remove("version");
            }
        }
        result
    }
    fn include_file(&mut self, path: String, span: Span, mut scope: FileScope) -> Option<Node> {
        if scope.chain.contains(&path) || scope.chain.len() > MAX_CHAIN {
            scope.chain.push(path);
            let _ = self
                .report
                .error(
                    "E0015",
                    format!(
                        "files include each other in a circle: {}",
                        scope.chain.join(" -> ")
                    ),
                )
                .at(span, "included here");
            return None;
        }
        self.included += 1;
        if self.included > MAX_INCLUDED {
            if !self.report.has("E0025") {
                let message = format!("more than {MAX_INCLUDED} files are included");
                let _ = self
                    .report
                    .error("E0025", message)
                    .at(span, "this is one more");
            }
            return None;
        }
        let file = self.text(&path, Some(span), "the file to include")?;
        scope.chain.push(path);
        self.stack(file, &scope)
    }
}

/// Whether two values say the same, wherever they stand and in whatever order their keys are.
fn same_value(a: &Node, b: &Node) -> bool {
    match (&a.data, &b.data) {
        (Data::Map(a), Data::Map(b)) => {
            a.0.len() == b.0.len()
                && a.0.iter().all(|entry| {
                    b.get(&entry.key)
                        .is_some_and(|other| same_value(&entry.value, other))
                })
        }
        (Data::Seq(a), Data::Seq(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (a, b) => a == b,
    }
}

/// A string, or the strings of a list, each with its place.
fn one_or_more(node: Option<&Node>) -> Vec<(String, Span)> {
    match node {
        Some(Node {
            data: Data::Str(text),
            span,
            ..
        }) => vec![(text.clone(), *span)],
        Some(Node {
            data: Data::Seq(items),
            ..
        }) => items
            .iter()
            .filter_map(|item| Some((item.as_str()?.to_owned(), item.span)))
            .collect(),
        _ => Vec::new(),
    }
}
