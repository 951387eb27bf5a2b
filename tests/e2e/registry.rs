//! Images from real registries and real archives, through the binary.

use std::fs;
use std::process::Command;

use crate::distribution::{Image, Layer, Registry, digest, have, output};
use crate::peers::{self, Network, Peers};
use crate::world::World;

fn stack(image: &str, more: &str) -> String {
    format!(
        "services:\n  web:\n    image: {image}\n    command: [sh, -c, \"cat /version; exec sleep 1000\"]\n    \
         init: true\n    stop_grace_period: 1s\n{more}"
    )
}

fn version(text: &str) -> Image {
    Image::busybox().layer(Layer::new().file("version", 0o644, text.as_bytes()).tar())
}

/// Fails with `words` in its message.
#[track_caller]
fn fails(world: &World, args: &[&str], words: &[&str]) {
    let run = world.hoist(args);
    assert_ne!(
        run.code,
        0,
        "hoist {} succeeded\n{}{}",
        args.join(" "),
        run.stdout,
        run.stderr
    );
    for word in words {
        assert!(
            run.stderr.contains(word),
            "hoist {}: {word:?} is not in\n{}",
            args.join(" "),
            run.stderr
        );
    }
}

#[test]
fn a_stack_is_pulled_from_a_plain_registry_by_its_pull_policy() {
    let claim = "a stack from a plain registry";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let mut registry = Registry::plain(&world.project.join("registry"));
    let name = registry.name("team/app:1");
    registry.push("team/app", "1", &version("one\n"));

    world.file("compose.yaml", &stack(&name, "    pull_policy: never\n"));
    fails(&world, &["up", "-d"], &["web", &name, "may not be fetched"]);
    fails(
        &world,
        &["image", "pull", &registry.name("team/app:2")],
        &["team/app:2", "not found"],
    );
    fails(
        &world,
        &["image", "pull", &registry.name("nobody/nothing:1")],
        &["nobody/nothing", "not found"],
    );

    world.file("compose.yaml", &stack(&name, ""));
    world.ok(&["pull"]);
    assert!(world.ok(&["image", "ls"]).contains("team/app"));
    let manifests = |registry: &Registry| registry.answered(&["GET", "/manifests/1"]);
    let asked = manifests(&registry);
    world.ok(&["up", "-d", "--wait"]);
    assert_eq!(
        manifests(&registry),
        asked,
        "an image that is there is not asked for"
    );
    assert!(
        world
            .ok(&["logs", "--no-log-prefix", "web"])
            .contains("one")
    );
    let first = world.field("web", "ID");

    // The tag moves; only `always` follows it.
    registry.push("team/app", "1", &version("two\n"));
    world.ok(&["up", "-d"]);
    assert_eq!(
        (world.field("web", "ID"), manifests(&registry)),
        (first.clone(), asked)
    );
    world.file("compose.yaml", &stack(&name, "    pull_policy: always\n"));
    world.ok(&["up", "-d", "--wait"]);
    let second = world.field("web", "ID");
    assert_ne!(second, first);
    assert!(
        world
            .ok(&["logs", "--no-log-prefix", "web"])
            .contains("two")
    );
    world.ok(&["up", "-d", "--wait"]);
    assert_eq!(
        world.field("web", "ID"),
        second,
        "an image that did not change replaces nothing"
    );
    // Only what changed crossed the wire.
    let busybox = registry.answered(&["GET", "/blobs/"]);
    assert_eq!(
        busybox, 5,
        "two configurations, two versions, one shared layer"
    );

    registry.stop();
    fails(&world, &["up", "-d"], &["web", &name, "refused"]);
    assert_eq!(world.field("web", "State"), "running");
    world.file("compose.yaml", &stack(&name, "    pull_policy: missing\n"));
    world.ok(&["up", "-d", "--wait"]);
    fails(&world, &["pull"], &[&name, "refused"]);
    registry.resume();
    world.ok(&["pull"]);
    world.finish();
}

#[test]
fn an_image_is_taken_by_its_digest() {
    let claim = "an image by digest";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let pinned = registry.push("app", "1", &version("one\n"));
    registry.push("app", "1", &version("two\n"));
    world.file(
        "compose.yaml",
        &stack(&registry.name(&format!("app@{pinned}")), ""),
    );
    world.ok(&["up", "-d", "--wait"]);
    assert!(
        world
            .ok(&["logs", "--no-log-prefix", "web"])
            .contains("one")
    );
    fails(
        &world,
        &[
            "image",
            "pull",
            &registry.name(&format!("app@{}", digest(b"nothing"))),
        ],
        &["not found"],
    );
    world.finish();
}

fn docker_config(world: &World, text: &str) {
    world.file(".docker/config.json", text);
}

/// `user:password` as docker files it.
fn encoded(text: &str) -> String {
    let shown = output(Command::new("sh").args(["-c", "printf %s \"$0\" | base64 -w0", text]));
    String::from_utf8(shown).expect("base64 is text")
}

#[test]
fn a_private_registry_is_entered_with_the_users_credentials() {
    let claim = "a private registry";
    if !have(
        claim,
        &[
            "docker-registry",
            "curl",
            "gzip",
            "openssl",
            "htpasswd",
            "base64",
        ],
    ) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::private(&world.project.join("registry"), "me", "pa:ss");
    let (host, name) = (registry.host(), registry.name("team/app:1"));
    registry.push("team/app", "1", &version("one\n"));
    world.file("compose.yaml", &stack(&name, ""));

    fails(
        &world,
        &["pull"],
        &[&name, "authentication required", "no credentials"],
    );
    let auths = |login: &str| {
        format!(
            "{{\"auths\":{{\"{host}\":{{\"auth\":\"{}\"}}}}}}",
            encoded(login)
        )
    };
    docker_config(&world, &auths("me:wrong"));
    fails(&world, &["image", "pull", &name], &["not accepted"]);
    fails(&world, &["up", "-d"], &["web", "not accepted"]);
    docker_config(&world, &auths("me:pa:ss"));
    world.ok(&["image", "pull", &name]);
    world.ok(&["up", "-d", "--wait"]);
    world.ok(&["down", "-t", "0"]);
    world.ok(&["image", "rm", &name]);

    // The same from a credential helper.
    let tools = world.project.join("tools");
    let script = "#!/bin/sh\nread -r server\n[ \"$1\" = get ] || exit 1\n\
                  [ \"$server\" = HOST ] || { echo credentials not found in native keychain; exit 1; }\n\
                  echo '{\"ServerURL\":\"HOST\",\"Username\":\"me\",\"Secret\":\"pa:ss\"}'\n";
    let helper = world.file(
        "tools/docker-credential-e2e",
        &script.replace("HOST", &host),
    );
    output(Command::new("chmod").arg("755").arg(&helper));
    docker_config(
        &world,
        &format!("{{\"credHelpers\":{{\"{host}\":\"e2e\"}}}}"),
    );
    fails(
        &world,
        &["image", "pull", &name],
        &["docker-credential-e2e"],
    );
    let mut up = world.command(&["up", "-d", "--wait"]);
    let up = up
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display()),
        )
        .output()
        .expect("run hoist");
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    world.ok(&["down", "-t", "0"]);

    // The base of a build has its registry's name in the Dockerfile only.
    world.ok(&["image", "rm", &name]);
    world.file(
        "image/Dockerfile",
        &format!("FROM {name}\nRUN cat /version >/copy\n"),
    );
    docker_config(&world, &auths("me:pa:ss"));
    world.ok(&["image", "build", "-t", "child", "image"]);
    docker_config(
        &world,
        &format!("{{\"credsStore\":\"missing\",{}", &auths("me:pa:ss")[1..]),
    );
    world.file("image/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    world.ok(&["image", "build", "-t", "needs-no-registry", "image"]);
    let log = fs::read_to_string(world.data_root.join("engine.log")).expect("the log");
    assert!(
        !log.contains("pa:ss") && !log.contains(&encoded("me:pa:ss")),
        "the password is in the engine's log"
    );
    world.finish();
}

#[test]
fn archives_of_docker_and_skopeo_are_loaded_and_run() {
    let claim = "archives of docker and skopeo";
    if !have(claim, &["docker-registry", "curl", "gzip", "unshare"]) {
        return;
    }
    let (Some(root), Some(world)) = (peers::root(claim), World::new(claim)) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    registry.push(
        "team/app",
        "1",
        &version("one\n").with("Entrypoint", serde_json::json!(["/bin/cat"])),
    );
    let peers = Peers::start(&root, &world.project.join("peers"), Network::Untouched);
    let shared = peers.share();
    fs::write(shared.join("Dockerfile"), DOCKER).expect("write a Dockerfile");
    fs::copy("/bin/busybox", shared.join("busybox")).expect("copy busybox");
    let image = format!("docker://{}", registry.name("team/app:1"));
    for archive in [
        "oci-archive:/mnt/oci.tar:oci-archive:2",
        "docker-archive:/mnt/skopeo-docker.tar:skopeo-docker:3",
    ] {
        peers.ok(&[
            "skopeo",
            "copy",
            "-q",
            "--src-tls-verify=false",
            &image,
            archive,
        ]);
    }
    peers.ok(&["docker", "build", "-q", "-t", "made-by-docker:1", "/mnt"]);
    peers.ok(&[
        "docker",
        "save",
        "-o",
        "/mnt/docker.tar",
        "made-by-docker:1",
    ]);
    drop(peers);
    for archive in ["docker.tar", "oci.tar", "skopeo-docker.tar"] {
        world.ok(&[
            "image",
            "load",
            "-i",
            shared.join(archive).to_str().expect("a path of letters"),
        ]);
    }
    let listed = world.ok(&["image", "ls"]);
    for name in ["made-by-docker", "oci-archive", "skopeo-docker"] {
        assert!(listed.contains(name), "{name} is not in\n{listed}");
    }
    world.file(
        "compose.yaml",
        "services:\n  docker: { image: \"made-by-docker:1\" }\n  \
         oci: { image: \"oci-archive:2\", command: [/version] }\n  \
         skopeo: { image: \"skopeo-docker:3\", command: [/version] }\n",
    );
    world.ok(&["up"]);
    let logs = world.ok(&["logs", "--no-log-prefix", "docker"]);
    for line in [
        "user=1000:1000",
        "where=/srv/deep",
        "greeting=hello world",
        "mode=2750",
        "arg",
    ] {
        assert!(logs.contains(line), "{line} is not in\n{logs}");
    }
    for service in ["oci", "skopeo"] {
        assert_eq!(
            world.ok(&["logs", "--no-log-prefix", service]).trim(),
            "one",
            "{service}"
        );
    }
    world.finish();
}

/// What containers of docker's images must show under hoist too.
const DOCKER: &str = r#"FROM scratch
COPY busybox /bin/busybox
COPY --chmod=755 <<"END" /bin/show
#!/bin/busybox sh
echo user=$(busybox id -u):$(busybox id -g) where=$(busybox pwd) greeting=$GREETING
echo mode=$(busybox stat -c %a /srv/deep/busybox) "$@"
END
COPY --chmod=2750 --chown=1000:1000 busybox /srv/deep/busybox
ENV GREETING="hello world" PATH=/bin
WORKDIR /srv/deep
USER 1000:1000
ENTRYPOINT ["/bin/show"]
CMD ["arg"]
"#;

#[test]
fn config_pins_images_to_the_digests_of_the_registry_and_pulls_nothing() {
    let claim = "images pinned by config";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let mut registry = Registry::plain(&world.project.join("registry"));
    registry.push("team/app", "1", &version("one\n"));
    let (tagged, untagged) = (registry.name("team/app:1"), registry.name("team/app"));
    registry.push("team/app", "latest", &version("two\n"));
    let more = format!("  newest:\n    image: {untagged}\n  built:\n    build: .\n");
    world.file("compose.yaml", &(stack(&tagged, "") + &more));
    let fetched = |registry: &Registry| registry.answered(&["GET", "/blobs/"]);
    let before = fetched(&registry);

    let resolved = world.ok(&["config", "--resolve-image-digests", "--images"]);
    let pinned: Vec<&str> = resolved
        .lines()
        .filter(|line| line.contains("@sha256:"))
        .collect();
    assert_eq!(pinned.len(), 2, "{resolved}");
    let digest = |name: &str| {
        pinned
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{name}@")))
            .expect("pinned")
    };
    assert_ne!(digest(&tagged), digest(&untagged));

    // The lock is an override file: over the stack it means what was resolved.
    let lock = world.ok(&["config", "--lock-image-digests"]);
    world.file("lock.yaml", &lock);
    let images = world.ok(&[
        "-f",
        "compose.yaml",
        "-f",
        "lock.yaml",
        "config",
        "--images",
    ]);
    assert_eq!(images, resolved);
    assert_eq!(
        fetched(&registry),
        before,
        "nothing but manifests was asked for"
    );
    assert!(
        !world.ok(&["image", "ls"]).contains("team/app"),
        "nothing was pulled"
    );

    // What was locked stays what it was when the tag moves.
    registry.push("team/app", "1", &version("three\n"));
    world.ok(&[
        "-f",
        "compose.yaml",
        "-f",
        "lock.yaml",
        "up",
        "-d",
        "--wait",
        "web",
    ]);
    assert!(
        world
            .ok(&["logs", "--no-log-prefix", "web"])
            .contains("one")
    );
    world.ok(&["down"]);

    world.file("compose.yaml", &stack(&registry.name("team/none:1"), ""));
    fails(
        &world,
        &["config", "--resolve-image-digests"],
        &["team/none:1", "not found"],
    );
    world.file("compose.yaml", &stack(&tagged, ""));
    registry.stop();
    fails(
        &world,
        &["config", "--lock-image-digests"],
        &[&tagged, "refused"],
    );
    world.finish();
}
