//! Logging in to a real registry, and out again.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::distribution::{Image, Registry, have, output};
use crate::terminal::Terminal;
use crate::world::{Run, World};

fn login(world: &World, host: &str, password: &str, path: &str) -> Run {
    let mut command = world.command(&["login", "-u", "me", "--password-stdin", host]);
    command
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("run hoist");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    writeln!(stdin, "{password}").expect("write the password");
    drop(stdin);
    let done = child.wait_with_output().expect("wait for hoist");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        stdout: text(&done.stdout),
        stderr: text(&done.stderr),
        code: done.status.code().unwrap_or(-1),
    }
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Keeps one login in a file, as docker's helpers keep theirs.
const HELPER: &str = r#"#!/bin/sh
case "$1" in
store) cat >FILE ;;
get) [ -e FILE ] && cat FILE || { echo credentials not found in native keychain; exit 1; } ;;
erase) [ -e FILE ] && rm FILE || { echo credentials not found in native keychain; exit 1; } ;;
list) echo '{}' ;;
esac
"#;

#[test]
fn a_login_is_checked_kept_and_forgotten() {
    let claim = "login and logout";
    if !have(
        claim,
        &[
            "docker-registry",
            "curl",
            "gzip",
            "openssl",
            "htpasswd",
            "base64",
        ],
    ) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::private(&world.project.join("registry"), "me", "pa:ss word");
    let (host, name) = (registry.host(), registry.name("app:1"));
    registry.push("app", "1", &Image::busybox());
    let config = world.project.join(".docker/config.json");

    let wrong = login(&world, &host, "wrong", PATH);
    assert!(
        wrong.code == 1 && wrong.stderr.contains("not accepted"),
        "{}",
        wrong.stderr
    );
    assert!(!config.exists(), "a refused login is kept nowhere");
    let nobody = world.hoist(&["login", "-u", "me", &host]);
    assert!(
        nobody.code == 1 && nobody.stderr.contains("--password-stdin"),
        "{}",
        nobody.stderr
    );

    let right = login(&world, &format!("https://{host}/v2/"), "pa:ss word", PATH);
    assert_eq!(
        (right.code, right.stdout.trim()),
        (0, "Login Succeeded"),
        "{}",
        right.stderr
    );
    assert!(
        right.stderr.contains("unencrypted") && !right.stderr.contains("pa:ss"),
        "{}",
        right.stderr
    );
    assert_eq!(
        fs::metadata(&config)
            .expect("the configuration")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    world.ok(&["image", "pull", &name]);
    world.ok(&["tag", &name, &registry.name("copy:1")]);
    world.ok(&["image", "push", &registry.name("copy:1")]);
    assert!(world.ok(&["logout", &host]).contains("Logged out from"));
    assert!(world.ok(&["logout", &host]).contains("Not logged in to"));
    let refused = world.hoist(&["image", "push", &registry.name("copy:1")]);
    assert!(
        refused.code == 1 && refused.stderr.contains(&format!("hoist login {host}")),
        "{}",
        refused.stderr
    );

    // The same through a helper: the file holds no secret.
    let kept = world.project.join("kept");
    let helper = world.file(
        "tools/docker-credential-e2e",
        &HELPER.replace("FILE", &kept.display().to_string()),
    );
    output(Command::new("chmod").arg("755").arg(&helper));
    world.file(
        ".docker/config.json",
        "{\"credsStore\":\"e2e\",\"detachKeys\":\"ctrl-e\"}",
    );
    let path = format!("{}:{PATH}", world.project.join("tools").display());
    let right = login(&world, &host, "pa:ss word", &path);
    assert_eq!((right.code, right.stderr.as_str()), (0, ""));
    assert!(
        fs::read_to_string(&kept)
            .expect("what the helper keeps")
            .contains("pa:ss word")
    );
    let text = fs::read_to_string(&config).expect("the configuration");
    assert!(
        text.contains("detachKeys") && text.contains(&host) && !text.contains("auth\":"),
        "{text}"
    );
    let with_helper = |args: &[&str]| {
        world
            .command(args)
            .env("PATH", &path)
            .status()
            .expect("run hoist")
            .success()
    };
    assert!(with_helper(&["image", "push", &registry.name("copy:1")]));
    assert!(with_helper(&["logout", &host]));
    assert!(!kept.exists());
    let log = fs::read_to_string(world.data_root.join("engine.log")).expect("the log");
    assert!(
        !log.contains("pa:ss"),
        "the password is in the engine's log"
    );
    world.finish();
}

#[test]
fn a_mirror_is_asked_with_its_own_login_by_every_verb() {
    let claim = "the login of a mirror";
    if !have(
        claim,
        &[
            "docker-registry",
            "curl",
            "gzip",
            "openssl",
            "htpasswd",
            "base64",
        ],
    ) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let mirror = Registry::private(&world.project.join("registry"), "me", "mirror word");
    let digest = mirror.push("copies/app", "1", &Image::busybox());
    // The registry itself does not exist, so what comes comes from the mirror.
    let conf = format!(
        "[[registry]]\nprefix = \"r.invalid\"\n[[registry.mirror]]\nlocation = \"{}/copies\"\n",
        mirror.host()
    );
    let conf = world.file("registries.conf", &conf);
    // As podman keeps it, for this namespace of the registry alone.
    let word = String::from_utf8(output(
        Command::new("sh").args(["-c", "printf 'me:mirror word' | base64"]),
    ));
    let word = word.expect("base64 is text").trim().to_owned();
    let auths = format!(
        "{{\"auths\":{{\"{}/copies\":{{\"auth\":\"{word}\"}}}}}}",
        mirror.host()
    );
    let session = world.file("session/containers/auth.json", &auths);
    let session = session
        .parent()
        .and_then(|folder| folder.parent())
        .expect("its folder")
        .to_owned();
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        let done = command
            .env("CONTAINERS_REGISTRIES_CONF", &conf)
            .env("XDG_RUNTIME_DIR", &session)
            .output();
        let done = done.expect("run hoist");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            done.status.success(),
            "hoist {}\n{}",
            args.join(" "),
            text(&done.stderr)
        );
        text(&done.stdout)
    };
    world.file(
        "compose.yaml",
        "services:\n  web: { image: \"r.invalid/app:1\" }\n",
    );
    assert!(run(&["lock"]).contains(&digest));
    run(&["image", "pull", "-q", "r.invalid/app:1"]);
    run(&["image", "rm", "r.invalid/app:1"]);
    run(&["pull", "-q"]);
    run(&["image", "rm", "r.invalid/app:1"]);
    run(&["create"]);
    run(&["down", "--rmi", "all"]);
    run(&["run", "--rm", "web", "true"]);
    run(&["down", "--rmi", "all"]);
    world.file(
        "made/Dockerfile",
        "FROM r.invalid/app:1\nCOPY Dockerfile /\n",
    );
    run(&["image", "build", "-q", "-t", "made:1", "made"]);
    assert!(run(&["logout", &mirror.host()]).contains("Not logged in to"));
    world.finish();
}

/// A registry that lets in whoever has its token, in front of one that lets in everybody. The token goes to who knows
/// the password, and to who has the token that stands for it.
fn guard(target: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = format!(
        "127.0.0.1:{}",
        listener.local_addr().expect("its address").port()
    );
    let (own, target) = (host.clone(), target.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (own, target) = (own.clone(), target.clone());
            std::thread::spawn(move || serve(client, &own, &target));
        }
    });
    host
}

fn serve(mut client: TcpStream, own: &str, target: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    // A TLS greeting starts with 0x16 and is no request.
    while !head.ends_with(b"\r\n\r\n") && head.first() != Some(&0x16) {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lower = head.to_lowercase();
    let mut answer = |status: &str, header: &str, body: &str| {
        let length = body.len();
        let _ = write!(
            client,
            "HTTP/1.1 {status}\r\nConnection: close\r\n{header}Content-Length: {length}\r\n\r\n{body}"
        );
    };
    if head.starts_with("GET /token") {
        // me:word
        return match lower.contains("authorization: basic bwu6d29yza==")
            && head.contains("offline_token=true")
        {
            true => answer(
                "200 OK",
                "",
                "{\"token\":\"short\",\"refresh_token\":\"lasting\"}",
            ),
            false => answer("401 Unauthorized", "", ""),
        };
    }
    if head.starts_with("POST /token") {
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut form = vec![0; length.unwrap_or(0)];
        client.read_exact(&mut form).expect("read the form");
        let known = String::from_utf8_lossy(&form).contains("refresh_token=lasting&");
        let body = if known {
            "{\"access_token\":\"short\"}"
        } else {
            ""
        };
        let status = if known { "200 OK" } else { "401 Unauthorized" };
        let _ = write!(
            client,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        return;
    }
    if !lower.contains("authorization: bearer short") {
        let header =
            format!("WWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"guard\"\r\n");
        return answer("401 Unauthorized", &header, "");
    }
    let mut server = TcpStream::connect(target).expect("reach the registry");
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server
        .write_all(head.as_bytes())
        .expect("pass the request on");
    let _ = std::io::copy(&mut server, &mut client);
}

#[test]
fn a_login_keeps_the_token_of_the_registry_in_place_of_the_password() {
    let claim = "identity tokens";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    registry.push("app", "1", &Image::busybox());
    let host = guard(&registry.host());
    let name = format!("{host}/app:1");
    let config = world.project.join(".docker/config.json");
    let refused = world.hoist(&["image", "pull", &name]);
    assert!(
        refused.code == 1 && refused.stderr.contains(&format!("hoist login {host}")),
        "{}",
        refused.stderr
    );

    let right = login(&world, &host, "word", PATH);
    assert_eq!(
        (right.code, right.stdout.trim()),
        (0, "Login Succeeded"),
        "{}",
        right.stderr
    );
    let text = fs::read_to_string(&config).expect("the configuration");
    // "me:" without a password, as docker writes it.
    assert!(
        text.contains("\"identitytoken\": \"lasting\"") && text.contains("\"auth\": \"bWU6\""),
        "{text}"
    );
    world.ok(&["image", "pull", "-q", &name]);
    world.ok(&["image", "rm", &name]);
    world.ok(&["logout", &host]);

    // A helper has it under a name that no user can have.
    let kept = world.project.join("kept");
    let helper = world.file(
        "tools/docker-credential-e2e",
        &HELPER.replace("FILE", &kept.display().to_string()),
    );
    output(Command::new("chmod").arg("755").arg(&helper));
    world.file(".docker/config.json", "{\"credsStore\":\"e2e\"}");
    let path = format!("{}:{PATH}", world.project.join("tools").display());
    let right = login(&world, &host, "word", &path);
    assert_eq!((right.code, right.stderr.as_str()), (0, ""));
    let secret = fs::read_to_string(&kept).expect("what the helper keeps");
    assert!(
        secret.contains("<token>") && secret.contains("lasting") && !secret.contains("word"),
        "{secret}"
    );
    let pulled = world
        .command(&["image", "pull", "-q", &name])
        .env("PATH", &path)
        .status()
        .expect("run hoist");
    assert!(pulled.success());
    world.finish();
}

#[test]
fn an_interrupted_password_prompt_leaves_the_terminal_as_it_was() {
    let Some(world) = World::new("an interrupted password prompt") else {
        return;
    };
    let mut terminal = Terminal::run(
        &world,
        "trap : INT; HOIST login -u me 127.0.0.1:1; echo code $?; stty -a",
    );
    terminal.until("Password: ");
    terminal.press(b"half\x03");
    let end = terminal.until(" echo ");
    assert!(end.contains("code 130") && !end.contains("half"), "{end}");
    assert_eq!(terminal.end(), 0);
    world.finish();
}
