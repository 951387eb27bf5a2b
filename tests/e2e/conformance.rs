//! The Dockerfiles of tests/conformance give the same image when hoist builds them as when docker's BuildKit does.
//!
//! A case is a folder: the context with its Dockerfile, and optionally `args` (more flags, one a line; CONTEXT is
//! the context's path), `context.sh` (run
//! in a copy of the context to make what git cannot keep) and `refused` (both builders must refuse it; a text that is in
//! hoist's message). What is compared: every path with its kind, mode, owner, size, content, attributes and, where it
//! came from the context, time; the configuration; and which lines of the history made a layer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::distribution::have;
use crate::peers::{self, Network, Peers};
use crate::world::{World, note};

/// What `FROM busybox` is in every case; the first image that both builders build.
const BASE: &str = "busybox";
/// Long before any build: what comes from the context keeps it.
const CONTEXT_TIME: &str = "2020-02-02 02:02:02 UTC";

#[test]
fn builds_are_equal_to_buildkits() {
    let claim = "builds beside BuildKit";
    if !have(claim, &["python3", "unshare", "nsenter", "tar"]) {
        return;
    }
    let (Some(root), Some(world)) = (peers::root(claim), World::new(claim)) else {
        return;
    };
    let docker = Peers::start(&root, &world.project.join("docker"), Network::Own);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let both = Both {
        world: &world,
        docker: &docker,
        since,
    };
    // With a variable, only these cases: for whoever adds some.
    let only = std::env::var("HOIST_CASE").ok();
    let mut different = both
        .case(BASE)
        .map_or_else(|text| vec![text], |()| Vec::new());
    for name in cases() {
        if name != BASE
            && only
                .as_ref()
                .is_none_or(|only| only.split(',').any(|only| only == name))
        {
            different.extend(both.case(&name).err());
        }
    }
    drop(docker);
    assert!(
        different.is_empty(),
        "{} cases differ\n{}",
        different.len(),
        different.join("\n")
    );
    world.finish();
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn cases() -> Vec<String> {
    let entries = fs::read_dir(folder())
        .expect("the cases")
        .map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

struct Both<'a> {
    world: &'a World,
    docker: &'a Peers,
    since: u64,
}

impl Both<'_> {
    /// Builds one case with both; the error says what differs.
    fn case(&self, name: &str) -> Result<(), String> {
        let context = self.docker.share().join(name);
        prepare(&folder().join(name), &context);
        let read = |file: &str| fs::read_to_string(folder().join(name).join(file)).ok();
        let args = read("args").unwrap_or_default();
        let flags = |verb: &[&str], context: &str| -> Vec<String> {
            let own = args
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| line.replace("CONTEXT", context));
            let verb = verb.iter().copied().chain(["-t", name]).map(str::to_owned);
            verb.chain(own).chain([context.to_owned()]).collect()
        };
        let (ours, theirs) = (context.display().to_string(), format!("/mnt/{name}"));
        let (ours, theirs) = (
            flags(&["image", "build"], &ours),
            flags(&["docker", "build"], &theirs),
        );
        let run = self
            .world
            .hoist(&ours.iter().map(String::as_str).collect::<Vec<_>>());
        let output = self
            .docker
            .command(&theirs.iter().map(String::as_str).collect::<Vec<_>>())
            .output();
        let output = output.expect("run docker");
        let said = String::from_utf8_lossy(&output.stderr);
        if let Some(reason) = read("refused") {
            return match (run.code, output.status.success()) {
                (0, _) => Err(format!("== {name}: hoist takes it")),
                (_, true) => Err(format!("== {name}: BuildKit takes it")),
                _ if !run.stderr.contains(reason.trim()) => {
                    Err(format!("== {name}: {}", run.stderr))
                }
                _ => Ok(()),
            };
        }
        if run.code != 0 || !output.status.success() {
            let said = if output.status.success() {
                "takes it"
            } else {
                &*said
            };
            return Err(format!(
                "== {name}\nhoist: {}\nBuildKit: {said}",
                run.stderr
            ));
        }
        let built = self.docker.built(name);
        let theirs = self.image(&built.layers, &built.config);
        let (layers, config) = self.ours(name);
        let differences = difference(&self.image(&layers, &config), &theirs);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!("== {name}\n{}", differences.join("\n")))
        }
    }

    fn ours(&self, name: &str) -> (Vec<PathBuf>, Value) {
        let inspect: Value =
            serde_json::from_str(&self.world.ok(&["image", "inspect", name])).expect("JSON");
        let store = self.world.data_root.join("image");
        let hex = |digest: &Value| {
            digest
                .as_str()
                .expect("a digest")
                .trim_start_matches("sha256:")
                .to_owned()
        };
        let config = fs::read(store.join("blobs/sha256").join(hex(&inspect[0]["Id"])))
            .expect("the configuration");
        let config: Value = serde_json::from_slice(&config).expect("JSON");
        let layers = config["rootfs"]["diff_ids"].as_array().expect("its layers");
        let layers = layers
            .iter()
            .rev()
            .map(|layer| store.join("layers").join(hex(layer)).join("fs"))
            .collect();
        (layers, config)
    }

    /// Everything that is compared, by what it is called.
    fn image(&self, layers: &[PathBuf], config: &Value) -> BTreeMap<String, String> {
        let output = Command::new("unshare")
            .args(["--mount", "python3"])
            .arg(folder().join("listing.py"))
            .arg(self.since.to_string())
            .args(layers)
            .output()
            .expect("run python3");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let listing = String::from_utf8_lossy(&output.stdout);
        let mut image: BTreeMap<String, String> = listing
            .lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .map(|(path, rest)| (path.to_owned(), rest.to_owned()))
            .collect();
        let keys = [
            "Env",
            "Cmd",
            "Entrypoint",
            "WorkingDir",
            "User",
            "ExposedPorts",
            "Volumes",
            "Labels",
            "Healthcheck",
            "Shell",
            "StopSignal",
            "OnBuild",
        ];
        for key in keys {
            image.insert(format!("config.{key}"), plain(&config["config"][key]));
        }
        for key in ["architecture", "os", "author"] {
            image.insert(key.to_owned(), plain(&config[key]));
        }
        let history = config["history"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (number, line) in history.iter().enumerate() {
            image.insert(
                format!("history {number:02}"),
                format!("makes a layer: {}", line["empty_layer"] != true),
            );
        }
        image
    }
}

/// An empty list or text is as good as none.
fn plain(value: &Value) -> String {
    match value {
        Value::Array(list) if list.is_empty() => "null".to_owned(),
        Value::Object(map) if map.is_empty() => "null".to_owned(),
        Value::String(text) if text.is_empty() => "null".to_owned(),
        other => other.to_string(),
    }
}

/// A copy of the case's context, finished by its script, all of one old time.
fn prepare(case: &Path, context: &Path) {
    let run = |command: &mut Command| {
        let output = command.output().expect("run a program");
        assert!(
            output.status.success(),
            "{}: {}",
            case.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(Command::new("cp")
        .args(["-a", "--no-preserve=ownership"])
        .args([case, context]));
    for file in ["args", "refused", "context.sh"] {
        let path = context.join(file);
        if file == "context.sh" && path.exists() {
            run(Command::new("sh")
                .args(["-eu", "context.sh"])
                .current_dir(context));
        }
        let _ = fs::remove_file(path);
    }
    run(Command::new("find").arg(context).args([
        "-exec",
        "touch",
        "-h",
        "-d",
        CONTEXT_TIME,
        "{}",
        "+",
    ]));
}

fn difference(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in ours {
        match theirs.get(key) {
            Some(other) if other == value => {}
            Some(other) => lines.push(format!(
                "  {key}\n    hoist:    {value}\n    BuildKit: {other}"
            )),
            None => lines.push(format!("  {key}: only hoist has it: {value}")),
        }
    }
    lines.extend(
        theirs
            .iter()
            .filter(|(key, _)| !ours.contains_key(*key))
            .map(|(key, value)| format!("  {key}: only BuildKit has it: {value}")),
    );
    if lines.len() > 40 {
        note(&format!(
            "{} differences, the first 40 of them follow",
            lines.len()
        ));
        lines.truncate(40);
    }
    lines
}
