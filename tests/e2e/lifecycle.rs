//! Up, change, down: the containers are what the file says, and a second `up` has nothing to do.

use crate::world::{World, eventually};

const STACK: &str = r#"
name: life
services:
  base:
    image: busybox
    command: ["sh", "-c", "echo base is up; trap exit TERM; while :; do sleep 1000 & wait; done"]
    healthcheck: { test: ["CMD", "true"], interval: 1s }
  web:
    image: busybox
    depends_on: { base: { condition: service_healthy } }
    command: ["sh", "-c", "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www"]
    ports: ["127.0.0.1:18080:80"]
    environment: { COLOUR: green }
    volumes: ["data:/data"]
volumes: { data: {} }
"#;

#[test]
fn a_stack_goes_up_answers_and_goes_down() {
    let Some(world) = World::new("a stack goes up, answers and goes down") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);

    assert_eq!(world.hoist(&["plan"]).code, 2, "there is something to do");
    world.ok(&["up", "-d"]);
    assert_eq!(
        world.hoist(&["plan"]).code,
        0,
        "an unchanged running stack has no steps"
    );

    assert_eq!(world.field("base", "Health"), "healthy");
    assert_eq!(world.field("web", "State"), "running");
    assert_eq!(
        world.get("http://127.0.0.1:18080/").as_deref(),
        Some("hello\n")
    );
    assert!(world.ok(&["logs", "base"]).contains("base is up"));
    assert_eq!(
        world.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOUR"]),
        "green\n"
    );
    assert_eq!(
        world.ok(&["exec", "-T", "web", "wget", "-qO-", "http://web/"]),
        "hello\n"
    );
    world.finish();
}

#[test]
fn only_a_changed_service_is_replaced() {
    let Some(world) = World::new("only a changed service is replaced") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    let (base, web) = (world.field("base", "ID"), world.field("web", "ID"));

    world.file("compose.yaml", &STACK.replace("green", "blue"));
    let plan = world.hoist(&["plan"]);
    assert_eq!(plan.code, 2);
    assert!(
        plan.stdout.contains("environment"),
        "the plan names what changed:\n{}",
        plan.stdout
    );
    world.ok(&["up", "-d"]);
    assert_eq!(world.field("base", "ID"), base);
    assert_ne!(world.field("web", "ID"), web);
    assert_eq!(
        world.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOUR"]),
        "blue\n"
    );
    world.finish();
}

#[test]
fn a_dry_run_prints_the_plan_of_the_verb_and_does_nothing() {
    let Some(world) = World::new("a dry run prints the plan of the verb and does nothing") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    assert_eq!(
        world.ok(&["--dry-run", "up", "-d"]),
        world.hoist(&["plan"]).stdout
    );
    assert_eq!(world.ok(&["ps", "-a", "-q"]), "");
    world.ok(&["up", "-d"]);
    let state = || {
        world.ok(&[
            "inspect",
            "-f",
            "{{.Id}} {{.State.Status}} {{.State.StartedAt}}",
            "base",
            "web",
        ])
    };
    let before = state();
    for line in [
        &["up", "-d", "--force-recreate"][..],
        &["create", "--force-recreate"],
        &["down", "-v"],
        &["stop"],
        &["restart"],
        &["kill", "-s", "TERM"],
        &["rm", "-s", "-f"],
        &["scale", "web=0"],
        &["pause"],
        &["run", "-T", "--name", "once", "base", "true"],
    ] {
        let printed = world.ok(&[&["--dry-run"], line].concat());
        assert!(!printed.is_empty(), "{line:?} has steps");
        let (verb, options) = line.split_first().expect("a verb");
        let json = world.ok(&[&["--dry-run", verb, "--format", "json"], options].concat());
        let plan: serde_json::Value = serde_json::from_str(&json).expect("a plan as JSON");
        assert!(
            plan["steps"]
                .as_array()
                .is_some_and(|steps| !steps.is_empty()),
            "{line:?}: {json}"
        );
        assert_eq!(state(), before, "{line:?} did something");
    }
    assert_eq!(world.ok(&["ps", "-a", "-q"]).lines().count(), 2);
    world.finish();
}

#[test]
fn a_killed_container_is_restarted() {
    let Some(world) = World::new("a killed container is restarted") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: again\nservices:\n  job:\n    image: busybox\n    restart: always\n    command: [sh, -c, \"echo run; exec sleep 1000\"]\n",
    );
    world.ok(&["up", "-d"]);
    world.ok(&["kill", "job"]);
    assert_eq!(
        world.field("job", "State"),
        "exited",
        "a kill by the user stands"
    );
    world.ok(&["start", "job"]);
    let runs = |world: &World| {
        world
            .ok(&["logs", "--no-log-prefix", "job"])
            .matches("run")
            .count()
    };
    assert_eq!(runs(&world), 2);
    world.ok(&["exec", "-T", "job", "kill", "-9", "1"]);
    let inside = world.ok(&["top", "job"]);
    assert!(inside.contains("sleep"), "{inside}");
    crate::world::kill("-KILL", &pid_of(&world, "job"));
    eventually("it runs a third time", || runs(&world) == 3);
    world.finish();
}

#[test]
fn a_volume_outlives_down_and_not_down_v() {
    let Some(world) = World::new("a volume outlives down") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    world.ok(&["exec", "-T", "web", "sh", "-c", "echo kept >/data/file"]);
    world.ok(&["down", "-t", "1"]);
    world.ok(&["up", "-d"]);
    assert_eq!(
        world.ok(&["exec", "-T", "web", "cat", "/data/file"]),
        "kept\n"
    );
    world.finish();
}

/// The container's first process, seen from the host.
pub(crate) fn pid_of(world: &World, service: &str) -> String {
    let id = world.ok(&["ps", "-q", service]);
    let all = crate::host::processes().collect::<Vec<_>>();
    let pid = all.iter().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|cgroup| cgroup.contains(id.trim()))
            && crate::host::comm(pid) != "hoist-shim"
    });
    pid.unwrap_or_else(|| panic!("no process of {service} ({id})"))
        .clone()
}
