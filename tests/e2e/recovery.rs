//! What comes back by itself: after the machine went down, and when one container's end takes others along.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::lifecycle::pid_of;
use crate::world::{World, eventually, kill};

const STACK: &str = r#"
name: boot
services:
  base:
    image: busybox
    restart: always
    stop_grace_period: 0s
    command: [sh, -c, "sleep 0.5; touch /ready; exec sleep 10000"]
    healthcheck: { test: [CMD, test, -e, /ready], interval: 100ms, retries: 100 }
  web:
    image: busybox
    restart: unless-stopped
    stop_grace_period: 0s
    depends_on: { base: { condition: service_healthy } }
    command: [sh, -c, "mkdir -p /www; nslookup base >/www/index.html; exec httpd -f -p 80 -h /www"]
    ports: ["127.0.0.1:18082:80"]
  stopped: { image: busybox, restart: unless-stopped, stop_grace_period: 0s, command: [sleep, "10000"] }
  always: { image: busybox, restart: always, stop_grace_period: 0s, command: [sleep, "10000"] }
  never: { image: busybox, stop_grace_period: 0s, command: [sleep, "10000"] }
"#;

/// Everything of this world dies at once and its run directory is gone, as if the machine had lost its power.
fn lose_power(world: &World) {
    world.instance.lose_power();
    std::fs::remove_dir_all(&world.run_dir).expect("the run directory goes with the machine");
}

/// The engine as the machine's own start has it: the command of packaging/hoist.service, under another boot id.
fn boot(world: &World) {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hoist.service");
    let unit = std::fs::read_to_string(unit).expect("the unit is there");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .expect("the unit starts something");
    let options = line
        .strip_prefix("/usr/local/bin/hoist ")
        .expect("it starts hoist");
    let id = world.file("boot_id", "00000000-0000-4000-8000-000000000001\n");
    let hoist = world.command(&[]);
    let script = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id && exec {} {options}",
        id.display(),
        hoist.get_program().display()
    );
    let mut command = Command::new("setsid");
    command
        .args(["--fork", "unshare", "--mount", "sh", "-c", &script])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    for (name, value) in hoist.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    assert!(command.status().expect("run setsid").success());
}

#[test]
fn after_a_reboot_policies_decide_and_dependencies_come_first() {
    let Some(world) = World::new("after a reboot policies decide") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    world.ok(&["stop", "stopped", "always"]);
    world.ok(&["start", "always"]);
    lose_power(&world);
    boot(&world);
    eventually("the engine answers", || {
        world.run_dir.join("hoist.sock").exists()
    });
    eventually("the last of the chain answers", || {
        world.get("http://127.0.0.1:18082/").is_some()
    });
    assert!(
        world
            .get("http://127.0.0.1:18082/")
            .is_some_and(|page| page.contains("Address")),
        "its names resolved"
    );
    for (service, state) in [
        ("base", "running"),
        ("web", "running"),
        ("always", "running"),
        ("stopped", "exited"),
        ("never", "exited"),
    ] {
        assert_eq!(world.field(service, "State"), state, "{service}");
    }
    world.finish();
}

#[test]
fn who_shares_namespaces_follows_their_owner() {
    let Some(world) = World::new("who shares namespaces follows their owner") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: sharing\nservices:\n  owner:\n    image: busybox\n    restart: always\n    stop_grace_period: 0s\n    \
         command: [sh, -c, \"mkdir -p /www; echo owned >/www/index.html; exec httpd -f -p 80 -h /www\"]\n    \
         ports: [\"127.0.0.1:18083:8080\"]\n  \
         guest:\n    image: busybox\n    restart: always\n    stop_grace_period: 0s\n    network_mode: service:owner\n    \
         command: [sh, -c, \"mkdir -p /www; echo guest >/www/index.html; exec httpd -f -p 8080 -h /www\"]\n",
    );
    world.ok(&["up", "-d"]);
    assert_eq!(
        world.ok(&["exec", "-T", "guest", "wget", "-qO-", "http://127.0.0.1/"]),
        "owned\n"
    );
    eventually("the guest answers", || {
        world.get("http://127.0.0.1:18083/").as_deref() == Some("guest\n")
    });
    let before = pid_of(&world, "owner");
    kill("-KILL", &before);
    eventually("both are back together", || {
        world
            .hoist(&["exec", "-T", "guest", "wget", "-qO-", "http://127.0.0.1/"])
            .stdout
            == "owned\n"
    });
    eventually("and published", || {
        world.get("http://127.0.0.1:18083/").as_deref() == Some("guest\n")
    });
    world.finish();
}
