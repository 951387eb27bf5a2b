//! Files in memory, and the two ways to look at a result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use expect_test::Expect;
use hoist_spec::{
    Env, Kind, LoadRequest, Loaded, Source, SourceError, canonical, diagnostic, load,
};

pub(crate) struct Files(BTreeMap<PathBuf, String>);

impl Source for Files {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        self.0.get(path).cloned().ok_or(SourceError::NotFound)
    }

    fn kind(&self, path: &Path) -> Kind {
        if self.0.contains_key(path) {
            Kind::File
        } else {
            Kind::Missing
        }
    }

    fn working_dir(&self) -> PathBuf {
        PathBuf::from("/demo")
    }

    fn stdin(&self) -> Result<String, SourceError> {
        self.read(Path::new("-"))
    }
}

/// The files of a test, in `/demo`.
pub(crate) fn files(files: &[(&str, &str)]) -> Files {
    let path = |name: &str| {
        if name == "-" {
            PathBuf::from(name)
        } else {
            Path::new("/demo").join(name)
        }
    };
    Files(
        files
            .iter()
            .map(|(name, text)| (path(name), super::shown::stripped(text)))
            .collect(),
    )
}

fn env() -> Env {
    [("HOME", "/root"), ("TAG", "1.2")].into_iter().collect()
}

pub(crate) fn run(source: &Files, request: &LoadRequest) -> Result<Loaded, String> {
    load(request, source, &env()).map_err(|errors| {
        errors
            .iter()
            .map(|error| diagnostic::render(error, false) + "\n")
            .collect::<Vec<_>>()
            .join("\n")
    })
}

/// The canonical YAML of one `compose.yaml`, then its warnings.
pub(crate) fn check(yaml: &str, expected: Expect) {
    check_files(&[("compose.yaml", yaml)], &LoadRequest::default(), expected);
}

pub(crate) fn check_files(texts: &[(&str, &str)], request: &LoadRequest, expected: Expect) {
    let text = match run(&files(texts), request) {
        Ok(loaded) => {
            let mut text = canonical::to_yaml(&loaded.stack);
            for warning in &loaded.warnings {
                text.push('\n');
                text.push_str(&diagnostic::render(warning, false));
                text.push('\n');
            }
            text
        }
        Err(text) => text,
    };
    expected.assert_eq(&text);
}
