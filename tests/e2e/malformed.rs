//! Requests that no client should send: each is answered as the client's fault, and none disturbs the engine.

use std::collections::BTreeMap;

use crate::api::{ask, http};
use crate::world::World;

/// In the suite; `HOIST_MALFORMED=100000` for a night.
const ROUNDS: usize = 600;

/// What may stand for a thing's name: things that are there, that are not, and that cannot be.
const NAMES: &[&str] = &[
    "odd-up-1",
    "odd-down-1",
    "busybox",
    "odd_default",
    "odd_data",
    "nosuch",
    "%2E%2E",
    "%2E%2E%2F%2E%2E%2Fetc",
    "%00",
    "%FF%FE",
    "%20",
    "a%0Ab",
    "%F0%9F%A6%80",
    "sha256:0000",
    "@sha256:xyz",
    ":",
    "UPPER/Case:bad",
    "-",
    "~",
    "%",
];

const REQUESTS: &[(&str, &str)] = &[
    ("GET", "/containers/json"),
    ("GET", "/containers/{}/json"),
    ("GET", "/containers/{}/top"),
    ("GET", "/containers/{}/logs"),
    ("GET", "/containers/{}/archive"),
    ("HEAD", "/containers/{}/archive"),
    ("PUT", "/containers/{}/archive"),
    ("GET", "/containers/{}/export"),
    ("GET", "/containers/{}/stats"),
    ("POST", "/containers/{}/start"),
    ("POST", "/containers/{}/stop"),
    ("POST", "/containers/{}/restart"),
    ("POST", "/containers/{}/kill"),
    ("POST", "/containers/{}/pause"),
    ("POST", "/containers/{}/unpause"),
    ("POST", "/containers/{}/wait"),
    ("POST", "/containers/{}/resize"),
    ("POST", "/containers/{}/attach"),
    ("POST", "/containers/{}/exec"),
    ("POST", "/containers/create"),
    ("DELETE", "/containers/{}"),
    ("POST", "/exec/{}/start"),
    ("POST", "/exec/{}/resize"),
    ("GET", "/exec/{}/json"),
    ("GET", "/images/json"),
    ("GET", "/images/{}/json"),
    ("GET", "/images/{}/history"),
    ("GET", "/images/{}/get"),
    ("GET", "/images/get"),
    ("POST", "/images/{}/tag"),
    ("POST", "/images/load"),
    ("POST", "/images/create"),
    ("DELETE", "/images/{}"),
    ("POST", "/commit"),
    ("POST", "/auth"),
    ("GET", "/distribution/{}/json"),
    ("GET", "/networks"),
    ("GET", "/networks/{}"),
    ("POST", "/networks/create"),
    ("POST", "/networks/{}/connect"),
    ("POST", "/networks/{}/disconnect"),
    ("DELETE", "/networks/{}"),
    ("GET", "/volumes"),
    ("GET", "/volumes/{}"),
    ("POST", "/volumes/create"),
    ("DELETE", "/volumes/{}"),
    ("GET", "/events"),
    ("GET", "/system/df"),
    ("POST", "/containers/prune"),
    ("POST", "/networks/prune"),
    ("POST", "/volumes/prune"),
    ("POST", "/build/prune"),
    ("POST", "/hoist/v1/plan"),
    ("POST", "/hoist/v1/apply"),
    ("POST", "/hoist/v1/check"),
    ("POST", "/hoist/v1/system/check"),
    ("GET", "/hoist/v1/stacks/{}"),
    ("GET", "/hoist/v1/stacks/{}/logs"),
    ("POST", "/hoist/v1/build/shells/{}/attach"),
    ("POST", "/hoist/v1/build/shells/{}/resize"),
    ("GET", "/hoist/v1/volumes/{}/export"),
    ("POST", "/hoist/v1/volumes/{}/import"),
    ("POST", "/hoist/v1/bundles/save"),
    ("POST", "/hoist/v1/bundles/load"),
];

const QUERIES: &[&str] = &[
    "",
    "t=abc",
    "t=-99999999999999999999",
    "t=1&t=2",
    "signal=BOGUS",
    "signal=",
    "signal=99999",
    "h=x&w=1",
    "h=99999999&w=1",
    "h=24",
    "h=24&w=80",
    "condition=bogus",
    "filters=%7B",
    "filters=%5B%5D",
    "filters=%7B%22bogus%22%3A%5B%221%22%5D%7D",
    "filters=%7B%22until%22%3A%5B%22never%22%5D%7D",
    "since=abc",
    "until=xyz&since=1",
    "stdout=1&tail=-1&since=-1e400",
    "stdout=1&until=99999999999999999999999",
    "stream=maybe",
    "stream=0&stdout=1",
    "limit=abc",
    "limit=-5&size=2&all=perhaps",
    "fromImage=",
    "fromImage=UPPER/Case%3Abad",
    "fromImage=a&tag=%21%21",
    "fromSrc=nonsense",
    "fromSrc=-&repo=UPPER",
    "repo=..&tag=x",
    "repo=ok&tag=%21%21",
    "container=nosuch&repo=UPPER",
    "container=odd-down-1&repo=a%20b&changes=BOGUS%20x",
    "path=",
    "path=%2E%2E%2F%2E%2E%2Fetc%2Fpasswd",
    "path=%2Fnosuch%2Fdeep",
    "path=relative%00",
    "path=%2Fetc&noOverwriteDirNonDir=perhaps",
    "names=%21%21",
    "force=perhaps&v=maybe&link=1",
    "ps_args=%00",
    "condition=removed&condition=bogus",
    "%zz=%",
    "services=nosuch&stdout=1",
];

const BODIES: &[&str] = &[
    "",
    "{",
    "null",
    "[]",
    "7",
    "\"text\"",
    "{}",
    "{\"Cmd\":7}",
    "{\"Cmd\":[]}",
    "{\"Cmd\":[null]}",
    "{\"Cmd\":[\"\"],\"AttachStdout\":true}",
    "{\"Cmd\":[\"a\\u0000b\"]}",
    "{\"Cmd\":[\"true\"],\"User\":7}",
    "{\"Cmd\":[\"true\"],\"User\":\"nosuch:nobody\"}",
    "{\"Cmd\":[\"true\"],\"User\":\"-1:-1\"}",
    "{\"Cmd\":[\"true\"],\"WorkingDir\":\"relative\"}",
    "{\"Cmd\":[\"true\"],\"Env\":[\"=x\",\"\",\"a\\u0000=b\"]}",
    "{\"Cmd\":[\"true\"],\"ConsoleSize\":[1]}",
    "{\"Cmd\":[\"true\"],\"ConsoleSize\":[99999999,1]}",
    "{\"Detach\":\"yes\"}",
    "{\"username\":1e999}",
    "{\"Name\":\"..\"}",
    "{\"Name\":\"a/b\",\"Driver\":\"bogus\"}",
    "{\"Name\":\"odd\",\"IPAM\":{\"Config\":[{\"Subnet\":\"nonsense\"}]}}",
    "{\"Name\":\"odd\",\"IPAM\":{\"Config\":[{\"Subnet\":\"10.0.0.0/33\"}]}}",
    "{\"Container\":\"nosuch\"}",
    "{\"Image\":\"nosuch\"}",
    "{\"stack\":null,\"project\":\"\",\"verb\":\"up\"}",
    "{\"stack\":{\"services\":7},\"project\":\"odd\",\"verb\":{\"up\":{}}}",
    "{\"repair\":\"perhaps\"}",
    "{\"images\":[\"!!\"]}",
    "\u{fffd}",
];

/// The same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}

fn request(dice: &mut Dice) -> (String, Vec<u8>) {
    let (method, template) = dice.pick(REQUESTS);
    let method = if dice.roll(20) == 0 {
        dice.pick(&["GET", "POST", "PUT", "DELETE", "PATCH", "BREW"])
    } else {
        method
    };
    let mut path = template.replace("{}", dice.pick::<&str>(NAMES));
    if dice.roll(20) == 0 {
        path = format!(
            "{}{path}",
            dice.pick(&["/v1.47", "/v1.1", "/v1.999", "/v2", "/"])
        );
    }
    if dice.roll(4) > 0 {
        path = format!("{path}?{}", dice.pick(QUERIES));
    }
    let body = match dice.roll(12) {
        0 => "[".repeat(20_000),
        1 => "x".repeat(100_000),
        _ => (*dice.pick(BODIES)).to_owned(),
    };
    let mut bytes = http(method, &path, &body);
    match dice.roll(25) {
        // Cut short, or with a byte that is no UTF-8.
        0 => bytes.truncate(bytes.len() - dice.roll(bytes.len().min(200))),
        1 => {
            let at = bytes.len() - 1 - dice.roll(bytes.len().min(100));
            bytes[at] = 0xff;
        }
        _ => {}
    }
    (
        format!(
            "{method} {path} {}",
            body.chars().take(80).collect::<String>()
        ),
        bytes,
    )
}

/// Starts an exec that could be created: many errors only show on start.
fn started(world: &World, status: u16, body: String) -> (u16, String) {
    let id = body
        .split_once("\"Id\":\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(id, _)| id);
    match id.filter(|_| status == 201) {
        Some(id) => ask(
            world,
            &http("POST", &format!("/exec/{id}/start"), "{\"Detach\":true}"),
        ),
        None => (status, body),
    }
}

#[test]
fn malformed_requests_are_the_clients_fault() {
    let Some(world) = World::new("malformed requests are the client's fault") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: odd\nservices:\n  up: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s, volumes: [data:/data] }\n  \
         down: { image: busybox, command: [\"true\"] }\nvolumes: { data: {} }\n",
    );
    let rounds = std::env::var("HOIST_MALFORMED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS);
    let mut dice = Dice(14);
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    let mut engine = None;
    for round in 0..rounds {
        // What requests that were good by chance have taken away is there again.
        if round % 250 == 0 {
            world.ok(&["up", "-d"]);
            engine = engine.or_else(|| world.engine());
        }
        let (told, bytes) = request(&mut dice);
        let (status, body) = ask(&world, &bytes);
        let (status, body) = started(&world, status, body);
        // An unreachable registry is neither's fault.
        if status >= 500 && !body.contains("registry docker.io: unknown host") {
            wrong
                .entry(body.chars().take(60).collect())
                .or_insert_with(|| format!("{told}\n    {status} {body}"));
        }
    }
    let log = std::fs::read_to_string(world.data_root.join("engine.log")).expect("the log");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(world.engine(), engine, "it is the same engine");
    let wrong: Vec<String> = wrong.into_values().collect();
    assert!(
        wrong.is_empty(),
        "answered as the engine's fault:\n{}",
        wrong.join("\n")
    );
    world.finish();
}
