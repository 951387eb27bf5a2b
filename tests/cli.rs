//! The command line where it needs no engine: help, version, completion, config, and errors before any work.

#[path = "cli/mistakes.rs"]
mod mistakes;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};

/// A folder with a stack file, and the program run in it with an empty environment.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().expect("make a folder"),
        }
    }

    fn with(stack: &str) -> Self {
        let folder = Self::empty();
        folder.file("compose.yaml", stack);
        folder
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("write a file");
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, env: &[(&str, &str)], args: &[&str]) -> Output {
        let run_dir = self.path().join("run");
        Command::new(env!("CARGO_BIN_EXE_hoist"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("HOIST_RUN_DIR", &run_dir)
            .env("HOIST_DATA_ROOT", self.path().join("data"))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("run hoist")
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, env: &[(&str, &str)], args: &[&str]) -> String {
        let output = self.run(env, args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.text(&output.stdout)
    }

    fn text(&self, bytes: &[u8]) -> String {
        let path = self.path().display().to_string();
        String::from_utf8_lossy(bytes).replace(&path, "DIR")
    }

    /// Everything that a command says, against a snapshot.
    fn check(&self, args: &[&str], expected: &Expect) {
        let output = self.run(
            &[("COMPOSE_PROJECT_NAME", "app"), ("GREETING", "hello")],
            args,
        );
        let (stdout, stderr) = (self.text(&output.stdout), self.text(&output.stderr));
        let code = output
            .status
            .code()
            .map_or_else(|| "killed".to_owned(), |code| code.to_string());
        expected.assert_eq(&format!("{stdout}--- stderr\n{stderr}--- exit {code}\n"));
    }
}

const WEB: &str = "services:\n  web:\n    image: nginx\n    command: echo \"$GREETING\"\n  db:\n    image: postgres\n    profiles: [full]\n";

#[test]
fn version_has_three_forms() {
    let folder = Folder::empty();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        folder.ok(&[], &["version"]),
        format!("hoist version {version}\n")
    );
    assert_eq!(
        folder.ok(&[], &["version", "--short"]),
        format!("{version}\n")
    );
    assert_eq!(
        folder.ok(&[], &["version", "-f", "json"]),
        format!("{{\"version\":\"{version}\"}}\n")
    );
    assert_eq!(folder.ok(&[], &["--version"]), format!("hoist {version}\n"));
}

#[test]
fn every_verb_has_help() {
    let folder = Folder::empty();
    let help = folder.ok(&[], &["--help"]);
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A verb stands at two columns; what is further in goes on from the line before.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 30, "{verbs:?}");
    for verb in verbs {
        let text = folder.ok(&[], &[verb, "--help"]);
        assert!(
            text.contains(&format!("Usage: hoist {verb}")),
            "{verb}: {text}"
        );
    }
}

#[test]
fn completion_knows_the_verbs() {
    let folder = Folder::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.ok(&[], &["completion", shell]);
        assert!(script.contains("restart"), "{shell}");
        assert!(
            script.contains("config --services"),
            "{shell}: services are completed"
        );
    }
}

#[test]
fn config_prints_the_canonical_stack() {
    Folder::with(WEB).check(
        &["config"],
        &expect![[r#"
            name: app
            services:
              web:
                command:
                  - echo
                  - hello
                image: nginx
                networks:
                  default: null
            networks:
              default:
                name: app_default
            --- stderr
            --- exit 0
        "#]],
    );
}

#[test]
fn config_lists_names() {
    let stack = "services:\n  web: { image: nginx, volumes: [\"data:/d\"] }\n  api: { build: ., profiles: [p] }\nvolumes: { data: {} }\n";
    let folder = Folder::with(stack);
    assert_eq!(folder.ok(&[], &["config", "--services"]), "web\n");
    assert_eq!(
        folder.ok(&[], &["--profile", "p", "config", "--services"]),
        "api\nweb\n"
    );
    assert_eq!(
        folder.ok(&[], &["-p", "app", "--profile", "p", "config", "--images"]),
        "app-api\nnginx\n"
    );
    assert_eq!(folder.ok(&[], &["config", "--volumes"]), "data\n");
    assert_eq!(folder.ok(&[], &["config", "--networks"]), "default\n");
    assert_eq!(folder.ok(&[], &["config", "--profiles"]), "p\n");
    assert_eq!(folder.ok(&[], &["config", "-q"]), "");
}

#[test]
fn config_of_a_service_has_what_it_needs() {
    let stack = "services:\n  web: { image: nginx, depends_on: [db] }\n  db: { image: postgres, volumes: [\"data:/d\"] }\n  other: { image: x, networks: [n] }\nvolumes: { data: {} }\nnetworks: { n: {} }\n";
    let folder = Folder::with(stack);
    assert_eq!(
        folder.ok(&[], &["config", "--services", "web"]),
        "db\nweb\n"
    );
    assert_eq!(
        folder.ok(&[], &["config", "--networks", "web"]),
        "default\n"
    );
    assert_eq!(folder.ok(&[], &["config", "--volumes", "other"]), "");
}

#[test]
fn config_can_be_written_to_a_file_and_read_again() {
    let folder = Folder::with(WEB);
    let env = [("GREETING", "it costs $5")];
    let first = folder.ok(&env, &["-p", "app", "config"]);
    assert_eq!(
        folder.ok(&env, &["-p", "app", "config", "-o", "out.yaml"]),
        ""
    );
    assert_eq!(
        std::fs::read_to_string(folder.path().join("out.yaml")).expect("written"),
        first.replace("DIR", &folder.path().display().to_string())
    );
    assert_eq!(folder.ok(&[], &["-f", "out.yaml", "config"]), first);
}

#[test]
fn flags_win_over_the_environment() {
    let folder = Folder::with(WEB);
    folder.file(
        "other.yaml",
        "name: other\nservices: { only: { image: x } }\n",
    );
    folder.file("more.yaml", "services: { more: { image: x } }\n");
    let services = |env: &[(&str, &str)], flags: &[&str]| {
        folder
            .ok(env, &[flags, &["config", "--services"]].concat())
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(services(&[], &[]), "web");
    assert_eq!(
        services(&[("COMPOSE_FILE", "other.yaml:more.yaml")], &[]),
        "more only"
    );
    assert_eq!(
        services(
            &[
                ("COMPOSE_FILE", "other.yaml,more.yaml"),
                ("COMPOSE_PATH_SEPARATOR", ",")
            ],
            &[]
        ),
        "more only"
    );
    assert_eq!(
        services(&[("COMPOSE_FILE", "other.yaml")], &["-f", "compose.yaml"]),
        "web"
    );
    assert_eq!(services(&[("COMPOSE_PROFILES", "full")], &[]), "db web");
    assert_eq!(services(&[], &["--profile", "full"]), "db web");
    let name = |env: &[(&str, &str)], flags: &[&str]| {
        let text = folder.ok(env, &[flags, &["config", "--format", "json"]].concat());
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["name"]
            .as_str()
            .expect("a name")
            .to_owned()
    };
    assert_eq!(name(&[("COMPOSE_PROJECT_NAME", "env")], &[]), "env");
    assert_eq!(
        name(&[("COMPOSE_PROJECT_NAME", "env")], &["-p", "flag"]),
        "flag"
    );
}

#[test]
fn variables_come_from_the_files_that_are_named() {
    let folder = Folder::with("services: { web: { image: \"x:$TAG\" } }\n");
    folder.file(".env", "TAG=dotenv\n");
    folder.file("one.env", "TAG=one\n");
    folder.file("two.env", "TAG=two\n");
    let image = |env: &[(&str, &str)], flags: &[&str]| {
        folder.ok(env, &[flags, &["config", "--images"]].concat())
    };
    assert_eq!(image(&[], &[]), "x:dotenv\n");
    assert_eq!(image(&[("TAG", "shell")], &[]), "x:shell\n");
    assert_eq!(
        image(&[], &["--env-file", "one.env", "--env-file", "two.env"]),
        "x:two\n"
    );
    assert_eq!(
        image(&[("COMPOSE_ENV_FILES", "two.env,one.env")], &[]),
        "x:one\n"
    );
    assert_eq!(
        image(&[("COMPOSE_DISABLE_ENV_FILE", "1"), ("TAG", "shell")], &[]),
        "x:shell\n"
    );
    let output = folder.run(
        &[("COMPOSE_DISABLE_ENV_FILE", "1")],
        &["config", "--images"],
    );
    assert!(
        folder.text(&output.stderr).contains("TAG"),
        "an unset variable is worth a warning"
    );
}

#[test]
fn stack_can_come_from_standard_input() {
    let folder = Folder::empty();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hoist"))
        .args(["-f", "-", "config", "--services"])
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run hoist");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"services: { a: { image: x } }\n").expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\n");
}

#[test]
fn errors_of_the_file_are_all_reported_with_their_place() {
    let stack =
        "services:\n  web:\n    image: nginx\n    comand: echo\n    ports: [\"99999:80\"]\n";
    let folder = Folder::with(stack);
    let output = folder.run(&[], &["config"]);
    assert_eq!(output.status.code(), Some(1));
    let said = folder.text(&output.stderr);
    for words in [
        "compose.yaml:4:5",
        "comand",
        "`command`",
        "compose.yaml:5:13",
        "99999",
    ] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
}

#[test]
fn errors_of_the_file_are_json_on_demand() {
    let stack = "services:\n  web:\n    image: nginx\n    comand: echo\n";
    for flags in [["--error-format", "json"], ["--progress", "json"]] {
        let folder = Folder::with(stack);
        let output = folder.run(&[], &[&flags[..], &["config"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let value: serde_json::Value =
            serde_json::from_slice(&output.stderr).expect("one JSON object");
        assert_eq!(value["error"], true);
        assert!(
            value["message"]
                .as_str()
                .is_some_and(|text| text.contains("comand")),
            "{value}"
        );
        assert_eq!(value["diagnostics"][0]["labels"][0]["line"], 4, "{value}");
    }
}

#[test]
fn missing_file_is_an_error() {
    let folder = Folder::empty();
    let output = folder.run(&[], &["config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(folder.text(&output.stderr).contains("no stack file"));
}

#[test]
fn unknown_service_is_named_with_those_that_exist() {
    Folder::with(WEB).check(
        &["up", "-d", "wbe"],
        &expect![[r#"
            --- stderr
            error[E0023]: no such service: wbe
             |
             = help: did you mean `web`?
            --- exit 1
        "#]],
    );
}

#[test]
fn unset_secret_is_named_before_anything_happens() {
    let stack = "services: { web: { image: x, secrets: [key] } }\nsecrets: { key: { environment: NO_SUCH_VARIABLE } }\n";
    Folder::with(stack).check(
        &["up", "-d"],
        &expect![[r#"
        --- stderr
        error: secret `key`: environment variable NO_SUCH_VARIABLE is not set
        --- exit 1
    "#]],
    );
}

#[test]
fn mistakes_in_the_command_line_are_refused() {
    let folder = Folder::with(WEB);
    let refused = |args: &[&str], words: &str| {
        let output = folder.run(&[], args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = folder.text(&output.stderr);
        assert!(said.contains(words), "{args:?}: {said}");
    };
    refused(&["bogus"], "bogus");
    refused(&["ps", "--format", "yaml"], "yaml");
    refused(&["up", "--build", "--no-build"], "--no-build");
    refused(&["up", "--scale", "web"], "SERVICE=NUM");
    refused(&["up", "--scale", "nothing=2"], "no such service: nothing");
    refused(&["up", "-d", "--exit-code-from", "web"], "--exit-code-from");
    refused(&["logs", "--index", "2"], "--index");
    refused(&["logs", "--since", "yesterday"], "yesterday");
    refused(&["-H", "tcp://127.0.0.1:1", "ps"], "tcp://127.0.0.1:1");
    refused(&["plan", "--", "down"], "no such service: down");
    for verb in [
        &["exec", "web", "ls"][..],
        &["logs"],
        &["ps"],
        &["cp", "a", "web:/"],
        &["completion", "bash"],
    ] {
        refused(
            &[&["--dry-run"], verb].concat(),
            &format!("`{}` has no plan", verb[0]),
        );
    }
    refused(&["--dry-run", "image", "rm", "x"], "`image rm` has no plan");
    refused(&["up", "--format", "json"], "add --dry-run");
    refused(&["run", "-p", "80/sctp", "web"], "sctp");
    refused(&["cp", "a", "b"], "SERVICE:PATH");
}

#[test]
fn nonsense_in_a_variable_is_refused() {
    let folder = Folder::with(WEB);
    let config = ["config", "-q"];
    for (name, value, args) in [
        ("COMPOSE_ANSI", "often", config),
        ("COMPOSE_PROGRESS", "loud", config),
        ("COMPOSE_PARALLEL_LIMIT", "0", config),
        ("COMPOSE_REMOVE_ORPHANS", "maybe", config),
        ("COMPOSE_IGNORE_ORPHANS", "maybe", config),
        ("COMPOSE_STATUS_STDOUT", "maybe", config),
        ("COMPOSE_COMPATIBILITY", "1", config),
    ] {
        let refused = |output: &Output| {
            assert_eq!(output.status.code(), Some(1), "{name}");
            assert!(folder.text(&output.stderr).contains(name), "{name}");
        };
        refused(&folder.run(&[(name, value)], &args));
        // The same in the project's env file, unless the caller knows better.
        folder.file(".env", &format!("{name}={value}\n"));
        refused(&folder.run(&[], &args));
        folder.ok(&[(name, "")], &args);
        folder.file(".env", "");
    }
}

#[test]
fn options_of_the_env_file_count_from_a_folder_below() {
    let folder = Folder::with(WEB);
    folder.file(".env", "COMPOSE_ANSI=always\nNO_COLOR=1\n");
    std::fs::create_dir(folder.path().join("below")).expect("make a folder");
    std::fs::create_dir(folder.path().join("other")).expect("make a folder");
    folder.file("other/compose.yaml", WEB);
    folder.file("other/.env", "COMPOSE_ANSI=often\n");
    folder.file("bad.yaml", "services: { web: { imag: x } }\n");
    let escape = |args: &[&str]| folder.run(&[], args).stderr.contains(&0x1b);
    assert!(escape(&["-f", "bad.yaml", "config"]));
    assert!(!escape(&[
        "--env-file",
        "/dev/null",
        "-f",
        "bad.yaml",
        "config"
    ]));
    let from = |dir: &str| {
        let run = folder.run(
            &[("GREETING", "hello")],
            &["--project-directory", dir, "config", "-q"],
        );
        folder.text(&run.stderr)
    };
    assert!(from("other").contains("COMPOSE_ANSI is `often`"));
    assert_eq!(from("below"), "");
}

#[test]
fn default_platform_is_that_of_services_without_one() {
    let stack = "services:\n  a: { image: x }\n  b: { image: x, platform: linux/arm64 }\n";
    let folder = Folder::with(stack);
    let hashes = |env: &[(&str, &str)]| folder.ok(env, &["config", "--hash", "*"]);
    let plain = hashes(&[]);
    let other = hashes(&[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")]);
    let changed = |name: &str| {
        let line = |text: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned)
        };
        line(&plain) != line(&other)
    };
    assert!(changed("a ") && !changed("b "), "{plain}{other}");
    folder.file(".env", "DOCKER_DEFAULT_PLATFORM=linux/arm64\n");
    assert_eq!(hashes(&[]), other);
    assert!(
        !folder.ok(&[], &["config", "a"]).contains("platform"),
        "it is not in the file, so it is not printed"
    );

    let folder =
        Folder::with("services: { a: { build: { context: ., platforms: [linux/amd64] } } }\n");
    let output = folder.run(&[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")], &["up", "-d"]);
    let said = folder.text(&output.stderr);
    assert!(
        said.contains("service `a`: build.platforms lacks linux/arm64"),
        "{said}"
    );
}

#[test]
fn the_file_and_the_name_may_stand_in_the_env_file() {
    let folder = Folder::empty();
    folder.file(
        "other.yaml",
        "services: { only: { image: x }, more: { image: x, profiles: [full] } }\n",
    );
    folder.file(".env", "COMPOSE_FILE=other.yaml;other.yaml\nCOMPOSE_PATH_SEPARATOR=;\nCOMPOSE_PROJECT_NAME=fromfile\nCOMPOSE_PROFILES=full\n");
    let text = folder.ok(&[], &["config", "--format", "json"]);
    let stack: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(stack["name"], "fromfile");
    assert_eq!(folder.ok(&[], &["config", "--services"]), "more\nonly\n");
    assert_eq!(
        folder.ok(&[("COMPOSE_PROFILES", "none")], &["config", "--services"]),
        "only\n"
    );
}

#[test]
fn nothing_is_coloured_in_a_pipe_unless_asked() {
    let folder = Folder::with("services: { web: { imag: x } }\n");
    let escape = |flags: &[&str]| {
        folder
            .run(&[], &[flags, &["config"]].concat())
            .stderr
            .contains(&0x1b)
    };
    assert!(!escape(&[]));
    assert!(escape(&["--ansi", "always"]));
    assert!(!escape(&["--ansi", "never"]));
}

#[test]
fn hash_changes_with_the_content_of_a_secret_and_not_with_the_number_of_containers() {
    let stack = "services: { web: { image: x, scale: SCALE, secrets: [key] } }\nsecrets: { key: { file: key } }\n";
    let hash = |scale: &str, key: &str| {
        let folder = Folder::with(&stack.replace("SCALE", scale));
        folder.file("key", key);
        folder.ok(&[], &["-p", "app", "config", "--hash", "web"])
    };
    let first = hash("1", "secret");
    assert!(
        first.starts_with("web ") && first.trim_end().len() == "web ".len() + 64,
        "{first}"
    );
    assert_eq!(hash("3", "secret"), first);
    assert_ne!(hash("1", "other"), first);
}

const OPEN: &str = "services:\n  web:\n    image: nginx:${TAG:-1}\n    build: ./src\n    environment: { DB: \"$DB_HOST\" }\n";

#[test]
fn config_leaves_steps_out_on_demand() {
    let folder = Folder::with(OPEN);
    folder.file(".env", "DB_HOST=db\n");
    let config = |option: &str| folder.ok(&[], &["-p", "app", "config", option]);
    assert!(config("--no-interpolate").contains("image: nginx:${TAG:-1}"));
    assert!(!config("--no-normalize").contains("networks"));
    assert!(config("--no-path-resolution").contains("context: ./src"));
    let incomplete = Folder::with("services: { web: { networks: [gone] } }\n");
    assert_eq!(incomplete.run(&[], &["config"]).status.code(), Some(1));
    assert!(
        incomplete
            .ok(&[], &["config", "--no-consistency"])
            .contains("gone: null")
    );
    let raw =
        Folder::with("services: { web: { image: x, env_file: [{ path: e, format: raw }] } }\n");
    raw.file("e", "A='1'\n");
    assert!(
        raw.ok(&[], &["config", "--no-consistency"])
            .contains("A: '''1'''")
    );
    assert!(
        raw.ok(&[], &["config", "--no-consistency", "--no-env-resolution"])
            .contains("format: raw")
    );
}

#[test]
fn config_lists_the_variables_of_the_files() {
    let folder = Folder::with(OPEN);
    folder.check(
        &["config", "--variables"],
        &expect![[r#"
            NAME      REQUIRED   DEFAULT VALUE   ALTERNATE VALUE
            DB_HOST   false
            TAG       false      1
            --- stderr
            --- exit 0
        "#]],
    );
    let json: serde_json::Value =
        serde_json::from_str(&folder.ok(&[], &["config", "--variables", "--format", "json"]))
            .expect("JSON");
    assert_eq!(json[1]["DefaultValue"], "1");
}

#[test]
fn config_explains_where_a_value_comes_from() {
    let folder = Folder::with(OPEN);
    folder.file(".env", "# hosts\nDB_HOST=db\n");
    folder.file(
        "compose.override.yaml",
        "services:\n  web:\n    image: nginx:2\n",
    );
    folder.check(
        &["config", "--explain", "services.web.image"],
        &expect![[r#"
            services.web.image = "nginx:2"
              base       compose.yaml:3:12           "nginx:1"
                         $TAG is not set, so its default is taken: 1
              override   compose.override.yaml:3:12  "nginx:2"
            --- stderr
            --- exit 0
        "#]],
    );
    folder.check(
        &["config", "--explain", "services.web.environment.DB"],
        &expect![[r#"
            services.web.environment.DB = "db"
              base       compose.yaml:5:24  "db"
                         $DB_HOST = db, set in .env:2:1
            --- stderr
            --- exit 0
        "#]],
    );
    folder.check(
        &["config", "--explain", "services.web.imgae"],
        &expect![[r#"
            --- stderr
            error: nothing is set at `services.web.imgae`
            hint: there is services.web.image
            --- exit 1
        "#]],
    );
}

#[test]
fn config_prints_a_schema_without_any_file() {
    let schema: serde_json::Value =
        serde_json::from_str(&Folder::empty().ok(&[], &["config", "--schema"])).expect("JSON");
    assert!(
        schema["properties"]["services"]["additionalProperties"]["properties"]["image"].is_object()
    );
}
