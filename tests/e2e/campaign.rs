//! A campaign of kills: engine, shims and clients die at random moments while a stack is raised, changed and taken down.
//!
//! `HOIST_CAMPAIGN=400` runs that many rounds, `HOIST_SEED=n` repeats a campaign; each prints its seed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::adoption::{programs, shims};
use crate::world::{DB_AND_WEB, Run, World, eventually, note};

/// What follows [`DB_AND_WEB`].
const MORE: &str = r#"    depends_on: [db]
    scale: 2
  once: { image: busybox, command: [sh, -c, "exit 7"] }
volumes: { data: {} }
"#;

const ROUNDS: u64 = 24;
const VERBS: [&[&str]; 7] = [
    &["up", "-d"],
    &["up", "-d", "--scale", "web=4"],
    &["restart", "-t", "0", "web"],
    &["up", "-d", "--force-recreate", "web"],
    &["rm", "-f", "-s", "web"],
    &["exec", "-T", "db", "sh", "-c", "echo x >>/data/log"],
    &["down", "-t", "0"],
];

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn kill_if_there(pid: &str) {
    if Path::new("/proc").join(pid).exists() {
        let _ = Command::new("kill").args(["-KILL", pid]).output();
    }
}

/// Kills one of the processes, and says which. A shim that is killed costs its container's run.
fn strike(world: &World, chance: &mut Chance, client: &mut Child) -> &'static str {
    match chance.below(8) {
        0 | 1 => {
            let _ = client.kill();
            "client"
        }
        2 => {
            let all: Vec<String> = shims(world).into_values().collect();
            if let Some(pid) =
                all.get(usize::try_from(chance.below(64)).unwrap_or(0) % all.len().max(1))
            {
                kill_if_there(pid);
            }
            "shim"
        }
        _ => {
            if let Some(pid) = world.engine() {
                kill_if_there(&pid);
            }
            "engine"
        }
    }
}

fn up_again(world: &World, told: &str) {
    let mut last = Run {
        stdout: String::new(),
        stderr: String::new(),
        code: -1,
    };
    // A shim that was killed is noticed by its restart policy and by `up` at once: the second `up` has the last word.
    for _ in 0..3 {
        last = world.hoist(&["up", "-d", "--scale", "web=2"]);
        if last.code == 0 {
            break;
        }
    }
    assert_eq!(last.code, 0, "{told}: {}{}", last.stdout, last.stderr);
}

/// Nothing is lost or doubled, and every exit code is the program's own.
fn check(world: &World, shim_died: bool, told: &str) {
    eventually(told, || {
        let all = world.ps();
        let names: BTreeSet<String> = all
            .iter()
            .map(|container| container["Name"].to_string())
            .collect();
        let running = all
            .iter()
            .filter(|container| container["State"] == "running")
            .count();
        let ours = programs(world).len();
        names.len() == all.len() && all.len() == 4 && running == 3 && ours == 3
    });
    eventually(told, || {
        let code = world.field("once", "ExitCode");
        // Without its shim the exit code is lost.
        code == "7" || shim_died && code == "137"
    });
}

#[test]
fn any_of_the_processes_may_die_at_any_moment() {
    let Some(world) = World::new("any of the processes may die at any moment") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!("name: campaign\n{DB_AND_WEB}{MORE}"),
    );
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seed = number("HOIST_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 21 | 1);
    let rounds = number("HOIST_CAMPAIGN").unwrap_or(ROUNDS);
    note(&format!("HOIST_SEED={seed}, {rounds} rounds"));
    let mut chance = Chance(seed);
    world.ok(&["up", "-d"]);
    for round in 0..rounds {
        let verb = VERBS[usize::try_from(chance.below(VERBS.len() as u64)).expect("small")];
        let mut client = world.spawn(verb);
        std::thread::park_timeout(Duration::from_micros(chance.below(400_000)));
        let mut struck = vec![strike(&world, &mut chance, &mut client)];
        // Some die again while the next engine adopts.
        while chance.below(3) == 0 && struck.len() < 3 {
            std::thread::park_timeout(Duration::from_micros(chance.below(100_000)));
            struck.push(strike(&world, &mut chance, &mut client));
        }
        let first = client.wait_with_output().expect("wait for the client");
        let told = format!(
            "seed {seed}, round {round}: {} and {} died\n{}",
            verb.join(" "),
            struck.join(", "),
            String::from_utf8_lossy(&first.stderr)
        );
        up_again(&world, &told);
        check(&world, struck.contains(&"shim"), &told);
    }
    world.finish();
}
