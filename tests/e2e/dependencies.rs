//! What services wait for and follow, and networks and volumes that have a name or an owner of their own.

use std::fs;

use crate::world::{World, eventually};

const IDLE: &str = "image: busybox, stop_grace_period: 0s, command: [sleep, '100000']";

#[track_caller]
fn started(world: &World, service: &str) -> String {
    let text = world.ok(&["inspect", &world.field(service, "Name")]);
    let all: serde_json::Value = serde_json::from_str(&text).expect("a document");
    all[0]["State"]["StartedAt"]
        .as_str()
        .expect("a time")
        .to_owned()
}

#[test]
fn services_wait_for_and_follow_what_they_depend_on() {
    let Some(world) = World::new("attributes of dependencies") else {
        return;
    };
    let stack = |level: &str| {
        format!(
            r#"
name: depending
services:
  base:
    image: busybox
    stop_grace_period: 0s
    environment: {{ LEVEL: '{level}' }}
    command: [sh, -c, "sleep 0.5; touch /shared/ready; exec sleep 100000"]
    volumes: ['./shared:/shared']
    healthcheck: {{ test: 'test -e /shared/ready', interval: 100ms, start_period: 1h }}
  after:
    image: busybox
    stop_grace_period: 0s
    command: [sh, -c, "test -e /shared/ready && exec sleep 100000"]
    volumes: ['./shared:/shared']
    depends_on: {{ base: {{ condition: service_healthy, restart: true }} }}
  ends: {{ image: busybox, command: ['false'] }}
  spared: {{ {IDLE}, depends_on: {{ ends: {{ condition: service_completed_successfully, required: false }} }} }}
  probed:
    {{ {IDLE}, volumes: ['./probed:/probed'],
      healthcheck: {{ test: 'echo >>/probed/probes; false', interval: 1h, start_period: 1h, start_interval: 20ms }} }}
"#
        )
    };
    for folder in ["shared", "probed"] {
        fs::create_dir(world.project.join(folder)).expect("make a folder");
    }
    world.busybox().file("compose.yaml", &stack("one"));
    world.ok(&["up", "-d"]);
    eventually("what failed is known", || {
        world.field("ends", "State") == "exited"
    });
    assert_eq!(
        world.field("spared", "State"),
        "running",
        "it can do without what failed"
    );
    assert_eq!(
        world.field("after", "State"),
        "running",
        "it was started when the other one was ready"
    );
    let (before, name) = (started(&world, "after"), world.field("after", "ID"));
    world.file("compose.yaml", &stack("two"));
    world.ok(&["up", "-d"]);
    assert_eq!(world.field("after", "ID"), name, "it is not replaced");
    assert_ne!(started(&world, "after"), before, "but restarted");
    // Early probes become rare after that many; then it is start_interval that counts.
    let probes = || {
        fs::read_to_string(world.project.join("probed/probes"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("it is probed often", || probes() > 150);
    world.finish();
}

#[test]
fn networks_and_volumes_have_their_own_names_and_owners() {
    let Some(world) = World::new("names of networks and volumes") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: owned
services:
  web: {{ {IDLE}, networks: [others, own], volumes: ['others:/others', 'own:/own'] }}
networks: {{ others: {{ external: true, name: others-net }}, own: {{ name: own-net }} }}
volumes: {{ others: {{ external: true, name: others-data }}, own: {{ name: own-data }} }}
"#
        ),
    );
    for what in ["network create others-net", "volume create others-data"] {
        let missing = world.hoist(&["up", "-d"]);
        assert!(
            missing.code != 0 && missing.stderr.contains(&format!("`hoist {what}`")),
            "{missing:?}"
        );
        world.ok(&what.split(' ').collect::<Vec<_>>());
    }
    world.ok(&["up", "-d"]);
    let names = |what: &str| {
        let mut names: Vec<String> = world
            .ok(&[what, "ls", "-q"])
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("volume"), ["others-data", "own-data"]);
    for network in ["others-net", "own-net"] {
        let text = world.ok(&["network", "inspect", network]);
        assert!(text.contains("owned-web-1"), "{network}: {text}");
    }
    world.ok(&["down", "-v"]);
    assert_eq!(names("volume"), ["others-data"], "what is others' stays");
    world.ok(&["network", "rm", "others-net"]);
    world.ok(&["volume", "rm", "others-data"]);
    let gone = world.hoist(&["network", "inspect", "own-net"]);
    assert!(gone.code != 0, "its own goes: {}", gone.stdout);
    std::fs::remove_file(world.project.join("compose.yaml"))
        .expect("remove the file that needs them");
    world.finish();
}
