//! Images that mean harm, builds as users write them, and death in the middle of both.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::distribution::{Image, Layer, Registry, digest, have, output};
use crate::world::{World, note};

/// A secret of the host: in a folder that layers know the name of, and in /etc.
struct Canary {
    text: String,
    etc: String,
}

impl Canary {
    fn put(world: &World) -> Self {
        let text = digest(format!("{}{:?}", std::process::id(), Instant::now()).as_bytes());
        let etc = format!("/etc/hoist-canary-{}", std::process::id());
        fs::write(&etc, &text).expect("write to /etc");
        world.file("host/canary", &text);
        Self { text, etc }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.etc);
    }
}

/// Layers that try to get out, and the word of the refusal; without one the layer is harmless and is taken.
fn hostile(host: &Path) -> Vec<(&'static str, Layer, Option<&'static str>)> {
    let (folder, canary) = (
        host.display().to_string(),
        host.join("canary").display().to_string(),
    );
    let new = Layer::new;
    vec![
        (
            "parent",
            new().file("../../../../../../var/tmp/hoist-pwned", 0o644, b"x"),
            Some(".."),
        ),
        (
            "inner-parent",
            new().file("a/../../hoist-pwned", 0o644, b"x"),
            Some(".."),
        ),
        (
            "absolute",
            new().file("/var/tmp/hoist-pwned", 0o644, b"x"),
            None,
        ),
        (
            "through-symlink",
            new()
                .symlink("out", &folder)
                .file("out/hoist-pwned", 0o644, b"x"),
            Some("symlink"),
        ),
        (
            "through-dots",
            new()
                .symlink("out", "../../../../../../../..")
                .file("out/hoist-pwned", 0o644, b"x"),
            None,
        ),
        (
            "over-symlink",
            new()
                .symlink("etc/shadow", &canary)
                .file("etc/shadow", 0o644, b"mine"),
            None,
        ),
        (
            "hard-link",
            new().hard_link("stolen", &canary),
            Some("not in this layer"),
        ),
        (
            "hard-link-dots",
            new().hard_link("stolen", "../../../../etc/passwd"),
            Some(".."),
        ),
        (
            "hard-link-symlink",
            new()
                .symlink("out", &folder)
                .hard_link("stolen", "out/canary"),
            Some("not in this layer"),
        ),
        ("symlink", new().symlink("stolen", &canary), None),
        (
            "whiteout-symlink",
            new()
                .symlink("out", &folder)
                .file("out/.wh.canary", 0o644, b""),
            Some("symlink"),
        ),
        (
            "whiteout-nothing",
            new().file(".wh.", 0o644, b""),
            Some("whiteout"),
        ),
        (
            "whiteout-parent",
            new().file("a/.wh...", 0o644, b""),
            Some("whiteout"),
        ),
        (
            "overlay-mark",
            new().entry(b'3', "gone", "", 0o644, b""),
            Some("0:0"),
        ),
        (
            "chmod-symlink",
            new().symlink("d", &folder).folder("d"),
            None,
        ),
    ]
}

#[test]
fn hostile_layers_reach_nothing_outside() {
    let claim = "hostile layers";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let canary = Canary::put(&world);
    let host = world.project.join("host");
    let registry = Registry::plain(&world.project.join("registry"));
    let before = fs::metadata(&host)
        .expect("look at the host's folder")
        .modified()
        .expect("its time");
    let mut taken = Vec::new();
    for (name, layer, refusal) in hostile(&host) {
        registry.push(name, "1", &Image::busybox().layer(layer.tar()));
        let run = world.hoist(&["image", "pull", "-q", &registry.name(&format!("{name}:1"))]);
        match refusal {
            None => {
                assert_eq!(run.code, 0, "{name}: {}", run.stderr);
                taken.push(name);
            }
            Some(word) => {
                assert_eq!(run.code, 1, "{name} was taken");
                assert!(
                    run.stderr.contains(word),
                    "{name}: {word:?} is not in {}",
                    run.stderr
                );
            }
        }
    }
    // Cut off, not gzip at all, and another content than the configuration says.
    let whole = Image::busybox();
    registry.push(
        "wrong-diff-id",
        "1",
        &whole.clone().with_diff_id(&digest(b"other")),
    );
    registry.push(
        "not-gzip",
        "1",
        &whole
            .clone()
            .raw_layer(b"\x1f\x8b\x08\x00 this is not gzip"),
    );
    registry.push(
        "cut",
        "1",
        &whole
            .clone()
            .cut_layer(Layer::new().file("big", 0o644, &[7; 100_000]).tar()),
    );
    for name in ["wrong-diff-id", "not-gzip", "cut"] {
        let run = world.hoist(&["image", "pull", "-q", &registry.name(&format!("{name}:1"))]);
        assert_eq!(run.code, 1, "{name} was taken");
    }
    let listed = world.ok(&["image", "ls", "-q"]);
    assert_eq!(
        listed.lines().count(),
        taken.len(),
        "only what was taken is listed\n{listed}"
    );
    let left = |folder: &str| {
        fs::read_dir(world.data_root.join("image").join(folder)).map_or(0, Iterator::count)
    };
    assert_eq!((left("tmp"), left("trash")), (0, 0), "no half layer stays");
    assert_eq!(
        fs::read_to_string(host.join("canary")).expect("the canary lives"),
        canary.text
    );
    assert_eq!(
        fs::metadata(&host)
            .expect("it is there")
            .modified()
            .expect("its time"),
        before
    );
    assert!(!Path::new("/var/tmp/hoist-pwned").exists());

    let service = |name: &str| {
        let look = format!(
            "cat /stolen /out/canary /etc/shadow /d/canary {} 2>&1; true",
            canary.etc
        );
        format!(
            "  {name}: {{ image: \"{}\", command: [sh, -c, \"{look}\"] }}\n",
            registry.name(&format!("{name}:1"))
        )
    };
    let services: String = taken.iter().map(|name| service(name)).collect();
    world.file("compose.yaml", &format!("services:\n{services}"));
    world.ok(&["up"]);
    let logs = world.ok(&["logs"]);
    assert!(logs.contains("can't open"), "{logs}");
    assert!(!logs.contains(&canary.text), "{logs}");
    world.finish();
}

#[test]
fn an_image_cannot_pose_as_another_stack() {
    let claim = "label smuggling";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let labels = json!({
        "com.docker.compose.project": "other", "com.docker.compose.service": "db", "com.docker.compose.oneoff": "True",
        "com.docker.compose.container-number": "7", "com.docker.compose.config-hash": "0", "io.hoist.project": "other",
        "harmless": "yes",
    });
    registry.push("liar", "1", &Image::busybox().with("Labels", labels));
    world.file(
        "compose.yaml",
        &format!(
            "services:\n  web: {{ image: \"{}\", command: [sleep, \"1000\"], stop_grace_period: 0s }}\n",
            registry.name("liar:1")
        ),
    );
    world.ok(&["up", "-d", "--wait"]);
    assert_eq!(world.ok(&["-p", "other", "ps", "-a", "-q"]).trim(), "");
    assert!(!world.ok(&["ls", "-a"]).contains("other"));
    world.hoist(&["-p", "other", "down", "-v", "--remove-orphans"]);
    assert_eq!(world.field("web", "State"), "running");
    assert_eq!(world.field("web", "Project"), "project");
    let labels = world.field("web", "Labels");
    assert!(
        labels.contains("com.docker.compose.project=project") && labels.contains("harmless=yes"),
        "{labels}"
    );
    assert!(!labels.contains("other"), "{labels}");
    let id = world.field("web", "ID");
    world.ok(&["up", "-d"]);
    assert_eq!(
        world.field("web", "ID"),
        id,
        "labels of the image change nothing in the plan"
    );
    world.finish();
}

#[test]
fn odd_image_settings_are_harmless_or_refused() {
    let claim = "odd image settings";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let canary = Canary::put(&world);
    let registry = Registry::plain(&world.project.join("registry"));
    let push = |name: &str, key: &str, value: serde_json::Value| {
        registry.push(name, "1", &Image::busybox().with(key, value));
        registry.name(&format!("{name}:1"))
    };
    let volume = push("volume", "Volumes", json!({ "/../../etc": {} }));
    let environment = push("environment", "Env", json!(["PATH=/bin", "A=1\nB=2"]));
    let mut services = format!(
        "  volume: {{ image: \"{volume}\", command: [sh, -c, \"ls -la /etc; cat {}; true\"] }}\n  \
         environment: {{ image: \"{environment}\", command: [sh, -c, 'echo \"B=[$${{B-unset}}]\"'] }}\n",
        canary.etc
    );
    for number in 3..=20 {
        let image = push(
            &format!("fd{number}"),
            "WorkingDir",
            json!(format!("/proc/self/fd/{number}")),
        );
        let look = format!(
            "pwd; ls; cat {0} ..{0} ../../../../../..{0}; cat etc/hostname; true",
            canary.etc
        );
        services +=
            &format!("  fd{number}: {{ image: \"{image}\", command: [sh, -c, \"{look}\"] }}\n");
    }
    world.file("compose.yaml", &format!("services:\n{services}"));
    // A working directory that is no directory of the container may be an error; it may not be the host's.
    let run = world.hoist(&["up"]);
    let logs = world.ok(&["logs"]);
    assert!(
        !logs.contains(&canary.text) && !run.stdout.contains(&canary.text),
        "{logs}"
    );
    let names = fs::read_dir("/etc")
        .expect("list /etc")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let of_host = names
        .filter(|name| name.starts_with("hoist-canary"))
        .count();
    assert!(of_host > 0 && !logs.contains("hoist-canary-0"), "{logs}");
    for service in ["volume", "environment"] {
        world.ok(&["up", service]);
    }
    let logs = world.ok(&["logs", "volume"]);
    assert!(
        logs.contains("passwd") && !logs.contains("hoist-canary-") || logs.contains("can't open"),
        "{logs}"
    );
    assert!(world.ok(&["logs", "environment"]).contains("B=[unset]"));
    for user in [
        "4294967295",
        "4294967296",
        "99999999999",
        "-1",
        "0:4294967296",
        "4294967296:0",
    ] {
        let image = push("user", "User", json!(user));
        let stack = format!(
            "services:\n  web: {{ image: \"{image}\", pull_policy: always, command: [id] }}\n"
        );
        world.file("compose.yaml", &stack);
        let run = world.hoist(&["up"]);
        assert_ne!(run.code, 0, "user {user} ran: {}", run.stdout);
        assert!(
            !run.stdout.contains("uid="),
            "user {user} ran: {}",
            run.stdout
        );
        assert!(
            run.stderr.contains("web") && run.stderr.contains("user"),
            "user {user}: {}",
            run.stderr
        );
    }
    world.finish();
}

const TARGET: &str = "FROM mybase:1.0
MAINTAINER someone@example.com
ADD build/distributions/app-3.3.1.tar /
ADD config.template.json /app-3.3.1/bin/config.json
ADD docker/script/start.sh /usr/local/bin/
RUN ln -s /usr/local/bin/start.sh /start.sh
EXPOSE 8080
EXPOSE 7000
CMD [\"start.sh\"]
";

#[test]
fn the_target_dockerfile_builds_and_runs_both_ways() {
    let Some(world) = World::new("the target Dockerfile") else {
        return;
    };
    world.busybox();
    world.file(
        "base/Dockerfile",
        "FROM busybox\nRUN mkdir -p /usr/local/bin\nENV PATH=/usr/local/bin:/bin\n",
    );
    world.ok(&["image", "build", "-t", "mybase:1.0", "base"]);
    world.file(
        "app/tree/app-3.3.1/bin/app",
        "#!/bin/sh\ncat /app-3.3.1/bin/config.json\n",
    );
    world.file("app/config.template.json", "{\"version\": 1}\n");
    let script = world.file(
        "app/docker/script/start.sh",
        "#!/bin/sh\nexec sh /app-3.3.1/bin/app\n",
    );
    fs::set_permissions(script, PermissionsExt::from_mode(0o755)).expect("make it executable");
    fs::create_dir_all(world.project.join("app/build/distributions")).expect("make a folder");
    let (tree, tar) = (
        world.project.join("app/tree"),
        world.project.join("app/build/distributions/app-3.3.1.tar"),
    );
    output(
        Command::new("tar")
            .arg("-C")
            .arg(tree)
            .arg("-cf")
            .arg(tar)
            .arg("app-3.3.1"),
    );
    world.file("app/Dockerfile", TARGET);
    world.ok(&["image", "build", "-t", "app:3.3.1", "app"]);
    world.file(
        "compose.yaml",
        "services:\n  made: { image: \"app:3.3.1\", pull_policy: never }\n  \
         built: { build: app, command: [/start.sh], scale: 2 }\n",
    );
    world.ok(&["up"]);
    let logs = world.ok(&["logs"]);
    assert_eq!(logs.matches("{\"version\": 1}").count(), 3, "{logs}");

    // Only what changed, and what follows it.
    world.file("app/config.template.json", "{\"version\": 2}\n");
    let start = Instant::now();
    let again = world.hoist(&["build"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(
        again.stderr.matches(" CACHED").count(),
        2,
        "{}",
        again.stderr
    );
    note(&format!(
        "a build with a changed file took {:?}",
        start.elapsed()
    ));
    world.ok(&["up"]);
    assert!(world.ok(&["logs", "built"]).contains("{\"version\": 2}"));
    world.finish();
}

#[test]
fn what_a_build_cannot_do_is_refused_by_name() {
    let Some(world) = World::new("refused build keys") else {
        return;
    };
    world.busybox();
    world.file("app/Dockerfile", "FROM busybox\nRUN true\n");
    let stack = |more: &str| {
        format!("services:\n  web:\n    image: made\n    build: {{ context: app, {more} }}\n")
    };
    for (more, word) in [
        ("ssh: [default]", "ssh"),
        ("cache_from: [type=gha]", "gha"),
        ("cache_to: [\"type=s3,bucket=a\"]", "s3"),
        ("network: elsewhere", "elsewhere"),
        ("platforms: [linux/s390x]", "linux/s390x"),
        ("platforms: [linux/amd64, linux]", "platform"),
        ("target: nowhere", "nowhere"),
        ("dockerfile: missing", "missing"),
    ] {
        world.file("compose.yaml", &stack(more));
        let run = world.hoist(&["build"]);
        assert_ne!(run.code, 0, "{more} was taken");
        assert!(run.stderr.contains(word), "{more}: {}", run.stderr);
    }
    world.file(
        "compose.yaml",
        &stack("tags: [\"also:1\"], extra_hosts: [\"far=10.1.2.3\"], no_cache: true, pull: false"),
    );
    world.file(
        "app/Dockerfile",
        "FROM busybox\nRUN grep -q 10.1.2.3 /etc/hosts\n",
    );
    world.ok(&["build"]);
    assert!(world.ok(&["image", "ls"]).contains("also"));
    for (network, check) in [
        ("none", "! [ -e /sys/class/net/eth0 ]"),
        ("host", "true"),
        ("default", "[ -e /sys/class/net/eth0 ]"),
    ] {
        world.file("app/Dockerfile", &format!("FROM busybox\nRUN {check}\n"));
        world.file(
            "compose.yaml",
            &stack(&format!("network: {network}, no_cache: true")),
        );
        world.ok(&["build"]);
    }
    world.finish();
}

#[test]
fn a_service_may_build_on_what_another_one_builds() {
    let Some(world) = World::new("a base that another service builds") else {
        return;
    };
    world.busybox();
    world.file(
        "base/Dockerfile",
        "FROM busybox\nRUN sleep 0.3; echo one >/base\n",
    );
    world.file(
        "child/Dockerfile",
        "FROM local/base:1\nRUN cat /base >/copy\n",
    );
    world.file(
        "compose.yaml",
        "services:\n  a-child: { build: child, command: [cat, /copy] }\n  \
         base: { build: base, image: \"local/base:1\", command: [\"true\"] }\n",
    );
    world.ok(&["up"]);
    assert!(world.ok(&["logs", "a-child"]).contains("one"));
    world.file(
        "base/Dockerfile",
        "FROM busybox\nRUN sleep 0.3; echo two >/base\n",
    );
    world.ok(&["up", "--build"]);
    assert!(
        world
            .ok(&["logs", "--no-log-prefix", "a-child"])
            .contains("two"),
        "the child is built on the new base"
    );
    world.finish();
}
