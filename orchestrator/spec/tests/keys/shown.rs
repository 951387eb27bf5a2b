//! Where docs/compose-support.md names a file of this folder for an attribute, its tests fail without the attribute: they are
//! run again with the attribute renamed to an extension (`x-…`) wherever their files have it.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the table is a file, and the tests a program"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use granit_parser::{Event, Options, Parser};

/// Names the attribute that tests leave out.
const WITHOUT: &str = "HOIST_KEYS_WITHOUT";

/// What [`stripped`] prints, so that a test that fails for another reason is told apart.
const STRIPPED: &str = "attribute left out:";

/// A file as the tests have it; without the attribute where it is to be left out.
pub(crate) fn stripped(text: &str) -> String {
    let Ok(attribute) = std::env::var(WITHOUT) else {
        return text.to_owned();
    };
    let places = places(text, &attribute);
    let mut text = text.to_owned();
    for place in &places {
        // As long as it was, so that all places stay the same.
        text.replace_range(place.clone(), "x-");
    }
    if !places.is_empty() {
        let _ = writeln!(std::io::stderr(), "{STRIPPED} {attribute}");
    }
    text
}

enum Level {
    /// The key whose value comes next; `None`: a key comes next.
    Map(Option<String>),
    List,
}

/// The first two bytes of every key that is this attribute. What is no YAML has none.
fn places(text: &str, attribute: &str) -> Vec<std::ops::Range<usize>> {
    let mut options = Options::default();
    options.emit_comments = false;
    let (mut levels, mut found): (Vec<Level>, Vec<_>) = (Vec::new(), Vec::new());
    for next in Parser::new_from_str_with_options(text, options) {
        let Ok((event, span)) = next else { break };
        match event {
            Event::MappingStart(..) => levels.push(Level::Map(None)),
            Event::SequenceStart(..) => levels.push(Level::List),
            Event::MappingEnd | Event::SequenceEnd => {
                levels.pop();
                value_ends(&mut levels);
            }
            Event::Scalar(key, ..) if matches!(levels.last(), Some(Level::Map(None))) => {
                if let Some(Level::Map(pending)) = levels.last_mut() {
                    *pending = Some(key.to_string());
                }
                let start = span.byte_range().map_or(0, |range| range.start);
                if is_at(&levels, attribute) && text[start..].starts_with(&*key) {
                    found.push(start..start + 2);
                }
            }
            Event::Scalar(..) | Event::Alias(_) => value_ends(&mut levels),
            _ => {}
        }
    }
    found
}

fn value_ends(levels: &mut [Level]) {
    if let Some(Level::Map(pending)) = levels.last_mut() {
        *pending = None;
    }
}

/// Whether the path is that of the attribute, which has `*` for names of the user's own and `[]` after lists.
fn is_at(levels: &[Level], attribute: &str) -> bool {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Map(key) => {
                let dot = if path.is_empty() { "" } else { "." };
                path.extend([dot, key.as_deref().unwrap_or_default()]);
            }
            Level::List => path.push_str("[]"),
        }
    }
    let (path, wanted): (Vec<&str>, Vec<&str>) =
        (path.split('.').collect(), attribute.split('.').collect());
    path.len() == wanted.len()
        && path
            .iter()
            .zip(wanted)
            .all(|(part, wanted)| wanted == "*" || *part == wanted)
}

/// An attribute, and the file that shows it.
fn rows() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose-support.md");
    let text = std::fs::read_to_string(page).expect("the table of attributes");
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (attribute, _, shown) = (cells.next()?, cells.next()?, cells.next()?);
        let module = shown.strip_prefix("`spec/keys/")?.strip_suffix(".rs`")?;
        Some((attribute.trim_matches('`').to_owned(), module.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// `None`: the tests fail without the attribute, as they must.
fn complaint(attribute: &str, module: &str) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let module = format!("keys::{module}::");
    command
        .args([&module, "--nocapture"])
        .env(WITHOUT, attribute)
        .env_remove("UPDATE_EXPECT");
    let output = command.output().expect("run the tests");
    let stripped = String::from_utf8_lossy(&output.stderr).contains(STRIPPED);
    match (stripped, output.status.success()) {
        (false, _) => Some(format!("{attribute}: no file of {module} has it")),
        (true, true) => Some(format!("{attribute}: {module} passes without it")),
        (true, false) => None,
    }
}

#[test]
fn every_attribute_is_missed_by_the_file_that_shows_it() {
    if std::env::var_os(WITHOUT).is_some() {
        return;
    }
    let rows = rows();
    assert!(rows.len() > 50, "{rows:?}");
    let complaints: Vec<String> = rows
        .iter()
        .filter_map(|(attribute, module)| complaint(attribute, module))
        .collect();
    assert!(
        complaints.is_empty(),
        "{} attributes:\n  {}",
        complaints.len(),
        complaints.join("\n  ")
    );
}

#[test]
fn an_attribute_is_found_as_the_table_writes_it() {
    let text = "services:\n  a: {ports: [{target: 1}, {target: 2}], init: true}\n  \"b\":\n    init: &x true\n    tty: *x\n";
    let left = |attribute: &str| places(text, attribute).len();
    assert_eq!(
        (
            left("services.*.init"),
            left("services.*.ports[].target"),
            left("services.*.tty")
        ),
        (2, 2, 1)
    );
    assert_eq!(
        (
            left("services.*.none"),
            left("services"),
            left("services.*.ports.target")
        ),
        (0, 1, 0)
    );
}
