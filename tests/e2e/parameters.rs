//! Query parameters of docker's API: each acts, or is refused by name.

use serde_json::{Value, json};

use crate::api::{answer, escape, http};
use crate::distribution::Layer;
use crate::world::World;

const STACK: &str = r#"
name: asked
services:
  a:
    image: busybox
    command: [sh, -c, "echo before; trap 'echo told; exit 4' USR2; while :; do sleep 0.1; done"]
    user: "1234:4321"
    stop_grace_period: 0s
    volumes: [data:/tmp/data/volume]
volumes: { data: {} }
"#;

fn get(world: &World, path: &str) -> Value {
    let (status, body) = answer(world, &http("GET", path, ""));
    assert_eq!(status, 200, "{path}: {body}");
    let start = body.find(['[', '{']).unwrap_or(0);
    serde_json::Deserializer::from_str(&body[start..])
        .into_iter()
        .next()
        .expect("JSON")
        .expect("JSON")
}

/// A tar's bytes as the body.
fn put(world: &World, path: &str, layer: Layer) -> (u16, String) {
    let tar = layer.tar();
    let mut request = format!(
        "PUT {path} HTTP/1.1\r\nHost: hoist\r\nConnection: close\r\nContent-Type: application/x-tar\r\n\
         Content-Length: {}\r\n\r\n",
        tar.len()
    )
    .into_bytes();
    request.extend(tar);
    answer(world, &request)
}

#[test]
fn parameters_act_or_are_refused() {
    let Some(world) = World::new("parameters act or are refused") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    what_cannot_be_done_is_refused(&world);
    disk_usage_is_of_what_is_asked_for(&world);
    top_is_ps(&world);
    archives_keep_mounts_and_give_owners(&world);
    a_log_comes_before_what_is_attached(&world);
    let (status, body) = answer(
        &world,
        &http("POST", "/containers/asked-a-1/restart?signal=bogus", ""),
    );
    assert!(
        status == 400 && body.contains("invalid signal"),
        "{status} {body}"
    );
    let (status, body) = answer(
        &world,
        &http("POST", "/containers/asked-a-1/restart?signal=USR2&t=30", ""),
    );
    assert_eq!(status, 204, "{body}");
    assert!(
        world.ok(&["logs", "a"]).contains("told"),
        "it ended by the signal of the request"
    );
    world.finish();
}

fn what_cannot_be_done_is_refused(world: &World) {
    let refused = [
        (
            "POST",
            "/containers/asked-a-1/start?detachKeys=ctrl-x",
            "detachKeys",
        ),
        (
            "POST",
            "/containers/asked-a-1/attach?stdout=1&stream=0&detachKeys=ctrl-x",
            "detachKeys",
        ),
        (
            "GET",
            "/containers/asked-a-1/logs?stdout=1&details=1",
            "details",
        ),
        (
            "GET",
            "/images/get?names=busybox&platform=linux/amd64",
            "platform",
        ),
        (
            "GET",
            "/images/busybox/get?platform=linux/amd64",
            "platform",
        ),
        (
            "POST",
            "/images/busybox/push?platform=linux/amd64",
            "platform",
        ),
        (
            "DELETE",
            "/images/busybox?platforms=linux/amd64",
            "platforms",
        ),
        ("POST", "/images/load?platform=linux/amd64", "platform"),
        ("POST", "/build/prune?keep-storage=1000", "keep-storage"),
        ("GET", "/system/df?type=bogus", "bogus"),
        ("GET", "/containers/asked-a-1/top?ps_args=-eL", "-eL"),
    ];
    for (method, path, word) in refused {
        let (status, body) = answer(world, &http(method, path, ""));
        assert!(
            status == 400 && body.contains(word),
            "{method} {path}: {status} {body}"
        );
    }
    let (status, body) = answer(
        world,
        &http("POST", "/commit?container=asked-a-1", "{\"Cmd\":[\"x\"]}"),
    );
    assert!(status == 400 && body.contains("Cmd"), "{status} {body}");
    let exec = "{\"Cmd\":[\"true\"],\"DetachKeys\":\"ctrl-x\"}";
    let (status, body) = answer(world, &http("POST", "/containers/asked-a-1/exec", exec));
    assert!(
        status == 400 && body.contains("DetachKeys"),
        "{status} {body}"
    );
    assert_eq!(get(world, "/images/json")[0]["SharedSize"], -1);
    assert_ne!(
        get(world, "/images/json?shared-size=1")[0]["SharedSize"],
        -1
    );
}

fn disk_usage_is_of_what_is_asked_for(world: &World) {
    let all = get(world, "/system/df");
    let lists = ["Images", "Containers", "Volumes", "BuildCache"];
    assert!(lists.iter().all(|list| all[*list].is_array()), "{all}");
    for (kind, of) in [
        ("image", "Images"),
        ("container", "Containers"),
        ("volume", "Volumes"),
        ("build-cache", "BuildCache"),
    ] {
        let some = get(world, &format!("/system/df?type={kind}"));
        for list in lists {
            assert_eq!(some[list].is_array(), list == of, "{kind}: {list}: {some}");
        }
    }
    let both = get(world, "/system/df?type=image&type=volume");
    assert!(
        both["Images"][0].is_object()
            && both["Volumes"][0].is_object()
            && both["Containers"].is_null(),
        "{both}"
    );
}

fn top_is_ps(world: &World) {
    let top = |arguments: &str| {
        get(
            world,
            &format!("/containers/asked-a-1/top?ps_args={}", escape(arguments)),
        )
    };
    assert_eq!(top("")["Titles"][0], "UID");
    let some = top("-o pid,ruid,comm");
    assert_eq!(some["Titles"], json!(["PID", "RUID", "COMMAND"]));
    assert_eq!(
        (&some["Processes"][0][1], &some["Processes"][0][2]),
        (&json!("1234"), &json!("sh"))
    );
    assert_eq!(top("aux")["Titles"][10], "COMMAND");
}

fn archives_keep_mounts_and_give_owners(world: &World) {
    let inside = |command: &str| world.ok(&["exec", "-T", "a", "sh", "-c", command]);
    world.ok(&[
        "exec",
        "-T",
        "-u",
        "0",
        "a",
        "sh",
        "-c",
        "echo kept >/tmp/data/volume/file; mkdir -p /tmp/plain/sub",
    ]);
    let archive = |parameters: &str| format!("/containers/asked-a-1/archive?path=/tmp{parameters}");
    let (status, body) = put(
        world,
        &archive(""),
        Layer::new().file("data", 0o644, b"instead"),
    );
    assert!(status == 400 && body.contains("mounted"), "{status} {body}");
    assert_eq!(inside("cat /tmp/data/volume/file"), "kept\n");
    let (status, body) = put(
        world,
        &archive("/data"),
        Layer::new().file("volume", 0o644, b"instead"),
    );
    assert!(status == 400, "{status} {body}");
    assert_eq!(inside("cat /tmp/data/volume/file"), "kept\n");
    // Without a mount below it, docker replaces a folder by a file.
    let (status, body) = put(
        world,
        &archive(""),
        Layer::new().file("plain", 0o644, b"instead"),
    );
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        inside("stat -c %u:%g /tmp/plain"),
        "0:0\n",
        "as the archive has it"
    );
    let (status, body) = put(
        world,
        &archive("&copyUIDGID=1"),
        Layer::new().file("own", 0o644, b"mine"),
    );
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        inside("stat -c %u:%g /tmp/own"),
        "1234:4321\n",
        "the container's user's"
    );
}

fn a_log_comes_before_what_is_attached(world: &World) {
    let attach = |parameters: &str| {
        answer(
            world,
            &http(
                "POST",
                &format!("/containers/asked-a-1/attach?stream=0&stdout=1{parameters}"),
                "",
            ),
        )
    };
    let (status, body) = attach("&logs=1");
    assert!(status == 200 && body.contains("before"), "{status} {body}");
    let (status, body) = attach("");
    assert!(status == 200 && !body.contains("before"), "{status} {body}");
}
