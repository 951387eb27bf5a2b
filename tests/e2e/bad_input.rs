//! Bad input: the error names the service and the cause, nothing is half done, the exit code is docker's.

use crate::lan::own_network;
use crate::world::World;

/// Runs `up -d` on a stack that must be refused; checks that the message has all of `words`.
fn refused(claim: &str, stack: &str, code: i32, words: &[&str]) {
    let Some(world) = World::new(claim) else {
        return;
    };
    world.busybox().file("compose.yaml", stack);
    let run = world.hoist(&["up", "-d"]);
    assert_eq!(run.code, code, "{claim}\n{}\n{}", run.stdout, run.stderr);
    for word in words {
        assert!(
            run.stderr.contains(word),
            "{claim}: {word:?} is not in\n{}",
            run.stderr
        );
    }
    if world.hoist(&["config", "-q"]).code != 0 {
        std::fs::remove_file(world.project.join("compose.yaml")).expect("remove the refused file");
    }
    world.finish();
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    refused(
        "unknown key",
        "services:\n  web:\n    image: busybox\n    comand: [sh]\n",
        1,
        &["comand", "command", "compose.yaml:4:5"],
    );
}

#[test]
fn a_cycle_is_refused_as_its_path() {
    refused(
        "cycle",
        "services:\n  a: { image: busybox, depends_on: [b] }\n  b: { image: busybox, depends_on: [a] }\n",
        1,
        &["a -> b -> a", "compose.yaml:2"],
    );
}

#[test]
fn a_missing_image_is_refused() {
    refused(
        "unreachable registry",
        "services:\n  web: { image: \"127.0.0.1:1/nothing:here\" }\n",
        1,
        &["web", "127.0.0.1:1/nothing:here", "refused"],
    );
}

#[test]
fn a_failing_run_shows_line_and_output() {
    refused(
        "failing RUN",
        "services:\n  web:\n    build:\n      context: .\n      dockerfile_inline: |\n        FROM busybox\n        RUN echo before; exit 7\n",
        1,
        &["web", "exit 7", "7", "before"],
    );
}

#[test]
fn a_taken_port_is_refused_before_anything_is_made() {
    let Some(()) = own_network("port taken") else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    refused(
        "port taken",
        &format!(
            "services:\n  web: {{ image: busybox, command: [sleep, \"9\"], ports: [\"127.0.0.1:{port}:80\"] }}\n"
        ),
        1,
        &["web", &port.to_string(), "publish another port"],
    );
}

#[test]
fn a_used_up_address_pool_is_refused() {
    refused(
        "address pool used up",
        "services:\n  web: { image: busybox, command: [sleep, \"9\"], scale: 4, networks: [tiny] }\n\
         networks: { tiny: { ipam: { config: [{ subnet: 10.213.77.0/30 }] } } }\n",
        1,
        &["tiny", "10.213.77.0/30"],
    );
}

#[test]
fn a_missing_bind_source_is_refused() {
    refused(
        "missing bind source",
        "services:\n  web:\n    image: busybox\n    command: [sleep, \"9\"]\n    volumes:\n      - { type: bind, source: ./nowhere, target: /x, bind: { create_host_path: false } }\n",
        1,
        &["web", "nowhere"],
    );
}

#[test]
fn a_missing_source_that_looks_like_a_file_is_warned_of() {
    let Some(world) = World::new("a folder in a file's place") else {
        return;
    };
    let stack = "services:\n  web:\n    image: busybox\n    command: [sleep, \"9\"]\n    stop_grace_period: 0s\n    \
                 volumes: ['./nginx.conf:/etc/nginx.conf', './data:/data', './there.yml:/there.yml']\n  \
                 other: { image: busybox, volumes: ['./other.json:/x'], profiles: [other] }\n";
    world.busybox().file("compose.yaml", stack);
    world.file("there.yml", "a: b\n");
    let plan = world.hoist(&["plan"]);
    let up = world.hoist(&["up", "-d"]);
    for run in [plan, up] {
        let warned: Vec<&str> = run
            .stderr
            .lines()
            .filter(|line| line.contains("warning"))
            .collect();
        assert_eq!(warned.len(), 1, "{}", run.stderr);
        for words in [
            "service `web`",
            "/nginx.conf does not exist",
            "/etc/nginx.conf",
            "create it first",
        ] {
            assert!(warned[0].contains(words), "{words}: {}", warned[0]);
        }
    }
    assert!(
        world.project.join("nginx.conf").is_dir(),
        "as docker does it"
    );
    let again = world.hoist(&["up", "-d"]);
    assert!(!again.stderr.contains("does not exist"), "{}", again.stderr);
    world.ok(&["stop"]);
    let exec = world.hoist(&["exec", "-T", "web", "ls"]);
    assert!(
        exec.code != 0 && exec.stderr.contains("`hoist up -d web` starts it"),
        "{}",
        exec.stderr
    );
    world.finish();
}

#[test]
fn an_unknown_user_is_refused() {
    refused(
        "unknown user",
        "services:\n  web: { image: busybox, user: nobody-here, command: [\"true\"] }\n",
        1,
        &["web", "nobody-here"],
    );
}

#[test]
fn a_command_that_does_not_exist_is_127() {
    let Some(world) = World::new("command not found") else {
        return;
    };
    world
        .busybox()
        .file("compose.yaml", "services:\n  web: { image: busybox }\n");
    let run = world.hoist(&["run", "--rm", "-T", "web", "no-such-program"]);
    assert_eq!(run.code, 127, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("no-such-program"), "{}", run.stderr);
    let run = world.hoist(&["run", "--rm", "-T", "web", "/etc"]);
    assert_eq!(run.code, 126, "{}\n{}", run.stdout, run.stderr);
    let run = world.hoist(&["run", "--rm", "-T", "web", "sh", "-c", "exit 43"]);
    assert_eq!(run.code, 43, "{}\n{}", run.stdout, run.stderr);
    world.finish();
}

#[test]
fn a_dependency_that_never_turns_healthy_fails_the_up() {
    refused(
        "dependency never healthy",
        "services:\n  sick:\n    image: busybox\n    command: [sleep, \"1000\"]\n    stop_grace_period: 0s\n    \
         healthcheck: { test: [CMD, \"false\"], interval: 100ms, retries: 2 }\n  \
         web: { image: busybox, command: [sleep, \"9\"], depends_on: { sick: { condition: service_healthy } } }\n",
        1,
        &["sick", "unhealthy"],
    );
}

#[test]
fn a_socket_without_permission_is_named() {
    let Some(world) = World::new("engine socket without permission") else {
        return;
    };
    world.busybox();
    // Somebody else may reach the program and the folders, not the socket.
    for folder in [&world.run_dir, &world.project] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, mode).expect("open the folder");
    }
    let mut command = std::process::Command::new("setpriv");
    let as_nobody = world.command(&["ls"]);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(as_nobody.get_program())
        .args(as_nobody.get_args());
    for (name, value) in as_nobody.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.current_dir("/").output().expect("run setpriv");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("permission denied") && said.contains("hoist.sock"),
        "{said}"
    );
    world.finish();
}
