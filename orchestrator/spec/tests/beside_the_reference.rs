//! docs/refusals.md shows refusals of real files beside what docker compose says about them. It is made by this test
//! from the corpus (`UPDATE_EXPECT=1` writes it); skipped, and said so, where the corpus is absent.

#![expect(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use hoist_spec::{Env, Kind, LoadRequest, Severity, Source, SourceError, diagnostic, load};

/// Shows a folder of the corpus as `/corpus/NAME`.
struct Case {
    folder: PathBuf,
    seen_as: PathBuf,
}

impl Case {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        Some(self.folder.join(path.strip_prefix(&self.seen_as).ok()?))
    }
}

impl Source for Case {
    fn read(&self, path: &Path) -> Result<String, SourceError> {
        let real = self.real(path).ok_or(SourceError::NotFound)?;
        std::fs::read_to_string(real).map_err(|_| SourceError::NotFound)
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

const CASES: [&str; 10] = [
    "docker-compose-e2e/e2e-wrong-composefile",
    "compose-go/cg-loader-testbadserviceconfig",
    "compose-go/cg-loader-testdecodeerrors",
    "compose-go/cg-loader-testnonstringkeys-4",
    "compose-go/cgfile-loader-compose-depends-on-cycle",
    "docker-compose-e2e/e2e-testupimageid",
    "compose-go/cg-loader-testextendswithserviceref",
    "compose-go/cg-tests-testsecretfilemodestring",
    "compose-go/cg-loader-testinvalidexternalanddirveroptscombination",
    "compose-go/cg-loader-testservicedevicerequestcapabilitiesmandatory",
];

#[test]
fn refusals_stand_beside_those_of_docker_compose() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: no corpus");
        return;
    }
    let mut page = String::from(
        "# Ten refusals\n\nFiles of docker compose's and compose-go's own tests that both tools refuse; what each says. \
         Made by\n`orchestrator/spec/tests/beside_the_reference.rs`.\n\n<table>\n<tr><th>docker compose 2.26.1</th>\
         <th>hoist</th></tr>\n",
    );
    for name in CASES {
        let folder = corpus.join(name);
        let case: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("case.json")).unwrap())
                .unwrap();
        let theirs = std::fs::read_to_string(folder.join("expected-error.txt")).unwrap();
        let files = case["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file.as_str().unwrap().to_owned())
            .collect();
        let seen_as = PathBuf::from(case["project_dir"].as_str().unwrap());
        let request = LoadRequest {
            files,
            allow_unsupported: true,
            as_reference: true,
            ..LoadRequest::default()
        };
        let errors = load(&request, &Case { folder, seen_as }, &Env::default()).unwrap_err();
        let ours = errors
            .iter()
            .filter(|error| error.severity == Severity::Error);
        let ours: Vec<String> = ours.map(|error| diagnostic::render(error, false)).collect();
        let _ = write!(
            page,
            "<tr><td>\n\n```text\n{}\n```\n\n</td><td>\n\n```text\n{}\n```\n\n</td></tr>\n",
            theirs.trim(),
            ours.join("\n\n")
        );
    }
    page.push_str("</table>\n");
    expect_file!["../../../docs/refusals.md"].assert_eq(&page);
}
