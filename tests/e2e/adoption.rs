//! An engine that starts over what runs: shims that do not answer, looks that fail, records that are damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::{comm, processes};
use crate::world::{DB_AND_WEB, World, eventually, kill, within};

/// With so many replicas of `web`.
fn stack(replicas: u32) -> String {
    format!(
        "name: adopted
{DB_AND_WEB}    scale: {replicas}
volumes: {{ data: {{}} }}
"
    )
}

/// Shims by their containers' ids.
pub(crate) fn shims(world: &World) -> BTreeMap<String, String> {
    let folder = world.run_dir.join("containers");
    let of = |pid: String| {
        let bundle = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let name = bundle
            .strip_prefix(&folder)
            .ok()?
            .to_str()?
            .trim_end_matches(" (deleted)")
            .to_owned();
        (comm(&pid) == "hoist-shim").then_some((name, pid))
    };
    processes().filter_map(of).collect()
}

fn shim_of(world: &World, service: &str) -> String {
    let id = world.ok(&["ps", "-q", service]);
    let found = shims(world)
        .into_iter()
        .find(|(name, _)| name.starts_with(id.trim()));
    found.unwrap_or_else(|| panic!("{service} has a shim")).1
}

/// The init processes of all containers by id: a restarted container has another one.
pub(crate) fn programs(world: &World) -> BTreeMap<String, String> {
    let parents = shims(world);
    let parent = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .map(|parent| parent.trim().to_owned())
    };
    let of = |pid: String| {
        let parent = parent(&pid)?;
        let (id, _) = parents.iter().find(|(_, shim)| **shim == parent)?;
        (comm(&pid) != "hoist-shim" && comm(&pid) != "hoist").then(|| (id.clone(), pid))
    };
    processes().filter_map(of).collect()
}

pub(crate) fn running(world: &World) -> usize {
    world
        .ps()
        .iter()
        .filter(|container| container["State"] == "running")
        .count()
}

fn renew_engine(world: &World) {
    let dead = world.kill_engine().expect("an engine runs");
    within(
        Duration::from_secs(20),
        "a shim starts a new engine",
        || world.engine().is_some_and(|pid| pid != dead) && world.hoist(&["ps"]).code == 0,
    );
}

#[test]
fn a_shim_that_stands_still_holds_nobody_up() {
    let Some(world) = World::new("a shim that stands still holds nobody up") else {
        return;
    };
    world.busybox().file("compose.yaml", &stack(8));
    world.ok(&["up", "-d"]);
    let before = programs(&world);
    assert_eq!(before.len(), 9);

    kill("-STOP", &shim_of(&world, "db"));
    let began = Instant::now();
    renew_engine(&world);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "an engine came up after {:?}",
        began.elapsed()
    );
    assert_eq!(running(&world), 9);
    assert!(
        world
            .field("db", "Status")
            .ends_with("(shim not answering)"),
        "{}",
        world.field("db", "Status")
    );
    assert_eq!(world.ok(&["exec", "-T", "db", "echo", "alive"]), "alive\n");
    assert_eq!(
        world.ok(&["exec", "-T", "db", "wget", "-qO-", "http://web/"]),
        "served\n"
    );
    kill("-CONT", &shim_of(&world, "db"));
    eventually("it is found", || {
        !world.field("db", "Status").contains("shim")
    });
    assert_eq!(programs(&world), before);

    // Every verb that needs the shim ends, and what it was to end has ended.
    kill("-STOP", &shim_of(&world, "db"));
    let began = Instant::now();
    world.ok(&["kill", "db"]);
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "kill took {:?}",
        began.elapsed()
    );
    assert_eq!(world.field("db", "State"), "exited");
    assert_eq!(world.field("db", "ExitCode"), "137");
    world.ok(&["start", "db"]);
    assert_eq!(running(&world), 9);
    for pid in shims(&world).values() {
        kill("-STOP", pid);
    }
    let began = Instant::now();
    world.ok(&["down", "-v", "-t", "1"]);
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "down took {:?}",
        began.elapsed()
    );
    world.finish();
}

#[test]
fn a_starting_engine_leaves_what_it_cannot_speak_to() {
    let Some(world) = World::new("a starting engine leaves what it cannot speak to") else {
        return;
    };
    world.busybox().file("compose.yaml", &stack(8));
    world.ok(&["up", "-d"]);
    world.ok(&["exec", "-T", "db", "sh", "-c", "echo kept >/data/file"]);
    let before = programs(&world);

    // With both gone at once the shim's end costs one restart.
    kill("-KILL", &shim_of(&world, "db"));
    world.kill_engine();
    eventually("all of them run again", || {
        let now = programs(&world);
        now.len() == 9
            && now
                .iter()
                .filter(|(id, pid)| before.get(*id) == Some(*pid))
                .count()
                == 8
    });
    eventually("and are shown", || running(&world) == 9);

    // An engine that a shim starts has the shim's limits.
    let before = programs(&world);
    for limit in ["42", "34", "26"] {
        for pid in shims(&world).values() {
            let status = Command::new("prlimit")
                .args(["--pid", pid, &format!("--nofile={limit}:{limit}")])
                .status();
            assert!(status.expect("run prlimit").success());
        }
        let dead = world.kill_engine().expect("an engine runs");
        let socket = world.run_dir.join("hoist.sock");
        fs::remove_file(&socket).expect("the dead engine's socket");
        within(
            Duration::from_secs(20),
            "a new engine has looked at all of them",
            || {
                socket.exists()
                    || fs::read_to_string(world.data_root.join("engine.log")).is_ok_and(|log| {
                        log.contains("EMFILE") || log.contains("Too many open files")
                    })
            },
        );
        assert_eq!(programs(&world), before, "with {limit} descriptors");
        if let Some(pid) = world.engine().filter(|pid| *pid != dead) {
            kill("-TERM", &pid);
            eventually("it leaves", || {
                world.engine().is_none_or(|found| found != pid)
            });
        }
        eventually("the next engine finds all of them", || {
            world.hoist(&["ps"]).code == 0 && running(&world) == 9
        });
        assert_eq!(programs(&world), before, "after {limit} descriptors");
    }

    // Another run folder does not make it another data root.
    let other = world.project.join("run");
    let refused = world
        .command(&["ps"])
        .env("HOIST_RUN_DIR", &other)
        .output()
        .expect("run hoist");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("is in use by the engine that listens on"),
        "{told}"
    );
    // Nor does another socket.
    let socket = world.project.join("other.sock").display().to_string();
    let refused = world.hoist(&["-H", &socket, "ps"]);
    let own = world.run_dir.join("hoist.sock").display().to_string();
    assert!(
        refused.code != 0 && refused.stderr.contains(&format!("`-H {own}` reaches it")),
        "{refused:?}"
    );
    assert_eq!(programs(&world), before);

    assert_eq!(
        world.ok(&["exec", "-T", "db", "cat", "/data/file"]),
        "kept\n"
    );
    world.finish();
}

/// Every record of the data root that the running stack depends on.
fn records(world: &World) -> Vec<PathBuf> {
    let root = &world.data_root;
    let mut all = Vec::new();
    for (folder, inner) in [
        ("stacks", None),
        ("networks", None),
        ("containers", Some("container.json")),
        ("containers", Some("state.json")),
    ] {
        let entries = fs::read_dir(root.join(folder))
            .expect("a folder of the data root")
            .flatten();
        all.extend(
            entries.map(|entry| inner.map_or_else(|| entry.path(), |name| entry.path().join(name))),
        );
    }
    all.extend(
        fs::read_dir(root.join("volumes"))
            .expect("volumes")
            .flatten()
            .map(|entry| entry.path().join("volume.json")),
    );
    all
}

fn damage(path: &Path, kind: &str) {
    let bytes = fs::read(path).expect("a record");
    match kind {
        "truncated" => fs::write(path, &bytes[..bytes.len() / 2]).expect("write"),
        "empty" => fs::write(path, b"").expect("write"),
        "not json" => fs::write(path, [0_u8; 64]).expect("write"),
        "another's json" => fs::write(path, br#"{"name":[1,2]}"#).expect("write"),
        "missing" => fs::remove_file(path).expect("remove"),
        "a folder" => {
            fs::remove_file(path).expect("remove");
            fs::create_dir(path).expect("make a folder");
            fs::write(path.join("file"), b"").expect("write");
        }
        _ => unreachable!("a kind of damage"),
    }
}

#[test]
fn a_damaged_record_costs_nothing_that_runs() {
    let Some(world) = World::new("a damaged record costs nothing that runs") else {
        return;
    };
    world.busybox().file("compose.yaml", &stack(1));
    world.ok(&["up", "-d"]);
    world.ok(&["exec", "-T", "db", "sh", "-c", "echo kept >/data/file"]);
    let before = programs(&world);
    for kind in [
        "truncated",
        "empty",
        "not json",
        "another's json",
        "missing",
        "a folder",
    ] {
        for path in records(&world) {
            damage(&path, kind);
        }
        renew_engine(&world);
        assert_eq!(programs(&world), before, "{kind}");
        assert_eq!(
            world.ok(&["exec", "-T", "db", "wget", "-qO-", "http://web/"]),
            "served\n",
            "{kind}"
        );
        assert_eq!(
            world.ok(&["exec", "-T", "db", "cat", "/data/file"]),
            "kept\n",
            "{kind}"
        );
        world.ok(&["up", "-d"]);
        assert_eq!(programs(&world), before, "{kind}: nothing was to be done");
    }
    // With nothing that runs each costs its own object at most, and `up` brings it back at once.
    for kind in ["truncated", "a folder", "missing"] {
        for index in 0..records(&world).len() {
            world.ok(&["stop", "-t", "0"]);
            // A container whose record was damaged is another one by now.
            let path = records(&world).swap_remove(index);
            damage(&path, kind);
            if let Some(pid) = world.engine() {
                kill("-TERM", &pid);
                eventually("the engine leaves", || {
                    !Path::new("/proc").join(&pid).exists()
                });
            }
            let told = path
                .strip_prefix(&world.data_root)
                .expect("of the data root")
                .display()
                .to_string();
            let up = world.hoist(&["up", "-d", "--remove-orphans"]);
            assert_eq!(up.code, 0, "{kind}: {told}: {}", up.stderr);
            assert_eq!(running(&world), 2, "{kind}: {told}");
            assert_eq!(
                world.ok(&["exec", "-T", "db", "wget", "-qO-", "http://web/"]),
                "served\n",
                "{kind}: {told}"
            );
            assert_eq!(
                world.ok(&["exec", "-T", "db", "cat", "/data/file"]),
                "kept\n",
                "{kind}: {told}"
            );
        }
    }
    // Its record was lost many times, and it is still the project's.
    world.ok(&["down", "-v", "-t", "0"]);
    assert!(!world.ok(&["volume", "ls", "-q"]).contains("adopted_data"));
    world.finish();
}

#[test]
fn a_run_folder_that_is_removed_is_made_again() {
    let Some(world) = World::new("a run folder that is removed is made again") else {
        return;
    };
    world.busybox().file("compose.yaml", &stack(2));
    world.ok(&["up", "-d"]);
    let (before, engine) = (programs(&world), world.engine());
    fs::remove_dir_all(&world.run_dir).expect("remove the run folder");
    // At once, so that a second engine is started in the gap; it finds the data root taken.
    assert_eq!(running(&world), 3);
    assert_eq!(programs(&world), before);
    assert_eq!(world.engine(), engine, "the same engine serves");
    eventually("its lock is in the new folder", || {
        world.run_dir.join("engine.lock").exists()
    });
    eventually("every shim listens again", || {
        before.keys().all(|id| {
            world
                .run_dir
                .join("containers")
                .join(id)
                .join("shim.sock")
                .exists()
        })
    });
    renew_engine(&world);
    assert_eq!(programs(&world), before);
    world.ok(&["stop", "-t", "0", "db"]);
    world.ok(&["start", "db"]);
    assert_eq!(running(&world), 3);
    world.finish();
}
