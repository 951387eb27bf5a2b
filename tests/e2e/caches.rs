//! Build caches between machines: a real registry between two engines with nothing in common.

use std::fs;

use serde_json::Value;

use crate::distribution::{Image, Registry, have};
use crate::elsewhere::Elsewhere;
use crate::world::World;

const PROGRAMS: [&str; 3] = ["docker-registry", "curl", "gzip"];

/// What a build of the world's project says elsewhere.
#[track_caller]
fn build(there: &Elsewhere<'_>, args: &[&str]) -> String {
    let run = there.hoist(&there.world.project, args);
    assert_eq!(
        run.code,
        0,
        "hoist {} failed\n{}\n{}",
        args.join(" "),
        run.stdout,
        run.stderr
    );
    run.stderr
}

/// A Dockerfile with a stage of which only a file gets into the image.
fn project(world: &World, registry: &Registry) {
    registry.push("base", "1", &Image::busybox());
    let base = registry.name("base:1");
    let dockerfile = format!(
        "FROM {base} AS tools\nRUN head -c 3000000 /dev/urandom >/waste; echo tool >/tool\nRUN cat /tool /tool >/made\n\
         FROM {base}\nWORKDIR /srv\nCOPY --from=tools /made .\nCOPY source .\nRUN cat made source >both\n"
    );
    world.file("app/Dockerfile", &dockerfile);
    world.file("app/source", "one\n");
}

fn stack(from: &str, to: &str) -> String {
    format!(
        "services:\n  app:\n    image: made:1\n    build: {{ context: app, cache_from: [\"{from}\"], cache_to: [\"{to}\"] }}\n"
    )
}

/// Steps that were there already; a base image that is here is no step.
fn cached(said: &str) -> usize {
    let lines: Vec<&str> = said.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].ends_with(" CACHED") && !pair[0].contains(" FROM "))
        .count()
}

/// Blobs of a repository that crossed.
fn fetched(registry: &Registry, repository: &str) -> usize {
    registry.answered(&["GET", &format!("/v2/{repository}/blobs/")])
}

#[test]
fn another_machine_builds_from_a_cache_in_a_registry() {
    let claim = "a build cache in a registry";
    if !have(claim, &PROGRAMS) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let mut registry = Registry::plain(&world.project.join("registry"));
    project(&world, &registry);
    let cache = registry.name("team/cache:main");
    world.file(
        "compose.yaml",
        &stack(&cache, &format!("type=registry,ref={cache},mode=max")),
    );
    // The first build of all: there is no cache yet, and that is no failure.
    let first = world.hoist(&["build"]);
    assert!(
        first.code == 0 && first.stderr.contains("is not used"),
        "{}",
        first.stderr
    );
    let written = |registry: &Registry| {
        let headers = registry.head("team/cache/manifests/main");
        headers
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let manifest = written(&registry);
    assert!(
        manifest.contains("application/vnd.oci.image.manifest.v1+json"),
        "{manifest}"
    );

    let there = Elsewhere::new(&world, "there");
    let said = build(&there, &["build"]);
    assert_eq!(cached(&said), 6, "{said}");
    assert_eq!(
        fetched(&registry, "team/cache"),
        1 + 4,
        "the records and the image's own layers:\n{said}"
    );
    assert_eq!(
        written(&registry),
        manifest,
        "exported again, it is the same"
    );
    let uploads = registry.answered(&["POST", "/v2/team/cache/blobs/uploads/"]);
    assert_eq!(
        uploads,
        6 + 1,
        "six layers and the records, once: what is there is not sent again"
    );

    // Everything is here now: a third build asks the cache nothing.
    registry.stop();
    world.file("compose.yaml", &stack(&cache, "type=inline"));
    let said = build(&there, &["build"]);
    assert!(cached(&said) == 6 && !said.contains("[cache]"), "{said}");
    registry.resume();

    // A changed last step.
    let dockerfile =
        fs::read_to_string(world.project.join("app/Dockerfile")).expect("the Dockerfile");
    world.file("app/Dockerfile", &dockerfile.replace(">both", ">joined"));
    let third = Elsewhere::new(&world, "third");
    world.file("compose.yaml", &stack(&cache, "type=inline"));
    let before = fetched(&registry, "team/cache");
    let said = build(&third, &["build"]);
    assert_eq!(cached(&said), 5, "{said}");
    assert_eq!(
        fetched(&registry, "team/cache") - before,
        1 + 3,
        "what the step runs on:\n{said}"
    );

    // Asked not to, it takes nothing from there.
    let fourth = Elsewhere::new(&world, "fourth");
    let before = fetched(&registry, "team/cache");
    let said = build(&fourth, &["build", "--no-cache"]);
    assert_eq!(
        (cached(&said), fetched(&registry, "team/cache") - before),
        (0, 0),
        "{said}"
    );
    drop((there, third, fourth));
    world.finish();
}

#[test]
fn an_image_carries_its_cache() {
    let claim = "an inline build cache";
    if !have(claim, &PROGRAMS) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    project(&world, &registry);
    let image = registry.name("team/app:1");
    world.ok(&[
        "image",
        "build",
        "-t",
        &image,
        "--cache-to",
        "type=inline",
        "app",
    ]);
    world.ok(&["image", "push", "-q", &image]);
    let inspected: Value =
        serde_json::from_str(&world.ok(&["image", "inspect", &image])).expect("JSON");

    let there = Elsewhere::new(&world, "there");
    let from = format!("type=registry,ref={image}");
    let said = build(
        &there,
        &[
            "image",
            "build",
            "-t",
            &image,
            "--cache-from",
            &from,
            "--cache-to",
            "type=inline",
            "app",
        ],
    );
    assert_eq!(cached(&said), 6, "{said}");
    assert_eq!(
        fetched(&registry, "team/app"),
        1 + 4,
        "the configuration and the image's own layers:\n{said}"
    );
    let again: Value =
        serde_json::from_str(&there.ok(&world.project, &["image", "inspect", &image]))
            .expect("JSON");
    assert_eq!(again[0]["Id"], inspected[0]["Id"], "the same image");

    // An image without one is no cache, and the base's own does not get into what is built on it.
    let from = registry.name("base:1");
    let said = build(
        &there,
        &[
            "image",
            "build",
            "-t",
            "x",
            "--no-cache-filter",
            "tools",
            "--cache-from",
            &from,
            "app",
        ],
    );
    assert!(said.contains("carries no records"), "{said}");
    world.file(
        "child/Dockerfile",
        &format!("FROM {image}\nRUN echo child >/child\n"),
    );
    world.ok(&["image", "build", "-t", "child", "child"]);
    let id = world.ok(&["image", "ls", "-q", "--no-trunc", "child"]);
    let blob = world
        .data_root
        .join("image/blobs/sha256")
        .join(id.trim().trim_start_matches("sha256:"));
    assert!(
        !fs::read_to_string(blob)
            .expect("the configuration")
            .contains("moby.buildkit.cache")
    );
    drop(there);
    world.finish();
}

#[test]
fn a_cache_is_kept_in_a_folder() {
    let claim = "a build cache in a folder";
    if !have(claim, &PROGRAMS) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    project(&world, &registry);
    world.file(
        "compose.yaml",
        &stack("type=local,src=./cache", "type=local,dest=./cache,mode=max"),
    );
    assert!(
        world.hoist(&["build"]).stderr.contains("is not used"),
        "there is none yet"
    );
    assert!(world.project.join("cache/oci-layout").exists());
    let there = Elsewhere::new(&world, "there");
    let said = build(&there, &["build"]);
    assert_eq!(cached(&said), 6, "{said}");
    // From the command line, relative to where it is called.
    let third = Elsewhere::new(&world, "third");
    world.file("compose.yaml", "services:\n  app:\n    build: app\n");
    let said = build(
        &third,
        &[
            "build",
            "--cache-from",
            "type=local,src=cache",
            "--cache-to",
            "type=local,dest=other",
        ],
    );
    assert_eq!(cached(&said), 6, "{said}");
    assert!(world.project.join("other/index.json").exists());
    for (option, text, word) in [
        ("--cache-from", "type=gha", "gha"),
        ("--cache-to", "type=s3,bucket=x", "s3"),
        ("--cache-to", "type=registry,ref=x,mode=most", "mode=most"),
    ] {
        let refused = world.hoist(&["build", option, text]);
        assert!(
            refused.code != 0 && refused.stderr.contains(word),
            "{}",
            refused.stderr
        );
    }
    world.file("compose.yaml", &stack("type=gha", "type=inline"));
    let refused = world.hoist(&["build"]);
    assert!(
        refused.stderr.contains("compose.yaml:4:") && refused.stderr.contains("gha"),
        "{}",
        refused.stderr
    );
    fs::remove_file(world.project.join("compose.yaml")).expect("remove the stack");
    drop((there, third));
    world.finish();
}
