//! docs/compose.schema.json is the table as a JSON schema; and the table knows everything that the specification's own
//! schema knows.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the schemas lie in files"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use expect_test::expect_file;
use hoist_spec::schema::json_schema;
use serde_json::Value;

#[test]
fn the_schema_in_the_documents_is_the_code() {
    expect_file!["../../../docs/compose.schema.json"].assert_eq(&format!("{:#}\n", json_schema()));
}

/// Every path of properties that a schema allows, with `*` for keys of the user's own and `[]` for items.
fn paths(schema: &Value, root: &Value, prefix: &str, depth: usize, found: &mut BTreeSet<String>) {
    if depth > 14 {
        return;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return paths(target, root, prefix, depth + 1, found);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for option in schema[key].as_array().into_iter().flatten() {
            paths(option, root, prefix, depth + 1, found);
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        found.insert(path.clone());
        paths(property, root, &path, depth + 1, found);
    }
    let own = schema["patternProperties"]
        .as_object()
        .into_iter()
        .flatten();
    let own = own
        .filter(|(pattern, _)| *pattern != "^x-")
        .map(|(_, value)| value);
    for value in own.chain(Some(&schema["additionalProperties"]).filter(|value| value.is_object()))
    {
        paths(value, root, &format!("{prefix}.*"), depth + 1, found);
    }
    if schema["items"].is_object() {
        paths(
            &schema["items"],
            root,
            &format!("{prefix}[]"),
            depth + 1,
            found,
        );
    }
}

#[test]
fn every_attribute_of_the_specification_is_in_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpus/schema/compose-spec.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        let _ = writeln!(std::io::stderr(), "skipped: no corpus");
        return;
    };
    let theirs: Value = serde_json::from_str(&text).unwrap();
    let ours = json_schema();
    let (mut known, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    paths(&ours, &ours, "", 0, &mut known);
    paths(&theirs, &theirs, "", 0, &mut wanted);
    let missing: Vec<&String> = wanted.difference(&known).collect();
    assert!(wanted.len() > 200, "{}", wanted.len());
    assert!(missing.is_empty(), "{missing:?}");
}
