//! Inputs that nobody would write: nothing panics, nothing takes long.

#![expect(clippy::disallowed_methods, reason = "time is what one test is about")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoist_spec::{Env, Kind, LoadRequest, Source, SourceError, canonical, diagnostic, load};
use proptest::prelude::*;

struct One(String);

impl Source for One {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        if path == Path::new("/demo/compose.yaml") { Ok(self.0.clone()) } else { Err(SourceError::NotFound) }
    }

    fn kind(&self, path: &Path) -> Kind {
        if path == Path::new("/demo/compose.yaml") { Kind::File } else { Kind::Missing }
    }

    fn working_dir(&self) -> PathBuf {
        PathBuf::from("/demo")
    }

    fn stdin(&self) -> Result<String, SourceError> {
        Err(SourceError::NotFound)
    }
}

/// Loads a text; whatever comes of it can be printed, and what was printed can be read.
fn survive(text: &str) {
    let request = LoadRequest { allow_unsupported: true, ..LoadRequest::default() };
    match load(&request, &One(text.to_owned()), &Env::default()) {
        Ok(loaded) => {
            let printed = canonical::to_json(&loaded.stack);
            match canonical::from_json(&printed) {
                Ok(again) => assert_eq!(again, loaded.stack, "the printed form means something else: {printed}"),
                Err(errors) => panic!("the printed form cannot be read: {}\n{printed}", errors[0].message),
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let _ = diagnostic::render(&error, true);
                let _ = diagnostic::to_json(&error);
            }
        }
    }
}

const SEED: &str = include_str!("seed.yaml");

/// A few hundred in passing; PROPTEST_CASES says how many when it is to be sure (a million were run).
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn a_stack_file_with_a_line_changed_is_answered(
        line in 0usize..120, cut in 0usize..40, insert in "[-a-z0-9:{}\\[\\]&*!#|>'\"%@`$, \n\t]{0,12}",
    ) {
        let mut lines: Vec<String> = SEED.lines().map(str::to_owned).collect();
        let index = line % lines.len();
        let at = lines[index].char_indices().nth(cut).map_or(lines[index].len(), |(at, _)| at);
        lines[index].insert_str(at, &insert);
        survive(&lines.join("\n"));
    }

    #[test]
    fn a_stack_file_with_two_lines_exchanged_is_answered(a in 0usize..120, b in 0usize..120) {
        let mut lines: Vec<&str> = SEED.lines().collect();
        let count = lines.len();
        lines.swap(a % count, b % count);
        survive(&lines.join("\n"));
    }
}

#[test]
fn the_seed_itself_is_accepted() {
    let request = LoadRequest { allow_unsupported: true, ..LoadRequest::default() };
    let errors = load(&request, &One(SEED.to_owned()), &Env::default()).err().unwrap_or_default();
    assert!(
        errors.is_empty(),
        "{}",
        errors.iter().map(|e| diagnostic::render(e, false)).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_prefix_of_a_stack_file_is_answered() {
    for (end, _) in SEED.char_indices() {
        survive(&SEED[..end]);
    }
}

#[test]
fn thousands_of_services_load_in_linear_time() {
    let mut text = String::from("services:\n");
    for index in 0..4000 {
        let _ = write!(
            text,
            "  s{index}:\n    image: registry.example.com/team/service-{index}:${{TAG:-1}}\n    environment: {{A: 1, B: two}}\n    ports: ['{}:80']\n    volumes: ['data:/data', './src{index}:/src']\n    labels: [a=b]\n",
            1024 + index
        );
        if index > 0 {
            let _ = writeln!(text, "    depends_on: [s{}]", index - 1);
        }
    }
    text.push_str("volumes: {data: }\n");
    let begin = Instant::now();
    let loaded = load(&LoadRequest::default(), &One(text), &Env::default()).unwrap();
    assert_eq!(loaded.stack.services.len(), 4000);
    // Far above what is needed, far below what a quadratic step would take.
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}
