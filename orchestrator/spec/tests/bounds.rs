//! Time and memory on every input of the corpus, alias bombs included. A program of its own, so that the peak is its own.
//! Skipped, and said so, where the corpus is absent.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the corpus lies in files, and time is the subject"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoist_spec::{Env, Kind, LoadRequest, Source, SourceError, canonical, diagnostic, load};

const TIME: Duration = Duration::from_secs(1);
const MEMORY_KB: u64 = 200 * 1024;

struct Folder(PathBuf);

impl Source for Folder {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        std::fs::read_to_string(path).map_err(|_| SourceError::NotFound)
    }

    fn kind(&self, path: &Path) -> Kind {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Kind::Directory,
            Ok(_) => Kind::File,
            Err(_) => Kind::Missing,
        }
    }

    fn working_dir(&self) -> PathBuf {
        self.0.clone()
    }

    fn stdin(&self) -> Result<String, SourceError> {
        Err(SourceError::NotFound)
    }
}

/// Every file that could be a stack file, wherever it lies.
fn inputs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            inputs(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
        {
            found.push(path);
        }
    }
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_input_is_answered_in_bounded_time_and_memory() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: no corpus");
        return;
    }
    let mut files = Vec::new();
    inputs(&corpus.canonicalize().unwrap(), &mut files);
    let mut slowest = (Duration::ZERO, PathBuf::new());
    for file in &files {
        let source = Folder(file.parent().unwrap().to_owned());
        let files = vec![file.to_string_lossy().into_owned()];
        let request = LoadRequest {
            files,
            allow_unsupported: true,
            keep_places: true,
            ..LoadRequest::default()
        };
        let start = Instant::now();
        match load(&request, &source, &Env::default()) {
            Ok(loaded) => assert!(!canonical::to_yaml(&loaded.stack).is_empty()),
            Err(errors) => errors
                .iter()
                .for_each(|error| assert!(!diagnostic::render(error, true).is_empty())),
        }
        slowest = slowest.max((start.elapsed(), file.clone()));
    }
    let peak = peak_kb();
    let _ = writeln!(
        std::io::stderr(),
        "{} inputs; the slowest took {:?} ({}); {} MB at most",
        files.len(),
        slowest.0,
        slowest.1.display(),
        peak / 1024
    );
    assert!(files.len() > 1000);
    assert!(slowest.0 <= TIME, "{slowest:?}");
    assert!(peak <= MEMORY_KB, "{peak} kB");
}
