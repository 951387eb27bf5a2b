//! What hands do that know docker compose.

use std::io::{BufRead, BufReader};

use crate::world::{World, eventually, kill};

const STACK: &str = r#"
name: habits
services:
  a: { image: busybox, command: [sh, -c, "echo from a; exec sleep 1000"], stop_grace_period: 1s, networks: [one] }
  b: { image: busybox, command: [sh, -c, "echo from b; exec sleep 1000"], stop_grace_period: 1s, networks: [two], profiles: [extra] }
  c: { image: busybox, command: [sh, -c, "echo from c; exec sleep 1000"], stop_grace_period: 1s, networks: { two: { aliases: [sea] }, one: {} } }
networks: { one: {}, two: { internal: true } }
"#;

#[test]
fn verbs_do_what_their_names_say() {
    let Some(world) = World::new("verbs do what their names say") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    assert_eq!(
        world.field("b", "State"),
        "absent",
        "its profile is not active"
    );
    world.ok(&["--profile", "extra", "up", "-d"]);
    assert_eq!(world.field("b", "State"), "running");

    world.ok(&["stop", "-t", "0", "a"]);
    assert_eq!(world.field("a", "State"), "exited");
    world.ok(&["start", "a"]);
    assert_eq!(world.field("a", "State"), "running");
    world.ok(&["restart", "-t", "0", "a"]);
    assert_eq!(world.field("a", "State"), "running");
    world.ok(&["pause", "a"]);
    assert_eq!(world.field("a", "State"), "paused");
    world.ok(&["unpause", "a"]);
    assert_eq!(world.field("a", "State"), "running");

    world.ok(&["up", "-d", "--scale", "a=3"]);
    assert_eq!(
        world
            .ps()
            .iter()
            .filter(|container| container["Service"] == "a")
            .count(),
        3
    );
    world.ok(&["up", "-d"]);
    assert_eq!(
        world
            .ps()
            .iter()
            .filter(|container| container["Service"] == "a")
            .count(),
        1
    );

    world.file("note.txt", "carried in\n");
    world.ok(&["cp", "note.txt", "a:/note.txt"]);
    assert_eq!(
        world.ok(&["exec", "-T", "a", "cat", "/note.txt"]),
        "carried in\n"
    );
    world.ok(&["cp", "a:/note.txt", "back.txt"]);
    assert_eq!(
        std::fs::read_to_string(world.project.join("back.txt")).expect("copied out"),
        "carried in\n"
    );

    folders_are_copied_both_ways(&world);

    let resolved = world.ok(&["exec", "-T", "c", "nslookup", "-type=a", "a"]);
    assert!(resolved.contains("Address"), "{resolved}");
    assert_ne!(
        world
            .hoist(&["exec", "-T", "b", "ping", "-c1", "-W1", "a"])
            .code,
        0,
        "b and a share no network"
    );
    world.ok(&["exec", "-T", "b", "ping", "-c1", "-W2", "sea"]);

    assert!(world.ok(&["ls", "-q"]).contains("habits"));
    world.ok(&["kill", "a"]);
    world.ok(&["rm", "-f", "a"]);
    assert_eq!(world.field("a", "State"), "absent");
    world.ok(&["--profile", "extra", "down", "-t", "0"]);
    world.finish();
}

/// As `cp -r` would: into a folder that is there, as one that is not, or its content with `/.`.
fn folders_are_copied_both_ways(world: &World) {
    world.file("tree/deep/leaf.txt", "leaf\n");
    std::os::unix::fs::symlink("deep/leaf.txt", world.project.join("tree/link"))
        .expect("make a link");
    std::fs::create_dir(world.project.join("tree/empty")).expect("make a folder");
    world.ok(&["exec", "-T", "a", "mkdir", "/there"]);
    for (source, target, root) in [
        ("tree", "/there", "/there/tree"),
        ("tree", "/new", "/new"),
        ("tree/.", "/there", "/there"),
    ] {
        world.ok(&["cp", source, &format!("a:{target}")]);
        assert_eq!(
            world.ok(&["exec", "-T", "a", "cat", &format!("{root}/link")]),
            "leaf\n",
            "{source} to {target}"
        );
        world.ok(&["exec", "-T", "a", "test", "-d", &format!("{root}/empty")]);
    }
    std::fs::create_dir(world.project.join("here")).expect("make a folder");
    for (source, target, root) in [
        ("/new", "here", "here/new"),
        ("/new", "fresh", "fresh"),
        ("/new/.", "here", "here"),
    ] {
        world.ok(&["cp", &format!("a:{source}"), target]);
        let root = world.project.join(root);
        assert_eq!(
            std::fs::read_to_string(root.join("link")).expect("copied out"),
            "leaf\n",
            "{source} to {target}"
        );
        assert!(root.join("empty").is_dir());
    }
    assert_ne!(world.hoist(&["cp", "a:/absent", "here"]).code, 0);
}

#[test]
fn attached_up_shows_logs_and_stops_on_interrupt() {
    let Some(world) = World::new("attached up") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    let mut up = world.spawn(&["up"]);
    let mut lines = BufReader::new(up.stdout.take().expect("piped")).lines();
    let mut seen = Vec::new();
    while !(seen.iter().any(|line: &String| line.contains("from a"))
        && seen.iter().any(|line| line.contains("from c")))
    {
        seen.push(lines.next().expect("up goes on").expect("utf-8"));
    }
    assert!(
        seen.iter()
            .any(|line| line.contains("| from a") && line.starts_with('a')),
        "{seen:?}"
    );
    kill("-INT", &up.id().to_string());
    let status = up.wait().expect("wait for up");
    assert_eq!(status.code(), Some(130));
    eventually("all are stopped", || {
        world
            .ps()
            .iter()
            .all(|container| container["State"] == "exited")
    });
    world.finish();
}

#[test]
fn wait_and_one_shots() {
    let Some(world) = World::new("wait and one-shots") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: shots\nservices:\n  once: { image: busybox, command: [sh, -c, \"exit 3\"] }\n  \
         fine: { image: busybox, command: [\"true\"] }\n  \
         after: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s, depends_on: { fine: { condition: service_completed_successfully } } }\n",
    );
    world.ok(&["up", "-d"]);
    assert_eq!(world.hoist(&["wait", "once"]).code, 3);
    assert_eq!(world.field("after", "State"), "running");
    assert_eq!(world.field("once", "ExitCode"), "3");
    world.finish();
}

#[test]
fn json_output_is_json() {
    let Some(world) = World::new("json output") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    let plan: serde_json::Value =
        serde_json::from_str(&world.hoist(&["plan", "--format", "json"]).stdout).expect("a plan");
    assert!(
        plan["steps"]
            .as_array()
            .is_some_and(|steps| !steps.is_empty()),
        "{plan}"
    );
    let config: serde_json::Value =
        serde_json::from_str(&world.ok(&["config", "--format", "json"])).expect("a model");
    assert_eq!(config["name"], "habits");
    let up = world.hoist(&["--progress", "json", "up", "-d"]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    for line in up.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    world.finish();
}
