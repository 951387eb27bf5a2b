//! The tests that docs/compose-support.md names for an attribute fail without the attribute: each is run again with the
//! attribute taken out of every stack file that it writes.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use crate::world::{World, note};

/// Names the attribute that scenarios leave out.
const WITHOUT: &str = "HOIST_E2E_WITHOUT";
/// Restricts the check to attributes that contain this text.
const ONLY: &str = "HOIST_E2E_EFFECT";

/// What [`strip`] prints, so that a test that failed for want of a place to strip is told apart.
const STRIPPED: &str = "attribute left out:";

/// The scenario is run to see it fail, so its failure needs no report.
pub(crate) fn failure_is_wanted() -> bool {
    std::env::var_os(WITHOUT).is_some()
}

/// In a scenario that is run without an attribute: takes it out of the stack file, in its canonical form.
pub(crate) fn strip(world: &World) {
    let Some(attribute) = std::env::var_os(WITHOUT) else {
        return;
    };
    let attribute = attribute.to_string_lossy();
    for name in ["compose.yaml", "stack.yaml"] {
        let path = world.project.join(name);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        // What is left of an earlier round is JSON of this form.
        if text.starts_with('{') {
            continue;
        }
        let canonical = [
            "--profile",
            "*",
            "-f",
            name,
            "config",
            "--format",
            "json",
            "--no-env-resolution",
        ];
        let Ok(output) = world.bare(&canonical).stderr(Stdio::null()).output() else {
            continue;
        };
        let Ok(mut stack) = serde_json::from_slice::<Value>(&output.stdout) else {
            continue;
        };
        let parts: Vec<&str> = attribute.split('.').collect();
        let removed = remove(&mut stack, &parts);
        if removed > 0 {
            note(&format!("{STRIPPED} {attribute}, {removed} times"));
            fs::write(&path, stack.to_string()).expect("write the stack file again");
        }
    }
}

/// Takes a path as docs/compose-support.md writes it out of a document; answers how often it was there.
fn remove(value: &mut Value, path: &[&str]) -> usize {
    let Some((first, rest)) = path.split_first() else {
        return 0;
    };
    let (name, items) = first
        .strip_suffix("[]")
        .map_or((*first, false), |name| (name, true));
    let Some(object) = value.as_object_mut() else {
        return 0;
    };
    if rest.is_empty() {
        return match name {
            "*" => std::mem::take(object).len(),
            name => usize::from(object.remove(name).is_some()),
        };
    }
    let chosen = object
        .iter_mut()
        .filter(|(key, _)| name == "*" || *key == name)
        .map(|(_, inner)| inner);
    let into = |inner: &mut Value| match inner {
        Value::Array(all) if items => all.iter_mut().map(|item| remove(item, rest)).sum(),
        inner => remove(inner, rest),
    };
    chosen.map(into).sum()
}

/// An attribute, and the scenario that shows it: `module::test`.
fn rows() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compose-support.md");
    let text = fs::read_to_string(page).expect("the table of attributes");
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (attribute, support, shown) = (cells.next()?, cells.next()?, cells.next()?);
        let module = shown.strip_prefix("`e2e/")?.split(".rs`").next()?;
        let test = shown.split("`: `").nth(1)?.trim_end_matches('`');
        ["yes", "in part"].contains(&support).then(|| {
            (
                attribute.trim_matches('`').to_owned(),
                format!("{module}::{test}"),
            )
        })
    };
    text.lines().filter_map(row).collect()
}

/// `None`: the test fails without the attribute, as it must.
fn complaint(attribute: &str, test: &str) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", test, "--nocapture"])
        .env(WITHOUT, attribute)
        .env("RUST_BACKTRACE", "0");
    let output = command.output().expect("run a scenario");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    let stripped = text.contains(STRIPPED);
    if text.contains(&format!("skipped: {attribute}: "))
        || (!stripped && text.contains("skipped: "))
    {
        note(&text);
        return None;
    }
    match (ran, stripped, output.status.success()) {
        (false, ..) => Some(format!("{attribute}: there is no test {test}")),
        (true, false, _) => Some(format!("{attribute}: no stack file of {test} has it")),
        (true, true, true) => Some(format!("{attribute}: {test} passes without it")),
        (true, true, false) => None,
    }
}

#[test]
fn every_attribute_is_missed_by_the_test_that_shows_it() {
    if failure_is_wanted() {
        return;
    }
    let only = std::env::var(ONLY).unwrap_or_default();
    let all: VecDeque<_> = rows()
        .into_iter()
        .filter(|(attribute, _)| attribute.contains(&only))
        .collect();
    assert!(!all.is_empty(), "no attribute contains {only:?}");
    let (queue, complaints) = (Mutex::new(all), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no check panicked").pop_front();
                    let Some((attribute, test)) = next else {
                        return;
                    };
                    if let Some(complaint) = complaint(&attribute, &test) {
                        note(&complaint);
                        complaints
                            .lock()
                            .expect("no check panicked")
                            .push(complaint);
                    }
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("no check panicked");
    assert!(
        complaints.is_empty(),
        "{} attributes:\n  {}",
        complaints.len(),
        complaints.join("\n  ")
    );
}

#[test]
fn an_attribute_is_found_as_the_table_writes_it() {
    let text =
        r#"{"services":{"a":{"ports":[{"target":1},{"target":2}],"init":true},"b":{"init":true}}}"#;
    let left = |path: &str| {
        let mut value: Value = serde_json::from_str(text).expect("JSON");
        let parts: Vec<&str> = path.split('.').collect();
        let removed = remove(&mut value, &parts);
        (removed, value.to_string())
    };
    assert_eq!(left("services.*.init").0, 2);
    assert_eq!(left("services.*.ports[].target").0, 2);
    assert_eq!(left("services.*.none").0, 0);
    assert_eq!(
        left("services.*.init").1,
        r#"{"services":{"a":{"ports":[{"target":1},{"target":2}]},"b":{}}}"#
    );
}
