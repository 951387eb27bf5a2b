//! Whatever the text, reading it ends in a value or a diagnostic.

use hoist_build::dockerfile::parse;
use hoist_build::expand::{expand, expand_words};
use hoist_build::ignore::Ignore;
use hoist_build::{Budget, SourceFile};
use proptest::prelude::*;

/// Text that looks enough like a Dockerfile to get far.
fn dockerfile() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("FROM"),
        Just("RUN"),
        Just("COPY"),
        Just("ENV"),
        Just("ONBUILD"),
        Just("HEALTHCHECK"),
        Just("ARG"),
        Just("ADD"),
        Just("--from=x"),
        Just("--mount=type=cache,target=/x"),
        Just("--interval=1s"),
        Just("<<EOF"),
        Just("<<-'E'"),
        Just("EOF"),
        Just("\\"),
        Just("\n"),
        Just("\\\n"),
        Just("#"),
        Just("# escape=`\n"),
        Just("\""),
        Just("'"),
        Just("["),
        Just("]"),
        Just("[\"a\"]"),
        Just("A=b"),
        Just("$A"),
        Just("${A:-b}"),
        Just("é"),
        Just("\u{feff}"),
        Just("\r\n"),
        Just("\t"),
        Just("/x/"),
        Just("`"),
        Just("--"),
        Just("=")
    ];
    proptest::collection::vec((word, prop_oneof![Just(" "), Just("\n"), Just("")]), 0..30).prop_map(
        |words| {
            words
                .into_iter()
                .flat_map(|(word, space)| [word, space])
                .collect()
        },
    )
}

proptest! {
    #[test]
    fn parsing_ends_in_a_value_or_in_diagnostics_that_render(text in prop_oneof![dockerfile(), any::<String>()]) {
        let source = SourceFile::new("Dockerfile", text);
        let problems = match parse(&source) {
            Ok(file) => file.warnings,
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                problems
            }
        };
        for problem in problems {
            prop_assert!(!problem.render(&source, false).is_empty());
        }
    }

    #[test]
    fn expansion_ends(word in "[$\\{\\}a:#%/*?'\"\\\\ -]{0,24}", value in "[a/b* ]{0,8}") {
        let lookup = |name: &str| (name == "a").then(|| value.clone());
        let _ = expand(&word, '\\', &lookup, &Budget::default());
        let _ = expand_words(&word, '\\', &lookup, &Budget::default());
    }

    #[test]
    fn ignore_files_end(text in "[!a*?/\\[\\]\\\\.\n-]{0,40}", path in "[a./-]{0,20}") {
        if let Ok(ignore) = Ignore::parse(&text) {
            let _ = ignore.excludes(&path);
            let _ = ignore.may_include_below(&path);
        }
    }
}
