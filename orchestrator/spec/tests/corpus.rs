//! Real stack files, and what the reference loader makes of them. Skipped, and said so, where the corpus is absent.

#![expect(clippy::unwrap_used, reason = "a broken corpus is a failed test")]
#![expect(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hoist_spec::{Env, Kind, LoadRequest, Source, SourceError, canonical, diagnostic, load};
use serde_json::Value;

/// Cases that the reference accepts; our canonical form equals its own in every one.
const ACCEPTED: usize = 535;
/// Cases that the reference refuses; so do we, each with a place.
const REFUSED: usize = 95;
/// Cases that Docker Compose 2.26.1 and the newest version mean the same by.
const LAID_OUT: usize = 445;
/// Cases that name services and load; the reference's answers do not cover them.
const SELECTED: usize = 5;

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !path.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: no corpus");
        return None;
    }
    Some(path)
}

/// Shows a case's folder as `/corpus/NAME`, as it was when the reference read it.
struct CaseSource {
    folder: PathBuf,
    seen_as: PathBuf,
}

impl CaseSource {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        Some(self.folder.join(path.strip_prefix(&self.seen_as).ok()?))
    }
}

impl Source for CaseSource {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        let real = self.real(path).ok_or(SourceError::NotFound)?;
        if real.is_dir() {
            return Err(SourceError::IsDirectory);
        }
        let bytes = std::fs::read(real).map_err(|_| SourceError::NotFound)?;
        hoist_spec::decode(bytes)
    }

    fn kind(&self, path: &Path) -> Kind {
        match self.real(path) {
            Some(real) if real.is_dir() => Kind::Directory,
            Some(real) if real.is_file() => Kind::File,
            _ => Kind::Missing,
        }
    }

    fn working_dir(&self) -> PathBuf {
        self.seen_as.clone()
    }

    fn stdin(&self) -> Result<String, SourceError> {
        Err(SourceError::NotFound)
    }
}

struct Case {
    name: String,
    folder: PathBuf,
    value: Value,
}

fn cases(corpus: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for set in ["awesome", "compose-go", "docker-compose-e2e"] {
        for entry in std::fs::read_dir(corpus.join(set)).unwrap() {
            let folder = entry.unwrap().path();
            let Ok(text) = std::fs::read_to_string(folder.join("case.json")) else {
                continue;
            };
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            cases.push(Case {
                name,
                folder,
                value: serde_json::from_str(&text).unwrap(),
            });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn source(case: &Case) -> CaseSource {
    let seen_as = PathBuf::from(case.value["project_dir"].as_str().unwrap());
    CaseSource {
        folder: case.folder.clone(),
        seen_as,
    }
}

fn env(case: &Case) -> Env {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    env.insert("HOME".into(), "/root".into());
    env.insert(
        "PATH".into(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
    );
    for (key, value) in case.value["env"].as_object().into_iter().flatten() {
        env.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    Env(env)
}

fn request(case: &Case) -> LoadRequest {
    LoadRequest {
        files: strings(&case.value["files"]),
        profiles: strings(&case.value["profiles"]),
        services: strings(&case.value["services"]),
        ..LoadRequest::default()
    }
}

fn run(case: &Case) -> Result<Value, Vec<hoist_spec::Diagnostic>> {
    run_stack(case).map(|(printed, _)| printed)
}

fn run_stack(
    case: &Case,
) -> Result<(Value, hoist_spec::model::Stack), Vec<hoist_spec::Diagnostic>> {
    let request = LoadRequest {
        allow_unsupported: true,
        as_reference: true,
        ..request(case)
    };
    let loaded = load(&request, &source(case), &env(case))?;
    let printed = canonical::to_json(&loaded.stack);
    let read_back =
        canonical::from_json(&printed).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    if read_back != loaded.stack {
        let again = canonical::to_json(&read_back);
        let (a, b) = (format!("{read_back:?}"), format!("{:?}", loaded.stack));
        let at = a
            .bytes()
            .zip(b.bytes())
            .take_while(|(a, b)| a == b)
            .count()
            .saturating_sub(60);
        let (a, b) = (
            &a[at..(at + 120).min(a.len())],
            &b[at..(at + 120).min(b.len())],
        );
        let difference = first_difference("", &again, &printed);
        panic!(
            "{}: from_json(to_json(s)) is not s: {difference:?}\n{a}\n{b}",
            case.name
        );
    }
    Ok((printed, loaded.stack))
}

/// Takes out what the reference keeps in its YAML but drops from its JSON: `x-` below the top level, and models.
fn as_the_reference_prints(stack: &mut Value) {
    let Value::Object(map) = stack else { return };
    map.remove("x-hoist-inactive");
    map.remove("models");
    for (key, section) in map {
        if !key.starts_with("x-") {
            drop_extensions(section, key == "services");
        }
    }
}

fn drop_extensions(value: &mut Value, own_keys: bool) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| own_keys || !key.starts_with("x-"));
            for (key, value) in map {
                let own = matches!(
                    key.as_str(),
                    "environment" | "labels" | "args" | "networks" | "depends_on"
                );
                drop_extensions(value, own && !own_keys);
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| drop_extensions(item, false)),
        _ => {}
    }
}

/// Says what differs first, for the report that a failing run prints.
fn first_difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let difference = match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => first_difference(&format!("{path}.{key}"), a, b),
                    (Some(a), None) => Some(format!("{path}.{key}: only ours: {a}")),
                    (None, Some(b)) => Some(format!("{path}.{key}: missing: {b}")),
                    (None, None) => None,
                };
                if difference.is_some() {
                    return difference;
                }
            }
            None
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a} instead of {b}")),
    }
}

#[test]
fn accepted_cases_equal_the_reference() {
    let Some(corpus) = corpus() else { return };
    let mut equal = 0;
    let mut total = 0;
    let mut log = String::new();
    for case in cases(&corpus) {
        let Ok(text) = std::fs::read_to_string(case.folder.join("expected-head.json")) else {
            continue;
        };
        total += 1;
        let theirs: Value = serde_json::from_str(&text).unwrap();
        match run(&case) {
            Ok(mut ours) => {
                as_the_reference_prints(&mut ours);
                match first_difference("", &ours, &theirs) {
                    None => equal += 1,
                    Some(difference) => {
                        log.push_str(&format!("differs {}: {difference}\n", case.name))
                    }
                }
            }
            Err(errors) => {
                let text: Vec<_> = errors
                    .iter()
                    .map(|error| diagnostic::render(error, false))
                    .collect();
                log.push_str(&format!("refused {}:\n{}\n", case.name, text.join("\n")));
            }
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{log}{equal} of {total} accepted cases equal the reference"
    );
    assert_eq!((equal, total), (ACCEPTED, ACCEPTED), "{log}");
}

#[test]
fn nothing_in_the_corpus_is_ignored_or_unplaced() {
    let Some(corpus) = corpus() else { return };
    let (mut accepted, mut total, mut log) = (0, 0, String::new());
    for case in cases(&corpus) {
        total += 1;
        match load(&request(&case), &source(&case), &env(&case)) {
            Ok(loaded) => {
                accepted += 1;
                let unexplained = |inert: &&hoist_spec::model::Inert| {
                    let name = inert.path.last().map_or("", String::as_str);
                    !name.starts_with("x-")
                        && !["attach", "scale"].contains(&name)
                        && loaded.warnings.is_empty()
                };
                if let Some(inert) = loaded.stack.inert.iter().find(unexplained) {
                    log.push_str(&format!(
                        "{}: {:?} was accepted without a word\n",
                        case.name, inert.path
                    ));
                }
            }
            Err(errors) => {
                for error in errors.iter().filter(|error| error.labels.is_empty()) {
                    log.push_str(&format!("{}: no place: {}\n", case.name, error.message));
                }
            }
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{accepted} of {total} cases can be raised"
    );
    assert!(log.is_empty(), "{log}");
}

/// A printed stack in a folder of its own; the files that it names are still where they were.
struct Printed {
    text: String,
    case: CaseSource,
}

impl Source for Printed {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        if path.ends_with("printed.yaml") {
            Ok(self.text.clone())
        } else {
            self.case.read(path)
        }
    }

    fn kind(&self, path: &Path) -> Kind {
        if path.ends_with("printed.yaml") {
            Kind::File
        } else {
            self.case.kind(path)
        }
    }

    fn working_dir(&self) -> PathBuf {
        PathBuf::from("/elsewhere")
    }

    fn stdin(&self) -> Result<String, SourceError> {
        Err(SourceError::NotFound)
    }
}

#[test]
fn what_is_printed_loads_again_and_means_the_same() {
    let Some(corpus) = corpus() else { return };
    let (mut same, mut total, mut log) = (0, 0, String::new());
    for case in cases(&corpus) {
        let Ok((_, stack)) = run_stack(&case) else {
            continue;
        };
        let printed = canonical::to_json(&stack);
        for text in [canonical::to_yaml(&stack), printed.to_string()] {
            total += 1;
            let request = LoadRequest {
                files: vec!["printed.yaml".into()],
                profiles: vec!["*".into()],
                allow_unsupported: true,
                ..LoadRequest::default()
            };
            let printed_source = Printed {
                text: text.clone(),
                case: source(&case),
            };
            match load(&request, &printed_source, &Env::default()) {
                Ok(loaded) => {
                    match first_difference("", &canonical::to_json(&loaded.stack), &printed) {
                        None => same += 1,
                        Some(difference) => {
                            log.push_str(&format!("changes {}: {difference}\n", case.name))
                        }
                    }
                }
                Err(errors) => {
                    log.push_str(&format!(
                        "unreadable {}: {}\n",
                        case.name,
                        diagnostic::render(&errors[0], false)
                    ));
                }
            }
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{log}{same} of {total} printed stacks load again as themselves"
    );
    // Once as YAML, once as JSON.
    let all = 2 * (ACCEPTED + SELECTED);
    assert_eq!((same, total), (all, all), "{log}");
}

#[test]
fn refused_cases_are_refused_with_a_place() {
    let Some(corpus) = corpus() else { return };
    let mut refused = 0;
    let mut placed = 0;
    let mut total = 0;
    let mut log = String::new();
    for case in cases(&corpus) {
        if !case.folder.join("expected-head-error.txt").exists() {
            continue;
        }
        total += 1;
        match run(&case) {
            Ok(_) => log.push_str(&format!("accepted {}\n", case.name)),
            Err(errors) => {
                refused += 1;
                let placed_well = |error: &hoist_spec::Diagnostic| {
                    let place = error
                        .labels
                        .first()
                        .map(hoist_spec::diagnostic::Label::place)
                        .unwrap_or_default();
                    let parts: Vec<&str> = place.rsplitn(3, ':').collect();
                    parts.len() == 3
                        && parts[..2]
                            .iter()
                            .all(|part| part.parse::<u32>().is_ok_and(|n| n > 0))
                };
                if errors
                    .iter()
                    .filter(|e| e.severity == hoist_spec::Severity::Error)
                    .all(placed_well)
                {
                    placed += 1;
                } else {
                    log.push_str(&format!("no place {}: {}\n", case.name, errors[0].message));
                }
            }
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{log}{refused} of {total} refused, {placed} of them with a place"
    );
    assert_eq!(
        (refused, placed, total),
        (REFUSED, REFUSED, REFUSED),
        "{log}"
    );
}

/// Docker Compose 2.26.1's own output, where the version that made it means the same as the newest one.
#[test]
fn what_is_printed_is_laid_out_like_docker_compose_config() {
    let Some(corpus) = corpus() else { return };
    let (mut same, mut total, mut log) = (0, 0, String::new());
    for case in cases(&corpus) {
        let read = |name: &str| std::fs::read_to_string(case.folder.join(name)).ok();
        let Some(theirs) = read("expected.yaml") else {
            continue;
        };
        let Some(meant) =
            read("expected.json").and_then(|text| serde_json::from_str::<Value>(&text).ok())
        else {
            continue;
        };
        let Ok((mut printed, mut stack)) = run_stack(&case) else {
            continue;
        };
        as_the_reference_prints(&mut printed);
        if first_difference("", &printed, &meant).is_some() {
            continue;
        }
        stack.inactive.clear();
        let ours = canonical::to_yaml(&stack);
        // Said by hoist alone: the reference prints what was set to nothing as if it were not set.
        if ours.contains("x-hoist-empty:") || ours.contains("name: \"\"") {
            continue;
        }
        total += 1;
        let difference = ours
            .lines()
            .zip(theirs.lines())
            .find(|(ours, theirs)| ours != theirs);
        match difference {
            None if ours.lines().count() == theirs.lines().count() => same += 1,
            None => log.push_str(&format!("{}: one is longer\n", case.name)),
            Some((ours, theirs)) => log.push_str(&format!(
                "{}:\n  ours   {ours}\n  theirs {theirs}\n",
                case.name
            )),
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{log}{same} of {total} printed stacks are docker compose's to the byte"
    );
    assert_eq!((same, total), (LAID_OUT, LAID_OUT), "{log}");
}
