//! Rows that the reference's own unit tests produced, against the notations of this crate. Skipped where the corpus is
//! absent.

#![expect(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lower::parts::Written;
use crate::lower::{self, Context, mounts, ports};
use crate::node::{Data, Node};
use crate::report::{Report, Span};
use crate::size::Budget;
use crate::{dotenv, interpolate, merge, yaml};

fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpus")
        .join(name);
    if !path.exists() {
        let _ = writeln!(std::io::stderr(), "skipped: no corpus");
        return None;
    }
    Some(path)
}

/// Runs every row; `run` gives our result or `None` for an error.
fn rows(
    table: &str,
    count: usize,
    run: impl Fn(&Value) -> Option<Value>,
    expected: impl Fn(&Value) -> Value,
) {
    let Some(path) = corpus(&format!("compose-go-tables/{table}.jsonl")) else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let (mut right, mut total, mut log) = (0, 0, String::new());
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        total += 1;
        let failed = !row["error"].as_str().unwrap_or_default().is_empty();
        let ours = run(&row);
        match (&ours, failed) {
            (None, true) => right += 1,
            (Some(value), false) if *value == expected(&row) => right += 1,
            _ => log.push_str(&format!("{table}: {row}\n  ours: {ours:?}\n")),
        }
    }
    let _ = writeln!(std::io::stderr(), "{log}{table}: {right} of {total} rows");
    assert_eq!((right, total), (count, count), "{table}\n{log}");
}

fn variables(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[test]
fn interpolation_equals_the_reference() {
    let run = |row: &Value| {
        let env = variables(&row["env"]);
        let template = row["template"].as_str().unwrap();
        interpolate::expand(
            template,
            &|name| env.get(name).cloned(),
            &mut |_| {},
            &Budget::default(),
        )
        .ok()
        .map(Value::from)
    };
    rows("interpolation", 180, run, |row| row["result"].clone());
}

#[test]
fn env_files_equal_the_reference() {
    let run = |row: &Value| {
        let env = variables(&row["env"]);
        let mut vars = variables(&row["vars_before"]);
        let text = row["input"].as_str().unwrap();
        dotenv::parse(
            text,
            &|name| env.get(name).cloned(),
            &mut vars,
            &mut Vec::new(),
            &Budget::default(),
        )
        .ok()?;
        serde_json::to_value(vars).ok()
    };
    rows("dotenv", 110, run, |row| row["vars_after"].clone());
}

#[test]
fn short_volumes_equal_the_reference() {
    let run = |row: &Value| {
        let map = mounts::short(row["input"].as_str().unwrap(), &nowhere()).ok()?;
        Some(Node::new(Span::default(), Data::Map(map)).to_json())
    };
    rows("volume-short", 91, run, |row| row["result"].clone());
}

#[test]
fn short_ports_equal_the_reference() {
    let run = |row: &Value| {
        let at = Node::string(Span::default(), "");
        let parsed = ports::short(row["input"].as_str().unwrap()).ok()?;
        Some(
            parsed
                .iter()
                .map(|port| port.node(&at, &nowhere()).to_json())
                .collect(),
        )
    };
    rows("port-short", 32, run, |row| row["result"].clone());
}

/// The canonical form of one file, without checks: the merge cases use attributes that do not exist.
fn lowered(path: &Path) -> Node {
    let mut report = Report::default();
    let file = report.add_file(
        path.display().to_string(),
        std::fs::read_to_string(path).unwrap(),
    );
    let document = yaml::parse(&mut report, file).unwrap().remove(0);
    let mut context = Context {
        dir: "/project".into(),
        home: None,
        relative_to: None,
        report: &mut report,
    };
    lower::document(document, &mut context)
}

fn merge_cases(folder: &Path, found: &mut Vec<PathBuf>) {
    if folder.join("want.yaml").exists() {
        found.push(folder.to_owned());
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            merge_cases(&path, found);
        }
    }
}

#[test]
fn merges_equal_the_reference() {
    /// In sixty-two folders; a few of them have more than one.
    const CASES: usize = 66;
    let Some(root) = corpus("compose-go-merge") else {
        return;
    };
    let mut found = Vec::new();
    merge_cases(&root, &mut found);
    found.sort();
    let mut right = 0;
    let mut log = String::new();
    for folder in &found {
        let merged = merge::documents(
            lowered(&folder.join("base.yaml")),
            lowered(&folder.join("override.yaml")),
        );
        let (ours, theirs) = (
            merge::settle(merged).to_json(),
            merge::settle(lowered(&folder.join("want.yaml"))).to_json(),
        );
        if ours == theirs {
            right += 1;
        } else {
            log.push_str(&format!(
                "{}\n  ours: {ours}\n  want: {theirs}\n",
                folder.display()
            ));
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{log}merges: {right} of {} cases",
        found.len()
    );
    assert_eq!((right, found.len()), (CASES, CASES), "{log}");
}

/// The rows stand in no file.
fn nowhere() -> Written {
    Written::new(Span::default(), &Report::default())
}

/// Every YAML file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            found.push(path);
        }
    }
}

/// A file that both readers take means the same to both, but for merge keys, tags of Compose and octal modes (`0440`),
/// which Compose reads as YAML 1.1.
#[test]
fn another_reader_sees_the_same_in_the_corpus() {
    let Some(corpus) = corpus("") else { return };
    let mut found = Vec::new();
    files(&corpus, &mut found);
    let (mut same, mut different) = (0, Vec::new());
    for path in found {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let Ok(theirs) = serde_norway::from_str::<Value>(&text) else {
            continue;
        };
        let mut report = Report::default();
        let file = report.add_file("read".to_owned(), text.clone());
        let documents = yaml::parse(&mut report, file);
        let Some(ours) = documents
            .and_then(|mut documents| documents.pop())
            .filter(|_| !report.failed())
        else {
            continue;
        };
        if text.contains("<<:") || text.contains('!') || text.contains("mode: 0") {
            continue;
        }
        if ours.to_json() == theirs {
            same += 1;
        } else {
            different.push(path);
        }
    }
    assert!(
        different.is_empty() && same > 500,
        "{same} are the same, {different:#?} are not"
    );
}
