//! Logging in to a real registry, and out again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::distribution::{Image, Registry, have, output};
use crate::world::{Run, World};

fn login(world: &World, host: &str, password: &str, path: &str) -> Run {
    let mut command = world.command(&["login", "-u", "me", "--password-stdin", host]);
    command.env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("run hoist");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    writeln!(stdin, "{password}").expect("write the password");
    drop(stdin);
    let done = child.wait_with_output().expect("wait for hoist");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { stdout: text(&done.stdout), stderr: text(&done.stderr), code: done.status.code().unwrap_or(-1) }
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
    if !have(claim, &["docker-registry", "curl", "gzip", "openssl", "htpasswd", "base64"]) {
        return;
    }
    let Some(world) = World::new(claim) else { return };
    let registry = Registry::private(&world.project.join("registry"), "me", "pa:ss word");
    let (host, name) = (registry.host(), registry.name("app:1"));
    registry.push("app", "1", &Image::busybox());
    let config = world.project.join(".docker/config.json");

    let wrong = login(&world, &host, "wrong", PATH);
    assert!(wrong.code == 1 && wrong.stderr.contains("not accepted"), "{}", wrong.stderr);
    assert!(!config.exists(), "a refused login is kept nowhere");
    let nobody = world.hoist(&["login", "-u", "me", &host]);
    assert!(nobody.code == 1 && nobody.stderr.contains("--password-stdin"), "{}", nobody.stderr);

    let right = login(&world, &format!("https://{host}/v2/"), "pa:ss word", PATH);
    assert_eq!((right.code, right.stdout.trim()), (0, "Login Succeeded"), "{}", right.stderr);
    assert!(right.stderr.contains("unencrypted") && !right.stderr.contains("pa:ss"), "{}", right.stderr);
    assert_eq!(fs::metadata(&config).expect("the configuration").permissions().mode() & 0o777, 0o600);
    world.ok(&["image", "pull", &name]);
    world.ok(&["tag", &name, &registry.name("copy:1")]);
    world.ok(&["image", "push", &registry.name("copy:1")]);
    assert!(world.ok(&["logout", &host]).contains("Logged out from"));
    assert!(world.ok(&["logout", &host]).contains("Not logged in to"));
    let refused = world.hoist(&["image", "push", &registry.name("copy:1")]);
    assert!(refused.code == 1 && refused.stderr.contains(&format!("hoist login {host}")), "{}", refused.stderr);

    // The same through a helper: the file holds no secret.
    let kept = world.project.join("kept");
    let helper = world.file("tools/docker-credential-e2e", &HELPER.replace("FILE", &kept.display().to_string()));
    output(Command::new("chmod").arg("755").arg(&helper));
    world.file(".docker/config.json", "{\"credsStore\":\"e2e\",\"detachKeys\":\"ctrl-e\"}");
    let path = format!("{}:{PATH}", world.project.join("tools").display());
    let right = login(&world, &host, "pa:ss word", &path);
    assert_eq!((right.code, right.stderr.as_str()), (0, ""));
    assert!(fs::read_to_string(&kept).expect("what the helper keeps").contains("pa:ss word"));
    let text = fs::read_to_string(&config).expect("the configuration");
    assert!(text.contains("detachKeys") && text.contains(&host) && !text.contains("auth\":"), "{text}");
    let with_helper = |args: &[&str]| world.command(args).env("PATH", &path).status().expect("run hoist").success();
    assert!(with_helper(&["image", "push", &registry.name("copy:1")]));
    assert!(with_helper(&["logout", &host]));
    assert!(!kept.exists());
    let log = fs::read_to_string(world.run_dir.join("engine.log")).unwrap_or_default();
    assert!(!log.contains("pa:ss"), "the password is in the engine's log");
    world.finish();
}
