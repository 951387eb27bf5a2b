//! `stack.lock`: the images of a stack, written down and held to.

use std::fs;

use crate::distribution::{Image, Layer, Registry, have};
use crate::world::{World, eventually};

fn version(text: &str) -> Image {
    Image::busybox().layer(Layer::new().file("version", 0o644, text.as_bytes()).tar())
}

#[test]
fn a_locked_stack_is_the_same_whatever_its_registry_has_now() {
    let claim = "a locked stack";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let mut registry = Registry::plain(&world.project.join("registry"));
    let first = registry.push("app", "1", &version("one\n"));
    let tool = registry.push("tool", "1", &version("tool\n"));
    let (app, tool_name) = (registry.name("app:1"), registry.name("tool:1"));
    let stack = |app: &str| {
        format!(
            "services:\n  web:\n    image: {app}\n    command: [sh, -c, \"cat /version; exec sleep 1000\"]\n    init: true\n    stop_grace_period: 1s\n  twin: {{ image: \"{app}\", scale: 0 }}\n  \
             tool: {{ image: \"{tool_name}\", profiles: [tools] }}\n  \
             fixed: {{ image: \"{tool_name}@{tool}\", scale: 0 }}\n  made: {{ build: made, scale: 0 }}\n"
        )
    };
    world.file("made/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    world.file("compose.yaml", &stack(&app));
    let fails = |args: &[&str], words: &[&str]| {
        let run = world.hoist(args);
        assert_eq!(
            run.code,
            1,
            "hoist {}\n{}{}",
            args.join(" "),
            run.stdout,
            run.stderr
        );
        for word in words {
            assert!(
                run.stderr.contains(word),
                "{word:?} is not in\n{}",
                run.stderr
            );
        }
    };
    fails(
        &["up", "-d", "--locked"],
        &["there is no", "stack.lock", "hoist lock"],
    );

    assert_eq!(
        world.ok(&["lock"]),
        format!("+ {app} {first}\n+ {tool_name} {tool}\n")
    );
    let text = fs::read_to_string(world.project.join("stack.lock")).expect("the lock");
    let expected = format!(
        "{{\n  \"version\": 1,\n  \"images\": {{\n    \"{app}\": \"{first}\",\n    \"{tool_name}\": \"{tool}\"\n  }}\n}}\n"
    );
    assert_eq!(text, expected);
    assert_eq!(
        registry.answered(&["GET", "/blobs/"]),
        0,
        "nothing is pulled to know a digest"
    );
    assert_eq!(world.ok(&["lock", "--check"]), "");

    // Both names move on; the lock holds.
    let second = registry.push("app", "1", &version("two\n"));
    let newer = registry.push("tool", "1", &version("newer tool\n"));
    world.ok(&["pull", "--locked"]);
    world.ok(&["up", "-d", "--locked", "--wait"]);
    let said = |text: &str| world.ok(&["logs", "--no-log-prefix", "web"]).contains(text);
    eventually("the locked version speaks", || said("one"));
    assert!(!said("two"));
    let check = world.hoist(&["lock", "--check"]);
    assert_eq!(check.code, 1);
    assert_eq!(
        check.stdout,
        format!("~ {app} {first} -> {second}\n~ {tool_name} {tool} -> {newer}\n")
    );
    assert_eq!(
        world.ok(&["lock", "web"]),
        format!("~ {app} {first} -> {second}\n")
    );
    world.ok(&["up", "-d", "--locked", "--wait"]);
    eventually("the newly locked version speaks", || said("two"));
    // What is here needs no registry, and nothing happens twice.
    registry.stop();
    let id = world.field("web", "ID");
    world.ok(&["up", "-d", "--locked", "--wait"]);
    assert_eq!(world.field("web", "ID"), id);
    registry.resume();

    // The file moves away from the lock.
    let other = registry.name("app:2");
    world.file("compose.yaml", &stack(&other));
    fails(
        &["up", "-d", "--locked"],
        &["service `", &other, "is not in", "hoist lock"],
    );
    fails(&["lock"], &[&other, "not found"]);
    assert_eq!(
        fs::read_to_string(world.project.join("stack.lock"))
            .expect("the lock")
            .matches("sha256:")
            .count(),
        2
    );
    world.file("compose.yaml", &stack(&app));
    world.file(
        "stack.lock",
        "{\n  \"version\": 1,\n  \"images\": { \"x\": \"sha256:1\" }\n}\n",
    );
    fails(
        &["pull", "--locked"],
        &["stack.lock:3:1", "is not a digest"],
    );
    world.file("stack.lock", "{\n  \"version\": 1,\n  \"image\": {}\n}\n");
    fails(&["pull", "--locked"], &["stack.lock:3:", "unknown field"]);
    world.finish();
}
