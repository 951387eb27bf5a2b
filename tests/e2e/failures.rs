//! What fails says what, where and why, each thing once, and leaves nothing that the user did not have before.

use crate::world::World;

#[test]
fn failed_commands_say_why_and_leave_nothing_behind() {
    let Some(world) = World::new("what failed commands say") else {
        return;
    };
    world.busybox().file(
        "app/Dockerfile",
        "FROM busybox\nRUN echo the tool is missing; exit 3\n",
    );
    world.file(
        "compose.yaml",
        "name: failing\nservices:\n  built: { build: app }\n  again: { build: app, depends_on: [built] }\n",
    );
    let up = |args: &[&str]| {
        let run = world.hoist(&[&["up", "-d"], args].concat());
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(
            !run.stderr.contains(": error:") && !run.stderr.contains("os error"),
            "{}",
            run.stderr
        );
        run.stderr
    };
    let nothing_left = || {
        assert_eq!(
            world.ok(&["network", "ls", "-q"]),
            "",
            "no network of a stack that never was"
        );
        assert_eq!(world.ok(&["ls", "-a", "-q"]), "", "no record of it");
    };

    let said = up(&[]);
    assert!(
        said.contains("error: service \"built\": RUN failed with exit code 3"),
        "{said}"
    );
    assert!(said.contains("the tool is missing"), "{said}");
    let log =
        std::fs::read_to_string(world.data_root.join("engine.log")).expect("the engine's log");
    let line = log
        .lines()
        .find(|line| line.contains("the step failed"))
        .expect("a line about the step");
    for part in [
        "request{id=",
        "method=POST",
        "path=\"/hoist/v1/apply\"",
        "step{verb=",
        "object=\"failing-",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(
        said.matches("failing-built-1  Skipped").count(),
        1,
        "{said}"
    );
    nothing_left();
    world.file("app/Dockerfile", "FORM busybox\n");
    assert!(up(&[]).contains("service \"built\": unknown instruction: FORM"));
    nothing_left();
    std::fs::remove_file(world.project.join("app/Dockerfile")).expect("remove the Dockerfile");
    let said = up(&[]);
    assert!(
        said.contains("no Dockerfile at") && said.contains("`build.dockerfile`"),
        "{said}"
    );
    nothing_left();

    // Others that can run do, and their network with them.
    world.file(
        "compose.yaml",
        "name: failing\nservices:\n  built: { build: app }\n  \
           sick: { image: busybox, stop_grace_period: 2s, command: [sleep, \"1000\"],\n    \
             healthcheck: { test: \"echo the pump; echo is dry; exit 7\", interval: 100ms, retries: 1 } }\n  \
           needs: { image: busybox, depends_on: { sick: { condition: service_healthy } } }\n",
    );
    for args in [&["sick", "needs"][..], &["--wait", "sick"]] {
        let said = up(args);
        let why = "container failing-sick-1 is unhealthy: its last healthcheck exited with code 7 and wrote\n  the pump\n  is dry";
        assert!(said.contains(why), "{args:?}: {said}");
    }
    assert!(up(&["built", "sick"]).contains("no Dockerfile"));
    assert_eq!(world.field("sick", "State"), "running");
    assert_eq!(world.ok(&["network", "ls", "-q"]).lines().count(), 1);

    world.file(
        "compose.yaml",
        "name: failing\nservices:\n  \
           sick: { image: busybox, stop_grace_period: 2s, command: [sleep, \"1000\"] }\n  \
           wrong: { image: busybox, command: [no-such-program], profiles: [wrong] }\n  \
           ends: { image: busybox, command: [sh, -c, \"exit 3\"], profiles: [ends] }\n  \
           after: { image: busybox, depends_on: { ends: { condition: service_completed_successfully } }, profiles: [ends] }\n",
    );
    let run = world.hoist(&["up", "-d", "wrong"]);
    let said = run.stderr;
    assert_eq!(
        run.code, 127,
        "docker's code for a command that is not there"
    );
    assert!(
        said.contains(
            "failing-wrong-1): exec: \"no-such-program\": executable file not found in $PATH\n"
        ),
        "{said}"
    );
    assert!(
        up(&["after"]).contains(
            "container failing-ends-1 exited (3)\n  `hoist logs ends` shows what it wrote"
        )
    );

    let stopped = world.hoist(&["stop"]);
    assert_eq!(stopped.code, 0);
    assert!(
        stopped.stderr.contains("did not end within 2s of SIGTERM")
            && stopped.stderr.contains("`init: true`")
    );
    world.finish();
}
