//! One name, several platforms: built, pushed, pulled, run.

use std::fs;
use std::process::Command;

use crate::distribution::{Registry, have, output};
use crate::world::{World, note};

/// Made on this machine for another one.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETPLATFORM\n\
    RUN echo \"for $TARGETPLATFORM\" >/what\nFROM scratch\nCOPY --from=make /what /what\n";

fn ids(world: &World, name: &str) -> Vec<String> {
    let listed = world.ok(&["image", "ls", "--format", "json", name]);
    let platform = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        value["Platform"].as_str().expect("a platform").to_owned()
    };
    let mut platforms: Vec<String> = listed.lines().map(platform).collect();
    platforms.sort();
    platforms
}

#[test]
fn an_image_for_several_platforms_is_pushed_whole_and_pulled_in_parts() {
    let claim = "several platforms";
    if !have(claim, &["docker-registry", "curl"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    world.busybox();
    let registry = Registry::plain(&world.project.join("registry"));
    let name = registry.name("team/app:1");
    world.file("app/Dockerfile", CROSS);
    world.file(
        "compose.yaml",
        &format!(
            "services:\n  web:\n    image: {name}\n    command: [/none]\n    \
             build: {{ context: app, platforms: [linux/amd64, linux/arm64] }}\n"
        ),
    );
    let both = ["linux/amd64", "linux/arm64"];
    world.ok(&["build"]);
    assert_eq!(ids(&world, &name), both);
    assert!(world.ok(&["image", "ls"]).contains("PLATFORM"));
    assert!(
        world
            .ok(&["image", "inspect", &name])
            .contains("\"Architecture\": \"amd64\"")
    );
    assert!(
        world
            .ok(&["image", "inspect", "--platform", "linux/arm64", &name])
            .contains("\"Architecture\": \"arm64\"")
    );
    let lacking = world.hoist(&["image", "inspect", "--platform", "linux/s390x", &name]);
    assert!(
        lacking
            .stderr
            .contains("is here for linux/amd64, linux/arm64, not for linux/s390x"),
        "{}",
        lacking.stderr
    );
    assert!(
        world
            .ok(&["history", "--platform", "linux/arm64", "--no-trunc", &name])
            .contains("COPY --from=make")
    );
    world.ok(&["push"]);

    world.ok(&["image", "save", "-o", "both.tar", &name]);
    world.ok(&["image", "rm", &name]);
    assert_eq!(ids(&world, &name), Vec::<String>::new());
    world.ok(&["image", "load", "-i", "both.tar"]);
    assert_eq!(ids(&world, &name), both);
    world.ok(&["image", "rm", &name]);

    world.ok(&["image", "pull", &name]);
    assert_eq!(ids(&world, &name), ["linux/amd64"]);
    let lacking = world.hoist(&["image", "pull", "--platform", "linux/s390x", &name]);
    assert!(
        lacking.stderr.contains("only for linux/amd64, linux/arm64"),
        "{}",
        lacking.stderr
    );
    world.ok(&["image", "pull", "--platform", "linux/arm64", &name]);
    assert_eq!(ids(&world, &name), both, "one beside the other");
    world.ok(&["image", "rm", &name]);
    world.ok(&["image", "pull", "--all-platforms", &name]);
    assert_eq!(ids(&world, &name), both);

    // A service takes that of its platform, also where that of this machine is there already.
    world.ok(&["image", "rm", &name]);
    world.ok(&["image", "pull", &name]);
    world.file(
        "compose.yaml",
        &format!(
            "services:\n  far: {{ image: {name}, command: [/none], platform: linux/arm64 }}\n"
        ),
    );
    world.ok(&["create"]);
    assert_eq!(ids(&world, &name), both);
    let used = world.ok(&["images", "--format", "json"]);
    let far = world.ok(&["image", "inspect", "--platform", "linux/arm64", &name]);
    let far: serde_json::Value = serde_json::from_str(&far).expect("JSON");
    let id = far[0]["Id"]
        .as_str()
        .expect("an id")
        .trim_start_matches("sha256:");
    assert!(used.contains(&id[..12]), "{id} is not in\n{used}");
    world.ok(&["down"]);
    world.finish();
}

#[test]
fn what_needs_an_emulator_that_is_not_there_is_refused_at_once() {
    let claim = "no emulator";
    let Some(world) = World::new(claim) else {
        return;
    };
    world.file("app/Dockerfile", "FROM nowhere.invalid/base\nRUN make\n");
    let refused = world.hoist(&[
        "image",
        "build",
        "-t",
        "made",
        "--platform",
        "linux/amd64,linux/s390x",
        "app",
    ]);
    if refused.stderr.contains("nowhere.invalid/base:") {
        note(&format!("skipped: {claim}: one for s390x is registered"));
    } else {
        assert_ne!(refused.code, 0);
        for words in [
            "Dockerfile:2:1",
            "programs for linux/s390x cannot be run here",
            "apt install qemu-user-static",
        ] {
            assert!(
                refused.stderr.contains(words),
                "{words:?} is not in\n{}",
                refused.stderr
            );
        }
        assert!(
            !refused.stderr.contains("FROM nowhere.invalid/base:latest"),
            "nothing was begun: {}",
            refused.stderr
        );
    }
    world.finish();
}

/// A static busybox for arm64, and an emulator that runs it: `HOIST_ARM64_BUSYBOX` names the first, the kernel has the
/// second (qemu-user-static with binfmt-support registers it).
fn arm64_busybox(claim: &str) -> Option<Vec<u8>> {
    let path = std::env::var_os("HOIST_ARM64_BUSYBOX");
    let Some(path) = path else {
        note(&format!(
            "skipped: {claim}: HOIST_ARM64_BUSYBOX does not name a static busybox for arm64"
        ));
        return None;
    };
    match Command::new(&path).arg("true").status() {
        Ok(status) if status.success() => Some(fs::read(&path).expect("read busybox")),
        _ => {
            note(&format!(
                "skipped: {claim}: no emulator for arm64 is registered"
            ));
            None
        }
    }
}

#[test]
fn programs_of_another_machine_run_in_builds_and_containers() {
    let claim = "programs for arm64";
    let Some(busybox) = arm64_busybox(claim) else {
        return;
    };
    let Some(world) = World::new(claim) else {
        return;
    };
    world.busybox();
    fs::create_dir_all(world.project.join("app")).expect("make a folder");
    fs::write(world.project.join("app/busybox-arm64"), busybox).expect("write busybox");
    fs::copy("/bin/busybox", world.project.join("app/busybox-amd64")).expect("copy busybox");
    output(
        Command::new("chmod")
            .arg("755")
            .arg(world.project.join("app/busybox-arm64")),
    );
    world.file(
        "app/Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY busybox-$TARGETARCH /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \
         \"/bin\"]\nRUN uname -m >/machine\nCMD [\"cat\", \"/machine\"]\n",
    );
    world.ok(&[
        "image",
        "build",
        "-q",
        "-t",
        "made:1",
        "--platform",
        "linux/amd64,linux/arm64",
        "app",
    ]);
    world.file(
        "compose.yaml",
        "services:\n  near: { image: made:1 }\n  far: { image: made:1, platform: linux/arm64 }\n  \
         live: { image: made:1, platform: linux/arm64, command: [uname, -m] }\n",
    );
    world.ok(&["up", "--no-build", "--pull", "never", "-d"]);
    world.ok(&["wait", "near", "far", "live"]);
    for (service, machine) in [
        ("near", "x86_64\n"),
        ("far", "aarch64\n"),
        ("live", "aarch64\n"),
    ] {
        assert_eq!(
            world.ok(&["logs", "--no-log-prefix", service]),
            machine,
            "{service}"
        );
    }
    world.ok(&["down"]);
    world.finish();
}
