//! What the manifests declare and what the sources use: nothing is declared that nothing uses, and of the three crates
//! of system calls each has its purpose.

use std::collections::BTreeSet;
use std::fs;

use crate::{CRATES, root, sources, text};

/// The names in a section of a manifest.
fn section(manifest: &str, name: &str) -> BTreeSet<String> {
    let section = manifest
        .split(&format!("\n[{name}]\n"))
        .nth(1)
        .unwrap_or_default();
    let lines = section.split("\n[").next().unwrap_or_default().lines();
    let names = lines.filter_map(|line| line.split(['=', '.', ' ']).next());
    names
        .filter(|word| !word.is_empty() && !word.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The name by which sources know a package.
fn in_code(package: &str) -> String {
    if package == "rustls-webpki" {
        "webpki".to_owned()
    } else {
        package.replace('-', "_")
    }
}

struct Package {
    manifest: String,
    /// What is built without tests.
    code: String,
    tests: String,
}

/// The packages of the workspace; the root's is the command line with the end-to-end scenarios.
fn packages() -> Vec<Package> {
    let folder = |name: &str| {
        (
            format!("{name}/Cargo.toml"),
            format!("{name}/src"),
            format!("{name}/tests"),
        )
    };
    let crates = CRATES.map(|name| folder(&format!("orchestrator/{name}")));
    let others = [
        folder("xtask"),
        (
            "Cargo.toml".to_owned(),
            "orchestrator/cli".to_owned(),
            "tests".to_owned(),
        ),
    ];
    let package = |(manifest, source, tests): (String, String, String)| {
        let (mut code, mut of_tests) = (String::new(), String::new());
        for path in sources(&source) {
            let text = fs::read_to_string(&path).expect("read a source");
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let (own, inside) = text
                .split_once("#[cfg(test)]\nmod tests {")
                .unwrap_or((&text, ""));
            let is_test = name == "tests" || name.ends_with("_tests");
            (if is_test { &mut of_tests } else { &mut code }).push_str(own);
            of_tests.push_str(inside);
        }
        if root().join(&tests).is_dir() {
            for path in sources(&tests) {
                of_tests.push_str(&fs::read_to_string(&path).expect("read a test"));
            }
        }
        Package {
            manifest,
            code,
            tests: of_tests,
        }
    };
    crates.into_iter().chain(others).map(package).collect()
}

/// Whether a source says `name::…` or `use name;`, as a word of its own and not in a comment.
fn mentions(code: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| {
            line.match_indices(name).any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + name.len()..]);
                !before.ends_with(|c: char| word(c) || c == ':')
                    && (after.starts_with("::")
                        || before.ends_with("use ") && after.starts_with([';', ' ']))
            })
        })
}

#[test]
fn no_dependency_is_declared_and_not_used() {
    let mut declared = BTreeSet::new();
    for Package {
        manifest,
        code,
        tests,
    } in packages()
    {
        let content = text(&manifest);
        let (own, of_tests) = (
            section(&content, "dependencies"),
            section(&content, "dev-dependencies"),
        );
        for name in &own {
            assert!(
                mentions(&code, &in_code(name)),
                "{manifest}: [dependencies] has {name}, which no source uses"
            );
        }
        for name in &of_tests {
            assert!(
                !own.contains(name),
                "{manifest}: {name} is in [dependencies] already"
            );
            assert!(
                mentions(&tests, &in_code(name)),
                "{manifest}: [dev-dependencies] has {name}, which no test uses"
            );
        }
        declared.extend(own.into_iter().chain(of_tests));
    }
    let offered = section(&text("Cargo.toml"), "workspace.dependencies");
    let unused: Vec<_> = offered.difference(&declared).collect();
    assert!(
        unused.is_empty(),
        "[workspace.dependencies] has {unused:?}, which no crate uses"
    );
}

/// docs/dependencies.md: rustix first; nix for namespaces, signals and exec; libc for what neither has.
#[test]
fn system_calls_are_of_the_crate_whose_purpose_they_are() {
    const OF_NIX: [&str; 4] = [
        "nix::sched::",
        "nix::sys::signal::",
        "nix::sys::signalfd::",
        "nix::unistd::execve",
    ];
    for path in sources("orchestrator")
        .into_iter()
        .chain(sources("tests"))
        .chain(sources("xtask/src"))
    {
        if path.ends_with("tests/tidy/dependencies.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("read a source");
        for (number, line) in source.lines().enumerate() {
            let mut names = line
                .match_indices("nix::")
                .filter(|(at, _)| !line[..*at].ends_with(char::is_alphanumeric));
            let known =
                |(at, _): (usize, &str)| OF_NIX.iter().any(|known| line[at..].starts_with(known));
            assert!(
                names.all(known),
                "{}:{}: rustix has this call",
                path.display(),
                number + 1
            );
        }
    }
    for Package { manifest, .. } in packages() {
        let has = section(&text(&manifest), "dependencies").contains("libc");
        assert!(
            !has || manifest.contains("/runtime/"),
            "{manifest}: libc is for orchestrator/runtime/src/sys"
        );
    }
}

#[test]
fn a_use_is_told_from_a_word() {
    assert!(mentions("use tar;\n", "tar") && mentions("    tar::Builder::new(out)", "tar"));
    assert!(!mentions(
        "// tar::Builder\nuse crate::tar::x;\nlet star = guitar::new();\nuse target;",
        "tar"
    ));
}
