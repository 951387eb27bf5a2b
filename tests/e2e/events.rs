//! The events of `GET /events`: docker's kinds, each told once it happens, and no others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::{answer, ask, http};
use crate::world::{World, eventually};

/// Those of a registry (pull, push) and of a full memory (oom) apart.
const ALL: [&str; 42] = [
    "builder prune",
    "container archive-path",
    "container attach",
    "container commit",
    "container create",
    "container destroy",
    "container die",
    "container exec_create: sh -c exit 3",
    "container exec_create: true ",
    "container exec_die",
    "container exec_start: sh -c exit 3",
    "container exec_start: true ",
    "container export",
    "container extract-to-dir",
    "container health_status: healthy",
    "container kill",
    "container pause",
    "container prune",
    "container resize",
    "container restart",
    "container start",
    "container stop",
    "container top",
    "container unpause",
    "image create",
    "image delete",
    "image import",
    "image load",
    "image prune",
    "image save",
    "image tag",
    "image untag",
    "network connect",
    "network create",
    "network destroy",
    "network disconnect",
    "network prune",
    "volume create",
    "volume destroy",
    "volume mount",
    "volume prune",
    "volume unmount",
];

fn what_containers_do(world: &World) {
    assert_eq!(
        world.hoist(&["exec", "-T", "a", "sh", "-c", "exit 3"]).code,
        3
    );
    world.ok(&["restart", "a"]);
    world.ok(&["kill", "-s", "USR1", "a"]);
    world.ok(&["pause", "a"]);
    world.ok(&["unpause", "a"]);
    world.ok(&["top", "a"]);
    world.ok(&["cp", "a:/bin/busybox", "out"]);
    world.ok(&["cp", "out", "a:/tmp"]);
    world.ok(&["export", "-o", "files.tar", "a"]);
    world.ok(&["commit", "-m", "why", "a", "made:1"]);
    assert_eq!(
        answer(
            world,
            &http("POST", "/containers/told-a-1/resize?h=20&w=60", "")
        )
        .0,
        200
    );
    assert_eq!(
        answer(
            world,
            &http("POST", "/containers/told-a-1/attach?stream=0", "")
        )
        .0,
        200
    );
}

fn what_becomes_of_images(world: &World) {
    world.ok(&["tag", "made:1", "made:2"]);
    world.ok(&["save", "-o", "image.tar", "made:1"]);
    world.ok(&["rmi", "made:1"]);
    world.ok(&["rmi", "made:2"]);
    world.ok(&["load", "-i", "image.tar"]);
    world.ok(&["import", "files.tar", "imported:1"]);
    world.ok(&["image", "prune", "-af"]);
}

#[test]
fn events_are_dockers() {
    let Some(world) = World::new("events are docker's") else {
        return;
    };
    let begun = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    world.busybox().file(
        "compose.yaml",
        "name: told\nservices:\n  a:\n    image: busybox\n    command: [sleep, \"1000\"]\n    stop_grace_period: 0s\n    \
         tty: true\n    volumes: [data:/data]\n    healthcheck: { test: [CMD, \"true\"], interval: 1s }\n\
         volumes: { data: {} }\n",
    );
    let mut told = Vec::new();
    // Only the last ones are remembered.
    let mut look = || {
        let until = jiff::Timestamp::now().as_second() + 1;
        let (status, body) = answer(
            &world,
            &http("GET", &format!("/events?since={begun}&until={until}"), ""),
        );
        assert_eq!(status, 200);
        told.extend(
            body.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .filter(Value::is_object),
        );
    };
    world.ok(&["up", "-d"]);
    eventually("it is healthy", || world.field("a", "Health") == "healthy");
    look();
    what_containers_do(&world);
    look();
    let (_, body) = ask(&world, &http("GET", "/images/busybox/json", ""));
    let image: Value = serde_json::from_str(&body).expect("JSON");
    let tagged: jiff::Timestamp = image["Metadata"]["LastTagTime"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    assert!(
        tagged.as_second() + 600 > i64::try_from(begun).expect("in range"),
        "{tagged}"
    );
    world.ok(&["stop", "a"]);
    what_becomes_of_images(&world);
    world.ok(&["container", "prune", "-f"]);
    world.ok(&["network", "prune", "-f"]);
    world.ok(&["volume", "prune", "-af"]);
    world.ok(&["builder", "prune", "-f"]);
    look();
    let kinds: BTreeSet<String> = told
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or("?").to_owned();
            format!("{} {}", text("Type"), text("Action"))
        })
        .collect();
    assert_eq!(kinds, ALL.map(str::to_owned).into());
    attributes_are_dockers(&told);
    world.finish();
}

fn attributes_are_dockers(told: &[Value]) {
    let of = |kind: &str, action: &str| {
        let found = told
            .iter()
            .find(|event| event["Type"] == kind && event["Action"] == action);
        found.unwrap_or_else(|| panic!("{kind} {action}"))
    };
    let has = |kind: &str, action: &str, keys: &[&str]| {
        let attributes = &of(kind, action)["Actor"]["Attributes"];
        for key in keys {
            assert!(
                attributes[*key].is_string(),
                "{kind} {action}: {key}: {attributes}"
            );
        }
    };
    let ended = &of("container", "exec_die")["Actor"]["Attributes"];
    assert!(
        ended["exitCode"].is_string() && ended["execID"].is_string(),
        "{ended}"
    );
    has("container", "die", &["execDuration", "exitCode"]);
    has(
        "container",
        "kill",
        &["signal", "com.docker.compose.service"],
    );
    has("container", "resize", &["height", "width"]);
    has(
        "container",
        "exec_create: true ",
        &["execID", "image", "name"],
    );
    has("network", "connect", &["container", "name", "type"]);
    has(
        "volume",
        "mount",
        &[
            "container",
            "destination",
            "driver",
            "propagation",
            "read/write",
        ],
    );
    for kind in ["builder", "container", "image", "network", "volume"] {
        has(kind, "prune", &["reclaimed"]);
    }
    assert_ne!(
        of("image", "prune")["Actor"]["Attributes"]["reclaimed"],
        "0"
    );
    let commit = &of("container", "commit")["Actor"]["Attributes"];
    assert_eq!(
        (&commit["comment"], &commit["imageRef"]),
        (&json!("why"), &json!("made:1"))
    );
    assert!(
        commit["imageID"]
            .as_str()
            .is_some_and(|id| id.starts_with("sha256:")),
        "{commit}"
    );
    has("image", "untag", &["name"]);
    let died = of("container", "die");
    assert_eq!(
        (&died["status"], &died["from"], &died["id"]),
        (&json!("die"), &json!("busybox"), &died["Actor"]["ID"])
    );
}
