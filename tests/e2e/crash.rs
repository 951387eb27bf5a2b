//! Death at random moments: nothing acknowledged is lost, nothing leaks, the next command finishes the job.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::lifecycle::pid_of;
use crate::world::{World, eventually, kill, note};

const STACK: &str = r#"
name: crash
services:
  base:
    image: busybox
    command: ["sh", "-c", "trap exit TERM; i=0; while :; do echo line $$i; i=$$((i+1)); usleep 2000; done"]
    healthcheck: { test: ["CMD", "true"], interval: 200ms }
    restart: always
  web:
    image: busybox
    depends_on: { base: { condition: service_healthy } }
    command: ["sh", "-c", "mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"]
    restart: always
    ports: ["127.0.0.1:18081:80"]
    volumes: ["data:/data"]
  other:
    image: busybox
    command: [sleep, "1000"]
    stop_grace_period: 0s
    scale: 3
volumes: { data: {} }
"#;
const MOMENTS: u64 = 50;

/// A small generator of our own: the moments of a failed run can be had again from the printed seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn the_engine_may_die_while_the_stack_runs() {
    let Some(world) = World::new("the engine may die while the stack runs") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    let ids = world.ok(&["ps", "-q"]);
    let before = world.get("http://127.0.0.1:18081/");
    assert!(before.is_some());

    let dead = world.kill_engine().expect("an engine runs");
    assert_eq!(
        world.get("http://127.0.0.1:18081/"),
        before,
        "a new connection while no engine answers"
    );
    eventually("a shim starts a new engine", || {
        world.engine().is_some_and(|pid| pid != dead)
    });
    assert_eq!(world.ok(&["ps", "-q"]), ids, "every container is adopted");
    eventually("health is known again", || {
        world.field("base", "Health") == "healthy"
    });
    assert_eq!(
        world.ok(&["exec", "-T", "web", "wget", "-qO-", "http://web/"]),
        before.clone().expect("answered")
    );

    kill("-KILL", &pid_of(&world, "web"));
    eventually("the new engine restarts what dies", || {
        world.get("http://127.0.0.1:18081/") == before
    });

    let numbers: Vec<u64> = world
        .ok(&["logs", "--no-log-prefix", "base"])
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.trim().parse().ok())
        .collect();
    assert!(numbers.len() > 50);
    for (index, pair) in numbers.windows(2).enumerate() {
        assert_eq!(
            pair[0] + 1,
            pair[1],
            "log line {index} of {}",
            numbers.len()
        );
    }
    world.finish();
}

#[test]
fn up_may_be_cut_at_any_moment() {
    let Some(world) = World::new("up may be cut at any moment") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    let start = Instant::now();
    world.ok(&["up", "-d"]);
    let whole = u64::try_from(start.elapsed().as_micros()).expect("an up is short");
    let seed = u64::from(std::process::id()) << 17 | 1;
    note(&format!("seed {seed}, an undisturbed up took {whole} µs"));
    let mut moments = Moments(seed);
    for moment in 0..MOMENTS {
        world.ok(&["down", "-v", "-t", "0"]);
        let mut up = world.spawn(&["up", "-d"]);
        let delay = Duration::from_micros(moments.next(whole + whole / 4));
        std::thread::park_timeout(delay);
        if moments.next(2) == 0 {
            if let Some(pid) = world.engine() {
                kill_if_there(&pid);
            }
        } else {
            up.kill().expect("kill the client");
        }
        let cut = up.wait_with_output().expect("wait for the client");
        let again = world.hoist(&["up", "-d"]);
        let told = format!(
            "moment {moment} after {delay:?}\nfirst: {}\nsecond: {} {}",
            String::from_utf8_lossy(&cut.stderr),
            again.stdout,
            again.stderr
        );
        assert_eq!(again.code, 0, "{told}");
        let running = world
            .ps()
            .iter()
            .filter(|container| container["State"] == "running")
            .count();
        assert_eq!(running, 5, "{told}");
        assert_eq!(world.ps().len(), 5, "{told}");
        assert!(world.get("http://127.0.0.1:18081/").is_some(), "{told}");
    }
    world.finish();
}

fn kill_if_there(pid: &str) {
    // It may have left by itself between the look and the kill.
    if Path::new("/proc").join(pid).exists() {
        let _ = std::process::Command::new("kill")
            .args(["-KILL", pid])
            .status();
    }
}
