//! Images that leave: to real registries, and from there into docker and podman.

use crate::distribution::{Image, Layer, Registry, have};
use crate::peers::{self, Network, Peers};
use crate::world::World;

const CLAIM: [&str; 3] = ["docker-registry", "curl", "gzip"];

fn stack(registry: &Registry) -> String {
    format!(
        "services:\n  base:\n    image: {}\n  app:\n    build: app\n    image: {}\n    depends_on: [tool]\n  \
         tool:\n    build: {{ context: app, tags: [\"{}\"] }}\n    image: {}\n  unnamed:\n    build: app\n",
        registry.name("base:1"),
        registry.name("team/app:1"),
        registry.name("team/tool:extra"),
        registry.name("team/tool:1"),
    )
}

/// `docker images`' word for what a registry has.
fn digest_of(registry: &Registry, path: &str) -> String {
    let headers = registry.head(path);
    let found = headers
        .lines()
        .find_map(|line| line.strip_prefix("docker-content-digest: ").map(str::trim));
    found
        .unwrap_or_else(|| panic!("no digest in\n{headers}"))
        .to_owned()
}

#[test]
fn what_a_stack_builds_is_pushed_and_what_it_pulls_is_not() {
    let claim = "a stack is pushed";
    if !have(claim, &CLAIM) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let base = registry.push("base", "1", &Image::busybox());
    let dockerfile = format!("FROM {}\nRUN echo made >/made\n", registry.name("base:1"));
    world.file("app/Dockerfile", &dockerfile);
    world.file("compose.yaml", &stack(&registry));
    world.ok(&["build"]);
    world.ok(&["push", "app"]);
    assert_eq!(
        registry.answered(&["PUT", "/team/tool/manifests/"]),
        0,
        "only what was named"
    );
    world.ok(&["push", "-q", "--include-deps", "app"]);
    assert_eq!(
        registry.answered(&["PUT", "/team/tool/manifests/"]),
        2,
        "its image and its further tag"
    );
    world.ok(&["push"]);
    assert_eq!(
        registry.answered(&["PUT", "/base/manifests/"]),
        1,
        "the test's own push"
    );
    // The base's layer was in the registry: nobody sent it again.
    assert!(registry.answered(&["POST", "mount=", "from=base"]) >= 1);

    // Under another name, by hand.
    world.ok(&[
        "tag",
        &registry.name("base:1"),
        &registry.name("copy/base:2"),
    ]);
    let said = world.ok(&["image", "push", "-q", &registry.name("copy/base:2")]);
    assert_eq!(
        said.trim(),
        format!("{}@{base}", registry.name("copy/base"))
    );
    let missing = world.hoist(&["image", "push", &registry.name("nothing:1")]);
    assert!(
        missing.code == 1 && missing.stderr.contains("no such image"),
        "{}",
        missing.stderr
    );

    // A registry that is away.
    world.file(
        "compose.yaml",
        &stack(&registry).replace(&registry.name("team/tool"), "127.0.0.1:1/tool"),
    );
    world.ok(&["build", "tool"]);
    let failed = world.hoist(&["push"]);
    assert!(
        failed.code == 1 && failed.stderr.contains("127.0.0.1:1/tool"),
        "{}",
        failed.stderr
    );
    let ignored = world.hoist(&["push", "--ignore-push-failures"]);
    assert!(
        ignored.code == 0 && ignored.stderr.contains("refused"),
        "{}",
        ignored.stderr
    );
    world.finish();
}

#[test]
fn what_was_pushed_runs_under_docker_and_podman() {
    let claim = "docker and podman run what was pushed";
    if !have(claim, &CLAIM) {
        return;
    }
    let (Some(root), Some(world)) = (peers::root(claim), World::new(claim)) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let image = Image::busybox().layer(Layer::new().file("version", 0o644, b"one\n").tar());
    let pulled = registry.push("base", "1", &image);
    world.file(
        "app/Dockerfile",
        &format!(
            "FROM {}\nRUN echo made >/made\nCMD [\"cat\", \"/version\", \"/made\"]\n",
            registry.name("base:1")
        ),
    );
    world.ok(&["image", "build", "-t", &registry.name("made:1"), "app"]);
    world.ok(&["image", "push", &registry.name("made:1")]);
    world.ok(&["tag", &registry.name("base:1"), &registry.name("again:1")]);
    world.ok(&["image", "push", &registry.name("again:1")]);
    assert_eq!(digest_of(&registry, "again/manifests/1"), pulled);
    let (made, digest) = (
        registry.name("made:1"),
        digest_of(&registry, "made/manifests/1"),
    );
    world.file(
        "both/Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /machine\n",
    );
    world.file("both/amd64", "amd64\n");
    world.file("both/arm64", "arm64\n");
    let both = registry.name("both:1");
    world.ok(&[
        "image",
        "build",
        "-t",
        &both,
        "--platform",
        "linux/amd64,linux/arm64",
        "both",
    ]);
    world.ok(&["image", "push", &both]);
    let peers = Peers::start(&root, &world.project.join("peers"), Network::Untouched);
    peers.ok(&["podman", "pull", "-q", "--tls-verify=false", &made]);
    let ran = peers.ok(&[
        "podman",
        "run",
        "--rm",
        "--network",
        "none",
        "--cgroups=disabled",
        &made,
    ]);
    assert_eq!(ran, "one\nmade\n", "podman");
    assert_eq!(
        peers
            .ok(&[
                "podman",
                "image",
                "inspect",
                "--format",
                "{{.Digest}}",
                &made
            ])
            .trim(),
        digest
    );
    peers.ok(&["docker", "pull", "-q", &made]);
    assert_eq!(
        peers.ok(&["docker", "run", "--rm", "--network", "none", &made]),
        "one\nmade\n",
        "docker"
    );
    let known = peers.ok(&[
        "docker",
        "image",
        "inspect",
        "--format",
        "{{index .RepoDigests 0}}",
        &made,
    ]);
    assert!(known.trim().ends_with(&format!("@{digest}")), "{known}");
    for machine in ["amd64", "arm64"] {
        let platform = format!("linux/{machine}");
        let (inspect, form) = (["image", "inspect", "--format"], "{{.Architecture}}");
        peers.ok(&[
            "podman",
            "pull",
            "-q",
            "--tls-verify=false",
            "--platform",
            &platform,
            &both,
        ]);
        assert_eq!(
            peers
                .ok(&[&["podman"], &inspect[..], &[form, &both]].concat())
                .trim(),
            machine,
            "podman"
        );
        peers.ok(&["docker", "pull", "-q", "--platform", &platform, &both]);
        assert_eq!(
            peers
                .ok(&[&["docker"], &inspect[..], &[form, &both]].concat())
                .trim(),
            machine,
            "docker"
        );
    }
    let by_docker = registry.name("by-docker:1");
    peers.ok(&["docker", "tag", &made, &by_docker]);
    peers.ok(&["docker", "push", "-q", &by_docker]);
    drop(peers);
    // And back: docker writes a manifest of its own kind for the same image.
    world.ok(&["image", "pull", &by_docker]);
    let ids = |name: &str| world.ok(&["image", "ls", "-q", "--no-trunc", &registry.name(name)]);
    assert_eq!(ids("by-docker"), ids("made"));
    world.finish();
}
