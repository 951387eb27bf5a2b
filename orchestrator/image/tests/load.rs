//! Archives of docker and of OCI tools.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::Cursor;
use std::path::Path;

use hoist_image::{Digest, Reference, Store, load, silent};
use serde_json::json;
use support::{OCI_MANIFEST, Tar, TestImage, TestLayer};

fn layer(content: &[u8]) -> TestLayer {
    TestLayer::gzip(Tar::new().directory("app/").file("app/file", content).end())
}

fn leftovers(data_root: &Path) -> usize {
    std::fs::read_dir(data_root.join("image/tmp"))
        .unwrap()
        .count()
}

#[tokio::test]
async fn a_docker_archive_loads_in_any_order_with_linked_layers() {
    if support::skip(&[]) {
        return;
    }
    let image = TestImage::new(vec![layer(b"one"), layer(b"two"), layer(b"one")]);
    let manifest = json!([{"Config": "config.json", "RepoTags": ["mybase:1.0"],
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]);
    let manifest = manifest.to_string();
    // Docker's own save puts the table of contents last.
    let archive = Tar::new()
        .directory("a/")
        .file("a/layer.tar", &image.layers[0].tar)
        .file("b/layer.tar", &image.layers[1].tar)
        .symlink("c/layer.tar", "../a/layer.tar")
        .file("config.json", &image.config)
        .file("manifest.json", manifest.as_bytes())
        .end();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let images = load(&store, Cursor::new(archive), silent()).await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].id, Digest::of(&image.config));
    assert_eq!(
        store
            .find(&Reference::parse("mybase:1.0").unwrap())
            .unwrap()
            .id,
        images[0].id
    );
    let lowers = store.lowers(&images[0]).unwrap();
    assert_eq!(lowers.len(), 2, "equal layers are one directory");
    assert_eq!(std::fs::read(lowers[0].join("app/file")).unwrap(), b"one");
    assert_eq!(std::fs::read(lowers[1].join("app/file")).unwrap(), b"two");
    assert_eq!(leftovers(folder.path()), 0);
}

fn oci_archive(image: &TestImage, name: &str) -> Vec<u8> {
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": Digest::of(&image.manifest), "size": image.manifest.len(),
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1"}}]});
    let mut tar = Tar::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar = tar.file("index.json", index.to_string().as_bytes());
    for layer in &image.layers {
        tar = tar.file(&blob(layer.digest()), &layer.blob);
    }
    tar = tar.file(&blob(Digest::of(&image.config)), &image.config);
    tar.file(&blob(Digest::of(&image.manifest)), &image.manifest)
        .end()
}

#[tokio::test]
async fn an_oci_archive_loads_compressed_with_its_manifest() {
    if support::skip(&[]) {
        return;
    }
    let image = TestImage::new(vec![layer(b"one"), layer(b"two")]);
    let archive = zstd::encode_all(&oci_archive(&image, "ghcr.io/team/app:1")[..], 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let images = load(&store, Cursor::new(archive), silent()).await.unwrap();
    assert_eq!(
        images[0].references,
        [Reference::parse("ghcr.io/team/app:1").unwrap()]
    );
    assert_eq!(images[0].manifest, Some(Digest::of(&image.manifest)));
    assert_eq!(
        images[0].layers,
        [image.layers[0].diff_id(), image.layers[1].diff_id()]
    );
    assert_eq!(leftovers(folder.path()), 0);
}

#[tokio::test]
async fn an_archive_that_does_not_hold_what_it_names_is_refused_without_residue() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lying = TestImage::with_diff_ids(vec![layer(b"one")], &[Digest::of(b"other")]);
    let manifest =
        |config: &str| json!([{"Config": config, "RepoTags": null, "Layers": ["l"]}]).to_string();
    let no_layer = Tar::new()
        .file("c", &lying.config)
        .file("manifest.json", manifest("c").as_bytes())
        .end();
    let wrong_layer = Tar::new()
        .file("c", &lying.config)
        .file("l", &lying.layers[0].tar)
        .file("manifest.json", manifest("c").as_bytes())
        .end();
    let outside = Tar::new()
        .file("manifest.json", manifest("../../../etc/passwd").as_bytes())
        .end();
    let cycle = Tar::new()
        .symlink("manifest.json", "a")
        .symlink("a", "manifest.json")
        .end();
    let empty = Tar::new().end();
    for (archive, expected) in [
        (no_layer, "the archive lacks l"),
        (wrong_layer, "layer l"),
        (outside, "the archive lacks ../../../etc/passwd"),
        (cycle, "the archive holds no image"),
        (empty, "the archive holds no image"),
        (b"nonsense".to_vec(), "reading the archive"),
    ] {
        let error = load(&store, Cursor::new(archive), silent())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(leftovers(folder.path()), 0);
        assert!(store.images().is_empty());
        assert_eq!(
            std::fs::read_dir(folder.path().join("image/layers"))
                .unwrap()
                .count(),
            0
        );
    }
}
