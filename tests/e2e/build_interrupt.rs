//! A build that its user gives up: the steps end at once, and what ended before is kept.

use crate::terminal::Terminal;
use crate::world::{World, eventually, kill};

const SLOW: &str = r#"
name: slow
services:
  web:
    image: slow-web
    build:
      context: .
      dockerfile_inline: |
        FROM busybox
        RUN echo first >/first
        RUN trap '' INT TERM HUP; sleep 86399 & echo it runs; wait
"#;

fn sleeps(world: &World) -> bool {
    world.sleeper("86399").is_some()
}

fn is_over(world: &World) {
    eventually("the step's processes end", || !sleeps(world));
    world.assert_nothing_left();
}

#[test]
fn ctrl_c_ends_the_steps_and_leaves_nothing() {
    let Some(world) = World::new("Ctrl-C ends a build's steps") else {
        return;
    };
    world.busybox().file("compose.yaml", SLOW);
    for keys in [b"\x03".as_slice(), b"\x03\x03"] {
        let mut terminal = Terminal::open(&world, "build");
        terminal.until("it runs");
        eventually("the step sleeps", || sleeps(&world));
        terminal.press(keys);
        assert_eq!(terminal.end(), 130);
        is_over(&world);
    }
    let fast = SLOW.replace("86399", "0");
    world.file("compose.yaml", &fast);
    let run = world.hoist(&["build", "--progress", "plain"]);
    assert!(
        run.code == 0 && run.stderr.contains("CACHED"),
        "what ended before is kept:\n{}",
        run.stderr
    );
    world.finish();
}

#[test]
fn a_client_that_is_killed_ends_its_build() {
    let Some(world) = World::new("a client that is killed ends its build") else {
        return;
    };
    world.busybox().file("compose.yaml", SLOW);
    for verb in [&["build"][..], &["up", "-d"]] {
        let mut client = world.spawn(verb);
        eventually("the step sleeps", || sleeps(&world));
        kill("-KILL", &client.id().to_string());
        client.wait().expect("it is dead");
        eventually("the step's processes end", || !sleeps(&world));
    }
    world.finish();
}

#[test]
fn down_does_not_wait_for_a_build() {
    let Some(world) = World::new("down does not wait for a build") else {
        return;
    };
    world.busybox().file("compose.yaml", SLOW);
    let mut build = world.spawn(&["build"]);
    eventually("the step sleeps", || sleeps(&world));
    world.ok(&["down"]);
    assert!(!sleeps(&world), "the step has ended before");
    assert_eq!(build.wait().expect("wait for the build").code(), Some(1));
    world.finish();
}
