//! The example that the README runs.

#![expect(clippy::disallowed_methods, reason = "the example lies in a file")]

use super::files::{files, run};

#[test]
fn the_example_loads_without_a_warning() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/stack.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let request = hoist_spec::LoadRequest {
        files: vec!["stack.yaml".into()],
        ..hoist_spec::LoadRequest::default()
    };
    let loaded =
        run(&files(&[("stack.yaml", &text)]), &request).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        loaded.stack.services.keys().collect::<Vec<_>>(),
        ["backend", "database", "queue"]
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}
