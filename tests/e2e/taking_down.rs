//! A running stack can be inspected, stopped and taken down, even if its files are broken or gone.

use crate::world::World;

const STACK: &str = r#"
name: gone
services:
  app:
    image: busybox
    command: [sleep, "1000"]
    stop_grace_period: 0s
    env_file: app.env
    environment: ["NEEDED=${NEEDED:?must be there}"]
    secrets: [s]
  cpu: { profiles: [cpu], image: busybox, command: [sleep, "1000"], container_name: same }
  gpu: { profiles: [gpu], image: busybox, command: [sleep, "1000"], container_name: same, gpus: all }
  unfinished: { profiles: [later], command: [sleep, "1000"] }
secrets: { s: { file: ./s.txt } }
"#;

#[test]
fn verbs_that_make_nothing_need_nothing() {
    let Some(world) = World::new("taking down always works") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    for (file, text) in [
        ("app.env", "A=1\n"),
        ("s.txt", "secret\n"),
        (".env", "NEEDED=yes\n"),
    ] {
        world.file(file, text);
    }
    world.ok(&["up", "-d"]);
    for file in ["app.env", "s.txt", ".env"] {
        std::fs::remove_file(world.project.join(file)).expect("remove a file");
    }
    let up = world.hoist(&["up", "-d"]);
    assert_eq!(
        up.code, 1,
        "what makes containers needs it all: {}",
        up.stderr
    );
    for missing in ["app.env", "NEEDED", "the stack has 2 errors"] {
        assert!(
            up.stderr.contains(missing),
            "{missing} is not in\n{}",
            up.stderr
        );
    }
    assert_eq!(world.field("app", "State"), "running");
    assert_eq!(
        world.ok(&["exec", "-T", "app", "cat", "/run/secrets/s"]),
        "secret\n"
    );
    for verb in [
        &["ps"][..],
        &["logs"],
        &["top"],
        &["images"],
        &["--profile", "cpu", "ps"],
        &["pause"],
        &["unpause"],
        &["stop"],
        &["rm", "-f", "cpu"],
        &["kill"],
        &["down"],
    ] {
        let run = world.hoist(verb);
        assert_eq!(run.code, 0, "{verb:?}: {}", run.stderr);
        assert!(!run.stderr.contains("warning"), "{verb:?}: {}", run.stderr);
    }
    assert_eq!(world.ps(), [] as [serde_json::Value; 0]);

    // A fault that hides which services there are: the name is enough.
    for (file, text) in [("app.env", ""), ("s.txt", ""), (".env", "NEEDED=yes\n")] {
        world.file(file, text);
    }
    world.ok(&["up", "-d"]);
    world.file("compose.yaml", "services: [\n");
    let down = world.hoist(&["down"]);
    assert!(
        down.code == 1 && down.stderr.contains("-p NAME"),
        "{}",
        down.stderr
    );
    world.ok(&["-p", "gone", "down"]);
    std::fs::remove_file(world.project.join("compose.yaml")).expect("remove the broken file");
    world.finish();
}

#[test]
fn what_a_start_would_refuse_is_refused_before_anything_is_made() {
    let Some(world) = World::new("refused by plan") else {
        return;
    };
    world.busybox();
    for (attributes, way_out) in [
        ("logging: {driver: fluentd}", "json-file"),
        ("security_opt: [systempaths=unconfined]", "privileged"),
        ("security_opt: ['seccomp:./p.json']", "seccomp=unconfined"),
        ("cap_add: [FLY]", "compose.yaml:5"),
        ("ulimits: {nofiles: 1}", "nofile"),
        ("logging: {options: {max-size: much}}", "10m"),
        ("sysctls: {vm.swappiness: 1}", "sysctl -w"),
        ("post_start: [{command: x}]", "entrypoint"),
        ("gpus: all", "devices"),
    ] {
        let text = format!(
            "name: early\nservices:\n  a:\n    image: busybox\n    {attributes}\n    command: [sleep, '9']\n"
        );
        world.file("compose.yaml", &text);
        for verb in [&["config"][..], &["config", "-q"], &["plan"], &["up", "-d"]] {
            let run = world.hoist(verb);
            assert_eq!(run.code, 1, "{attributes}: {}", run.stderr);
            assert!(
                run.stderr.contains("compose.yaml:5:") && run.stderr.contains(way_out),
                "{}",
                run.stderr
            );
            assert_eq!(run.stdout, "", "{verb:?}");
        }
        assert!(
            !world.ok(&["ls", "-a", "-q"]).contains("early"),
            "nothing was made"
        );
    }
    std::fs::remove_file(world.project.join("compose.yaml")).expect("remove the refused file");
    world.finish();
}
