//! Mirrors, blocked registries and certificates of both sides, with Debian's real registry server.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::path::{Path, PathBuf};

use hoist_image::{Access, PullOptions, PushOptions, Reference, Store, pull, push};
use support::{Certificate, Config, Registry, Tar, TestImage, TestLayer};

fn image(content: &[u8]) -> TestImage {
    TestImage::new(vec![TestLayer::gzip(Tar::new().file("f", content).end())])
}

fn configured(folder: &Path, text: &str) -> Access {
    let configuration = folder.join("registries.conf");
    std::fs::write(&configuration, text).unwrap();
    Access {
        configuration,
        ..Access::default()
    }
}

fn pulling(access: Access) -> PullOptions {
    PullOptions {
        access,
        ..PullOptions::default()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_before_its_registry_and_only_for_what_is_read() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mirror = Registry::start(here.path(), &Config::default());
    let home = Registry::start(there.path(), &Config::default());
    let held = mirror.push("copies/team/app", "1", &image(b"same")).await;
    let (mirror_host, home_host) = (mirror.host(), home.host());
    let folder = tempfile::tempdir().unwrap();

    // The registry itself does not even exist.
    let access = configured(
        folder.path(),
        &format!(
            "[[registry]]\nprefix = \"r.invalid/team\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1/gone\"\n\
             [[registry.mirror]]\nlocation = \"{mirror_host}/copies/team\"\n"
        ),
    );
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = Reference::parse("r.invalid/team/app:1").unwrap();
    let pulled = pull(&store, &name, &pulling(access)).await.unwrap();
    assert_eq!(pulled.digest, held);
    assert_eq!(pulled.image.references, [name]);
    assert_eq!(
        pulled.image.repo_digests[0].registry(),
        "r.invalid",
        "the image is known by its own name"
    );

    // What the mirror lacks comes from the registry; what is pushed goes there.
    let access = configured(
        folder.path(),
        &format!(
            "[[registry]]\nlocation = \"{home_host}\"\n[[registry.mirror]]\nlocation = \"{mirror_host}\"\n"
        ),
    );
    let own = home.push("own", "1", &image(b"own")).await;
    let name = Reference::parse(&format!("{home_host}/own:1")).unwrap();
    assert_eq!(
        pull(&store, &name, &pulling(access.clone()))
            .await
            .unwrap()
            .digest,
        own
    );
    assert_eq!(
        mirror.answered("GET", "/v2/own/manifests/1"),
        1,
        "the mirror was asked first"
    );
    let copy = Reference::parse(&format!("{home_host}/copy:1")).unwrap();
    store.tag(&pulled.image.id.to_string(), &copy).unwrap();
    push(
        &store,
        &copy,
        &PushOptions {
            access,
            ..PushOptions::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (
            mirror.answered("PUT", "/v2/copy/"),
            home.answered("PUT", "/v2/copy/manifests/1")
        ),
        (0, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_or_misconfigured_is_asked_of_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = Reference::parse("r.invalid/secret/app:1").unwrap();
    let blocked = configured(
        folder.path(),
        "[[registry]]\nprefix = \"r.invalid/secret\"\nblocked = true\n",
    );
    let error = chain(&pull(&store, &name, &pulling(blocked)).await.unwrap_err());
    assert!(
        error.contains("r.invalid/secret is blocked by") && error.contains("registries.conf"),
        "{error}"
    );
    let broken = configured(folder.path(), "[[registry]]\nlocation = 5\n");
    let error = chain(&pull(&store, &name, &pulling(broken)).await.unwrap_err());
    assert!(
        error.contains("registries.conf") && error.contains("line 2"),
        "{error}"
    );
}

fn certs_d(folder: &Path, host: &str, files: &[(&Path, &str)]) -> Vec<PathBuf> {
    let place = folder.join("certs.d").join(host);
    std::fs::create_dir_all(&place).unwrap();
    for (file, name) in files {
        std::fs::copy(file, place.join(name)).unwrap();
    }
    vec![folder.join("nothing-here"), folder.join("certs.d")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_a_certificate_of_ours_gets_it() {
    if support::skip(&["docker-registry", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path());
    let config = Config {
        tls: Some(&certificate),
        clients_too: true,
        ..Config::default()
    };
    let registry = Registry::start(folder.path(), &config);
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = Reference::parse(&format!("{}/app:1", registry.host())).unwrap();
    let with = |files: &[(&Path, &str)]| {
        pulling(Access {
            certificates: certs_d(folder.path(), &registry.host(), files),
            ..Access::default()
        })
    };
    let error = chain(
        &pull(&store, &name, &with(&[(&certificate.authority, "ca.crt")]))
            .await
            .unwrap_err(),
    );
    assert!(!error.contains("not found"), "{error}");
    let error = chain(
        &pull(
            &store,
            &name,
            &with(&[(&certificate.certificate, "client.cert")]),
        )
        .await
        .unwrap_err(),
    );
    assert!(
        error.contains("client.cert") && error.contains("its key is missing"),
        "{error}"
    );
    // Nothing is there, which only somebody who was let in learns.
    let error = chain(
        &pull(&store, &name, &with(&[(&certificate.key, "client.key")]))
            .await
            .unwrap_err(),
    );
    assert!(error.contains("not found"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_at_an_ipv6_address_is_a_registry() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: there is no IPv6 here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(
        folder.path(),
        &Config {
            six: true,
            ..Config::default()
        },
    );
    let digest = registry.push("team/app", "1", &image(b"six")).await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    let host = registry.host();
    assert!(host.starts_with("[::1]:"));
    let parse = |name: &str| Reference::parse(&format!("{host}/{name}")).unwrap();
    let options = pulling(Access::default());
    let pulled = pull(&store, &parse("team/app:1"), &options).await.unwrap();
    assert_eq!(
        (pulled.digest, pulled.image.references.as_slice()),
        (digest, [parse("team/app:1")].as_slice())
    );
    store
        .tag(&pulled.image.id.to_string(), &parse("copy:1"))
        .unwrap();
    push(&store, &parse("copy:1"), &PushOptions::default())
        .await
        .unwrap();
    // As a mirror, and with a tag beside the digest, which counts.
    let text = format!(
        "[[registry]]\nlocation = \"r.invalid:5000\"\n[[registry.mirror]]\nlocation = \"{host}\"\n"
    );
    let other = Store::open(&folder.path().join("other")).unwrap();
    let name = Reference::parse(&format!("r.invalid:5000/copy:never@{digest}")).unwrap();
    let pulled = pull(&other, &name, &pulling(configured(folder.path(), &text)))
        .await
        .unwrap();
    assert_eq!(pulled.digest, digest);
}
