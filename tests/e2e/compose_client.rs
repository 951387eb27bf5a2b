//! docker compose, the real one, looks at and handles a stack that hoist has raised.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::peers;
use crate::world::{Run, World, eventually, note};

const PLUGIN: &str = "docker/cli-plugins/docker-compose";
const STACK: &str = r#"
name: shared
services:
  web:
    image: busybox
    command: [sh, -c, "echo up; exec sleep 1000"]
    stop_grace_period: 0s
    volumes: [data:/data]
    healthcheck: { test: [CMD, "true"], interval: 100ms }
  job: { image: busybox, command: [sh, -c, "exit 3"], scale: 2 }
volumes: { data: {} }
"#;

/// Of the host, or of the peers' root.
fn plugin(claim: &str) -> Option<PathBuf> {
    let folders = [
        "/usr/local/lib",
        "/usr/local/libexec",
        "/usr/lib",
        "/usr/libexec",
    ];
    let own = folders
        .map(|folder| Path::new(folder).join(PLUGIN))
        .into_iter()
        .find(|path| path.exists());
    let found = own.or_else(|| {
        let root = peers::root(claim)?;
        Some(root.join("usr/libexec").join(PLUGIN)).filter(|path| path.exists())
    });
    if found.is_none() {
        note(&format!("skipped: {claim}: needs docker compose"));
    }
    found
}

#[test]
fn docker_compose_finds_a_stack_of_hoists() {
    const CLAIM: &str = "docker compose finds a stack of hoist's";
    let Some(plugin) = plugin(CLAIM) else { return };
    let Some(world) = World::new(CLAIM) else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    let compose = |args: &[&str]| -> Run {
        Command::new(&plugin)
            .args(args)
            .current_dir(&world.project)
            .env_clear()
            .env("HOME", &world.project)
            .env(
                "DOCKER_HOST",
                format!("unix://{}", world.run_dir.join("hoist.sock").display()),
            )
            .output()
            .expect("run docker compose")
            .into()
    };
    let ok = |args: &[&str]| {
        let run = compose(args);
        assert_eq!(
            run.code,
            0,
            "docker compose {}: {}{}",
            args.join(" "),
            run.stdout,
            run.stderr
        );
        run.stdout
    };
    eventually("all are as they should be", || {
        let states: Vec<String> = world
            .ps()
            .iter()
            .map(|found| found["State"].to_string())
            .collect();
        world.field("web", "Health") == "healthy"
            && states
                .iter()
                .filter(|state| state.contains("exited"))
                .count()
                == 2
    });
    let stacks: Value = serde_json::from_str(&ok(&["ls", "-a", "--format", "json"])).expect("JSON");
    assert_eq!(
        (&stacks[0]["Name"], &stacks[0]["Status"]),
        (&"shared".into(), &"exited(2), running(1)".into())
    );
    let file = world.project.join("compose.yaml").display().to_string();
    assert_eq!(stacks[0]["ConfigFiles"], file.as_str());
    let rows = ok(&["ps", "-a", "--format", "json"]);
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).expect("a JSON line"))
        .collect();
    let web = rows
        .iter()
        .find(|row| row["Service"] == "web")
        .expect("its row");
    assert_eq!(
        (&web["Name"], &web["Health"], &web["State"]),
        (&"shared-web-1".into(), &"healthy".into(), &"running".into())
    );
    assert_eq!(
        rows.iter()
            .filter(|row| row["Service"] == "job" && row["ExitCode"] == 3)
            .count(),
        2,
        "{rows:?}"
    );
    let images = ok(&["images"]);
    assert!(
        images.contains("shared-web-1")
            && images.contains("busybox")
            && !images.contains("years ago"),
        "{images}"
    );
    assert!(ok(&["top"]).contains("sleep 1000"));
    assert!(ok(&["logs", "web"]).contains("up"));
    assert_eq!(ok(&["exec", "-T", "web", "echo", "hi"]), "hi\n");
    for verb in [
        &["stop", "-t", "0", "web"][..],
        &["start", "web"],
        &["restart", "-t", "0", "web"],
        &["pause", "web"],
    ] {
        ok(verb);
    }
    assert_eq!(world.field("web", "State"), "paused");
    // Containers, networks and volumes are found by their labels.
    ok(&["down", "-v", "-t", "0"]);
    assert_eq!(world.ps(), Vec::<Value>::new());
    assert_eq!(
        (
            world.ok(&["network", "ls", "-q"]),
            world.ok(&["volume", "ls", "-q"])
        ),
        (String::new(), String::new())
    );
    world.finish();
}
