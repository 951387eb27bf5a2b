//! docs/errors has a page for every code, with a file that provokes it and what hoist says then. The pages are made by
//! this test (`UPDATE_EXPECT=1` writes them), so an example that no longer fails the way it says is a failed test.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the pages lie in files"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use hoist_spec::codes::CODES;
use hoist_spec::{Env, Kind, LoadRequest, Source, SourceError, diagnostic, load};

struct Files(BTreeMap<PathBuf, String>);

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
        Err(SourceError::NotFound)
    }
}

/// A code, the files that provoke it, and what to do about it.
type Page = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const COMPOSE: &str = "compose.yaml";

const PAGES: &[Page] = &[
    (
        "E0001",
        &[(COMPOSE, "services:\n  web:\n\timage: nginx\n")],
        "The place is where reading stopped, so the fault is there or just before. Often it is a tab, a colon or a \
         hash inside a plain value, or a quote that is never closed.",
    ),
    (
        "E0002",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    image: httpd\n",
        )],
        "Keep the line that you mean. If both were meant for different services, check the indentation.",
    ),
    (
        "E0003",
        &[(
            COMPOSE,
            "x-a: &a\n  b: *a\nservices: {web: {image: nginx}}\n",
        )],
        "Let an alias refer to something that is complete before it. Files that multiply aliases are refused as soon \
         as the copies outweigh the text.",
    ),
    (
        "E0004",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    environment:\n      1: one\n",
        )],
        "YAML reads `1`, `true` or `null` as other types than text. Put the key in quotes.",
    ),
    (
        "E0005",
        &[(COMPOSE, "- web\n- db\n")],
        "A stack file begins with keys such as `services:`.",
    ),
    (
        "E0006",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    enviroment: {A: b}\n",
        )],
        "Correct the name, or move the line to the level where it belongs. Data of your own goes under a key that \
         begins with `x-`, which every tool leaves alone.",
    ),
    (
        "E0007",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    environment: production\n",
        )],
        "The message says what the attribute takes. A number or a boolean where text is wanted only needs quotes.",
    ),
    (
        "E0008",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    volumes: [{type: bind, target: /data}]\n",
        )],
        "Add what is missing. Nothing is made up where there is no good default.",
    ),
    (
        "E0009",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    ports: [\"80:http\"]\n",
        )],
        "The place is the value itself. If a variable is part of it, the place where that is set is shown as well.",
    ),
    (
        "E0010",
        &[(COMPOSE, "services:\n  web:\n    image: nginx:${1TAG}\n")],
        "Write `$NAME` or `${NAME}`, with `:-`, `-`, `:?`, `?`, `:+` or `+` and a text after the name if you like. A \
         dollar sign that is meant as such is written `$$`.",
    ),
    (
        "E0011",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx:${TAG:?say which}\n",
        )],
        "Set the variable in the environment, in `.env`, or in a file named with `--env-file`.",
    ),
    (
        "E0012",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    env_file: web.env\n",
        )],
        "Paths start from the folder of the file that names them. An env file that may be missing is written \
         `{path: web.env, required: false}`.",
    ),
    (
        "E0013",
        &[
            (
                COMPOSE,
                "services:\n  web: {image: nginx, env_file: web.env}\n",
            ),
            ("web.env", "GREETING=\"hello\nX=1\n"),
        ],
        "Close the quote. Names have letters, digits, `_`, `.` and `-`, and no spaces.",
    ),
    (
        "E0014",
        &[(COMPOSE, "services:\n  a: {extends: b}\n  b: {extends: a}\n")],
        "Move what both share into a third service and let both extend that.",
    ),
    (
        "E0015",
        &[
            (COMPOSE, "include: [other.yaml]\n"),
            ("other.yaml", "include: [compose.yaml]\n"),
        ],
        "A file that is included must do without the one that includes it.",
    ),
    (
        "E0016",
        &[(
            COMPOSE,
            "services:\n  web: {image: nginx, networks: [back]}\nnetworks: {backend: }\n",
        )],
        "Declare what is used at the top level, or correct the name. A service behind a profile is only there when the \
         profile is active.",
    ),
    (
        "E0017",
        &[(
            COMPOSE,
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
        )],
        "Someone has to start first: take one of the dependencies out. Links and shared namespaces are dependencies, \
         too.",
    ),
    (
        "E0018",
        &[(
            COMPOSE,
            "services:\n  web: {image: nginx, scale: 2, deploy: {replicas: 3}}\n",
        )],
        "Keep one of the two.",
    ),
    (
        "E0019",
        &[(COMPOSE, "services:\n  web:\n    command: run\n")],
        "Say what runs: `image`, or `build`, or both.",
    ),
    (
        "E0020",
        &[(
            COMPOSE,
            "services:\n  web: {image: nginx, userns_mode: host}\n",
        )],
        "Take the attribute out if you can do without it; `hoist config --no-consistency` reads and prints it all the same. \
         [compose-support.md](../compose-support.md) says what hoist does about every attribute.",
    ),
    (
        "E0021",
        &[(COMPOSE, "name: My Shop\nservices: {web: {image: nginx}}\n")],
        "The name becomes a part of host names, folders and labels, so it is kept simple.",
    ),
    (
        "E0022",
        &[],
        "Go to the folder of the stack, or name the file with `-f`.",
    ),
    (
        "E0023",
        &[(COMPOSE, "services: {web: {image: nginx}}\n")],
        "`hoist config --services` lists what there is.",
    ),
    (
        "E0024",
        &[(
            COMPOSE,
            "services:\n  a: {image: nginx, container_name: web}\n  b: {image: nginx, container_name: web}\n",
        )],
        "Give the second one another name or place.",
    ),
    (
        "E0025",
        &[(COMPOSE, "include: [LOOP]\n")],
        "Look for files that include two others which include the next two, and so on.",
    ),
    (
        "E0026",
        &[
            (
                COMPOSE,
                "services:\n  web:\n    image: nginx\n    env_file: [{path: web.env, format: raw}]\n",
            ),
            ("web.env", "A=1\n"),
        ],
        "What `config` prints is meant for other tools as well. `up` takes the file as it is, and \
         `config --no-consistency` prints it.",
    ),
    (
        "E0027",
        &[
            (COMPOSE, "include: [a.yaml, b.yaml]\n"),
            ("a.yaml", "services: {db: {image: postgres}}\n"),
            ("b.yaml", "services: {db: {image: mysql}}\n"),
        ],
        "Included files stand side by side, and none of them wins. Rename one of the two; or put one file over the \
         other by including both with one `path: [a.yaml, b.yaml]`.",
    ),
    (
        "E0028",
        &[(
            COMPOSE,
            "services:\n  web: {image: nginx, scale: 1000000}\n",
        )],
        "Ask for less. A service has up to 1,000 containers, a stack 10,000, and what its variables, aliases, `extends` \
         and env files come to is at most 64 MiB.",
    ),
    (
        "W0001",
        &[(COMPOSE, "version: \"3\"\nservices: {web: {image: nginx}}\n")],
        "Remove it; nothing else changes.",
    ),
    (
        "W0002",
        &[(COMPOSE, "services: {web: {image: 'nginx:${TAG}'}}\n")],
        "Set the variable, give it a default with `${TAG:-latest}`, or say with `${TAG:-}` that nothing is meant.",
    ),
    (
        "W0003",
        &[(
            COMPOSE,
            "services:\n  web: {image: nginx, deploy: {endpoint_mode: vip}}\n",
        )],
        "Nothing on one machine could act on it. It may stay for the sake of other tools.",
    ),
    (
        "W0004",
        &[
            (COMPOSE, "services: {web: {image: nginx}}\n"),
            ("docker-compose.yml", "services: {web: {image: httpd}}\n"),
        ],
        "Remove one of them, or name the one that you mean with `-f`.",
    ),
    (
        "W0005",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    command: echo a && echo b\n",
        )],
        "Words of a command go to the program as they are. Where a shell is meant, name it: `[\"sh\", \"-c\", \"…\"]`.",
    ),
    (
        "W0006",
        &[(
            COMPOSE,
            "services:\n  web:\n    image: nginx\n    depends_on: {cache: {condition: service_started, required: false}}\n",
        )],
        "The service starts without it. Correct the name if it is a slip.",
    ),
];

/// Files that are too many to be written down.
fn files(code: &str, texts: &[(&str, &str)]) -> Files {
    let mut files: BTreeMap<PathBuf, String> = texts
        .iter()
        .map(|(name, text)| (Path::new("/demo").join(name), (*text).to_owned()))
        .collect();
    if code == "E0025" {
        files.insert("/demo/compose.yaml".into(), "include: [0.yaml]\n".into());
        for level in 0..12 {
            let text = format!("include: [{0}.yaml, {0}.yaml]\n", level + 1);
            files.insert(format!("/demo/{level}.yaml").into(), text);
        }
        files.insert(
            "/demo/12.yaml".into(),
            "services: {web: {image: nginx}}\n".into(),
        );
    }
    Files(files)
}

fn request(code: &str) -> LoadRequest {
    let services = if code == "E0023" {
        vec!["wbe".to_owned()]
    } else {
        Vec::new()
    };
    LoadRequest {
        services,
        as_reference: code == "E0026",
        ..LoadRequest::default()
    }
}

fn page((code, texts, advice): &Page) -> String {
    let sentence = CODES.iter().find(|(known, _)| known == code).unwrap().1;
    let mut page = format!("# {code}\n\n{sentence}\n\n");
    for (name, text) in texts.iter().filter(|_| *code != "E0025") {
        let language = if name.ends_with("env") { "" } else { "yaml" };
        let _ = write!(page, "`{name}`:\n\n```{language}\n{text}```\n\n");
    }
    if *code == "E0025" {
        page.push_str(
            "`0.yaml` includes `1.yaml` twice, which includes `2.yaml` twice, and so on.\n\n",
        );
    }
    let said = match load(&request(code), &files(code, texts), &Env::default()) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors,
    };
    let said = said
        .iter()
        .find(|said| said.code == *code)
        .unwrap_or_else(|| panic!("{code} is not provoked: {said:?}"));
    let _ = write!(
        page,
        "```text\n{}\n```\n\n{advice}\n",
        diagnostic::render(said, false)
    );
    page
}

#[test]
fn every_code_has_a_page_whose_example_provokes_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let mut index =
        String::from("# Codes of errors and warnings\n\nA code keeps its meaning for good.\n\n");
    assert_eq!(
        PAGES.iter().map(|page| page.0).collect::<Vec<_>>(),
        CODES.iter().map(|code| code.0).collect::<Vec<_>>()
    );
    for (entry, (code, sentence)) in PAGES.iter().zip(CODES) {
        let _ = writeln!(index, "- [{code}]({code}.md): {sentence}");
        expect_file![folder.join(format!("{code}.md"))].assert_eq(&page(entry));
    }
    expect_file![folder.join("README.md")].assert_eq(&index);
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        CODES.len() + 1,
        "a page for a code that does not exist"
    );
}
