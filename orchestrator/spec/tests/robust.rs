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
        if path == Path::new("/demo/compose.yaml") {
            Ok(self.0.clone())
        } else {
            Err(SourceError::NotFound)
        }
    }

    fn kind(&self, path: &Path) -> Kind {
        if path == Path::new("/demo/compose.yaml") {
            Kind::File
        } else {
            Kind::Missing
        }
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
    let request = LoadRequest {
        allow_unsupported: true,
        ..LoadRequest::default()
    };
    match load(&request, &One(text.to_owned()), &Env::default()) {
        Ok(loaded) => {
            let printed = canonical::to_json(&loaded.stack);
            match canonical::from_json(&printed) {
                Ok(again) => assert_eq!(
                    again, loaded.stack,
                    "the printed form means something else: {printed}"
                ),
                Err(errors) => panic!(
                    "the printed form cannot be read: {}\n{printed}",
                    errors[0].message
                ),
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
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
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
    let request = LoadRequest {
        allow_unsupported: true,
        ..LoadRequest::default()
    };
    let errors = load(&request, &One(SEED.to_owned()), &Env::default())
        .err()
        .unwrap_or_default();
    assert!(
        errors.is_empty(),
        "{}",
        errors
            .iter()
            .map(|e| diagnostic::render(e, false))
            .collect::<Vec<_>>()
            .join("\n")
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
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "{:?}",
        begin.elapsed()
    );
}

/// What a text comes to, with these variables; only the errors.
fn refused(text: &str, variables: &[(&str, String)], files: &[(&'static str, String)]) -> String {
    let mut all: Vec<(&'static str, String)> = files.to_vec();
    all.push(("compose.yaml", text.to_owned()));
    let env = variables
        .iter()
        .map(|(name, value)| (*name, value.clone()))
        .collect::<Env>();
    let start = Instant::now();
    let loaded = load(&LoadRequest::default(), &Several(all), &env);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let errors = loaded
        .map(|loaded| loaded.stack.services.len())
        .expect_err("it is taken");
    errors
        .iter()
        .map(|error| format!("{}\n", diagnostic::render(error, false)))
        .collect()
}

struct Several(Vec<(&'static str, String)>);

impl Source for Several {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        let found = self
            .0
            .iter()
            .find(|(name, _)| Path::new("/demo").join(name) == path);
        found
            .map(|(_, text)| text.clone())
            .ok_or(SourceError::NotFound)
    }

    fn kind(&self, path: &Path) -> Kind {
        if self.read(path).is_ok() {
            Kind::File
        } else {
            Kind::Missing
        }
    }

    fn working_dir(&self) -> PathBuf {
        PathBuf::from("/demo")
    }

    fn stdin(&self) -> Result<String, SourceError> {
        Err(SourceError::NotFound)
    }
}

/// Each of these asks for gigabytes, and is answered with the place that does.
#[test]
fn nothing_multiplies_without_bound() {
    let doubled: String = std::iter::once("A0=0123456789\n".to_owned())
        .chain((1..40).map(|number| format!("A{number}=$A{0}$A{0}\n", number - 1)))
        .collect();
    let service = "services:\n  a: {image: x}\n";
    let shown = refused(service, &[], &[(".env", doubled.clone())]);
    assert!(
        shown.contains("E0028") && shown.contains(".env:2"),
        "{shown}"
    );
    let shown = refused(
        "services:\n  a: {image: x, env_file: e}\n",
        &[],
        &[("e", doubled)],
    );
    assert!(
        shown.contains("E0028") && shown.contains("e:2") && shown.contains("named here"),
        "{shown}"
    );

    let big = || "x".repeat(70_000);
    let many = |line: &dyn Fn(usize) -> String| (0..1000).map(line).collect::<String>();
    let labels = many(&|number| format!("      l{number}: $A\n"));
    let nested = many(&|number| format!("      l{number}: ${{B:-${{A}}}}\n"));
    let aliases = many(&|number| format!("      l{number}: *big\n"));
    let keys = many(&|number| format!("  l{number}: *big\n"));
    for (text, code, place) in [
        (
            format!("services:\n  a:\n    image: x\n    labels:\n{labels}"),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!("services:\n  a:\n    image: x\n    labels:\n{nested}"),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!(
                "x-a: &big {}\nservices:\n  a:\n    image: x\n    labels:\n{aliases}",
                big()
            ),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!("x-a: &big {{k: \"{}\"}}\nx-b:\n{keys}{service}", big()),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!(
                "services:\n  a: {{image: x, labels: {{l: {}}}}}\n{}",
                big(),
                many(&|n| format!("  s{n}: {{extends: a}}\n"))
            ),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!(
                "services:\n{}",
                many(&|n| format!("  s{n}: {{image: x, env_file: big}}\n"))
            ),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!(
                "services:\n{}",
                many(&|n| format!("  s{n}: {{image: x, ports: [1-65535]}}\n"))
            ),
            "E0028",
            "compose.yaml:",
        ),
        (
            "services: {a: {image: x, scale: 1000000}}".into(),
            "E0028",
            "compose.yaml:1:33",
        ),
        (
            "services: {a: {image: x, deploy: {replicas: 1001}}}".into(),
            "E0028",
            "compose.yaml:1:",
        ),
        (
            "services: {a: {image: x, ports: [1-200], scale: 1000}}".into(),
            "E0028",
            "compose.yaml:1:",
        ),
        (
            format!(
                "services:\n{}",
                many(&|n| format!("  s{n}: {{image: x, scale: 11}}\n"))
            ),
            "E0028",
            "compose.yaml:",
        ),
        (
            format!(
                "services: {{a: {{image: \"{}x{}\"}}}}",
                "${Z:-".repeat(100),
                "}".repeat(100)
            ),
            "E0010",
            "compose.yaml:1:",
        ),
    ] {
        let shown = refused(&text, &[("A", big())], &[("big", format!("A={}\n", big()))]);
        assert!(
            shown.contains(code) && shown.contains(place),
            "{text:.200}\n{shown:.1000}"
        );
        assert_eq!(
            shown.matches("error[E0028]").count(),
            usize::from(code == "E0028"),
            "{shown:.1000}"
        );
    }
    // Many names in one long value, none of them set.
    let names: String = (0..50_000).map(|number| format!("$A{number}")).collect();
    let text = format!("services: {{a: {{image: x, command: [\"{names}\"]}}}}");
    let start = Instant::now();
    let loaded = load(
        &LoadRequest::default(),
        &Several(vec![("compose.yaml", text)]),
        &Env::default(),
    )
    .unwrap();
    assert_eq!(loaded.warnings.len(), 50_000);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// What ends up in lines of files, in paths and in environments, with what would begin another one.
#[test]
fn nothing_injects_lines_wherever_the_stack_comes_from() {
    let service = |value: &str| format!("services:\n  a:\n    image: x\n    {value}\n");
    for value in [
        r#"hostname: "a\n6.6.6.6 bank""#,
        r#"hostname: "a\r6.6.6.6 bank""#,
        r#"domainname: "a 6.6.6.6""#,
        r#"container_name: "a\nb""#,
        r#"container_name: "../../b""#,
        r#"extra_hosts: ["a=1.1.1.1\n6.6.6.6 bank"]"#,
        r#"extra_hosts: {"a\nb": 1.1.1.1}"#,
        r#"dns: ["1.1.1.1\nnameserver 6.6.6.6"]"#,
        r#"dns_search: ["x\nnameserver 6.6.6.6"]"#,
        r#"dns_search: "x y""#,
        r#"dns_opt: ["ndots:1\nnameserver 6.6.6.6"]"#,
        r#"networks: {default: {aliases: ["a\nb"]}}"#,
        r#"networks: {default: {interface_name: "../x"}}"#,
        r#"environment: {"A=B": c}"#,
        r#"environment: {"A\nB": c}"#,
        r#"environment: {A: "b\0c"}"#,
        r#"sysctls: {"net/../vm.panic_on_oom": 1}"#,
        r#"links: ["b:a\nc"]"#,
        r#"build: {context: ., extra_hosts: ["a=1.1.1.1\n6.6.6.6 bank"]}"#,
    ] {
        let shown = refused(&service(value), &[], &[]);
        assert!(
            shown.contains("E0009") && shown.contains("compose.yaml:"),
            "{value}\n{shown}"
        );
        assert!(
            !shown.contains("\nnameserver 6") && !shown.contains("\n6.6.6.6"),
            "{shown}"
        );
    }
    // The API takes the canonical form, and no file.
    let stack = |service: &str| {
        format!(r#"{{"name": "p", "services": {{"a": {{"image": "x", {service}}}}}}}"#)
    };
    for value in [
        r#""hostname": "a\n6.6.6.6 bank""#,
        r#""extra_hosts": ["a=1.1.1.1\n6.6.6.6 bank"]"#,
        r#""dns_search": ["x\nnameserver 6.6.6.6"]"#,
        r#""dns_opt": ["x\nnameserver 6.6.6.6"]"#,
        r#""container_name": "../../b""#,
        r#""environment": {"A=B": "c"}"#,
        r#""command": ["a\u0000b"]"#,
        r#""networks": {"default": {"aliases": ["a\nb"]}}"#,
        r#""deploy": {"replicas": 1000000}"#,
    ] {
        let json: serde_json::Value = serde_json::from_str(&stack(value)).unwrap();
        assert!(canonical::from_json(&json).is_err(), "{value}");
    }
    let volume =
        serde_json::json!({"name": "p", "services": {}, "volumes": {"v": {"name": "../../x"}}});
    assert!(canonical::from_json(&volume).is_err());
}
