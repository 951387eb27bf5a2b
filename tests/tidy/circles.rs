//! Which modules of a crate import which, from their `use` lines, and the circles among them.
//!
//! A module and the modules below it are one thing: an import between the two is no edge, and what one of its children
//! imports counts for all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Parts of a module's path; empty for the crate's root.
type Module = Vec<String>;

/// Each group of sibling modules of which every one imports, by whatever way, every other.
pub(crate) fn circles(source: &Path, files: &[PathBuf]) -> Vec<BTreeSet<String>> {
    let modules: BTreeMap<Module, &PathBuf> = files
        .iter()
        .map(|file| (module(source, file), file))
        .collect();
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (own, file) in &modules {
        let text = std::fs::read_to_string(file).expect("read a source");
        for target in imported(&modules, own, &text) {
            let common = own.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if common < own.len().min(target.len()) {
                edges
                    .entry(own[..=common].to_vec())
                    .or_default()
                    .insert(target[..=common].to_vec());
            }
        }
    }
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = edges
        .keys()
        .map(|module| (module, reachable(&edges, module)))
        .collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (module, reached) in &reach {
        let circle = reached
            .iter()
            .filter(|other| reach.get(**other).is_some_and(|back| back.contains(module)));
        let circle: BTreeSet<String> = circle.map(|other| other.join("::")).collect();
        if !circle.is_empty() && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

fn module(source: &Path, file: &Path) -> Module {
    let file = file
        .strip_prefix(source)
        .expect("below the crate's source")
        .display()
        .to_string();
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/')
        .filter(|_| !matches!(path, "lib" | "main"))
        .map(str::to_owned)
        .collect()
}

/// A path means the module of its longest part that is one.
fn imported(modules: &BTreeMap<Module, &PathBuf>, own: &[String], text: &str) -> BTreeSet<Module> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let paths = statements(code)
        .into_iter()
        .flat_map(|statement| paths(&statement));
    let absolute = paths.filter_map(|path| absolute(&path, own));
    absolute
        .filter_map(|path| {
            (1..=path.len())
                .rev()
                .map(|end| path[..end].to_vec())
                .find(|path| modules.contains_key(path))
        })
        .collect()
}

/// The `use` statements of a file, each without the keyword and the semicolon.
fn statements(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find("use ") {
        let before = rest[..start].lines().last().unwrap_or_default().trim();
        let begins =
            rest[..start].ends_with('\n') || before.starts_with("pub") || before.is_empty();
        rest = &rest[start + 4..];
        if let Some(end) = rest.find(';').filter(|_| begins) {
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    found
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths(statement: &str) -> Vec<Vec<String>> {
    fn expand(text: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
        let text = text.trim();
        let Some(open) = text.find('{') else {
            let path = text.split(" as ").next().unwrap_or_default();
            let parts = path.split("::").map(|part| part.trim().to_owned());
            found.push(prefix.iter().cloned().chain(parts).collect());
            return;
        };
        let head = text[..open]
            .split("::")
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty());
        let prefix: Vec<String> = prefix.iter().cloned().chain(head).collect();
        let inner = text[open + 1..].trim_end().trim_end_matches('}');
        let (mut depth, mut start) = (0, 0);
        for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[start..at].trim().is_empty() {
                        expand(&inner[start..at], &prefix, found);
                    }
                    start = (at + 1).min(inner.len());
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    expand(statement, &[], &mut found);
    found
}

/// From the crate's root; `None`: it belongs to another crate, or to a child of the module itself.
fn absolute(path: &[String], own: &[String]) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = own.get(..own.len().checked_sub(ups)?)?;
            Some(base.iter().chain(&path[ups..]).cloned().collect())
        }
        _ => None,
    }
}

fn reachable<'a>(
    edges: &'a BTreeMap<Module, BTreeSet<Module>>,
    from: &Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&Module> = edges[from].iter().collect();
    while let Some(module) = waiting.pop() {
        if reached.insert(module) {
            waiting.extend(edges.get(module).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn statements_are_taken_apart() {
    let found = paths("crate::a::{self, b::{C, D}, e as f}");
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        [
            "crate::a::self",
            "crate::a::b::C",
            "crate::a::b::D",
            "crate::a::e"
        ]
    );
}
