//! Real stack files, and what the reference loader makes of them. Skipped, and said so, where the corpus is absent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hoist_spec::{Env, Kind, LoadRequest, Source, SourceError, canonical, diagnostic, load};
use serde_json::Value;

/// Cases whose canonical form equals the reference's. Only ever raised.
const EQUAL_FLOOR: usize = 0;
/// Cases that the reference refuses and so do we. Only ever raised.
const REFUSED_FLOOR: usize = 0;

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
        String::from_utf8(bytes).map_err(|_| SourceError::NotText)
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
            let Ok(text) = std::fs::read_to_string(folder.join("case.json")) else { continue };
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            cases.push(Case { name, folder, value: serde_json::from_str(&text).unwrap() });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn run(case: &Case) -> Result<Value, Vec<hoist_spec::Diagnostic>> {
    let source = CaseSource {
        folder: case.folder.clone(),
        seen_as: PathBuf::from(case.value["project_dir"].as_str().unwrap()),
    };
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    env.insert("HOME".into(), "/root".into());
    env.insert("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    for (key, value) in case.value["env"].as_object().into_iter().flatten() {
        env.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    let request = LoadRequest {
        files: strings(&case.value["files"]),
        profiles: strings(&case.value["profiles"]),
        services: strings(&case.value["services"]),
        allow_unsupported: true,
        ..LoadRequest::default()
    };
    let loaded = load(&request, &source, &Env(env))?;
    let printed = canonical::to_json(&loaded.stack);
    let read_back = canonical::from_json(&printed).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    assert_eq!(read_back, loaded.stack, "{}: from_json(to_json(s)) is not s", case.name);
    Ok(printed)
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
        let Ok(text) = std::fs::read_to_string(case.folder.join("expected-head.json")) else { continue };
        total += 1;
        let theirs: Value = serde_json::from_str(&text).unwrap();
        match run(&case) {
            Ok(mut ours) => {
                if let Value::Object(map) = &mut ours {
                    map.remove("x-hoist-inactive");
                }
                match first_difference("", &ours, &theirs) {
                    None => equal += 1,
                    Some(difference) => log.push_str(&format!("differs {}: {difference}\n", case.name)),
                }
            }
            Err(errors) => {
                let text: Vec<_> = errors.iter().map(|error| diagnostic::render(error, false)).collect();
                log.push_str(&format!("refused {}:\n{}\n", case.name, text.join("\n")));
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "{log}{equal} of {total} accepted cases equal the reference");
    assert!(equal >= EQUAL_FLOOR, "{equal} cases are equal; it were {EQUAL_FLOOR}");
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
                if errors.iter().filter(|e| e.severity == hoist_spec::Severity::Error).all(|e| !e.labels.is_empty()) {
                    placed += 1;
                } else {
                    log.push_str(&format!("no place {}: {}\n", case.name, errors[0].message));
                }
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "{log}{refused} of {total} refused, {placed} of them with a place");
    assert!(refused >= REFUSED_FLOOR, "{refused} cases are refused; it were {REFUSED_FLOOR}");
}
