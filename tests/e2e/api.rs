//! Docker's API as clients use and misuse it: filters apply or are refused, and client errors are never 5xx.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{World, eventually};

/// Status and body; of an answer that goes on, what came at once.
pub(crate) fn ask(world: &World, request: &[u8]) -> (u16, String) {
    let mut stream =
        UnixStream::connect(world.run_dir.join("hoist.sock")).expect("the engine listens");
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a limit");
    // It may answer before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parts(&bytes)
}

fn parts(answer: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(answer).into_owned();
    let status = text
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (status, body)
}

/// The same of an answer that has an end, however long it takes.
pub(crate) fn answer(world: &World, request: &[u8]) -> (u16, String) {
    let mut stream =
        UnixStream::connect(world.run_dir.join("hoist.sock")).expect("the engine listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a limit");
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    parts(&bytes)
}

pub(crate) fn http(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: hoist\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}");
        out
    })
}

fn filtered(path: &str, filters: &Value) -> String {
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}filters={}", escape(&filters.to_string()))
}

fn listed(world: &World, path: &str) -> Vec<Value> {
    let (status, body) = ask(world, &http("GET", path, ""));
    assert_eq!(status, 200, "{path}: {body}");
    // The answer is short enough to be one piece.
    let start = body.find(['[', '{']).unwrap_or(0);
    let value: Value = serde_json::Deserializer::from_str(&body[start..])
        .into_iter()
        .next()
        .expect("JSON")
        .expect("JSON");
    match value {
        Value::Array(list) => list,
        mut object => serde_json::from_value(object["Volumes"].take()).expect("volumes"),
    }
}

/// The services of the containers that a list has.
fn services(world: &World, path: &str) -> BTreeSet<String> {
    let service = |found: &Value| {
        found["Labels"]["com.docker.compose.service"]
            .as_str()
            .unwrap_or("?")
            .to_owned()
    };
    listed(world, path).iter().map(service).collect()
}

fn names(world: &World, path: &str, filters: &Value) -> BTreeSet<String> {
    let name = |found: &Value| found["Name"].as_str().unwrap_or("?").to_owned();
    listed(world, &filtered(path, filters))
        .iter()
        .map(name)
        .collect()
}

const STACK: &str = r#"
name: api
services:
  web:
    image: derived
    build: { dockerfile_inline: "FROM busybox\nRUN touch /own\n" }
    command: [sleep, "1000"]
    stop_grace_period: 0s
    ports: ["127.0.0.1::80", "127.0.0.1::53/udp"]
    expose: ["9000"]
    volumes: [data:/data]
    networks: [one]
    healthcheck: { test: [CMD, "true"], interval: 100ms }
    labels: { role: front }
  job: { image: busybox, command: [sh, -c, "exit 7"], networks: [two], volumes: [spare:/spare] }
  idle: { image: busybox, command: [sleep, "1000"], stop_grace_period: 0s, networks: [two] }
networks: { one: {}, two: {} }
volumes: { data: {}, spare: {} }
"#;

#[test]
fn filters_act_or_are_refused() {
    let Some(world) = World::new("filters act or are refused") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    eventually("all are as they should be", || {
        world.field("web", "Health") == "healthy" && world.field("job", "State") == "exited"
    });
    containers_are_chosen(&world);
    networks_and_volumes_are_chosen(&world);
    unknown_filters_are_refused(&world);
    world.finish();
}

fn containers_are_chosen(world: &World) {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let all = |filters: Value| services(world, &filtered("/containers/json?all=1", &filters));
    let everything = ["idle", "job", "web"];
    let cases: &[(Value, &[&str])] = &[
        (json!({}), &everything),
        (json!({ "ancestor": ["busybox"] }), &everything),
        (json!({ "ancestor": ["derived"] }), &["web"]),
        (json!({ "ancestor": ["nosuch"] }), &[]),
        (json!({ "exited": ["7"] }), &["job"]),
        (json!({ "exited": ["77"] }), &[]),
        (json!({ "health": ["healthy"] }), &["web"]),
        (json!({ "health": ["none"] }), &["idle", "job"]),
        (json!({ "health": ["unhealthy"] }), &[]),
        (json!({ "volume": ["api_data"] }), &["web"]),
        (json!({ "volume": ["/data"] }), &["web"]),
        (json!({ "volume": ["nosuch"] }), &[]),
        (json!({ "publish": ["80"] }), &["web"]),
        (json!({ "publish": ["50-60/udp"] }), &["web"]),
        (json!({ "publish": ["9000"] }), &[]),
        (json!({ "expose": ["9000"] }), &["web"]),
        (json!({ "expose": ["9001"] }), &[]),
        (json!({ "network": ["api_two"] }), &["idle", "job"]),
        (json!({ "name": ["^api-web-1$"] }), &["web"]),
        (json!({ "name": ["^/api-(web|job)-1$"] }), &["job", "web"]),
        (json!({ "name": ["^web"] }), &[]),
        (json!({ "status": ["exited", "running"] }), &everything),
        (json!({ "label": ["role=front"] }), &["web"]),
        (json!({ "label": ["role=back"] }), &[]),
        (json!({ "is-task": ["true"] }), &[]),
        (json!({ "is-task": ["false"] }), &everything),
    ];
    for (filters, wanted) in cases {
        assert_eq!(all(filters.clone()), set(wanted), "{filters}");
    }
    assert_eq!(services(world, "/containers/json"), set(&["idle", "web"]));
    assert_eq!(
        listed(world, "/containers/json?limit=2").len(),
        2,
        "those that have ended count"
    );
    let id = |service: &str| {
        let found = listed(
            world,
            &filtered("/containers/json?all=1", &json!({ "name": [service] })),
        );
        found[0]["Id"].as_str().expect("an id").to_owned()
    };
    assert_eq!(all(json!({ "id": [id("job")] })), set(&["job"]));
    // Newest first: what is before one, what is since one, and it itself are everything.
    for pivot in everything {
        let (before, since) = (
            all(json!({ "before": [id(pivot)] })),
            all(json!({ "since": [id(pivot)] })),
        );
        assert_eq!(
            before.len() + since.len(),
            2,
            "{pivot}: {before:?} {since:?}"
        );
        assert!(before.is_disjoint(&since) && !before.contains(pivot) && !since.contains(pivot));
    }
    let sized = listed(
        world,
        &filtered("/containers/json?size=1", &json!({ "name": ["web"] })),
    );
    assert!(
        sized[0]["SizeRootFs"]
            .as_u64()
            .is_some_and(|size| size > 100_000),
        "{sized:?}"
    );
    assert_eq!(listed(world, "/containers/json")[0]["SizeRw"], Value::Null);
}

fn networks_and_volumes_are_chosen(world: &World) {
    // Its volume stays, and is unused.
    world.ok(&["rm", "-f", "job"]);
    let of = |path: &str, filters: Value| names(world, path, &filters);
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let networks: &[(Value, &[&str])] = &[
        (json!({ "name": ["^api_one$"] }), &["api_one"]),
        (json!({ "type": ["custom"] }), &["api_one", "api_two"]),
        (json!({ "driver": ["overlay"] }), &[]),
        (json!({ "type": ["builtin"] }), &["bridge", "host", "none"]),
        (json!({ "driver": ["null"] }), &["none"]),
        (json!({}), &["api_one", "api_two", "bridge", "host", "none"]),
        (
            json!({ "driver": ["bridge"], "type": ["custom"] }),
            &["api_one", "api_two"],
        ),
        (json!({ "scope": ["swarm"] }), &[]),
        (json!({ "dangling": ["true"] }), &[]),
        (
            json!({ "dangling": ["false"], "type": ["custom"] }),
            &["api_one", "api_two"],
        ),
    ];
    for (filters, wanted) in networks {
        assert_eq!(of("/networks", filters.clone()), set(wanted), "{filters}");
    }
    predefined_networks_stay(world);
    let volumes: &[(Value, &[&str])] = &[
        (json!({ "dangling": ["true"] }), &["api_spare"]),
        (json!({ "dangling": ["false"] }), &["api_data"]),
        (json!({ "driver": ["nfs"] }), &[]),
        (json!({ "driver": ["local"] }), &["api_data", "api_spare"]),
        (json!({ "name": ["da.a$"] }), &["api_data"]),
    ];
    for (filters, wanted) in volumes {
        assert_eq!(of("/volumes", filters.clone()), set(wanted), "{filters}");
    }
}

fn predefined_networks_stay(world: &World) {
    for name in ["bridge", "host", "none"] {
        let (status, body) = ask(world, &http("GET", &format!("/networks/{name}"), ""));
        assert!(
            status == 200 && body.contains(&format!("\"Name\":\"{name}\"")),
            "{body}"
        );
        let (status, body) = ask(world, &http("DELETE", &format!("/networks/{name}"), ""));
        assert!(
            status == 403 && body.contains("pre-defined"),
            "{status} {body}"
        );
        let (status, body) = ask(
            world,
            &http("GET", &format!("/networks/{name}?scope=swarm"), ""),
        );
        assert_eq!(status, 404, "{body}");
    }
    let joining = json!({ "Container": "api-idle-1" }).to_string();
    assert_eq!(
        ask(world, &http("POST", "/networks/host/connect", &joining)).0,
        403
    );
    assert_eq!(ask(world, &http("DELETE", "/networks/nosuch", "")).0, 404);
}

fn unknown_filters_are_refused(world: &World) {
    let lists = [
        ("GET", "/containers/json?all=1"),
        ("GET", "/networks"),
        ("GET", "/volumes"),
        ("GET", "/images/json"),
        ("GET", "/events"),
        ("POST", "/containers/prune"),
        ("POST", "/images/prune"),
        ("POST", "/volumes/prune"),
        ("POST", "/networks/prune"),
        ("POST", "/build/prune"),
    ];
    for (method, path) in lists {
        for filters in [
            json!({ "bogus": ["1"] }),
            json!({ "bogus": { "1": true } }),
            json!({ "label": "x" }),
        ] {
            let (status, body) = ask(world, &http(method, &filtered(path, &filters), ""));
            assert_eq!(status, 400, "{method} {path} {filters}: {body}");
            assert!(body.contains("invalid filter"), "{body}");
        }
    }
    for filters in [
        json!({ "status": ["bogus"] }),
        json!({ "health": ["bogus"] }),
        json!({ "exited": ["x"] }),
        json!({ "publish": ["x"] }),
        json!({ "is-task": ["maybe"] }),
    ] {
        let (status, body) = ask(
            world,
            &http("GET", &filtered("/containers/json", &filters), ""),
        );
        assert_eq!(status, 400, "{filters}: {body}");
    }
    assert_eq!(
        services(world, "/containers/json?all=1").len(),
        2,
        "nothing was removed"
    );
}
