//! What scripts rely on: complete output, unread input, exit codes, and no process that outlives its client.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::world::{Run, World, eventually, kill, within};

const STACK: &str = r#"
name: streams
services:
  a: { image: busybox, command: [sleep, "1000"], stop_grace_period: 1s }
  b: { image: busybox, command: [sh, -c, "while :; do echo tick; sleep 0.1; done"], stop_grace_period: 0s }
  c: { image: busybox, command: [sh, -c, "read x; exit 4"], stdin_open: true, restart: always, stop_grace_period: 0s }
"#;

/// Writes input as far as it is read.
fn fed(world: &World, args: &[&str], input: &[u8]) -> Run {
    let mut command = world.command(args);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("run hoist");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let run = child.wait_with_output().expect("wait for hoist").into();
    writer.join().expect("the writer ends with its reader");
    run
}

fn is_there(world: &World, file: &str) -> bool {
    world.hoist(&["exec", "-T", "a", "test", "-e", file]).code == 0
}

/// The answer's body as text, frames and all.
fn api(world: &World, path: &str, body: &str) -> String {
    let socket = world.run_dir.join("hoist.sock");
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "3", "--unix-socket"])
        .arg(socket);
    curl.args([
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
        &format!("http://hoist{path}"),
    ]);
    String::from_utf8_lossy(&curl.output().expect("run curl").stdout).into_owned()
}

fn made(world: &World, config: &str) -> String {
    let made = api(world, "/containers/streams-a-1/exec", config);
    let made: serde_json::Value = serde_json::from_str(&made).expect("an id");
    made["Id"].as_str().expect("an id").to_owned()
}

/// What is known of an exec.
fn exec(world: &World, id: &str) -> serde_json::Value {
    let socket = world.run_dir.join("hoist.sock");
    let url = format!("http://hoist/exec/{id}/json");
    let look = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(socket)
        .arg(url)
        .output()
        .expect("run curl");
    serde_json::from_slice(&look.stdout).expect("JSON")
}

fn started(world: &World, config: &str) -> (String, String) {
    let id = made(world, config);
    let output = api(world, &format!("/exec/{id}/start"), "{}");
    (id, output)
}

#[test]
fn streams_are_whole_whatever_the_other_side_does() {
    let Some(world) = World::new("streams are whole whatever the other side does") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    a_reader_that_comes_late_gets_everything(&world);
    input_that_is_not_read_is_no_failure(&world);
    an_exec_ends_with_its_client(&world);
    clients_that_do_not_upgrade_are_served(&world);
    codes_are_those_of_the_end_that_was_seen(&world);
    a_command_that_cannot_run_is_told_by_its_code(&world);
    world.finish();
}

/// The code is in the answer: no client has to look for it in a text.
fn a_command_that_cannot_run_is_told_by_its_code(world: &World) {
    let refused = [
        (
            r#"{"Cmd":["/none"]}"#,
            "command-not-found",
            127,
            &["/none"][..],
        ),
        (r#"{"Cmd":["none"]}"#, "command-not-found", 127, &["none"]),
        (
            r#"{"Cmd":["true"],"WorkingDir":"/none"}"#,
            "command-not-found",
            127,
            &["-w", "/none", "true"],
        ),
        (
            r#"{"Cmd":["/etc"]}"#,
            "command-not-executable",
            126,
            &["/etc"],
        ),
        (
            r#"{"Cmd":["true"],"User":"ghost"}"#,
            "command",
            125,
            &["-u", "ghost", "true"],
        ),
    ];
    for (config, kind, code, args) in refused {
        let answer = api(
            world,
            &format!("/exec/{}/start", made(world, config)),
            r#"{"Refuse":true}"#,
        );
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("an error");
        assert_eq!(
            (answer["kind"].as_str(), answer["exit_code"].as_i64()),
            (Some(kind), Some(code)),
            "{answer}"
        );
        let (options, command) = args.split_at(args.len() - 1);
        let run = world.hoist(&[&["exec", "-T"], options, &["a"], command].concat());
        // As with every other failure of the engine's, 125 is docker's alone.
        assert_eq!(
            run.code,
            if code == 125 {
                1
            } else {
                i32::try_from(code).expect("a code")
            },
            "{}",
            run.stderr
        );
        let message = answer["message"].as_str().expect("a text");
        assert!(
            run.stderr.starts_with(message),
            "docker's words and nothing before: {}",
            run.stderr
        );
    }
}

fn a_reader_that_comes_late_gets_everything(world: &World) {
    // More than the reader's pipe holds, and less than all buffers on the way do, however the kernel fills them.
    let script = "head -c 150000 /dev/zero; touch /done; exit 3";
    let mut late = world.spawn(&["exec", "-T", "a", "sh", "-c", script]);
    eventually("the program has written everything", || {
        is_there(world, "/done")
    });
    let mut bytes = Vec::new();
    late.stdout
        .take()
        .expect("it was asked for")
        .read_to_end(&mut bytes)
        .expect("read");
    assert_eq!(
        (bytes.len(), late.wait().expect("it ends").code()),
        (150_000, Some(3))
    );

    let out = format!("{}:/out", world.project.display());
    let script = "head -c 150000 /dev/zero; touch /out/written";
    let mut late = world.spawn(&[
        "run", "--rm", "-T", "--name", "late", "-v", &out, "a", "sh", "-c", script,
    ]);
    eventually("the one-off has written everything", || {
        world.project.join("written").exists()
    });
    eventually("it is gone", || {
        !world
            .ps()
            .iter()
            .any(|container| container["Name"] == "late")
    });
    bytes.clear();
    late.stdout
        .take()
        .expect("it was asked for")
        .read_to_end(&mut bytes)
        .expect("read");
    assert_eq!(
        (bytes.len(), late.wait().expect("it ends").code()),
        (150_000, Some(0))
    );
}

fn input_that_is_not_read_is_no_failure(world: &World) {
    let input = vec![b'x'; 2_000_000];
    for args in [
        &["exec", "-T", "a", "true"][..],
        &["run", "--rm", "-T", "a", "true"],
    ] {
        let run = fed(world, args, &input);
        assert!(
            run.code == 0 && !run.stderr.contains("error"),
            "{args:?}: {} {}",
            run.code,
            run.stderr
        );
    }
    let run = fed(
        world,
        &["exec", "-T", "a", "sh", "-c", "head -c 1; exit 6"],
        &input,
    );
    assert_eq!((run.stdout.as_str(), run.code), ("x", 6), "{}", run.stderr);
    for args in [&["exec", "-T", "a"][..], &["run", "--rm", "-T", "a"]] {
        let args = [args, &["sh", "-c", "wc -c; exit 7"]].concat();
        let run = fed(world, &args, &input);
        assert_eq!(
            (run.stdout.trim(), run.code),
            ("2000000", 7),
            "{}",
            run.stderr
        );
    }
}

fn an_exec_ends_with_its_client(world: &World) {
    let begun = |args: &[&str], seconds: &str| -> Child {
        let child = world.spawn(args);
        eventually("it runs", || world.sleeper(seconds).is_some());
        child
    };
    // -d alone is meant to outlive its client.
    world.ok(&["exec", "-d", "a", "sleep", "24710"]);
    let mut clients = [
        begun(&["exec", "-T", "a", "sleep", "24711"], "24711"),
        begun(
            &["exec", "-T", "a", "sh", "-c", "sleep 24712; true"],
            "24712",
        ),
        // It does not want to hear, and has the grace period.
        begun(
            &[
                "exec",
                "-T",
                "a",
                "sh",
                "-c",
                "trap '' HUP; sleep 24713; true",
            ],
            "24713",
        ),
    ];
    for client in &mut clients {
        kill("-KILL", &client.id().to_string());
        client.wait().expect("it is dead");
    }
    eventually("all have ended", || {
        ["24711", "24712", "24713"]
            .iter()
            .all(|seconds| world.sleeper(seconds).is_none())
    });
    // One that is gone before it was given its connection.
    for _ in 0..3 {
        let id = made(world, r#"{"Cmd":["sleep","24714"],"AttachStdout":true}"#);
        let mut stream =
            UnixStream::connect(world.run_dir.join("hoist.sock")).expect("the engine listens");
        let head = format!(
            "POST /exec/{id}/start HTTP/1.1\r\nHost: hoist\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        );
        let request =
            format!("{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
        stream.write_all(request.as_bytes()).expect("send it");
        drop(stream);
        eventually("it has ended", || exec(world, &id)["ExitCode"] == 129);
    }
    assert!(
        world.sleeper("24710").is_some(),
        "what runs in the background goes on"
    );
}

fn clients_that_do_not_upgrade_are_served(world: &World) {
    let (_, output) = started(
        world,
        r#"{"Cmd":["echo","from within"],"AttachStdout":true}"#,
    );
    assert!(output.contains("from within"), "{output}");
    let output = api(
        world,
        "/containers/streams-b-1/attach?stream=1&stdout=1",
        "",
    );
    assert!(output.contains("tick"), "{output}");
    // Why a command cannot be run stands where docker's clients look for it.
    let (id, output) = started(world, r#"{"Cmd":["nonsense"],"AttachStdout":true}"#);
    assert!(output.contains("nonsense"), "{output}");
    let state = exec(world, &id);
    assert_eq!(state["ExitCode"], 127, "{state}");
}

fn codes_are_those_of_the_end_that_was_seen(world: &World) {
    // Its policy starts it again at once.
    assert_eq!(fed(world, &["attach", "c"], b"go\n").code, 4);
    let mut command = world.command(&[
        "run",
        "-T",
        "--name",
        "long",
        "a",
        "sh",
        "-c",
        "read x; exit 5",
    ]);
    let mut run = command
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run hoist");
    eventually("it runs", || {
        world
            .ps()
            .iter()
            .any(|found| found["Name"] == "long" && found["State"] == "running")
    });
    world.kill_engine();
    run.stdin
        .take()
        .expect("it was asked for")
        .write_all(b"go\n")
        .expect("the shim reads");
    assert_eq!(
        run.wait().expect("it ends").code(),
        Some(5),
        "the next engine knows it"
    );
}

#[test]
fn up_ends_with_the_code_that_it_was_asked_for() {
    let Some(world) = World::new("up ends with the code that it was asked for") else {
        return;
    };
    let stack = |job: &str| {
        format!(
            "name: codes\nservices:\n  job: {{ image: busybox, command: [sh, -c, \"{job}\"] }}\n  \
             side: {{ image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s }}\n"
        )
    };
    world
        .busybox()
        .file("compose.yaml", &stack("sleep 0.3; exit 4"));
    world.file("fast.yaml", &stack("exit 5"));
    world.file("good.yaml", &stack("sleep 0.3"));
    let code = |args: &[&str]| world.hoist(args).code;
    assert_eq!(code(&["up", "--abort-on-container-exit"]), 4);
    assert_eq!(code(&["up", "--abort-on-container-failure"]), 4);
    assert_eq!(code(&["up", "--exit-code-from", "job"]), 4);
    assert_eq!(
        code(&["up", "--exit-code-from", "side"]),
        137,
        "it was killed because the other one ended"
    );
    assert_eq!(
        code(&["-f", "good.yaml", "up", "--abort-on-container-exit"]),
        0
    );
    // It may have exited before its log could be followed.
    for option in ["--abort-on-container-exit", "--abort-on-container-failure"] {
        assert_eq!(code(&["-f", "fast.yaml", "up", option]), 5, "{option}");
    }
    let up = world.spawn(&["-f", "good.yaml", "up", "--exit-code-from", "side", "side"]);
    eventually("it is up", || world.field("side", "State") == "running");
    kill("-INT", &up.id().to_string());
    assert_eq!(
        up.wait_with_output().expect("it ends").status.code(),
        Some(130)
    );
    world.finish();
}

#[test]
fn verbs_say_when_there_is_nothing_to_do() {
    let Some(world) = World::new("verbs say when there is nothing to do") else {
        return;
    };
    world.busybox().file(
        "compose.yaml",
        "name: idle\nservices:\n  a: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s }\n  \
         b: { image: busybox, command: [sleep, \"1000\"], stop_grace_period: 0s }\n",
    );
    let says = |args: &[&str], code: i32, words: &str| {
        let run = world.hoist(args);
        assert!(
            run.code == code && run.stderr.contains(words),
            "{args:?}: {} {}",
            run.code,
            run.stderr
        );
    };
    says(&["start"], 1, "stack \"idle\" has no container");
    says(&["start", "b"], 1, "service \"b\" has no container");
    says(&["-p", "nosuch", "start"], 1, "has no container");
    says(&["kill"], 0, "No container to kill");
    says(&["rm", "-f"], 0, "No stopped containers");
    says(
        &["down"],
        0,
        "No resource found to remove for project \"idle\"",
    );
    for args in [["stop"], ["restart"], ["pause"], ["unpause"]] {
        assert_eq!(world.hoist(&args).code, 0, "{args:?}");
    }
    let first = world.hoist(&["up", "-d", "a"]);
    assert!(
        first.code == 0 && !first.stderr.contains("Running"),
        "{}",
        first.stderr
    );
    let second = world.hoist(&["up", "-d"]);
    assert!(
        second.stderr.contains("Container idle-a-1  Running"),
        "{}",
        second.stderr
    );
    assert!(
        second.stderr.contains("Container idle-b-1  Started"),
        "{}",
        second.stderr
    );
    assert!(
        !second.stderr.contains("Container idle-b-1  Running"),
        "{}",
        second.stderr
    );
    says(&["up", "-d", "b"], 0, "Container idle-b-1  Running");
    let images = world.ok(&["images"]);
    assert!(
        images.contains("PLATFORM") && images.contains(" ago") && !images.contains("years"),
        "{images}"
    );
    world.ok(&["rm", "-fs", "b"]);
    world.ok(&["stop"]);
    says(&["start"], 0, "Container idle-a-1  Started");
    says(&["start", "b"], 1, "service \"b\" has no container");
    world.finish();
}

#[test]
fn a_command_that_ends_at_once_runs_once() {
    let Some(world) = World::new("a command that ends at once runs once") else {
        return;
    };
    const STACK: &str = "name: once\nservices:\n  a: { image: busybox, volumes: ['./out:/out'] }\n";
    let lingers = "trap '' TERM; while :; do sleep 1; done";
    let old = format!(
        "  old: {{ image: busybox, command: [sh, -c, \"{lingers}\"], stop_grace_period: 2s }}\n"
    );
    world
        .busybox()
        .file("compose.yaml", &format!("{STACK}{old}"));
    fs::create_dir(world.project.join("out")).expect("make a folder");
    // It has run and is removed long before its request ends: an orphan takes its time.
    world.ok(&["up", "-d", "old"]);
    world.file("compose.yaml", STACK);
    let mut run = world.spawn(&[
        "run",
        "--rm",
        "-T",
        "--remove-orphans",
        "a",
        "sh",
        "-c",
        "echo ran >>/out/runs",
    ]);
    within(Duration::from_secs(30), "it ends", || {
        run.try_wait().expect("wait for it").is_some()
    });
    assert_eq!(
        fs::read_to_string(world.project.join("out/runs")).expect("what it wrote"),
        "ran\n"
    );
    fs::remove_file(world.project.join("out/runs")).expect("remove what it wrote");
    const TIMES: usize = 100;
    let mut left = TIMES;
    while left > 0 {
        let together = left.min(4);
        let runs: Vec<_> = (0..together)
            .map(|_| world.spawn(&["run", "--rm", "-T", "a", "sh", "-c", "echo ran >>/out/runs"]))
            .collect();
        for mut run in runs {
            within(Duration::from_secs(30), "it ends", || {
                run.try_wait().expect("wait for it").is_some()
            });
        }
        left -= together;
    }
    let ran = fs::read_to_string(world.project.join("out/runs")).expect("what they wrote");
    assert_eq!(ran.lines().count(), TIMES);
    assert!(world.ps().is_empty());
    world.finish();
}
