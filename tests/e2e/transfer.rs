//! What is stored, taken elsewhere: archives that docker and podman load, stacks in one file, images of containers; and
//! a store that is sound whatever was killed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use crate::distribution::{Image, Layer, Registry, have};
use crate::elsewhere::Elsewhere;
use crate::peers::{self, Network, Peers};
use crate::world::{World, eventually};

const STACK: &str = r#"
name: shop
services:
  db:
    image: busybox
    command: [sh, -c, "test -e /data/file || /fill; echo ready >/ready; while true; do date >/data/now; sleep 0.01; done"]
    healthcheck: { test: [CMD, test, -e, /ready], interval: 50ms, retries: 100 }
    volumes: ["data:/data"]
    configs: [{ source: fill, target: /fill, mode: 0555 }]
    stop_grace_period: 0s
  web:
    build: app
    pull_policy: build
    command: [sh, -c, "cat /made /run/secrets/password; echo $$PRICE; sleep 1000"]
    environment: { PRICE: "5$$" }
    secrets: [password]
    stop_grace_period: 0s
volumes: { data: { labels: { kind: precious } } }
configs: { fill: { file: ./fill.sh } }
secrets: { password: { file: ./password } }
"#;

const FILL: &str = "#!/bin/sh\necho content >/data/file\nchown 70:80 /data/file\nchmod 4751 /data/file\nln /data/file /data/second\n\
                    ln -s file /data/link\nmkfifo /data/pipe\ntruncate -s 1G /data/holes\nsync\n";

/// Nothing of a bundle is there.
#[track_caller]
fn is_empty(there: &Elsewhere<'_>, why: &str) {
    assert_eq!(there.ok(&there.folder, &["image", "ls", "-q"]), "", "{why}");
    assert_eq!(
        there.ok(&there.folder, &["volume", "ls", "-q"]),
        "",
        "{why}"
    );
    assert!(!there.folder.join("shop").exists(), "{why}");
}

fn shop(world: &World) {
    world.busybox().file("compose.yaml", STACK);
    world.file("app/Dockerfile", "FROM busybox\nRUN echo made >/made\n");
    world.file("password", "geheim\n");
    world.file("fill.sh", FILL);
    world.ok(&["up", "-d", "--wait"]);
}

/// Mode, owner, links, size and holes of a volume's files.
fn listing(data_root: &Path) -> Vec<String> {
    let folder = data_root.join("volumes/shop_data/_data");
    let mut lines: Vec<String> = fs::read_dir(&folder)
        .expect("the volume")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.ends_with("now"))
        .map(|path| {
            let meta = fs::symlink_metadata(&path).expect("look at a file");
            let holes = meta.is_file() && meta.blocks() * 512 < meta.len();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let (mode, nlink) = (meta.permissions().mode(), meta.nlink());
            format!(
                "{name} {mode:o} {}:{} {nlink} {} {} {holes}",
                meta.uid(),
                meta.gid(),
                meta.len(),
                meta.mtime_nsec()
            )
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_stack_moves_in_one_file_and_needs_no_registry() {
    let Some(world) = World::new("a stack in a bundle") else {
        return;
    };
    shop(&world);
    let refused = world.hoist(&["bundle", "save", "-o", "shop.bundle"]);
    assert!(
        refused.code == 1
            && refused.stderr.contains("password")
            && refused.stderr.contains("--with-secrets")
    );
    assert!(!world.project.join("shop.bundle").exists(), "no half file");
    let saved = world.hoist(&["bundle", "save", "-o", "shop.bundle", "--with-secrets"]);
    assert_eq!(saved.code, 0, "{}", saved.stderr);
    assert!(
        saved.stderr.contains("paused shop-db-1") && saved.stderr.contains("shop-db-1 go on"),
        "{}",
        saved.stderr
    );
    assert_eq!(world.field("db", "State"), "running");
    let before = listing(&world.data_root);
    assert!(
        before
            .iter()
            .any(|line| line.starts_with("holes") && line.ends_with("true")),
        "{before:?}"
    );
    world.ok(&["down", "-t", "0"]);

    let bundle = world.project.join("shop.bundle");
    let shown = world.ok(&["bundle", "inspect", "shop.bundle"]);
    for word in [
        "shop_data",
        "busybox",
        "shop-web",
        "secrets/password",
        "configs/fill",
    ] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    let there = Elsewhere::new(&world, "elsewhere");
    let path = bundle.display().to_string();
    let folder = &there.folder;
    tampered_bundles_change_nothing(&there, &bundle);

    there.ok(folder, &["bundle", "load", &path]);
    assert_eq!(
        listing(&there.instance.data_root),
        before,
        "every file is what it was"
    );
    let stack = folder.join("shop");
    let secret = fs::metadata(stack.join("secrets/password"))
        .expect("the secret")
        .permissions()
        .mode();
    assert_eq!(secret & 0o777, 0o600);
    // Under a host without a way out there is nobody to ask for an image.
    there.ok(&stack, &["up", "-d", "--wait"]);
    let logs = there.ok(&stack, &["logs", "--no-log-prefix", "web"]);
    assert!(
        logs.contains("made") && logs.contains("geheim") && logs.contains("5$"),
        "{logs}"
    );
    let label = there.ok(&stack, &["volume", "inspect", "shop_data"]);
    assert!(label.contains("precious"), "{label}");
    let check = there.ok(&stack, &["system", "check"]);
    assert!(check.contains("sound"), "{check}");
    let again = there.hoist(folder, &["bundle", "load", "-d", "other", &path]);
    assert!(
        again.code == 1 && again.stderr.contains("shop_data"),
        "{}",
        again.stderr
    );
    there.ok(&stack, &["down", "-v", "-t", "0"]);
    drop(there);
    world.finish();
}

/// Cut anywhere, or with one bit of any blob turned, a bundle is refused.
fn tampered_bundles_change_nothing(there: &Elsewhere<'_>, bundle: &Path) {
    let bytes = fs::read(bundle).expect("read the bundle");
    let broken = there.folder.join("broken.bundle");
    let path = broken.display().to_string();
    for part in [1, 3, 7, 9] {
        fs::write(&broken, &bytes[..bytes.len() * part / 10]).expect("write a cut bundle");
        let run = there.hoist(&there.folder, &["bundle", "load", &path]);
        assert_eq!(run.code, 1, "cut at {part}/10: {}", run.stdout);
        is_empty(there, &format!("cut at {part}/10"));
    }
    for body in blob_bodies(&bytes) {
        let mut turned = bytes.clone();
        let middle = body.start + body.len() / 2;
        turned[middle] ^= 1;
        fs::write(&broken, turned).expect("write a tampered bundle");
        let run = there.hoist(&there.folder, &["bundle", "load", &path]);
        assert_eq!(run.code, 1, "a bit turned in {body:?}: {}", run.stdout);
        is_empty(there, &format!("a bit turned in {body:?}"));
    }
    fs::remove_file(&broken).expect("remove the broken bundle");
}

/// Where the contents of blobs are in a tar.
fn blob_bodies(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut tar = tar::Archive::new(bytes);
    let entries = tar
        .entries()
        .expect("a tar")
        .map(|entry| entry.expect("an entry"));
    let blobs = entries.filter(|entry| {
        entry.path().is_ok_and(|path| path.starts_with("blobs")) && entry.size() > 0
    });
    let range = |start: u64, size: u64| {
        usize::try_from(start).expect("small")..usize::try_from(start + size).expect("small")
    };
    blobs
        .map(|entry| range(entry.raw_file_position(), entry.size()))
        .collect()
}

#[test]
fn a_volume_goes_out_and_comes_back() {
    let Some(world) = World::new("volume export") else {
        return;
    };
    shop(&world);
    world.ok(&["volume", "export", "shop_data", "-o", "data.tar"]);
    let used = world.hoist(&["volume", "import", "shop_data", "data.tar"]);
    assert!(
        used.code == 1 && used.stderr.contains("shop-db-1"),
        "{}",
        used.stderr
    );
    world.ok(&["stop", "-t", "0"]);
    let before = listing(&world.data_root);
    let full = world.hoist(&["volume", "import", "shop_data", "data.tar"]);
    assert!(
        full.code == 1 && full.stderr.contains("--replace"),
        "{}",
        full.stderr
    );
    world.ok(&["volume", "import", "--replace", "shop_data", "data.tar"]);
    assert_eq!(listing(&world.data_root), before);
    let whole = fs::read(world.project.join("data.tar")).expect("read the archive");
    fs::write(world.project.join("cut.tar"), &whole[..whole.len() / 2]).expect("cut it");
    assert_eq!(
        world
            .hoist(&["volume", "import", "--replace", "shop_data", "cut.tar"])
            .code,
        1
    );
    assert_eq!(
        listing(&world.data_root),
        before,
        "a cut archive changes nothing"
    );
    world.ok(&["volume", "import", "copy", "data.tar"]);
    assert!(world.data_root.join("volumes/copy/_data/file").exists());
    world.ok(&["volume", "rm", "copy"]);
    world.finish();
}

#[test]
fn images_are_made_of_containers_and_archives() {
    let Some(world) = World::new("commit, export, import, prune") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "services:\n  a:\n    image: busybox\n    command: [sh, -c, \"echo written >/file; rm /bin/vi; sleep 1000\"]\n    \
         environment: {B: \"2\"}\n    stop_grace_period: 0s\n    \
         healthcheck: {test: [CMD, test, '!', -e, /bin/vi], interval: 50ms, retries: 100}\n",
    );
    world.ok(&["up", "-d", "--wait"]);
    let change = "CMD [\"sh\", \"-c\", \"cat /file; ls /bin/vi 2>&1; echo $B\"]";
    world.ok(&[
        "commit",
        "-m",
        "a note",
        "-a",
        "me",
        "-c",
        change,
        "-c",
        "LABEL kind=snapshot",
        "a",
        "snapshot:1",
    ]);
    let history = world.ok(&["history", "--format", "json", "--no-trunc", "snapshot:1"]);
    let top: Value = serde_json::from_str(history.lines().next().expect("a line")).expect("JSON");
    assert_eq!(top["Comment"], "a note");
    assert_eq!(
        history.lines().count(),
        world.ok(&["history", "-q", "busybox"]).lines().count() + 1
    );
    world.ok(&["export", "a", "-o", "files.tar"]);
    world.ok(&[
        "import",
        "-c",
        "CMD [\"cat\", \"/file\"]",
        "-m",
        "flat",
        "files.tar",
        "flat:1",
    ]);
    assert_eq!(
        world.ok(&["history", "-q", "flat:1"]).lines().count(),
        1,
        "one layer"
    );
    world.ok(&["down", "-t", "0"]);
    world.file(
        "compose.yaml",
        "services:\n  s: {image: \"snapshot:1\"}\n  f: {image: \"flat:1\"}\n",
    );
    world.hoist(&["up"]);
    let logs = world.ok(&["logs", "--no-log-prefix", "s"]);
    assert!(
        logs.contains("written") && logs.contains("/bin/vi: No such file") && logs.contains('2'),
        "{logs}"
    );
    assert_eq!(
        world.ok(&["logs", "--no-log-prefix", "f"]).trim(),
        "written"
    );

    let usage: Value =
        serde_json::from_str(&world.ok(&["system", "df", "-v", "--format", "json"])).expect("JSON");
    assert_eq!(usage["Images"].as_array().map(Vec::len), Some(3));
    assert!(
        usage["LayersSize"]
            .as_u64()
            .is_some_and(|size| size > 1_000_000),
        "{usage}"
    );
    let pruned = world.ok(&["container", "prune", "-f"]);
    assert_eq!(
        pruned.lines().filter(|line| line.len() == 64).count(),
        2,
        "{pruned}"
    );
    let none = world.ok(&["image", "prune", "-af", "--filter", "until=1h"]);
    assert_eq!(none.trim(), "Total reclaimed space: 0B");
    let pruned = world.ok(&["image", "prune", "-af", "--filter", "label=kind=snapshot"]);
    assert!(
        pruned.contains("untagged: snapshot:1") && !pruned.contains("busybox"),
        "{pruned}"
    );
    world.ok(&["system", "prune", "-af", "--volumes"]);
    assert_eq!(world.ok(&["image", "ls", "-q"]), "");
    assert!(
        world
            .ok(&["system", "check"])
            .contains("0 images, 0 layers, 0 blobs")
    );
    world.finish();
}

#[test]
fn a_stack_pinned_to_an_index_moves_without_its_registry() {
    let claim = "a bundle of a pinned image";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let mut registry = Registry::plain(&world.project.join("registry"));
    let index = registry.push_index(
        "app",
        "1",
        &Image::busybox().layer(Layer::new().file("note", 0o644, b"pinned\n").tar()),
    );
    let name = registry.name(&format!("app@{index}"));
    let service = "command: [sh, -c, \"cat /note; exec sleep 1000\"], stop_grace_period: 0s";
    world.file(
        "compose.yaml",
        &format!("name: shop\nservices:\n  web: {{ image: \"{name}\", {service} }}\n"),
    );
    world.ok(&["pull"]);
    registry.stop();
    world.ok(&["bundle", "save", "-o", "shop.bundle"]);
    let there = Elsewhere::new(&world, "elsewhere");
    there.ok(
        &there.folder,
        &[
            "bundle",
            "load",
            &world.project.join("shop.bundle").display().to_string(),
        ],
    );
    let stack = there.folder.join("shop");
    there.ok(&stack, &["up", "-d"]);
    eventually("the pinned image speaks", || {
        there
            .ok(&stack, &["logs", "--no-log-prefix", "web"])
            .contains("pinned")
    });
    assert!(there.ok(&stack, &["system", "check"]).contains("sound"));
    there.ok(&stack, &["down", "-t", "0"]);
    drop(there);
    world.finish();
}

#[test]
fn what_is_killed_leaves_a_sound_store() {
    let Some(world) = World::new("killed commands") else {
        return;
    };
    shop(&world);
    world.ok(&["save", "busybox", "shop-web", "-o", "images.tar"]);
    world.ok(&["bundle", "save", "--with-secrets", "-o", "shop.bundle"]);
    let commands: [&[&str]; 5] = [
        &["load", "-i", "images.tar"],
        &["commit", "db", "snapshot:1"],
        &["volume", "import", "copy", "vol.tar"],
        &["bundle", "save", "--with-secrets", "-o", "again.bundle"],
        &["image", "prune", "-af"],
    ];
    world.ok(&["volume", "export", "shop_data", "-o", "vol.tar"]);
    for round in 0..4_u32 {
        for command in commands {
            let mut child = world.spawn(command);
            // Earlier and later in its work; which step is hit is chance.
            for _ in 0..round * 400 {
                std::thread::yield_now();
            }
            world.kill_engine();
            let _ = child.wait();
            let check = world.hoist(&["system", "check"]);
            assert_eq!(
                check.code, 0,
                "after {command:?}: {}{}",
                check.stdout, check.stderr
            );
            assert!(
                check.stdout.contains(": sound"),
                "after {command:?}: {}",
                check.stdout
            );
            eventually("what was paused goes on", || {
                world.field("db", "State") == "running"
            });
        }
    }
    let left = |folder: &str| fs::read_dir(world.data_root.join(folder)).map_or(0, Iterator::count);
    assert_eq!(
        (left("image/tmp"), left("image/trash"), left("staging")),
        (0, 0, 0)
    );
    world.hoist(&["volume", "rm", "-f", "copy"]);
    world.finish();
}

#[test]
fn docker_and_podman_load_what_was_saved() {
    let claim = "docker and podman load saved images";
    let (true, Some(root)) = (have(claim, &["unshare"]), peers::root(claim)) else {
        return;
    };
    let Some(world) = World::new(claim) else {
        return;
    };
    world.busybox();
    world.file(
        "app/Dockerfile",
        "FROM busybox\nRUN echo made >/made && rm /bin/vi\nCMD [\"sh\", \"-c\", \"cat /made; ls /bin/vi\"]\n",
    );
    world.ok(&["image", "build", "-q", "-t", "saved:1", "app"]);
    world.ok(&["save", "saved:1", "busybox", "-o", "saved.tar"]);
    let id = |name: &str| {
        world
            .ok(&["image", "ls", "-q", "--no-trunc", name])
            .trim()
            .to_owned()
    };
    let (saved, busybox) = (id("saved"), id("busybox"));
    let peers = Peers::start(&root, &world.project.join("peers"), Network::Own);
    fs::copy(
        world.project.join("saved.tar"),
        peers.share().join("saved.tar"),
    )
    .expect("share the archive");
    let look = [
        "saved:1",
        "sh",
        "-c",
        "cat /made; test ! -e /bin/vi && echo gone",
    ];
    peers.ok(&["podman", "load", "-q", "-i", "/mnt/saved.tar"]);
    let run = [
        "podman",
        "run",
        "--rm",
        "--network",
        "none",
        "--cgroups=disabled",
    ];
    assert_eq!(
        peers.ok(&[&run[..], &look].concat()),
        "made\ngone\n",
        "podman"
    );
    let of_podman = peers.ok(&[
        "podman", "image", "inspect", "--format", "{{.Id}}", "saved:1",
    ]);
    assert_eq!(format!("sha256:{}", of_podman.trim()), saved);
    peers.ok(&[
        "podman",
        "save",
        "-q",
        "-o",
        "/mnt/by-podman.tar",
        "saved:1",
    ]);
    peers.ok(&["docker", "load", "-q", "-i", "/mnt/saved.tar"]);
    let run = ["docker", "run", "--rm", "--network", "none"];
    assert_eq!(
        peers.ok(&[&run[..], &look].concat()),
        "made\ngone\n",
        "docker"
    );
    for (name, id) in [("saved:1", &saved), ("busybox", &busybox)] {
        assert_eq!(
            peers
                .ok(&["docker", "image", "inspect", "--format", "{{.Id}}", name])
                .trim(),
            id
        );
    }
    peers.ok(&["docker", "save", "-o", "/mnt/by-docker.tar", "saved:1"]);
    let shared = peers.share();
    drop(peers);
    // And back, under another store: what docker and podman save has the same id.
    world.ok(&["image", "rm", "saved:1"]);
    for archive in ["by-docker.tar", "by-podman.tar"] {
        world.ok(&[
            "load",
            "-i",
            shared.join(archive).to_str().expect("a path of letters"),
        ]);
        assert!(
            world
                .ok(&["image", "ls", "-q", "--no-trunc"])
                .contains(&saved),
            "{archive}"
        );
        world.ok(&["image", "rm", "-f", &saved]);
    }
    world.finish();
}
