//! Pulling from Debian's real registry server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use hoist_image::{
    Access, Digest, Phase, Platforms, Progress, PullOptions, Reference, RegistryAuth, Store, pull,
};
use support::{Certificate, Config, Registry, Tar, TestImage, TestLayer, noise};

fn options() -> PullOptions {
    PullOptions::default()
}

fn watched() -> (PullOptions, Arc<Mutex<Vec<Progress>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let progress = Arc::new(move |progress| sink.lock().unwrap().push(progress));
    (
        PullOptions {
            progress,
            ..PullOptions::default()
        },
        seen,
    )
}

fn reference(registry: &Registry, name: &str) -> Reference {
    Reference::parse(&format!("{}/{name}", registry.host())).unwrap()
}

fn leftovers(data_root: &Path) -> usize {
    ["tmp", "trash"]
        .iter()
        .map(|folder| {
            std::fs::read_dir(data_root.join("image").join(folder))
                .unwrap()
                .count()
        })
        .sum()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn base() -> TestLayer {
    let tar = Tar::new()
        .directory("etc/")
        .file("etc/keep", b"keep")
        .file("etc/gone", b"gone")
        .directory("opt/")
        .file("opt/old", b"old")
        .directory("bin/")
        .file("bin/tool", &noise(300_000, 1))
        .hard_link("bin/same", "bin/tool")
        .symlink("bin/sh", "tool")
        .device(b'3', "null", 1, 3)
        .pax(&[
            ("SCHILY.xattr.user.note", b"hello"),
            ("SCHILY.xattr.security.capability", &CAPABILITY),
        ])
        .file("bin/capable", b"x")
        .end();
    TestLayer::gzip(tar)
}

/// cap_net_raw+ep, version 2.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

fn is_whiteout(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_pull_unpacks_every_layer_in_overlay_form() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let top = Tar::new()
        .directory("etc/")
        .file("etc/.wh.gone", b"")
        .directory("opt/")
        .file("opt/.wh..wh..opq", b"")
        .file("opt/new", b"new")
        .end();
    let image = TestImage::new(vec![base(), TestLayer::zstd(top)]);
    let manifest = registry.push("team/app", "1", &image).await;

    let data = folder.path().join("data");
    let store = Store::open(&data).unwrap();
    let name = reference(&registry, "team/app:1");
    let pulled = pull(&store, &name, &options()).await.unwrap();
    assert!(!pulled.up_to_date);
    assert_eq!(pulled.digest, manifest);
    assert_eq!(pulled.image.id, Digest::of(&image.config));
    assert_eq!(pulled.image.references, std::slice::from_ref(&name));
    assert_eq!(pulled.image.repo_digests, [name.with_digest(manifest)]);
    assert_eq!(pulled.image.created, "2024-01-02T03:04:05Z");

    let lowers = store.lowers(&pulled.image).unwrap();
    let (top, base) = (&lowers[0], &lowers[1]);
    assert_eq!(std::fs::read(base.join("etc/keep")).unwrap(), b"keep");
    assert_eq!(std::fs::metadata(base.join("bin/tool")).unwrap().nlink(), 2);
    assert_eq!(
        std::fs::read_link(base.join("bin/sh")).unwrap(),
        Path::new("tool")
    );
    assert_eq!(std::fs::metadata(base.join("null")).unwrap().rdev(), 0x103);
    assert_eq!(
        std::fs::metadata(base.join("etc/keep")).unwrap().mtime(),
        1_700_000_000
    );
    assert_eq!(
        std::fs::metadata(base.join("etc")).unwrap().mtime(),
        1_700_000_000
    );
    assert_eq!(
        xattr(&base.join("bin/capable"), "user.note").as_deref(),
        Some(&b"hello"[..])
    );
    assert_eq!(
        xattr(&base.join("bin/capable"), "security.capability").as_deref(),
        Some(&CAPABILITY[..])
    );
    assert!(is_whiteout(&top.join("etc/gone")));
    assert!(!top.join("etc/.wh.gone").exists());
    assert_eq!(
        xattr(&top.join("opt"), "trusted.overlay.opaque").as_deref(),
        Some(&b"y"[..])
    );
    assert_eq!(leftovers(&data), 0);

    // And again: nothing to do, also for a store that is opened anew.
    assert!(pull(&store, &name, &options()).await.unwrap().up_to_date);
    store.sync().unwrap();
    drop(store);
    let store = Store::open(&data).unwrap();
    assert!(store.damage().is_empty());
    assert_eq!(store.find(&name).unwrap().id, pulled.image.id);
    assert!(pull(&store, &name, &options()).await.unwrap().up_to_date);
    let by_digest = name.with_digest(manifest);
    drop(registry);
    assert!(
        pull(&store, &by_digest, &options())
            .await
            .unwrap()
            .up_to_date,
        "a known digest needs no registry"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_changed_layer_of_an_image_crosses() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let layer = |seed| TestLayer::gzip(Tar::new().file("app", &noise(100_000, seed)).end());
    let (old, new) = (
        TestImage::new(vec![base(), layer(7)]),
        TestImage::new(vec![base(), layer(8)]),
    );
    registry.push("app", "1", &old).await;
    registry.push("app", "2", &new).await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    pull(&store, &reference(&registry, "app:1"), &options())
        .await
        .unwrap();
    let (options, seen) = watched();
    pull(&store, &reference(&registry, "app:2"), &options)
        .await
        .unwrap();
    assert_eq!(registry.requests_for(&base().digest()), 1);
    assert_eq!(registry.requests_for(&layer(7).digest()), 1);
    assert_eq!(registry.requests_for(&layer(8).digest()), 1);
    let seen = seen.lock().unwrap();
    let phase = |digest: Digest| {
        seen.iter()
            .filter(|progress| progress.item == digest.short())
            .map(|p| p.phase)
            .collect::<Vec<_>>()
    };
    assert_eq!(phase(base().digest()), [Phase::Exists]);
    assert_eq!(
        phase(layer(8).digest()),
        [Phase::Waiting, Phase::Downloading, Phase::Complete]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_of_one_image_do_the_work_once() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    registry
        .push("app", "1", &TestImage::new(vec![base()]))
        .await;
    registry
        .push("other", "1", &TestImage::new(vec![base()]))
        .await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    let pulls = ["app:1", "app:1", "other:1", "other:1"].map(|name| {
        let (store, name) = (Arc::clone(&store), reference(&registry, name));
        tokio::spawn(async move { pull(&store, &name, &options()).await.unwrap().image.id })
    });
    for pull in pulls {
        assert_eq!(pull.await.unwrap(), store.images()[0].id);
    }
    assert_eq!(registry.requests_for(&base().digest()), 1);
    assert_eq!(store.images().len(), 1);
    assert_eq!(store.images()[0].references.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_login_are_needed_where_the_registry_asks_for_them() {
    if support::skip(&["docker-registry", "htpasswd", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let filler = Registry::start(folder.path(), &Config::default());
    let manifest = filler
        .push("private/app", "1", &TestImage::new(vec![base()]))
        .await;
    drop(filler);
    let certificate = Certificate::make(folder.path());
    let registry = Registry::start(
        folder.path(),
        &Config {
            tls: Some(&certificate),
            login: Some(("me", "secret")),
            ..Config::default()
        },
    );
    let name = reference(&registry, "private/app:1");
    let store = Store::open(&folder.path().join("data")).unwrap();

    let error = chain(&pull(&store, &name, &options()).await.unwrap_err());
    assert!(
        error.contains("no TLS connection") && error.contains("certificate"),
        "{error}"
    );

    let certificates = folder.path().join("certs.d");
    std::fs::create_dir_all(certificates.join(registry.host())).unwrap();
    std::fs::copy(
        &certificate.authority,
        certificates.join(registry.host()).join("ca.crt"),
    )
    .unwrap();
    let trusting = PullOptions {
        access: Access {
            certificates: vec![certificates],
            ..Access::default()
        },
        ..options()
    };
    let error = chain(&pull(&store, &name, &trusting).await.unwrap_err());
    let expected = format!(
        "pulling {host}/private/app:1: registry {host}: authentication required for private/app; no credentials for \
         {host} in the docker configuration (hoist login {host})",
        host = registry.host()
    );
    assert_eq!(error, expected);

    let login = |password: &str, access: &Access| {
        let auth = RegistryAuth {
            username: "me".into(),
            password: password.into(),
            ..RegistryAuth::default()
        };
        PullOptions {
            access: Access {
                auth: [(registry.host(), auth)].into(),
                ..access.clone()
            },
            ..options()
        }
    };
    let wrong = login("wrong", &trusting.access);
    let error = chain(&pull(&store, &name, &wrong).await.unwrap_err());
    assert!(
        error.contains("credentials for it were not accepted") && !error.contains("wrong"),
        "{error}"
    );

    let right = login("secret", &trusting.access);
    assert_eq!(pull(&store, &name, &right).await.unwrap().digest, manifest);

    let store = Store::open(&folder.path().join("other")).unwrap();
    let careless = login(
        "secret",
        &Access {
            insecure: vec![registry.host()],
            ..Access::default()
        },
    );
    assert_eq!(
        pull(&store, &name, &careless).await.unwrap().digest,
        manifest
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_what_was_asked_for_leave_nothing() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let plain = |seed| TestLayer {
        tar: Tar::new().file("app", &noise(100_000, seed)).end(),
        blob: Tar::new().file("app", &noise(100_000, seed)).end(),
        media_type: "application/vnd.oci.image.layer.v1.tar",
    };
    registry
        .push("corrupt", "1", &TestImage::new(vec![plain(1)]))
        .await;
    registry.corrupt(folder.path(), &plain(1).digest());
    registry
        .push(
            "lying",
            "1",
            &TestImage::with_diff_ids(vec![plain(2)], &[Digest::of(b"else")]),
        )
        .await;
    let data = folder.path().join("data");
    let store = Store::open(&data).unwrap();

    let error = chain(
        &pull(&store, &reference(&registry, "corrupt:1"), &options())
            .await
            .unwrap_err(),
    );
    assert!(
        error.contains(&format!("layer {}: the blob has digest", plain(1).digest())),
        "{error}"
    );
    let error = chain(
        &pull(&store, &reference(&registry, "lying:1"), &options())
            .await
            .unwrap_err(),
    );
    assert!(error.contains("the layer unpacks to diff id"), "{error}");

    assert!(store.images().is_empty());
    assert_eq!(
        std::fs::read_dir(data.join("image/layers"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(leftovers(&data), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_image_and_the_registry() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    registry
        .push("app", "1", &TestImage::new(vec![base()]))
        .await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    let error = async |name: &str| {
        chain(
            &pull(&store, &Reference::parse(name).unwrap(), &options())
                .await
                .unwrap_err(),
        )
    };
    let host = registry.host();
    assert_eq!(
        error(&format!("{host}/app:2")).await,
        format!(
            "pulling {host}/app:2: registry {host}: manifest 2 not found in app: manifest unknown"
        )
    );
    drop(registry);
    let refused = error(&format!("{host}/app:1")).await;
    assert!(
        refused.starts_with(&format!(
            "pulling {host}/app:1: registry {host}: connection refused"
        )),
        "{refused}"
    );
    let unknown = error("registry.invalid/app:1").await;
    let expected = "pulling registry.invalid/app:1: registry registry.invalid: unknown host";
    assert!(unknown.starts_with(expected), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_leads_to_the_image_of_this_platform() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let image = TestImage::new(vec![base()]);
    let manifest = registry.push("multi", "own", &image).await;
    let host = hoist_image::Platform::host();
    let index = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": support::OCI_INDEX,
        "manifests": [
            {"mediaType": support::OCI_MANIFEST, "digest": manifest, "size": image.manifest.len(),
             "platform": {"architecture": "unknown", "os": "unknown"}},
            {"mediaType": support::OCI_MANIFEST, "digest": manifest, "size": image.manifest.len(),
             "platform": {"architecture": host.architecture, "os": "linux"}},
        ],
    }))
    .unwrap();
    let index_digest = registry
        .push_manifest("multi", "latest", support::OCI_INDEX, &index)
        .await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = reference(&registry, "multi");
    let pulled = pull(&store, &name, &options()).await.unwrap();
    assert_eq!(pulled.digest, index_digest);
    assert_eq!(pulled.image.manifest, Some(manifest));
    let elsewhere = PullOptions {
        platforms: Platforms::One("linux/s390x".parse().unwrap()),
        ..options()
    };
    let error = chain(&pull(&store, &name, &elsewhere).await.unwrap_err());
    assert!(
        error.contains("no image for platform linux/s390x, only for linux/"),
        "{error}"
    );
}
