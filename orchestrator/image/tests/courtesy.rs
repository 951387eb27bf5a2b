//! How a registry is treated: several layers at once, docker's own forms, and never sooner than it wants to be asked.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use hoist_image::{Digest, Platform, PullOptions, Reference, Store, pull};
use serde_json::json;
use support::between::between;
use support::liar::{Answer, Liar};
use support::{Config, OCI_MANIFEST, Registry, Tar, TestImage, TestLayer, noise};

#[tokio::test]
async fn a_registry_that_names_a_time_is_not_asked_before() {
    if support::skip(&[]) {
        return;
    }
    let image = TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("f", b"content").end(),
    )]);
    let refused: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let early: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let (first, asked) = (Arc::clone(&refused), Arc::clone(&early));
    let registry = Liar::start(move |path, _| {
        let mut refused = first.lock().unwrap();
        match path {
            "/v2/" => Answer::ok(b"", "text/plain"),
            "/v2/app/manifests/1" => match refused.first() {
                None => {
                    refused.push(Instant::now());
                    Answer::status(429, "Retry-After: 2".into())
                }
                Some(since) => {
                    asked.lock().unwrap().push(since.elapsed());
                    Answer::ok(&image.manifest, OCI_MANIFEST)
                }
            },
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
    assert!(
        early
            .lock()
            .unwrap()
            .iter()
            .all(|waited| *waited >= Duration::from_secs(2)),
        "{early:?}"
    );
}

/// Passes requests on to a registry; one for any of `together` waits until all of them are asked for.
fn gathering(target: u16, together: &[Digest]) -> u16 {
    let (barrier, names) = (Barrier::new(together.len()), together.to_vec());
    between(target, move |request, _| {
        if names
            .iter()
            .any(|name| request.contains(&format!("/blobs/{name} ")))
        {
            barrier.wait();
        }
        false
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_fetched_at_the_same_time() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let layer = |seed| TestLayer::gzip(Tar::new().file("f", &noise(1000, seed)).end());
    let image = TestImage::new((1..=3).map(layer).collect());
    registry.push("app", "1", &image).await;
    // One after the other they would wait for ever, which a pull does not do.
    let layers: Vec<Digest> = image.layers.iter().map(TestLayer::digest).collect();
    let port = gathering(registry.port, &layers);
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = Reference::parse(&format!("127.0.0.1:{port}/app:1")).unwrap();
    let options = PullOptions::default();
    let pulled = tokio::time::timeout(Duration::from_secs(50), pull(&store, &name, &options)).await;
    assert_eq!(
        pulled
            .expect("all layers are asked for at once")
            .unwrap()
            .image
            .layers
            .len(),
        3
    );
}

#[tokio::test]
async fn an_image_in_dockers_own_forms_is_pulled() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let mut layer = TestLayer::gzip(Tar::new().file("f", b"content").end());
    layer.media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let image = TestImage::new(vec![layer]);
    let text = String::from_utf8(image.manifest)
        .unwrap()
        .replace(OCI_MANIFEST, MANIFEST);
    let manifest = text.replace(
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    );
    registry.push_blob("app", &image.layers[0].blob).await;
    registry.push_blob("app", &image.config).await;
    let inner = registry
        .push_manifest("app", "inner", MANIFEST, manifest.as_bytes())
        .await;
    let platform = Platform::host();
    let list = json!({
        "schemaVersion": 2, "mediaType": LIST,
        "manifests": [{
            "mediaType": MANIFEST, "size": manifest.len(), "digest": inner,
            "platform": {"os": "linux", "architecture": platform.architecture, "variant": platform.variant},
        }],
    });
    let digest = registry
        .push_manifest("app", "1", LIST, list.to_string().as_bytes())
        .await;
    let store = Store::open(&folder.path().join("data")).unwrap();
    let name = |tag: &str| Reference::parse(&format!("{}/app:{tag}", registry.host())).unwrap();
    let pulled = pull(&store, &name("1"), &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (pulled.digest, pulled.image.manifest),
        (digest, Some(inner))
    );
    let lower = store.lowers(&pulled.image).unwrap().remove(0);
    assert_eq!(std::fs::read(lower.join("f")).unwrap(), b"content");
    // The same image alone is the same image.
    let alone = pull(&store, &name("inner"), &PullOptions::default())
        .await
        .unwrap();
    assert_eq!(alone.image.id, pulled.image.id);
}
