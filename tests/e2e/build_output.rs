//! What a build shows while it runs and when it fails.

use crate::world::World;

const FAILS: &str = r#"
name: looked
services:
  web:
    image: looked-web
    build:
      context: .
      dockerfile_inline: |
        FROM busybox
        RUN echo last words; exit 9
"#;

const PASSES: &str = r#"
name: looked
services:
  web:
    image: looked-web
    build:
      context: .
      dockerfile_inline: |
        FROM busybox
        RUN echo to be seen
"#;

#[test]
fn a_failed_run_shows_its_line_its_exit_code_and_its_last_output() {
    let Some(world) = World::new("a failed RUN shows its line") else {
        return;
    };
    world.busybox().file("compose.yaml", FAILS);
    for args in [&["build"][..], &["build", "--debug"]] {
        let run = world.hoist(args);
        assert_eq!(run.code, 1, "{}", run.stderr);
        let how = "`hoist build --debug` on a terminal opens a shell in the failed step";
        for words in [
            "RUN failed with exit code 9",
            ":2:1",
            "last output:\n  last words",
            how,
        ] {
            assert!(
                run.stderr.contains(words),
                "{args:?} does not say {words:?}:\n{}",
                run.stderr
            );
        }
        let in_vain = run.stderr.contains("--debug opens a shell only where");
        assert_eq!(in_vain, args.len() > 1, "{}", run.stderr);
    }
    world.finish();
}

#[test]
fn progress_has_docker_composes_forms_and_the_builds_own_events() {
    let Some(world) = World::new("progress has docker compose's forms") else {
        return;
    };
    world.busybox().file("compose.yaml", PASSES);
    let shown = |how: &str| {
        let run = world.hoist(&["build", "--no-cache", "--progress", how]);
        assert_eq!(run.code, 0, "{how}: {}", run.stderr);
        run.stderr
    };
    let lines = shown("rawjson");
    let events: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    let step = &events
        .iter()
        .find(|event| event["event"] == "output")
        .expect("a line of output")["step"];
    let of_step: Vec<_> = events
        .iter()
        .filter(|event| event["step"] == *step)
        .collect();
    let kinds: Vec<_> = of_step
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(kinds, ["started", "output", "done"], "{lines}");
    assert!(
        of_step[0]["name"]
            .as_str()
            .is_some_and(|name| name.contains("RUN echo")),
        "{lines}"
    );
    assert_eq!(
        (&of_step[1]["id"], &of_step[1]["line"]),
        (&"web".into(), &"to be seen".into()),
        "{lines}"
    );
    assert!(
        of_step[1]["at"].is_f64() && of_step[2]["took"].is_f64(),
        "{lines}"
    );
    for how in ["plain", "auto", "tty"] {
        assert!(shown(how).contains("to be seen"), "{how}");
    }
    assert_eq!(shown("quiet"), "");
    let run = world.hoist(&["build", "--progress", "loud"]);
    assert_ne!(run.code, 0);
    assert!(
        run.stderr.contains("loud") && run.stderr.contains("rawjson"),
        "{}",
        run.stderr
    );
    world.finish();
}
