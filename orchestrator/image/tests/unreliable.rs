//! Registries that break off, send people elsewhere, or are too busy.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hoist_image::{Access, Digest, Phase, PullOptions, Reference, RegistryAuth, Store, pull};
use support::liar::{Answer, Liar};
use support::{Config, OCI_MANIFEST, Registry, Tar, TestImage, TestLayer, noise};

/// Passes connections on to a registry and cuts each after so many bytes of answers.
fn cutting_proxy(target: u16, after: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let total = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&total);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                return;
            };
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut left = after;
                let mut buffer = [0; 4096];
                while left > 0 {
                    let most = left.min(buffer.len());
                    match server.read(&mut buffer[..most]) {
                        Ok(count) if count > 0 && client.write_all(&buffer[..count]).is_ok() => {
                            left -= count;
                            counted.fetch_add(count, Ordering::Relaxed);
                        }
                        _ => break,
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (port, total)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_where_it_was() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let content = noise(1 << 20, 1);
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("big", &content).end(),
    )]);
    registry.push("app", "1", &image).await;
    let (port, total) = cutting_proxy(registry.port, 300_000);
    let retries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&retries);
    let options = PullOptions {
        progress: Arc::new(move |progress| {
            if progress.phase == Phase::Retrying {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }),
        ..PullOptions::default()
    };
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = Reference::parse(&format!("127.0.0.1:{port}/app:1")).unwrap();
    let pulled = pull(&store, &name, &options).await.unwrap();
    assert_eq!(
        std::fs::read(store.lowers(&pulled.image).unwrap()[0].join("big")).unwrap(),
        content
    );
    assert!(retries.load(Ordering::Relaxed) >= 3);
    let size = image.layers[0].blob.len();
    let crossed = total.load(Ordering::Relaxed);
    assert!(
        crossed < size + size / 20,
        "{crossed} bytes for a layer of {size}"
    );
}

fn image() -> TestImage {
    TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("f", b"content").end(),
    )])
}

fn login(registry: &Liar) -> PullOptions {
    let auth = RegistryAuth {
        username: "me".into(),
        password: "secret".into(),
        ..RegistryAuth::default()
    };
    let auth = [(registry.reference().registry().to_owned(), auth)].into();
    PullOptions {
        access: Access {
            auth,
            ..Access::default()
        },
        ..PullOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    if support::skip(&[]) {
        return;
    }
    let blobs = Liar::start(|path, _| {
        let image = image();
        match path {
            "/config" => Answer::ok(&image.config, "application/octet-stream"),
            _ => Answer::ok(&image.layers[0].blob, "application/octet-stream"),
        }
    });
    let elsewhere = format!("http://127.0.0.1:{}", blobs.port);
    let registry = Liar::start(move |path, head| {
        let image = image();
        match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            _ if !head.contains("authorization: basic bwu6c2vjcmv0") => {
                Answer::status(401, "WWW-Authenticate: Basic realm=\"x\"".into())
            }
            "/v2/app/manifests/1" => Answer::ok(&image.manifest, OCI_MANIFEST),
            _ if path.ends_with(&Digest::of(&image.config).hex()) => {
                Answer::status(307, format!("Location: {elsewhere}/config"))
            }
            _ => Answer::status(307, format!("Location: {elsewhere}/layer")),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    pull(&store, &registry.reference(), &login(&registry))
        .await
        .unwrap();
    assert_eq!(blobs.requests().len(), 2);
    assert!(
        blobs
            .requests()
            .iter()
            .all(|head| !head.to_lowercase().contains("authorization"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_sent_to_a_realm_of_somebody_else() {
    let registry = Liar::start(|path, _| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ => Answer::status(
            401,
            "WWW-Authenticate: Bearer realm=\"http://169.254.169.254/token\"".into(),
        ),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = pull(&store, &registry.reference(), &login(&registry))
        .await
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("http://169.254.169.254/token, which is refused"),
        "{cause}"
    );
    assert!(!cause.contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_registry_is_asked_again() {
    if support::skip(&[]) {
        return;
    }
    let busy = AtomicUsize::new(0);
    let registry = Liar::start(move |path, _| {
        let image = image();
        match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            _ if busy.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
                Answer::status(503, "X-Nothing: y".into())
            }
            "/v2/app/manifests/1" => Answer::ok(&image.manifest, OCI_MANIFEST),
            _ if path.ends_with(&Digest::of(&image.config).hex()) => {
                Answer::ok(&image.config, "x/y")
            }
            _ => Answer::ok(&image.layers[0].blob, "x/y"),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    pull(&store, &registry.reference(), &PullOptions::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_sends_too_much_is_cut_off() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let manifest_bomb = Liar::start(|path, _| match path {
        "/v2/" => Answer::ok(b"", "text/plain"),
        _ => Answer::ok(&vec![b' '; 5 << 20], OCI_MANIFEST),
    });
    let error = pull(&store, &manifest_bomb.reference(), &PullOptions::default())
        .await
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.ends_with("the manifest is longer than 4194304 bytes"),
        "{cause}"
    );

    let long_layer = Liar::start(|path, _| {
        let image = image();
        match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            "/v2/app/manifests/1" => Answer::ok(&image.manifest, OCI_MANIFEST),
            _ if path.ends_with(&Digest::of(&image.config).hex()) => {
                Answer::ok(&image.config, "x/y")
            }
            _ => Answer::ok(&[&image.layers[0].blob[..], b"more"].concat(), "x/y"),
        }
    });
    let error = pull(&store, &long_layer.reference(), &PullOptions::default())
        .await
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("is longer than its"), "{cause}");
    assert!(store.images().is_empty());
    assert_eq!(
        std::fs::read_dir(folder.path().join("image/layers"))
            .unwrap()
            .count(),
        0
    );
}

/// Passes connections on to a registry until so many bytes of answers have come; then nothing comes any more.
fn stalling_proxy(target: u16, after: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicUsize::new(after));
    std::thread::spawn(move || {
        let mut stalled = Vec::new();
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                return;
            };
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            stalled.push(client.try_clone().unwrap());
            let left = Arc::clone(&left);
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut buffer = [0; 4096];
                while let Ok(count) = server.read(&mut buffer) {
                    let enough = left.load(Ordering::Relaxed) < count;
                    if count == 0 || enough || client.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                    left.fetch_sub(count, Ordering::Relaxed);
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_killed_goes_on_where_it_was() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let content = noise(4 << 20, 1);
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("big", &content).end(),
    )]);
    let digest = registry.push("app", "1", &image).await;
    let data = folder.path().join("data");
    let partial = data
        .join("image/partial")
        .join(image.layers[0].digest().hex());
    let arrived = || std::fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    let through = |port: u16| Reference::parse(&format!("127.0.0.1:{port}/app:1")).unwrap();

    let store = Store::open(&data).unwrap();
    let name = through(stalling_proxy(registry.port, 3 << 20));
    let pulling =
        tokio::spawn(async move { pull(&store, &name, &PullOptions::default()).await.map(drop) });
    while arrived() < 2 << 20 {
        tokio::task::yield_now().await;
    }
    // The worker thread lets go of the store when its input has ended; the lock tells when.
    pulling.abort();
    assert!(pulling.await.unwrap_err().is_cancelled());
    let reopen = || loop {
        match Store::open(&data) {
            Ok(store) => break store,
            Err(hoist_image::StoreError::Locked(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    let store = reopen();
    assert!(arrived() >= 2 << 20, "what had arrived is kept");

    let (port, crossed) = cutting_proxy(registry.port, usize::MAX);
    let pulled = pull(&store, &through(port), &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(pulled.digest, digest);
    assert!(
        crossed.load(Ordering::Relaxed) < (2 << 20) + (200 << 10),
        "{} bytes",
        crossed.load(Ordering::Relaxed)
    );
    let lower = store.lowers(&pulled.image).unwrap().remove(0);
    assert_eq!(std::fs::read(lower.join("big")).unwrap(), content);
    assert!(!partial.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_went_bad_is_fetched_again() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("big", &noise(300_000, 1)).end(),
    )]);
    let digest = registry.push("app", "1", &image).await;
    let data = folder.path().join("data");
    let store = Store::open(&data).unwrap();
    let partial = data
        .join("image/partial")
        .join(image.layers[0].digest().hex());
    let name = Reference::parse(&format!("{}/app:1", registry.host())).unwrap();
    for wrong in [vec![0; 200_000], vec![7; 900_000]] {
        std::fs::write(&partial, wrong).unwrap();
        assert_eq!(
            pull(&store, &name, &PullOptions::default())
                .await
                .unwrap()
                .digest,
            digest
        );
        assert!(!partial.exists());
        store
            .remove(&name.short(), true, &std::collections::BTreeSet::new())
            .unwrap();
        store
            .collect(
                &std::collections::BTreeSet::new(),
                hoist_image::Scope::default(),
            )
            .unwrap();
    }
}
