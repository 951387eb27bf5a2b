//! Looking names up in Debian's real registry server.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use hoist_image::{Access, Digest, Reference, describe, resolve};
use support::{Config, OCI_INDEX, OCI_MANIFEST, Registry, Tar, TestImage, TestLayer};

fn image() -> TestImage {
    TestImage::new(vec![TestLayer::gzip(
        Tar::new().file("f", b"content").end(),
    )])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_by_one_request_without_a_body() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let digest = registry.push("app", "1", &image()).await;
    let reference = |name: &str| Reference::parse(&format!("{}/{name}", registry.host())).unwrap();
    let found = resolve(&reference("app:1"), &Access::default())
        .await
        .unwrap();
    assert_eq!(
        (found.digest, found.media_type.as_str()),
        (digest, OCI_MANIFEST)
    );
    assert_eq!(found.size, image().manifest.len() as u64);
    assert_eq!(registry.answered("GET", "/manifests/"), 0);
    assert_eq!(
        resolve(&reference(&format!("app@{digest}")), &Access::default())
            .await
            .unwrap()
            .digest,
        digest
    );

    let missing = resolve(&reference("app:2"), &Access::default())
        .await
        .unwrap_err();
    assert!(missing.is_not_found());
    let other = Digest::of(b"other");
    assert!(
        resolve(&reference(&format!("app@{other}")), &Access::default())
            .await
            .unwrap_err()
            .is_not_found()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_of_a_name_are_told_without_its_attestations() {
    if support::skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let image = image();
    let manifest = registry.push("app", "one", &image).await;
    let entry = |platform: serde_json::Value| {
        let (size, media_type) = (image.manifest.len(), OCI_MANIFEST);
        serde_json::json!({"mediaType": media_type, "digest": manifest, "size": size, "platform": platform})
    };
    let index = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [
            entry(serde_json::json!({"os": "linux", "architecture": "arm", "variant": "v7"})),
            entry(serde_json::json!({"os": "linux", "architecture": "amd64"})),
            entry(serde_json::json!({"os": "unknown", "architecture": "unknown"})),
        ],
    }));
    let index = registry
        .push_manifest("app", "all", OCI_INDEX, &index.unwrap())
        .await;
    let described = async |tag: &str| {
        let reference = Reference::parse(&format!("{}/app:{tag}", registry.host())).unwrap();
        let described = describe(&reference, &Access::default()).await.unwrap();
        (
            described.digest,
            described
                .platforms
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        described("all").await,
        (
            index,
            vec!["linux/arm/v7".to_owned(), "linux/amd64".to_owned()]
        )
    );
    assert_eq!(
        described("one").await,
        (manifest, vec![hoist_image::Platform::host().to_string()])
    );
}
