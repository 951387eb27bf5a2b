//! Fails each system call of a starting engine once: even if that engine gives up, running containers and stored data
//! are unharmed.
//!
//! `HOIST_FAULTS=full` fails each of the first 500 calls with each error; without it a sample that changes with the day's
//! process numbers and is printed.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use crate::adoption::{programs, running};
use crate::world::{DB_AND_WEB, World, eventually, kill, note};

/// What follows [`DB_AND_WEB`].
const MORE: &str = r#"    scale: 2
  once: { image: busybox, command: [sh, -c, "exit 3"] }
  idle: { image: busybox, command: [sleep, "10000"], stop_grace_period: 0s }
volumes: { data: {}, empty: {} }
"#;

const CALLS: usize = 500;
const SAMPLE: usize = 30;

/// A start of the engine under strace, with its n-th call made to fail; ended by a signal once it serves.
fn start_with_a_fault(world: &World, call: usize, error: &str) {
    let hoist = world.command(&["engine"]);
    let mut strace = Command::new("strace");
    // Threads count on their own: the first thread is the one that opens the state and adopts.
    let inject = format!("inject=%file,%desc,%network,%memory,%process:error={error}:when={call}");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=all",
        "-e",
        &inject,
        "-e",
        "signal=none",
    ]);
    strace.arg(hoist.get_program()).args(hoist.get_args());
    for (name, value) in hoist.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    strace
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut traced = strace.spawn().expect("run strace");
    let socket = world.run_dir.join("hoist.sock");
    // A shim may start an engine at the same time, which finds the data root taken: each is told once.
    let mut told = BTreeSet::new();
    // It serves and is told to leave, or has given up.
    eventually("the start has come to its end", || {
        if traced.try_wait().expect("wait for strace").is_some() {
            return true;
        }
        if let Some(pid) = world.engine().filter(|_| socket.exists())
            && told.insert(pid.clone())
        {
            // It may be gone by itself.
            let _ = Command::new("kill").args(["-TERM", &pid]).output();
        }
        false
    });
}

/// Names of everything that the data root holds.
fn stored(world: &World) -> BTreeSet<String> {
    let folders = [
        "stacks",
        "networks",
        "volumes",
        "containers",
        "image/images",
        "image/layers",
        "image/blobs/sha256",
    ];
    let names = |folder: &'static str| {
        let entries = fs::read_dir(world.data_root.join(folder))
            .expect("a folder of the data root")
            .flatten();
        entries.map(move |entry| format!("{folder}/{}", entry.file_name().to_string_lossy()))
    };
    folders.into_iter().flat_map(names).collect()
}

pub(crate) fn leave(world: &World) {
    if let Some(pid) = world.engine() {
        kill("-TERM", &pid);
        eventually("the engine leaves", || {
            world.engine().is_none_or(|found| found != pid)
        });
    }
}

#[test]
fn one_failing_call_of_a_start_destroys_nothing() {
    let Some(world) = World::new("one failing call of a start destroys nothing") else {
        return;
    };
    if Command::new("strace").arg("-V").output().is_err() {
        note("skipped: one failing call of a start destroys nothing: needs strace");
        return;
    }
    world
        .busybox()
        .file("compose.yaml", &format!("name: faults\n{DB_AND_WEB}{MORE}"));
    world.ok(&["up", "-d"]);
    world.ok(&["stop", "idle"]);
    world.ok(&["exec", "-T", "db", "sh", "-c", "echo kept >/data/file"]);
    eventually("the one-off has ended", || {
        world.field("once", "ExitCode") == "3"
    });
    let (before, files) = (programs(&world), stored(&world));
    assert_eq!(before.len(), 3);

    let full = std::env::var("HOIST_FAULTS").is_ok_and(|value| value == "full");
    let step = if full { 1 } else { CALLS / SAMPLE };
    for (number, call) in (1..=CALLS).step_by(step).enumerate() {
        let errors: &[&str] = &["EMFILE", "EIO", "ENOMEM"];
        let errors = if full {
            errors
        } else {
            &errors[number % 3..=number % 3]
        };
        for error in errors {
            leave(&world);
            start_with_a_fault(&world, call, error);
            let told = format!("call {call} failed with {error}");
            // A shim that starts an engine has a child of its name for a moment.
            eventually(&told, || programs(&world) == before);
            assert_eq!(stored(&world), files, "{told}");
            let sound = || {
                running(&world) == 3
                    && world.field("once", "ExitCode") == "3"
                    && world.field("idle", "State") == "exited"
                    && world
                        .hoist(&["exec", "-T", "db", "wget", "-qO-", "http://web/"])
                        .stdout
                        == "served\n"
            };
            eventually(&told, sound);
            eventually(&told, || programs(&world) == before);
            assert_eq!(stored(&world), files, "{told}, then an engine came up");
        }
    }
    assert_eq!(
        world.ok(&["exec", "-T", "db", "cat", "/data/file"]),
        "kept\n"
    );
    world.finish();
}
