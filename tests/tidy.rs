//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that a program can check.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/lengths.rs"]
mod lengths;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 13] = [
    "spec",
    "object",
    "scheduler",
    "supervisor",
    "network",
    "tree",
    "runtime",
    "image",
    "build",
    "api",
    "client",
    "engine",
    "server",
];

/// Which crates of ours a crate may know. Whoever adds a line here changes the architecture.
fn may_know(name: &str) -> &'static [&'static str] {
    match name {
        "scheduler" => &["spec", "object"],
        "supervisor" => &["object", "scheduler"],
        "spec" | "network" => &["object"],
        "runtime" => &["object", "tree"],
        "image" => &["tree"],
        "build" => &["object", "image", "tree"],
        "api" => &["object", "scheduler"],
        "client" => &["api"],
        "engine" => &[
            "spec",
            "object",
            "scheduler",
            "supervisor",
            "network",
            "tree",
            "runtime",
            "image",
            "build",
            "api",
        ],
        // Of spec, object and image it uses the vocabulary: what the methods of the handle take and return.
        "server" => &["engine", "api", "spec", "object", "image"],
        "cli" => &[
            "spec",
            "object",
            "scheduler",
            "tree",
            "runtime",
            "image",
            "api",
            "client",
            "server",
        ],
        _ => &[],
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Every Rust file of ours below a folder.
fn sources(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("list {}: {error}", folder.display()))
        {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Names in `[dependencies]` of a crate; the command line's are those of the root package.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = if name == "cli" {
        text("Cargo.toml")
    } else {
        text(format!("orchestrator/{name}/Cargo.toml"))
    };
    let section = manifest
        .split("\n[dependencies]")
        .nth(1)
        .unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| Some(line.split(['=', '.', ' ']).next()?.trim().to_owned()))
        .filter(|word| !word.is_empty() && !word.starts_with('#'))
        .collect()
}

#[test]
fn crates_know_only_what_they_may() {
    for name in CRATES.into_iter().chain(["cli"]) {
        let ours: BTreeSet<String> = dependencies(name)
            .into_iter()
            .filter_map(|dependency| Some(dependency.strip_prefix("hoist-")?.to_owned()))
            .collect();
        let allowed: BTreeSet<String> = may_know(name)
            .iter()
            .map(|&other| other.to_owned())
            .collect();
        assert!(
            ours.is_subset(&allowed),
            "{name} knows {:?}",
            ours.difference(&allowed).collect::<Vec<_>>()
        );
    }
}

/// Modules that are still in a circle of imports. This list only shrinks.
fn in_circles(name: &str) -> &'static [&'static str] {
    match name {
        "engine" => &[
            "actions",
            "build",
            "building",
            "buildnet",
            "driver",
            "engine",
            "exec",
            "execute",
            "feed",
            "logs::long",
            "logs::tail",
            "lower",
            "observe",
            "rootview",
            "volumes",
            "wiring",
            "world",
        ],
        _ => &[],
    }
}

#[test]
fn modules_do_not_import_each_other_in_circles() {
    for name in [
        "object",
        "supervisor",
        "api",
        "client",
        "engine",
        "server",
        "cli",
    ] {
        let below = if name == "cli" {
            "orchestrator/cli".to_owned()
        } else {
            format!("orchestrator/{name}/src")
        };
        let circles = circles::circles(&root().join(&below), &sources(&below));
        let found: BTreeSet<&str> = circles.iter().flatten().map(String::as_str).collect();
        let known: BTreeSet<&str> = in_circles(name).iter().copied().collect();
        let more: Vec<_> = found.difference(&known).collect();
        assert!(
            more.is_empty(),
            "{name}: {more:?} are in a circle of imports now: {circles:#?}"
        );
        let fewer: Vec<_> = known.difference(&found).collect();
        assert!(
            fewer.is_empty(),
            "{name}: take {fewer:?} off the list, they are in no circle any more"
        );
    }
}

/// Docker's forms are the server's; the engine answers in terms of its objects.
#[test]
fn the_engine_knows_no_form_of_dockers() {
    for dependency in ["axum", "hyper", "tower"] {
        assert!(
            !dependencies("engine").contains(dependency),
            "the engine depends on {dependency}"
        );
    }
    let definitions = sources("orchestrator/api/src/docker")
        .into_iter()
        .map(|path| text(&path))
        .collect::<String>();
    let names: BTreeSet<&str> = definitions
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub struct ")
                .or_else(|| line.strip_prefix("pub enum "))
        })
        .filter_map(|rest| rest.split([' ', '<', '(', ';']).next())
        .collect();
    assert!(names.contains("ContainerInspect"), "{names:?}");
    for path in sources("orchestrator/engine/src") {
        // Credentials travel with the request of a stack.
        if path.ends_with("execute/sent.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("read a source");
        for statement in source
            .split("use hoist_api::")
            .skip(1)
            .filter_map(|rest| rest.split(';').next())
        {
            let words = statement.split(|letter: char| !letter.is_alphanumeric());
            let found: Vec<&str> = words.filter(|word| names.contains(word)).collect();
            assert!(
                found.is_empty(),
                "{}: {found:?} are docker's forms",
                path.display()
            );
        }
    }
}

#[test]
fn pure_crates_have_no_effects_in_their_manifests() {
    for name in ["spec", "object", "scheduler", "supervisor"] {
        for effect in [
            "tokio", "nix", "rustix", "libc", "reqwest", "axum", "hyper", "jiff", "tempfile",
        ] {
            assert!(
                !dependencies(name).contains(effect),
                "{name} is pure, but depends on {effect}"
            );
        }
    }
    for name in ["network", "runtime", "api"] {
        assert!(
            !dependencies(name).contains("tokio"),
            "{name} is synchronous, but depends on tokio"
        );
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let manifests = CRATES
        .iter()
        .map(|name| format!("orchestrator/{name}/Cargo.toml"));
    for manifest in manifests.chain(["Cargo.toml".to_owned(), "xtask/Cargo.toml".to_owned()]) {
        assert!(
            text(&manifest).contains("[lints]\nworkspace = true"),
            "{manifest} has no [lints] workspace = true"
        );
    }
}

#[test]
fn unsafe_lives_in_one_folder() {
    for path in sources("orchestrator") {
        let inside = path.strip_prefix(root()).expect("below the root");
        if inside.starts_with("orchestrator/runtime/src/sys") {
            continue;
        }
        for (number, line) in fs::read_to_string(&path)
            .expect("read a source")
            .lines()
            .enumerate()
        {
            let code = line.split("//").next().unwrap_or_default();
            let found = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|word| code.contains(word));
            assert!(
                !found,
                "{}:{}: unsafe outside orchestrator/runtime/src/sys",
                inside.display(),
                number + 1
            );
        }
    }
    for name in CRATES.iter().filter(|&&name| name != "runtime") {
        let head = text(format!("orchestrator/{name}/src/lib.rs"));
        assert!(
            head.contains("#![forbid(unsafe_code)]"),
            "{name} does not forbid unsafe code"
        );
    }
}

/// std's removal recurses and holds a descriptor a level: a container's folder of some thousand levels ends the process.
#[test]
fn trees_of_others_are_removed_by_loops() {
    for path in sources("orchestrator") {
        if path.starts_with(root().join("orchestrator/tree"))
            || path
                .components()
                .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "examples")
        {
            continue;
        }
        let source = fs::read_to_string(&path).expect("read a source");
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        if path
            .file_stem()
            .is_some_and(|name| name.to_string_lossy().ends_with("tests"))
        {
            continue;
        }
        for word in ["remove_dir_all", "TempDir", "tempdir("] {
            assert!(
                !code.contains(word),
                "{}: {word} recurses; use hoist_tree",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for path in sources("orchestrator")
        .into_iter()
        .chain(sources("xtask/src"))
        .chain(sources("tests"))
    {
        let source = fs::read_to_string(&path).expect("read a source");
        assert!(source.starts_with("//!"), "{} has no head", path.display());
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            !["util", "utils", "common", "helpers", "misc", "manager"].contains(&name.as_str()),
            "{}: a name without an owner",
            path.display()
        );
    }
}

#[test]
fn functions_are_not_longer_than_80_lines() {
    const LONGEST: usize = 80;
    let mut long = Vec::new();
    for path in ["orchestrator", "xtask/src"].into_iter().flat_map(sources) {
        let inside = path.strip_prefix(root()).expect("below the root");
        let is_test = |part: &OsStr| {
            matches!(part.to_str(), Some("tests" | "examples"))
                || part.to_string_lossy().ends_with("tests.rs")
        };
        if inside.components().any(|part| is_test(part.as_os_str())) {
            continue;
        }
        let source = fs::read_to_string(&path).expect("read a source");
        for (name, line, length) in lengths::functions(&source) {
            if length > LONGEST {
                long.push(format!(
                    "{}:{line}: {name} has {length} lines",
                    inside.display()
                ));
            }
        }
    }
    assert!(
        long.is_empty(),
        "split these by what their parts do:\n{}",
        long.join("\n")
    );
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    for path in sources("orchestrator") {
        let source = fs::read_to_string(&path).expect("read a source");
        for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
            assert!(!source.contains(word), "{} contains {word}", path.display());
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons = text("docs/dependencies.md");
    let manifest = text("Cargo.toml");
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .expect("the section")
        .split("\n[")
        .next()
        .expect("its text");
    for line in section.lines() {
        let Some((name, _)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim();
        if name.starts_with('#') || name.starts_with("hoist-") {
            continue;
        }
        assert!(
            reasons.contains(&format!("`{name}`")),
            "docs/dependencies.md has no line for {name}"
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents: BTreeMap<PathBuf, String> = BTreeMap::new();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ] {
        documents.insert(root().join(name), text(name));
    }
    for entry in fs::read_dir(root().join("docs"))
        .expect("docs")
        .chain(fs::read_dir(root().join("docs/adr")).expect("docs/adr"))
    {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let source = fs::read_to_string(&path).expect("read a document");
            documents.insert(path, source);
        }
    }
    for (path, source) in documents {
        for target in source
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let there = path.parent().expect("a folder").join(target);
            assert!(
                there.exists(),
                "{} links to {target}, which is not there",
                path.display()
            );
        }
    }
}

#[test]
fn tests_that_documents_name_exist() {
    let document = text("docs/registries.md");
    let names = document.split('`').filter_map(|span| span.split_once("::"));
    let named: Vec<_> = names
        .filter(|(file, _)| file.starts_with("image/") || file.starts_with("e2e/"))
        .collect();
    assert!(!named.is_empty(), "the document names tests");
    for (file, name) in named {
        let (area, file) = file.split_once('/').expect("it was looked for");
        let folders: &[&str] = if area == "e2e" {
            &["tests/e2e"]
        } else {
            &["orchestrator/image/tests", "orchestrator/image/src"]
        };
        let files = folders.iter().flat_map(|folder| {
            [
                format!("{folder}/{file}.rs"),
                format!("{folder}/{file}/mod.rs"),
            ]
        });
        let texts = files.filter_map(|path| fs::read_to_string(root().join(path)).ok());
        assert!(
            texts
                .into_iter()
                .any(|text| text.contains(&format!("fn {name}("))),
            "docs/registries.md: no {file}::{name}"
        );
    }
}
