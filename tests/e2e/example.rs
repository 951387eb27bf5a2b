//! The README's stack: a real database, a real queue, a backend that uses both, on a Debian base made from packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lifecycle::pid_of;
use crate::world::{World, eventually, kill, within};

const BASE: &str = "debian:trixie-slim";
const PORT: &str = "http://127.0.0.1:18088/";

#[test]
fn the_example_lives_through_an_engines_death_and_an_edit() {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-store");
    let Some(world) = World::on_the_host("the example stack", kept) else {
        return;
    };
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"),
        &world.project,
    );
    let stack = fs::read_to_string(world.project.join("stack.yaml"))
        .expect("the example")
        .replace("8080:8080", "18088:8080");
    world.file("compose.yaml", &stack);
    if world.hoist(&["image", "inspect", BASE]).code != 0 {
        world.ok(&["image", "bootstrap", BASE]);
    }

    assert_eq!(world.hoist(&["plan"]).code, 2);
    // The kept store may hold the edited backend of the last run.
    world.ok(&["up", "--build", "--wait"]);
    assert_eq!(world.hoist(&["plan"]).code, 0);
    let first = counts(&world).expect("the backend answers");
    assert_eq!(
        (first["rows"].as_u64(), first["messages"].as_u64()),
        (Some(1), Some(1)),
        "{first}"
    );

    // The base's layers exist once, whatever is built on them.
    let images = world.ok(&["images", "--format", "json"]);
    assert!(
        images.contains("example/backend") && images.contains("example/queue"),
        "{images}"
    );

    world.kill_engine().expect("an engine runs");
    let second = counts(&world).expect("the backend answers while no engine does");
    assert_eq!(second["rows"].as_u64(), Some(2), "{second}");
    eventually("a shim starts a new engine", || world.engine().is_some());
    assert_eq!(
        world.ok(&[
            "exec",
            "-T",
            "backend",
            "sh",
            "-c",
            "getent hosts database >/dev/null && echo resolved"
        ]),
        "resolved\n"
    );

    kill("-KILL", &pid_of(&world, "database"));
    within(
        Duration::from_secs(60),
        "the database is restarted and the backend recovers",
        || counts(&world).is_some(),
    );

    let (database, queue, backend) = (
        world.field("database", "ID"),
        world.field("queue", "ID"),
        world.field("backend", "ID"),
    );
    let source = world.project.join("backend/backend.py");
    let text = fs::read_to_string(&source).expect("the backend");
    fs::write(
        &source,
        text.replace(
            "\"messages\": received",
            "\"messages\": received, \"edited\": True",
        ),
    )
    .expect("edit it");
    let up = world.hoist(&["up", "-d", "--build", "--wait"]);
    assert_eq!(up.code, 0, "{}{}", up.stdout, up.stderr);
    assert_eq!(
        (world.field("database", "ID"), world.field("queue", "ID")),
        (database, queue),
        "unchanged ones stay"
    );
    assert_ne!(world.field("backend", "ID"), backend);
    assert!(
        !up.stderr.contains("Setting up "),
        "an unchanged RUN was run again:\n{}",
        up.stderr
    );
    let edited = counts(&world).expect("the new backend answers");
    assert_eq!(edited["edited"], true, "{edited}");
    world.finish();
}

fn counts(world: &World) -> Option<serde_json::Value> {
    serde_json::from_str(&world.get(PORT)?).ok()
}

fn copy(from: &Path, to: &PathBuf) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("read a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copy a file");
        }
    }
}
