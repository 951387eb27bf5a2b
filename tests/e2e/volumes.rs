//! Volumes with driver options, and volumes of other containers.

use std::fs;

use crate::world::{World, eventually};

const IDLE: &str = "image: busybox, stop_grace_period: 0s, command: [sleep, '100000']";

#[track_caller]
fn inside(world: &World, service: &str, line: &str) -> String {
    world
        .ok(&["exec", "-T", service, "sh", "-c", line])
        .trim_end()
        .to_owned()
}

#[test]
fn options_of_the_local_driver_mount_for_the_containers_alone() {
    let Some(world) = World::new("volumes with driver options") else {
        return;
    };
    world.file("host/sub/text", "from the host\n");
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: driven
services:
  one: {{ {IDLE}, volumes: ['bound:/bound', 'memory:/memory', 'fixed:/fixed'] }}
  two:
    {{ {IDLE}, depends_on: [one], volumes: [ 'memory:/elsewhere:ro',
        {{ type: volume, source: bound, target: /part, volume: {{ subpath: sub }} }},
        {{ type: volume, source: memory, target: /deep, volume: {{ subpath: deep }} }} ], profiles: [later] }}
volumes:
  bound: {{ driver: local, driver_opts: {{ type: none, o: bind, device: ./host }} }}
  fixed: {{ driver_opts: {{ type: none, o: 'bind,ro', device: ./host }} }}
  memory: {{ driver_opts: {{ type: tmpfs, device: tmpfs, o: 'size=1m,mode=0751,noexec' }} }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    assert_eq!(
        inside(
            &world,
            "one",
            "cat /bound/sub/text; touch /bound/made; ls /fixed | tr '\\n' ' '"
        ),
        "from the host\nmade sub"
    );
    assert!(world.project.join("host/made").exists());
    assert_eq!(
        inside(&world, "one", "touch /fixed/x 2>/dev/null || echo refused"),
        "refused"
    );
    let memory = "df -k /memory | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /memory; grep -c ' /memory .*noexec' /proc/mounts";
    assert_eq!(inside(&world, "one", memory), "1024\n751\n1");
    inside(
        &world,
        "one",
        "mkdir /memory/deep; echo shared >/memory/deep/text",
    );
    // Containers started later share the mount, even after the engine was killed.
    let old = world.kill_engine();
    eventually("another engine took over", || {
        world.engine().is_some() && world.engine() != old
    });
    world.ok(&["--profile", "later", "up", "-d"]);
    assert_eq!(
        inside(
            &world,
            "two",
            "cat /part/text /elsewhere/deep/text /deep/text"
        ),
        "from the host\nshared\nshared"
    );
    assert_eq!(
        inside(
            &world,
            "two",
            "touch /elsewhere/x 2>/dev/null || echo refused; echo more >/deep/more"
        ),
        "refused"
    );
    assert_eq!(inside(&world, "one", "cat /memory/deep/more"), "more");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
    let root = world.data_root.display().to_string();
    assert!(
        !mounts.contains(&root),
        "nothing is mounted on the host: {mounts}"
    );
    world.ok(&["--profile", "later", "down"]);
    // As with docker: a tmpfs volume is lost with the last container that mounts it.
    world.ok(&["up", "-d"]);
    assert_eq!(
        inside(&world, "one", "ls /memory | wc -l; cat /bound/sub/text"),
        "0\nfrom the host"
    );
    world.ok(&["down", "-v"]);
    assert!(
        world.project.join("host/sub/text").exists(),
        "a folder of the host outlives its volume"
    );
    world.finish();
}

#[test]
fn wrong_options_of_the_local_driver_are_named() {
    let Some(world) = World::new("wrong driver options") else {
        return;
    };
    let stack = |options: &str| {
        format!(
            "name: wrong\nservices:\n  a: {{ {IDLE}, volumes: ['v:/v'] }}\nvolumes: {{ v: {{ driver_opts: {{ {options} }} }} }}\n"
        )
    };
    world.busybox();
    for (options, words) in [
        ("size: 10m", "`size` is not an option of the driver `local`"),
        ("type: nfs, o: 'addr=10.0.0.1'", "needs the option `device`"),
        (
            "type: none, o: bind, device: ./missing",
            "missing: No such file or directory",
        ),
        (
            "type: tmpfs, device: tmpfs, o: 'size=1m,colour=red'",
            "tmpfs refuses the option \"colour=red\"",
        ),
        ("type: nosuchfs, device: x", "no file system \"nosuchfs\""),
        (
            "type: nfs, device: ':/x', o: 'addr=no.such.host.invalid'",
            "no.such.host.invalid",
        ),
    ] {
        world.file("compose.yaml", &stack(options));
        let run = world.hoist(&["up", "-d"]);
        assert!(
            run.code != 0 && run.stderr.contains(words),
            "{options}: {run:?}"
        );
        assert!(
            run.stderr.contains("volume v")
                || run.stderr.contains("volumes.v")
                || run.stderr.contains("wrong_v"),
            "{run:?}"
        );
        world.hoist(&["down", "-v", "-t", "0"]);
    }
    world.file("compose.yaml", &stack("type: tmpfs, device: tmpfs"));
    world.finish();
}

#[test]
fn a_volume_that_was_made_before_is_external() {
    let Some(world) = World::new("volumes that are external") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        &format!(
            "name: outer\nservices:\n  a: {{ {IDLE}, volumes: ['kept:/kept'] }}\nvolumes: {{ kept: {{ external: true, name: e2e-kept }} }}\n"
        ),
    );
    let missing = world.hoist(&["up", "-d"]);
    assert!(
        missing.code != 0 && missing.stderr.contains("hoist volume create e2e-kept"),
        "{missing:?}"
    );
    let made = world.ok(&[
        "volume",
        "create",
        "--label",
        "a=b",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=2m",
        "e2e-kept",
    ]);
    assert_eq!(made, "e2e-kept\n");
    assert_eq!(
        world.ok(&["volume", "create", "e2e-kept"]),
        "e2e-kept\n",
        "a second time changes nothing"
    );
    let seen = world.ok(&["volume", "inspect", "e2e-kept"]);
    assert!(
        seen.contains("\"a\": \"b\"") && seen.contains("\"o\": \"size=2m\""),
        "{seen}"
    );
    world.ok(&["up", "-d"]);
    assert_eq!(
        inside(
            &world,
            "a",
            "df -k /kept | tail -1 | tr -s ' ' | cut -d' ' -f2"
        ),
        "2048"
    );
    let held = world.hoist(&["volume", "rm", "e2e-kept"]);
    assert!(
        held.code != 0 && held.stderr.contains("in use by container outer-a-1"),
        "{held:?}"
    );
    world.ok(&["down", "-v"]);
    assert!(
        world.ok(&["volume", "ls", "-q"]).contains("e2e-kept"),
        "down leaves what it did not make"
    );
    assert_eq!(world.ok(&["volume", "rm", "e2e-kept"]), "e2e-kept\n");
    for (words, text) in [
        (
            &["volume", "create", "-d", "cloud", "x"][..],
            "driver \"cloud\" not found",
        ),
        (
            &["volume", "create", "-o", "size=1", "x"],
            "`size` is not an option",
        ),
        (&["volume", "create", "a/b"], "a name must begin with"),
    ] {
        let run = world.hoist(words);
        assert!(run.code != 0 && run.stderr.contains(text), "{run:?}");
    }
    let drawn = world.ok(&["volume", "create"]);
    world.ok(&["volume", "rm", drawn.trim()]);
    world.finish();
}

#[test]
fn a_container_that_swaps_folders_for_links_gets_nobody_the_host() {
    let Some(world) = World::new("swapped folders") else {
        return;
    };
    world.file("shared/sub/text", "ours\n");
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: swapped
services:
  evil: {{ {IDLE}, volumes: ['./shared:/shared', 'data:/data'] }}
  victim:
    {{ {IDLE}, profiles: [later], volumes: [ './shared/sub:/bound',
        {{ type: volume, source: data, target: /part, volume: {{ subpath: sub }} }} ] }}
  reader: {{ {IDLE}, profiles: [secret], secrets: [text, folder] }}
volumes: {{ data: }}
secrets: {{ text: {{ file: ./shared/sub/text }}, folder: {{ file: ./shared/sub }} }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    inside(
        &world,
        "evil",
        "mkdir /data/sub; echo ours >/data/sub/text; ln -s / /data/link; ln -s / /shared/link",
    );
    world.ok(&["--profile", "later", "up", "-d"]);
    assert_eq!(
        inside(&world, "victim", "cat /bound/text /part/text"),
        "ours\nours"
    );
    world.ok(&["--profile", "secret", "up", "-d", "reader"]);
    assert_eq!(
        inside(
            &world,
            "reader",
            "cat /run/secrets/text /run/secrets/folder/text"
        ),
        "ours\nours"
    );
    inside(
        &world,
        "evil",
        "cd /shared && mv sub kept && ln -s /etc sub",
    );
    let run = world.hoist(&[
        "--profile",
        "secret",
        "up",
        "-d",
        "--force-recreate",
        "--no-deps",
        "reader",
    ]);
    assert!(
        run.code != 0
            && !world
                .hoist(&["exec", "-T", "reader", "ls", "/run/secrets/folder"])
                .stdout
                .contains("passwd"),
        "{run:?}"
    );
    inside(&world, "evil", "cd /shared && rm sub && mv kept sub");
    for folder in ["data", "shared"] {
        inside(
            &world,
            "evil",
            &format!("cd /{folder} && mv sub kept && mv link sub"),
        );
        let run = world.hoist(&[
            "--profile",
            "later",
            "up",
            "-d",
            "--force-recreate",
            "--no-deps",
            "victim",
        ]);
        if run.code == 0 {
            assert_eq!(
                inside(
                    &world,
                    "victim",
                    "ls -d /part/proc /bound/proc 2>/dev/null | wc -l"
                ),
                "0",
                "{folder}"
            );
        } else {
            assert!(
                run.stderr
                    .contains("container swapped-evil-1 can write there"),
                "{run:?}"
            );
        }
        inside(
            &world,
            "evil",
            &format!("cd /{folder} && mv sub link && mv kept sub"),
        );
    }
    world.ok(&["--profile", "*", "down", "-v", "-t", "0"]);
    world.finish();
}

#[test]
fn a_container_has_the_volumes_of_others() {
    let Some(world) = World::new("volumes_from") else {
        return;
    };
    world.file("host/text", "from the host\n");
    world.file("own/text", "its own\n");
    world.busybox().file(
        "compose.yaml",
        &format!(
            r#"
name: taken
services:
  owner: {{ {IDLE}, container_name: the-owner, volumes: ['./host:/host', 'named:/named', '/anonymous', './host:/over'], tmpfs: [/memory] }}
  reader: {{ {IDLE}, volumes_from: ['owner:ro'], volumes: ['./own:/over'] }}
  writer: {{ {IDLE}, volumes_from: ['container:the-owner'], depends_on: [owner] }}
volumes: {{ named: }}
"#
        ),
    );
    world.ok(&["up", "-d"]);
    inside(
        &world,
        "writer",
        "echo written | tee /named/x >/anonymous/x; echo more >/host/more",
    );
    assert_eq!(
        inside(&world, "owner", "cat /named/x /anonymous/x /host/more"),
        "written\nwritten\nmore"
    );
    assert_eq!(
        inside(&world, "reader", "cat /anonymous/x /host/text /over/text"),
        "written\nfrom the host\nits own"
    );
    assert_eq!(
        inside(
            &world,
            "reader",
            "touch /named/y /anonymous/y /host/y 2>&1 | grep -c Read-only"
        ),
        "3"
    );
    assert_eq!(
        inside(&world, "reader", "test -e /memory || echo none"),
        "none"
    );
    let alone = world.hoist(&[
        "run",
        "--rm",
        "--no-deps",
        "-T",
        "writer",
        "cat",
        "/named/x",
    ]);
    assert_eq!(
        (alone.code, alone.stdout.as_str()),
        (0, "written\n"),
        "{alone:?}"
    );
    world.ok(&["down", "-v", "-t", "0"]);
    let missing = world.hoist(&["up", "-d", "--no-deps", "writer"]);
    assert!(
        missing.code != 0
            && missing
                .stderr
                .contains("no container \"the-owner\" to take volumes from"),
        "{missing:?}"
    );
    world.finish();
}
