//! What control groups do to running containers, on cgroup v1 and v2 alike: a limit acts, an end tells its cause, a pause
//! stops every process, a device is open to those who were given it.

use std::fs;

use serde_json::Value;

use crate::attributes::inspect;
use crate::world::{World, eventually};

/// A shell's line that takes memory without end.
const EAT: &str = "x=x; while :; do x=$x$x; done";

/// As a stack file writes it.
fn eat() -> String {
    EAT.replace('$', "$$")
}

fn restarts(world: &World, service: &str) -> Option<u64> {
    inspect(world, service)["RestartCount"].as_u64()
}

/// How often an action of a service was told.
fn told(world: &World, service: &str, action: &str) -> usize {
    let text = world.ok(&[
        "events", "--json", "--since", "1h", "--until", "0s", service,
    ]);
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    events.filter(|event| event["action"] == action).count()
}

#[test]
fn limits_act_and_ends_tell_their_cause() {
    let Some(world) = World::new("limits that act") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: acting
services:
  hungry: {{ image: busybox, mem_limit: 32m, memswap_limit: 32m, restart: 'on-failure:1', command: [sh, -c, '{eat}'] }}
  parent: {{ image: busybox, mem_limit: 32m, memswap_limit: 32m, stop_grace_period: 0s,
      command: [sh, -c, "sh -c '{eat}'; echo child $$?; exec sleep 100000"] }}
  crowd: {{ image: busybox, pids_limit: 6, stop_grace_period: 0s,
      command: [sh, -c, 'sh -c "for i in 1 2 3 4 5 6 7 8; do sleep 100000 & done; echo all"; exec sleep 100000'] }}
  again: {{ image: busybox, mem_limit: 32m, pids_limit: 20, restart: always, stop_grace_period: 0s, command: [sleep, '77777'] }}
  busy: {{ image: busybox, cpus: 0.1, stop_grace_period: 0s, command: [sh, -c, 'while :; do :; done'] }}
"#,
            eat = eat()
        ),
    );
    world.ok(&["up", "-d"]);
    eventually("it was restarted once and gave up", || {
        world.field("hungry", "State") == "exited" && restarts(&world, "hungry") == Some(1)
    });
    let state = inspect(&world, "hungry")["State"].clone();
    assert_eq!(
        (&state["ExitCode"], &state["OOMKilled"]),
        (&137.into(), &true.into()),
        "{state}"
    );
    assert_eq!(told(&world, "hungry", "oom"), 2, "each time");

    // The container outlives a child that ate too much, and so does one whose exec did.
    eventually("the child is killed", || {
        world
            .ok(&["logs", "--no-log-prefix", "parent"])
            .contains("child 137")
    });
    eventually("it is told", || told(&world, "parent", "oom") == 1);
    assert_eq!(
        world.hoist(&["exec", "-T", "parent", "sh", "-c", EAT]).code,
        137,
        "an exec is within the limits"
    );
    assert_eq!(world.field("parent", "State"), "running");

    eventually("the crowd meets its limit", || {
        world.hoist(&["logs", "crowd"]).stderr.contains("fork")
    });
    assert!(
        !world
            .ok(&["logs", "--no-log-prefix", "crowd"])
            .contains("all")
    );

    let limits = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null \
                  || cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max";
    let limits = || {
        world
            .hoist(&["exec", "-T", "again", "sh", "-c", limits])
            .stdout
    };
    assert_eq!(limits(), "33554432\n20\n");
    let first = world.sleeper("77777").expect("it runs");
    crate::world::kill("-KILL", &first);
    eventually("it runs again", || {
        world.sleeper("77777").is_some_and(|pid| pid != first)
    });
    eventually("within the same limits", || limits() == "33554432\n20\n");
    assert_eq!(restarts(&world, "again"), Some(1));

    let throttled = "grep nr_throttled /sys/fs/cgroup/cpu.stat 2>/dev/null || grep nr_throttled /sys/fs/cgroup/cpu/cpu.stat";
    eventually("it is held back", || {
        world
            .ok(&["exec", "-T", "busy", "sh", "-c", throttled])
            .trim_end()
            != "nr_throttled 0"
    });
    used(&world);
    world.finish();
}

/// What `stats` shows of the stack above.
fn used(world: &World) {
    let stats = world.ok(&["stats", "--no-stream", "--format", "json"]);
    let stats: Vec<Value> = stats
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON lines"))
        .collect();
    let of = |service: &str| {
        let name = format!("acting-{service}-1");
        stats
            .iter()
            .find(|stats| stats["Name"] == name.as_str())
            .unwrap_or_else(|| panic!("{service}: {stats:?}"))
    };
    let percent = |service: &str| {
        let text = of(service)["CPUPerc"].as_str().expect("text");
        text.trim_end_matches('%').parse::<f64>().expect("a number")
    };
    assert!(
        percent("busy") > 0.0 && percent("busy") < 50.0,
        "a tenth of a processor: {stats:?}"
    );
    assert!(percent("again") < percent("busy"), "{stats:?}");
    let memory = of("again")["MemUsage"].as_str().expect("text");
    assert!(
        memory.ends_with("/ 32MiB") && !memory.starts_with("0B"),
        "{memory}"
    );
    assert_eq!(of("again")["PIDs"], "1");
    assert_eq!(
        of("crowd")["PIDs"],
        "5",
        "as many as it may have, without the shell that met the limit"
    );
}

#[test]
fn a_pause_stops_every_process_and_outlives_the_engine() {
    let Some(world) = World::new("pauses") else {
        return;
    };
    // Seldom enough for an emulated processor.
    let tick = |file: &str| format!("while :; do echo tick >>/out/{file}; sleep 0.2; done");
    let both = format!("({}) & {}", tick("child"), tick("first"));
    let service = |(name, ticks): (&str, String)| {
        let command =
            format!("command: [sh, -c, '{ticks}'], volumes: ['./{name}:/out'], restart: always");
        format!("  {name}: {{ image: busybox, stop_grace_period: 0s, {command} }}\n")
    };
    let services = [
        ("held", both),
        ("free", tick("first")),
        ("ended", tick("first")),
    ]
    .map(service)
    .concat();
    world.busybox().file(
        "compose.yaml",
        &format!("name: pauses\nservices:\n{services}"),
    );
    world.ok(&["up", "-d"]);
    let length = |file: &str| fs::metadata(world.project.join(file)).map_or(0, |of| of.len());
    let goes_on = |files: &[&str]| {
        let before: Vec<u64> = files.iter().map(|file| length(file)).collect();
        eventually("they go on", || {
            files
                .iter()
                .zip(&before)
                .all(|(file, before)| length(file) > before + 10)
        });
    };
    goes_on(&["held/first", "held/child", "free/first", "ended/first"]);
    world.ok(&["pause", "held", "ended"]);
    let stands = |why: &str| {
        let before = (length("held/first"), length("held/child"));
        goes_on(&["free/first"]);
        assert_eq!(
            (length("held/first"), length("held/child")),
            before,
            "{why}"
        );
        assert_eq!(world.field("held", "State"), "paused", "{why}");
    };
    stands("it is paused");
    let refused = world.hoist(&["exec", "-T", "held", "true"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("paused"),
        "{refused:?}"
    );
    world.kill_engine();
    stands("the engine has died");
    world.ok(&["unpause", "held"]);
    assert_eq!(world.field("held", "State"), "running");
    goes_on(&["held/first", "held/child"]);

    assert_eq!(world.field("ended", "State"), "paused");
    world.ok(&["kill", "ended"]);
    eventually("what is paused can be killed", || {
        world.field("ended", "State") == "exited"
    });
    // One is paused when the stack goes down.
    world.ok(&["pause", "held"]);
    world.finish();
}

#[test]
fn devices_are_open_to_those_who_were_given_them() {
    let claim = "devices";
    let Some(world) = World::new(claim) else {
        return;
    };
    let idle = "image: busybox, stop_grace_period: 0s, command: [sleep, '100000'], restart: always";
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: devices
services:
  plain: {{ {idle} }}
  reader: {{ {idle}, devices: ['/dev/loop-control:/dev/given:r'] }}
  owner: {{ {idle}, devices: ['/dev/loop-control:/dev/given'] }}
  maker: {{ {idle}, devices: ['/dev/loop-control:/dev/given:m'] }}
  privileged: {{ {idle}, privileged: true }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    // A node of any device may be made; whether it opens is for the rules to say.
    let opens = |service: &str| {
        let how = |way: &str| format!("(exec 3{way}/made) 2>/dev/null && printf '{way}'");
        let line = format!(
            "rm -f /made; mknod /made c 10 237 && {{ {}; {}; true; }}",
            how("<"),
            how(">")
        );
        world.ok(&["exec", "-T", service, "sh", "-c", &line])
    };
    let all = || ["plain", "reader", "owner", "maker", "privileged"].map(opens);
    let expected = ["", "<", "<>", "", "<>"];
    assert_eq!(all(), expected);
    // A restart makes the rules again, an engine that dies leaves them.
    world.ok(&["restart"]);
    world.kill_engine();
    assert_eq!(all(), expected);
    let null = "for null in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; do [ -c $null ] || echo $null; done; \
                echo x >/dev/null && head -c 1 /dev/zero | wc -c";
    assert_eq!(world.ok(&["exec", "-T", "plain", "sh", "-c", null]), "1\n");
    world.finish();
}
