//! `build --debug`: the way into a step that failed, and what is left of it.

use crate::terminal::Terminal;
use crate::world::{World, eventually};

/// What the failed step had, and the shell must have too: variable, folder, user, files, a cache, a secret.
const FAILS: &str = r#"
name: looked
services:
  web:
    image: looked-web
    build:
      context: .
      secrets: [key]
      dockerfile_inline: |
        FROM busybox
        RUN mkdir -m 777 /w
        ENV COLOUR=green
        WORKDIR /w
        USER 7
        RUN --mount=type=cache,target=/cache,mode=0777 --mount=type=secret,id=key,uid=7 \
            echo half >made; echo kept >/cache/note; echo last words; exit 9
secrets:
  key: { file: ./key }
"#;

const OFFER: &str = "leaving it ends the build";

fn world(claim: &str) -> Option<World> {
    let world = World::new(claim)?;
    world.busybox().file("compose.yaml", FAILS);
    world.file("key", "hidden");
    Some(world)
}

/// The build that failed holds nothing that the next one needs.
fn next_build_works(world: &World) {
    let passes = FAILS.replace("exit 9", "true");
    world.file("compose.yaml", &passes);
    world.ok(&["build"]);
}

#[test]
fn a_failed_step_is_entered_as_it_was_and_left_with_its_failure() {
    let Some(world) = world("a failed step is entered as it was") else {
        return;
    };
    let mut terminal = Terminal::open(&world, "build --debug");
    terminal.until(OFFER);
    terminal.press(b"echo \"$COLOUR $(pwd) $(id -u) $(cat made) $(cat /cache/note) $(cat /run/secrets/key)\"\r");
    terminal.until("green /w 7 half kept hidden");
    terminal.press(b"wget -q -T 1 http://127.0.0.1:1/ 2>&1; ls /sys/class/net\r");
    terminal.until("eth0");
    terminal.press(b"stty size\r");
    terminal.until("31 97");
    terminal.resize(20, 70);
    terminal.press(b"until [ \"$(stty size)\" = '20 70' ]; do :; done; echo resized $((6*7))\r");
    terminal.until("resized 42");
    terminal.press(b"exit 3\r");
    let end = terminal.until("last output:");
    assert!(end.contains("RUN failed with exit code 9"), "{end}");
    assert!(
        !end.contains("hoist build --debug"),
        "nobody needs to be told again: {end}"
    );
    assert_eq!(terminal.end(), 1, "as without a shell");
    next_build_works(&world);
    world.finish();
}

#[test]
fn ctrl_c_is_the_shells_and_ctrl_d_leaves_it() {
    let Some(world) = world("Ctrl-D leaves the shell") else {
        return;
    };
    let mut terminal = Terminal::open(&world, "build --debug");
    terminal.until(OFFER);
    terminal.press(b"sleep 24731\r");
    // The shell gives a program the terminal before it is the program.
    eventually("it sleeps", || world.sleeper("24731").is_some());
    terminal.press(b"\x03");
    terminal.press(b"echo still $((6*7))\r");
    terminal.until("still 42");
    terminal.press(b"\x04");
    terminal.until("RUN failed with exit code 9");
    assert_eq!(terminal.end(), 1);
    world.finish();
}

#[test]
fn a_closed_terminal_ends_the_shell_and_the_build() {
    let Some(world) = world("a closed terminal ends the shell") else {
        return;
    };
    // Also when it is started as below nohup, and hears no signal of it.
    for line in [
        "exec HOIST build --debug",
        "trap '' HUP; exec HOIST build --debug",
    ] {
        world.file("compose.yaml", FAILS);
        let mut terminal = Terminal::run(&world, line);
        terminal.until(OFFER);
        terminal.press(b"(trap '' HUP TERM; sleep 1000) & echo in $((6*7))\r");
        terminal.until("in 42");
        terminal.close();
        // It waits for its turn, which comes when the other build has ended.
        next_build_works(&world);
    }
    world.finish();
}

#[test]
fn builds_that_fail_together_are_entered_one_after_the_other() {
    let Some(world) = World::new("builds that fail together are entered one after the other")
    else {
        return;
    };
    // Of one build's steps that fail together, only one is entered.
    let inline = "FROM busybox AS a\n        RUN exit 5\n        FROM busybox AS b\n        RUN exit 5\n        \
                  FROM busybox\n        COPY --from=a / /a\n        COPY --from=b / /b\n";
    let build = format!("build:\n      context: .\n      dockerfile_inline: |\n        {inline}");
    let service = |name: &str| format!("  {name}:\n    image: looked-{name}\n    {build}");
    world.busybox().file(
        "compose.yaml",
        &format!(
            "name: looked\nservices:\n{}{}",
            service("web"),
            service("api")
        ),
    );
    let mut terminal = Terminal::open(&world, "build --debug");
    for key in [b"exit\r".as_slice(), b"\x04"] {
        terminal.until(OFFER);
        terminal.press(b"echo in $((6*7))\r");
        terminal.until("in 42");
        terminal.press(key);
    }
    terminal.until("RUN failed with exit code 5");
    assert_eq!(terminal.end(), 1);
    world.finish();
}

#[test]
fn a_root_without_a_shell_cannot_be_entered_and_says_so() {
    let Some(world) = World::new("a root without a shell cannot be entered") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: bare\nservices:\n  web:\n    image: bare-web\n    build:\n      dockerfile_inline: |\n        \
         FROM scratch\n        COPY --from=busybox /bin/busybox /busybox\n        RUN [\"/busybox\", \"false\"]\n",
    );
    let mut terminal = Terminal::open(&world, "build --debug");
    terminal.until("cannot be looked at, since its root has no /bin/sh that runs");
    assert_eq!(terminal.end(), 1);
    world.finish();
}
