//! What an earlier version left is taken over: shims that run, and documents of the form that it wrote.
//!
//! `tests/kept/4a142bb` holds the shim that this commit builds, compressed. Why a binary: docs/adr/0008.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::adoption::{programs, shims};
use crate::faults::leave;
use crate::world::{World, eventually, kill, note};

const STACK: &str = r#"
name: kept
services:
  web:
    image: busybox
    command: [sh, -c, "mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www"]
    restart: always
    stop_grace_period: 0s
    healthcheck: { test: [CMD, "true"], interval: 1s }
    ports: ["127.0.0.1:18099:80"]
  talker:
    image: busybox
    command: [sh, -c, "i=0; while :; do i=$$((i+1)); echo line $$i; usleep 20000; done"]
    stop_grace_period: 0s
    volumes: ["data:/data"]
  job:
    image: busybox
    command: [sh, -c, "echo working; until [ -e /data/go ]; do usleep 20000; done; echo done; exit 7"]
    stop_grace_period: 0s
    volumes: ["data:/data"]
volumes: { data: {} }
"#;

/// Unpacks the kept shim; its name is what the kernel knows it by.
fn unpack(commit: &str, to: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/kept")
        .join(commit)
        .join("hoist-shim.xz");
    let packed = fs::File::open(packed).expect("open the kept shim");
    let unpacked = fs::File::create(to).expect("create the shim");
    let status = Command::new("/bin/busybox")
        .arg("unxz")
        .arg("-c")
        .stdin(packed)
        .stdout(unpacked)
        .status();
    assert!(
        status.expect("run busybox unxz").success(),
        "the kept shim is unpacked"
    );
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

/// The shim that is under test beside this `hoist`.
fn shim_of_today() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_hoist")).with_file_name("hoist-shim");
    std::env::var_os("HOIST_SHIM").map_or(beside, PathBuf::from)
}

fn documents(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for kind in ["stacks", "networks", "volumes", "containers"] {
        for entry in fs::read_dir(world.data_root.join(kind))
            .expect("a folder of the data root")
            .flatten()
        {
            let names =
                ["volume.json", "container.json", "state.json"].map(|name| entry.path().join(name));
            found.extend(
                std::iter::once(entry.path())
                    .chain(names)
                    .filter(|path| path.is_file()),
            );
        }
    }
    found
}

fn lines_without_a_gap(world: &World) -> usize {
    let log = world.ok(&["logs", "--no-log-prefix", "talker"]);
    for (number, line) in log.lines().enumerate() {
        assert_eq!(line, format!("line {}", number + 1), "the log is whole");
    }
    log.lines().count()
}

#[test]
fn a_shim_and_documents_of_an_earlier_version_are_adopted() {
    let Some(world) = World::new("a shim and documents of an earlier version are adopted") else {
        return;
    };
    if !cfg!(target_arch = "x86_64") {
        note(
            "skipped: a shim and documents of an earlier version are adopted: the kept shim is for x86_64",
        );
        return;
    }
    world.busybox().file("compose.yaml", STACK);
    let shim = world.project.join("hoist-shim");
    unpack("4a142bb", &shim);
    let hoist = |args: &[&str]| {
        let run = world
            .command(args)
            .env("HOIST_SHIM", &shim)
            .stdin(Stdio::null())
            .output()
            .expect("run hoist");
        assert!(
            run.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    };
    // The engine that built the image knows another shim.
    leave(&world);
    hoist(&["up", "-d", "--wait", "web", "talker"]);
    hoist(&["up", "-d"]);
    let before = programs(&world);
    assert_eq!(before.len(), 3);
    for pid in shims(&world).values() {
        let running = fs::read(format!("/proc/{pid}/exe")).expect("read the shim's program");
        assert!(
            running == fs::read(&shim).expect("read the kept shim"),
            "the kept shim runs"
        );
    }

    // That engine leaves, and what it wrote is as the earlier version wrote it. The job ends while none is there.
    leave(&world);
    for path in documents(&world) {
        let text = fs::read_to_string(&path).expect("read a document");
        let earlier = text.replacen("\"version\":1,", "", 1);
        assert_ne!(earlier, text, "{} has a version", path.display());
        fs::write(&path, earlier).expect("write a document");
    }
    fs::write(world.data_root.join("volumes/kept_data/_data/go"), "").expect("let the job end");
    eventually("the job ends", || programs(&world).len() == 2);
    fs::remove_file(&shim).expect("the old program goes");
    fs::copy(shim_of_today(), &shim).expect("the new one comes");

    hoist(&["ps"]);
    let after = programs(&world);
    assert!(
        after.iter().all(|(id, pid)| before.get(id) == Some(pid)),
        "what ran runs on: {before:?} {after:?}"
    );
    assert_eq!(world.field("job", "ExitCode"), "7");
    assert_eq!(
        world.ok(&["logs", "--no-log-prefix", "job"]),
        "working\ndone\n"
    );
    assert!(
        !world.field("web", "Status").contains("not answering"),
        "{}",
        world.field("web", "Status")
    );
    assert_eq!(
        world.get("http://127.0.0.1:18099/").as_deref(),
        Some("served\n")
    );
    assert_eq!(
        world.ok(&["exec", "-T", "talker", "wget", "-qO-", "http://web/"]),
        "served\n"
    );
    let lines = lines_without_a_gap(&world);
    eventually("the log goes on", || lines_without_a_gap(&world) > lines);
    for path in documents(&world) {
        let text = fs::read_to_string(&path).expect("read a document");
        assert!(
            text.starts_with("{\"version\":1,"),
            "{} was not written again",
            path.display()
        );
    }

    // An old shim starts an engine of today, and its policy holds.
    let dead = world.kill_engine().expect("an engine runs");
    eventually("a shim starts an engine", || {
        world.engine().is_some_and(|pid| pid != dead)
    });
    eventually("it is healthy still", || {
        world.field("web", "Health") == "healthy"
    });
    let id = world
        .ok(&["ps", "-q", "--no-trunc", "web"])
        .trim()
        .to_owned();
    let web = programs(&world)
        .into_iter()
        .find(|(of, _)| of.starts_with(&id))
        .expect("web runs")
        .1;
    kill("-KILL", &web);
    eventually("its policy starts it again", || {
        programs(&world)
            .iter()
            .any(|(of, pid)| of.starts_with(&id) && *pid != web)
    });
    world.ok(&["pause", "talker"]);
    world.ok(&["unpause", "talker"]);
    world.ok(&["stop", "talker"]);
    assert_eq!(world.field("talker", "State"), "exited");
    world.finish();
}
