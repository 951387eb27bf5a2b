//! What one request means for another, and what is in the way of none.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::lan::on_a_lan;
use crate::world::{World, eventually, kill};

#[test]
fn kill_overtakes_a_stop_that_waits() {
    let Some(world) = World::new("kill overtakes a stop that waits") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: stubborn\nservices:\n  deaf:\n    image: busybox\n    stop_grace_period: 1h\n    \
         command: [sh, -c, \"trap 'echo asked to stop' TERM; echo ready; while :; do sleep 1 & wait; done\"]\n",
    );
    world.ok(&["up", "-d"]);
    eventually("it listens to signals", || {
        world.ok(&["logs", "deaf"]).contains("ready")
    });
    let stop = world
        .command(&["stop"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run hoist");
    eventually("the stop waits", || {
        world.ok(&["logs", "deaf"]).contains("asked to stop")
    });
    world.ok(&["kill"]);
    let stopped = stop.wait_with_output().expect("wait for stop");
    assert!(
        stopped.status.success(),
        "{}",
        String::from_utf8_lossy(&stopped.stderr)
    );
    assert_eq!(world.field("deaf", "State"), "exited");
    assert_eq!(world.field("deaf", "ExitCode"), "137");
    world.finish();
}

#[test]
fn who_was_killed_while_waiting_is_in_nobodys_way() {
    let Some(world) = World::new("who was killed while waiting") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: gone\nservices:\n  slow:\n    image: busybox\n    command: [sleep, \"1000\"]\n    stop_grace_period: 0s\n    \
         healthcheck: { test: [CMD, \"false\"], interval: 1h, start_period: 1h }\n",
    );
    let mut waiting = world.spawn(&["up", "--wait"]);
    eventually("it waits", || world.field("slow", "Health") == "starting");
    kill("-KILL", &waiting.id().to_string());
    waiting.wait().expect("it is dead");
    let mut next = world.spawn(&["up", "-d"]);
    eventually("the next one is done", || {
        next.try_wait().expect("look at it").is_some()
    });
    world.finish();
}

#[test]
fn a_stack_may_have_megabytes() {
    let Some(world) = World::new("a stack of megabytes") else {
        return;
    };
    let content = "line\\n".repeat(600_000);
    world.file(
        "compose.yaml",
        &format!(
            "name: large\nservices:\n  a: {{ image: busybox, configs: [text] }}\n\
             configs: {{ text: {{ content: \"{content}\" }} }}\n"
        ),
    );
    let plan = world.hoist(&["plan"]);
    assert_eq!(plan.code, 2, "there is something to do: {}", plan.stderr);
    world.finish();
}

/// How many steps were worked on at the same time at most, and how many there were.
fn most_at_a_time(progress: &str) -> (usize, usize) {
    let (mut now, mut most, mut all) = (0_usize, 0, 0);
    for line in progress.lines() {
        let step: serde_json::Value = serde_json::from_str(line).expect("progress as JSON");
        let text = step["text"].as_str().unwrap_or_default();
        match step["status"].as_str() {
            Some("Working") if text.ends_with("ing") && text != "Waiting" => {
                now += 1;
                all += 1;
                most = most.max(now);
            }
            Some("Done") if text != "Healthy" => now = now.saturating_sub(1),
            _ => {}
        }
    }
    (most, all)
}

#[test]
fn parallel_steps_can_be_limited() {
    let Some(world) = World::new("parallel steps can be limited") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: narrow\nservices:\n  \
           built: { build: { dockerfile_inline: \"FROM narrow-base\\nENV child=1\\n\" }, command: [sleep, \"1000\"], stop_grace_period: 0s }\n  \
           base: { image: narrow-base, build: { dockerfile_inline: \"FROM busybox\\nENV base=1\\n\" }, command: [sleep, \"1000\"], stop_grace_period: 0s }\n  \
           many: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s, scale: 4, healthcheck: { test: [\"CMD\", \"true\"], interval: 100ms } }\n  \
           last: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s, depends_on: { many: { condition: service_healthy } } }\n",
    );
    let up = world.hoist(&["--parallel", "1", "--progress", "json", "up", "-d"]);
    assert_eq!(
        up.code, 0,
        "a build on another's image does not wait for ever: {}",
        up.stderr
    );
    // A build lends its only place to the one that it is based on.
    let without_builds: String = up
        .stderr
        .lines()
        .filter(|line| !line.contains("Image "))
        .map(|line| format!("{line}\n"))
        .collect();
    let (most, all) = most_at_a_time(&without_builds);
    assert!(
        most == 1 && all > 10,
        "{most} of {all} at a time\n{}",
        up.stderr
    );
    let mut down = world.command(&["--progress", "json", "down"]);
    let down = down
        .env("COMPOSE_PARALLEL_LIMIT", "2")
        .output()
        .expect("run hoist");
    let progress = String::from_utf8_lossy(&down.stderr);
    assert!(
        down.status.success() && most_at_a_time(&progress).0 <= 2,
        "{progress}"
    );
    world.finish();
}

fn tables() -> String {
    let list = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .expect("run nft");
    String::from_utf8_lossy(&list.stdout).into_owned()
}

#[test]
fn networking_that_fails_is_in_the_way_of_who_needs_it_only() {
    on_a_lan("networking that fails", |_| {
        let Some(world) = World::new("networking that fails") else {
            return;
        };
        let service = "image: busybox, stop_grace_period: 0s, command: [sleep, \"1000\"]";
        world.busybox().file(
            "compose.yaml",
            &format!("name: wired\nservices:\n  a: {{ {service} }}\n"),
        );
        world.file(
            "other.yaml",
            &format!("name: alone\nservices:\n  b: {{ {service}, network_mode: none }}\n"),
        );
        // The kernel lets only the owner write to the table.
        let table = world.instance.tag();
        let mut owner = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("run nft");
        let mut orders = owner.stdin.take().expect("a pipe");
        writeln!(orders, "add table inet {table} {{ flags owner; }}").expect("nft reads");
        eventually("the table is taken", || tables().contains(&table));
        let up = world.hoist(&["up", "-d"]);
        assert_ne!(up.code, 0, "{}", up.stderr);
        assert!(
            up.stderr.contains("cannot set up networking") && up.stderr.contains("nf_tables"),
            "{}",
            up.stderr
        );
        world.ok(&["-f", "other.yaml", "up", "-d"]);
        world.ok(&["-f", "other.yaml", "down"]);
        world.ok(&["down"]);
        drop(orders);
        owner.wait().expect("nft ends with its orders");
        eventually("the table is free", || !tables().contains(&table));
        world.assert_nothing_left();
        world.ok(&["up", "-d"]);
        assert!(
            world
                .ok(&["exec", "-T", "a", "nslookup", "-type=a", "a"])
                .contains("Address")
        );
        world.finish();
    });
}
