//! Images as archives: what is saved loads again as it was.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::sync::Arc;

use hoist_image::{Archive, Digest, ImageConfig, Reference, Store, load, silent};
use serde_json::{Value, json};
use support::{OCI_MANIFEST, Tar, TestImage, TestLayer, noise};

fn saved(store: &Arc<Store>, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut bytes = Vec::new();
    Archive::of(store, &names)
        .unwrap()
        .write(&mut bytes)
        .unwrap();
    bytes
}

fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(archive);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    tar.entries().unwrap().map(read).collect()
}

/// An image as a registry or another docker has it: its layers are compressed, and a manifest names them.
fn foreign() -> (TestImage, Vec<u8>) {
    let layer = |seed| {
        TestLayer::gzip(
            Tar::new()
                .directory("app/")
                .file("app/file", &noise(50_000, seed))
                .end(),
        )
    };
    let image = TestImage::new(vec![layer(1), layer(2)]);
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": Digest::of(&image.manifest), "size": image.manifest.len(),
        "annotations": {"io.containerd.image.name": "docker.io/library/foreign:1"}}]});
    let mut tar = Tar::new().file("index.json", index.to_string().as_bytes());
    for layer in &image.layers {
        tar = tar.file(&blob(layer.digest()), &layer.blob);
    }
    tar = tar.file(&blob(Digest::of(&image.config)), &image.config);
    let archive = tar
        .file(&blob(Digest::of(&image.manifest)), &image.manifest)
        .end();
    (image, archive)
}

/// Two images built here, one on top of the other.
fn built(store: &Arc<Store>) -> [Digest; 2] {
    let layer = |name: &str| {
        let scratch = store.begin_layer().unwrap();
        std::fs::write(scratch.upper().join(name), noise(30_000, name.len() as u64)).unwrap();
        store.commit_layer(scratch).unwrap()
    };
    let (base, top) = (layer("base"), layer("topmost"));
    let mut config = ImageConfig::new("amd64", "linux");
    config.rootfs.diff_ids = vec![base.diff_id];
    let one = store
        .add_image(&config, &[Reference::parse("built:base").unwrap()])
        .unwrap();
    config.rootfs.diff_ids.push(top.diff_id);
    let names = ["built:top", "localhost:5000/other:2"].map(|name| Reference::parse(name).unwrap());
    [one.id, store.add_image(&config, &names).unwrap().id]
}

#[tokio::test]
async fn saved_images_load_with_their_ids_digests_and_names() {
    if support::skip(&[]) {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(from.path()).unwrap();
    let (image, archive) = foreign();
    load(&store, Cursor::new(archive), silent()).await.unwrap();
    let [base, top] = built(&store);
    let archive = saved(&store, &["foreign:1", "built", "localhost:5000/other:2"]);
    let other = Store::open(to.path()).unwrap();
    load(&other, Cursor::new(archive.clone()), silent())
        .await
        .unwrap();
    let ids: BTreeSet<Digest> = other.images().iter().map(|image| image.id).collect();
    assert_eq!(ids, BTreeSet::from([base, top, Digest::of(&image.config)]));
    let find = |name: &str| other.resolve(name).unwrap();
    assert_eq!(
        find("foreign:1").manifest,
        Some(Digest::of(&image.manifest)),
        "the digest is kept"
    );
    assert_eq!((find("built:base").id, find("built:top").id), (base, top));
    assert_eq!(find("localhost:5000/other:2").id, top);
    assert_eq!(
        saved(&other, &["foreign:1", "built", "localhost:5000/other:2"]),
        archive,
        "saved again, it is the same"
    );
    let report = other.check(&hoist_image::CheckOptions::default()).unwrap();
    assert_eq!(report.problems, []);
}

#[test]
fn what_images_share_goes_once_and_the_tables_name_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [base, top] = built(&store);
    let archive = saved(&store, &["built:base", "built:top"]);
    assert_eq!(
        archive,
        saved(&store, &["built:base", "built:top"]),
        "the same bytes every time"
    );
    let members = members(&archive);
    let names: BTreeSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), members.len(), "each member once");
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("blobs/"))
            .count(),
        6,
        "2 layers, 2 configs, 2 manifests"
    );
    for (name, bytes) in &members {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(Digest::of(bytes).hex(), hex);
        }
    }
    let table = |wanted: &str| -> Value {
        serde_json::from_slice(&members.iter().find(|(name, _)| name == wanted).unwrap().1).unwrap()
    };
    let docker = table("manifest.json");
    assert_eq!(docker[0]["Config"], format!("blobs/sha256/{}", base.hex()));
    assert_eq!(docker[1]["Config"], format!("blobs/sha256/{}", top.hex()));
    assert_eq!(
        (&docker[0]["RepoTags"], &docker[1]["RepoTags"]),
        (&json!(["built:base"]), &json!(["built:top"]))
    );
    let index = table("index.json");
    assert_eq!(
        index["manifests"][1]["annotations"]["io.containerd.image.name"],
        "docker.io/library/built:top"
    );
    assert_eq!(
        index["manifests"][1]["annotations"]["org.opencontainers.image.ref.name"],
        "top"
    );
    // By its id, an image goes without its names.
    let bare = self::members(&saved(&store, &[&top.short()]));
    let docker: Value = serde_json::from_slice(
        &bare
            .iter()
            .find(|(name, _)| name == "manifest.json")
            .unwrap()
            .1,
    )
    .unwrap();
    assert_eq!(docker[0]["RepoTags"], json!([]));
}

#[test]
fn a_damaged_layer_ends_the_archive_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [base, _] = built(&store);
    let layer = store.image(&base).unwrap().layers[0];
    let file = folder
        .path()
        .join("image/layers")
        .join(layer.hex())
        .join("fs/base");
    std::fs::write(&file, noise(30_000, 99)).unwrap();
    let archive = Archive::of(&store, &["built:base".to_owned()]).unwrap();
    let error = archive.write(&mut std::io::sink()).unwrap_err();
    assert!(error.to_string().contains("layer"), "{error}");
}
