//! Pushing to Debian's real registry server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hoist_image::{
    Access, Digest, Image, ImageConfig, Phase, Progress, PullOptions, PushOptions, Reference,
    RegistryAuth, Store, pull, push,
};
use support::{Certificate, Config, Registry, Tar, TestImage, TestLayer, noise};

fn reference(registry: &Registry, name: &str) -> Reference {
    Reference::parse(&format!("{}/{name}", registry.host())).unwrap()
}

fn watched() -> (PushOptions, Arc<Mutex<Vec<Progress>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let progress = Arc::new(move |progress| sink.lock().unwrap().push(progress));
    (
        PushOptions {
            progress,
            ..PushOptions::default()
        },
        seen,
    )
}

fn phases(seen: &Mutex<Vec<Progress>>, phase: Phase) -> usize {
    seen.lock()
        .unwrap()
        .iter()
        .filter(|progress| progress.phase == phase && !progress.item.is_empty())
        .count()
}

/// An image of one layer that was made here.
fn built(store: &Store, content: &[u8], name: &Reference) -> Arc<Image> {
    let scratch = store.begin_layer().unwrap();
    std::fs::write(scratch.upper().join("made"), content).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let folder = std::fs::File::open(scratch.upper()).unwrap();
    std::fs::File::options()
        .append(true)
        .open(scratch.upper().join("made"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    folder.set_modified(time).unwrap();
    let layer = store.commit_layer(scratch).unwrap();
    let mut config = ImageConfig::new("amd64", "linux");
    config.rootfs.diff_ids = vec![layer.diff_id];
    store
        .add_image(&config, std::slice::from_ref(name))
        .unwrap()
}

fn open(folder: &Path, name: &str) -> Arc<Store> {
    Store::open(&folder.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_goes_back_byte_for_byte() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = Registry::start(here.path(), &Config::default());
    let other = Registry::start(there.path(), &Config::default());
    let image = TestImage::new(vec![
        TestLayer::gzip(Tar::new().file("big", &noise(300_000, 1)).end()),
        TestLayer::zstd(Tar::new().file("small", b"x").end()),
    ]);
    let digest = home.push("team/app", "1", &image).await;
    let store = open(folder.path(), "data");
    let pulled = pull(
        &store,
        &reference(&home, "team/app:1"),
        &PullOptions::default(),
    )
    .await
    .unwrap()
    .image;

    // To another repository of the same registry nothing crosses.
    let copy = reference(&home, "other/copy:2");
    store.tag(&pulled.id.to_string(), &copy).unwrap();
    let (options, seen) = watched();
    assert_eq!(push(&store, &copy, &options).await.unwrap().digest, digest);
    assert_eq!(
        (
            phases(&seen, Phase::Mounted),
            phases(&seen, Phase::Uploading)
        ),
        (2, 0)
    );

    let away = reference(&other, "app:1");
    store.tag(&pulled.id.to_string(), &away).unwrap();
    let (options, seen) = watched();
    assert_eq!(push(&store, &away, &options).await.unwrap().digest, digest);
    assert_eq!(phases(&seen, Phase::Uploading), 2);
    let (options, seen) = watched();
    assert_eq!(push(&store, &away, &options).await.unwrap().digest, digest);
    assert_eq!(
        (
            phases(&seen, Phase::Exists),
            phases(&seen, Phase::Uploading)
        ),
        (2, 0)
    );

    let again = pull(
        &open(folder.path(), "fresh"),
        &away,
        &PullOptions::default(),
    )
    .await
    .unwrap();
    assert_eq!((again.digest, again.image.id), (digest, pulled.id));
    assert!(
        store
            .image(&pulled.id)
            .unwrap()
            .repo_digests
            .contains(&away.with_digest(digest))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_made_here_is_compressed_the_same_everywhere_and_sent_once() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let name = reference(&registry, "made:1");
    let content = noise(20 << 20, 7);
    let store = open(folder.path(), "one");
    let image = built(&store, &content, &name);
    let digest = push(&store, &name, &PushOptions::default())
        .await
        .unwrap()
        .digest;
    assert!(
        registry.answered("PATCH", "/blobs/uploads/") >= 3,
        "{}",
        registry.log()
    );
    assert_eq!(store.image(&image.id).unwrap().manifest, Some(digest));

    let (options, seen) = watched();
    assert_eq!(push(&store, &name, &options).await.unwrap().digest, digest);
    assert_eq!(
        (
            phases(&seen, Phase::Exists),
            phases(&seen, Phase::Uploading)
        ),
        (1, 0)
    );

    // Another machine that made the same.
    let second = reference(&registry, "elsewhere:1");
    let twin = open(folder.path(), "two");
    built(&twin, &content, &second);
    assert_eq!(
        push(&twin, &second, &PushOptions::default())
            .await
            .unwrap()
            .digest,
        digest
    );

    let fresh = open(folder.path(), "fresh");
    let pulled = pull(&fresh, &name, &PullOptions::default())
        .await
        .unwrap()
        .image;
    assert_eq!(pulled.layers, image.layers);
    let lower = fresh.lowers(&pulled).unwrap().remove(0);
    assert_eq!(std::fs::read(lower.join("made")).unwrap(), content);
}

/// Passes connections on to a registry; those with numbers in `cut` end after so many bytes of their requests.
fn cutting_requests(target: u16, cut: std::ops::Range<usize>, after: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let cuts = AtomicUsize::new(0);
    let cuts = Arc::new(cuts);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                return;
            };
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (cuts, cut) = (Arc::clone(&cuts), cut.clone());
            std::thread::spawn(move || {
                let (mut client, mut server) = (client, server);
                let mut left = after;
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count) = client.read(&mut buffer) {
                    left = left.saturating_sub(count as u64);
                    let ends = left == 0 && cut.contains(&cuts.fetch_add(1, Ordering::Relaxed));
                    if count == 0 || ends || server.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                    if left == 0 {
                        left = u64::MAX;
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_a_bad_line_gets_through() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let port = cutting_requests(registry.port, 0..2, 10 << 20);
    let name = Reference::parse(&format!("127.0.0.1:{port}/made:1")).unwrap();
    let store = open(folder.path(), "data");
    let content = noise(25 << 20, 3);
    built(&store, &content, &name);
    let digest = push(&store, &name, &PushOptions::default())
        .await
        .unwrap()
        .digest;
    let fresh = open(folder.path(), "fresh");
    let pulled = pull(
        &fresh,
        &reference(&registry, "made:1"),
        &PullOptions::default(),
    )
    .await
    .unwrap();
    assert_eq!(pulled.digest, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_takes_what_the_right_user_pushes() {
    if support::skip(&["docker-registry", "openssl", "htpasswd"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path());
    let config = Config {
        tls: Some(&certificate),
        login: Some(("me", "secret")),
        ..Config::default()
    };
    let registry = Registry::start(folder.path(), &config);
    let certificates = folder.path().join("certs.d");
    std::fs::create_dir_all(certificates.join(registry.host())).unwrap();
    std::fs::copy(
        &certificate.authority,
        certificates.join(registry.host()).join("ca.crt"),
    )
    .unwrap();
    let name = reference(&registry, "made:1");
    let store = open(folder.path(), "data");
    built(&store, b"content", &name);
    let as_user = |password: &str| {
        let auth = RegistryAuth {
            username: "me".into(),
            password: password.into(),
            ..RegistryAuth::default()
        };
        let auth = [(registry.host(), auth)].into();
        Access {
            auth,
            certificates: vec![certificates.clone()],
            ..Access::default()
        }
    };
    let options = |password| PushOptions {
        access: as_user(password),
        ..PushOptions::default()
    };
    let error = push(&store, &name, &options("wrong")).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("were not accepted"), "{cause}");
    let digest = push(&store, &name, &options("secret"))
        .await
        .unwrap()
        .digest;

    let by_digest = push(&store, &name.with_digest(digest), &options("secret"))
        .await
        .unwrap_err()
        .to_string();
    assert!(by_digest.contains("push it under a tag"), "{by_digest}");
    let missing = push(
        &store,
        &reference(&registry, "nothing:1"),
        &options("secret"),
    )
    .await
    .unwrap_err();
    assert!(
        missing.to_string().starts_with("no such image: "),
        "{missing}"
    );
    assert_ne!(digest, Digest::of(b""));
}
