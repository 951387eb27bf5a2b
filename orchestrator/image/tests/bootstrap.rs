//! `bootstrap` with the real mmdebstrap and Debian's real mirror.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use hoist_image::{Reference, Store, bootstrap, silent};

fn reason_to_skip() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("mmdebstrap").exists())
    });
    if !found {
        return Some("mmdebstrap is not installed");
    }
    let reachable = ("deb.debian.org", 80)
        .to_socket_addrs()
        .is_ok_and(|mut all| {
            all.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
        });
    (!reachable).then_some("Debian's mirror cannot be reached")
}

#[tokio::test]
async fn slim_debian_is_made_from_packages_and_carries_nothing_of_this_machine() {
    if let Some(reason) = reason_to_skip() {
        println!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let reference = Reference::parse("debian:trixie-slim").unwrap();
    let start = std::time::Instant::now();
    let image = bootstrap(&store, &reference, silent()).await.unwrap();
    println!(
        "{:?}, {} bytes, {}",
        start.elapsed(),
        image.size,
        image.layers[0]
    );
    assert_eq!(image.layers.len(), 1);
    assert_eq!(
        image.config.config.cmd.as_deref(),
        Some(&["bash".to_owned()][..])
    );
    let root = &store.lowers(&image).unwrap()[0];
    assert!(root.join("usr/bin/bash").exists());
    assert!(root.join("usr/bin/apt-get").exists());
    assert!(
        std::fs::read_to_string(root.join("etc/apt/sources.list.d/debian.sources"))
            .unwrap()
            .contains("trixie")
    );
    assert!(
        std::fs::read_to_string(root.join("etc/dpkg/dpkg.cfg.d/99mmdebstrap"))
            .unwrap()
            .contains("path-exclude")
    );
    for absent in [
        "etc/hostname",
        "etc/resolv.conf",
        "etc/apt/sources.list",
        "usr/share/man/man1",
    ] {
        assert!(!root.join(absent).exists(), "{absent}");
    }
    assert!(
        std::fs::read_dir(root.join("var/lib/apt/lists"))
            .unwrap()
            .all(|entry| {
                let name = entry.unwrap().file_name();
                name == "partial" || name == "lock" || name == "auxfiles"
            })
    );
    assert_eq!(store.find(&reference).unwrap().id, image.id);
}

#[tokio::test]
async fn an_unknown_image_is_refused_with_what_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = bootstrap(&store, &Reference::parse("alpine:3").unwrap(), silent())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("alpine:3 cannot be made from packages; possible are debian:trixie")
    );
}
