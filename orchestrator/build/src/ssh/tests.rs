//! OpenSSH's own tools on an agent that is made here.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use super::{Agent, AgentSocket, Keys};
use crate::dockerfile::FileOwner;

fn keygen(words: &[&str]) -> Output {
    Command::new("ssh-keygen")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn has_openssh() -> bool {
    let there = Command::new("ssh-add")
        .arg("-l")
        .stdin(Stdio::null())
        .output()
        .is_ok();
    if !there {
        println!("skipped: needs OpenSSH's ssh-add and ssh-keygen");
    }
    there
}

fn key(folder: &Path, kind: &str, bits: &str, phrase: &str) -> PathBuf {
    let path = folder.join(format!("{kind}-{bits}{phrase}"));
    let name = path.display().to_string();
    let made = keygen(&[
        "-q",
        "-t",
        kind,
        "-b",
        bits,
        "-N",
        phrase,
        "-C",
        &format!("{kind} {bits}"),
        "-f",
        &name,
    ]);
    assert!(made.status.success(), "{made:?}");
    path
}

/// A key without a passphrase and, see [`KeyError::Format`], without zeros at the beginning of its number.
fn readable_key(folder: &Path, kind: &str, bits: &str) -> PathBuf {
    let one = || {
        let path = key(
            &tempfile::tempdir_in(folder).unwrap().keep(),
            kind,
            bits,
            "",
        );
        Keys::read([path.as_path()]).ok().map(|_| path)
    };
    std::iter::repeat_with(one)
        .take(8)
        .flatten()
        .next()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_signs_is_verified_by_openssh() {
    if !has_openssh() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("rsa", "2048"),
        ("rsa", "3072"),
    ];
    let paths: Vec<PathBuf> = kinds
        .iter()
        .map(|(kind, bits)| readable_key(folder.path(), kind, bits))
        .collect();
    let keys = Keys::read(paths.iter().map(PathBuf::as_path)).unwrap();
    let owner = FileOwner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mode: 0o600,
    };
    let socket = AgentSocket::open(Agent::Keys(Arc::new(keys)), owner).unwrap();
    let (sock, root) = (socket.path().to_owned(), folder.path().to_owned());
    tokio::task::spawn_blocking(move || {
        let listed = Command::new("ssh-add")
            .arg("-L")
            .env("SSH_AUTH_SOCK", &sock)
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), kinds.len(), "{listed}");
        for path in paths {
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            assert!(listed.contains(public.trim()), "{public}\n{listed}");
            // Only the agent has the key now.
            std::fs::remove_file(&path).unwrap();
            let (allowed, message) = (root.join("allowed"), root.join("message"));
            std::fs::write(&allowed, format!("me {public}")).unwrap();
            std::fs::write(&message, "to be signed").unwrap();
            let public = path.with_extension("pub");
            let mut sign = Command::new("ssh-keygen");
            sign.args(["-q", "-Y", "sign", "-n", "file", "-f"])
                .arg(&public)
                .arg(&message)
                .env("SSH_AUTH_SOCK", &sock);
            let signed = sign.stdin(Stdio::null()).output().unwrap();
            assert!(signed.status.success(), "{}: {signed:?}", public.display());
            let mut verify = Command::new("ssh-keygen");
            verify
                .args(["-Y", "verify", "-n", "file", "-I", "me", "-f"])
                .arg(&allowed)
                .arg("-s")
                .arg(root.join("message.sig"));
            let verified = verify
                .stdin(std::fs::File::open(&message).unwrap())
                .output()
                .unwrap();
            assert!(
                verified.status.success(),
                "{}: {verified:?}",
                public.display()
            );
            std::fs::remove_file(root.join("message.sig")).unwrap();
        }
    })
    .await
    .unwrap();
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    if !has_openssh() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = |path: PathBuf| Keys::read([path.as_path()]).unwrap_err().to_string();
    assert!(said(key(folder.path(), "ed25519", "256", "phrase")).contains("has a passphrase"));
    // One of four has a number that begins with zeros, of which nothing can be read.
    let large = || {
        tempfile::tempdir_in(&folder)
            .map(|folder| said(key(folder.path(), "ecdsa", "521", "")))
            .unwrap()
    };
    let sayings: Vec<_> = std::iter::repeat_with(large).take(16).collect();
    assert!(
        sayings.iter().all(|said| said.contains("(ssh-add)")),
        "{sayings:?}"
    );
    assert!(
        sayings
            .iter()
            .any(|said| said.contains("ecdsa-sha2-nistp521 is not supported")),
        "{sayings:?}"
    );
    assert!(said(folder.path().join("none")).contains("reading the key"));
    let text = folder.path().join("text");
    std::fs::write(&text, "-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
    assert!(said(text).contains("ssh-keygen -p -f FILE"));
}
