//! What is in the way of a file or a folder of the store costs its own object, and never keeps the store from opening.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hoist_image::{Image, ImageConfig, Reference, Store};
use support::{Tar, noise};

fn image(store: &Store, name: &str) -> Arc<Image> {
    let tar = Tar::new().file("file", &noise(5_000, 1)).end();
    let layer = store.add_layer(&mut &tar[..]).unwrap();
    let mut config = ImageConfig::new("amd64", "linux");
    config.rootfs.diff_ids = vec![layer.diff_id];
    store
        .add_image(&config, &[Reference::parse(name).unwrap()])
        .unwrap()
}

fn remove(path: &Path) {
    if path.is_dir() {
        // What a store does in the background may outlive it a little.
        while let Err(error) = fs::remove_dir_all(path) {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::DirectoryNotEmpty,
                "{}",
                path.display()
            );
        }
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
}

fn folder_instead(path: &Path) {
    remove(path);
    fs::create_dir(path).unwrap();
    fs::write(path.join("file"), b"").unwrap();
}

#[test]
fn a_folder_in_place_of_a_file_costs_that_file() {
    for name in ["index.json", "oci-layout", "generation", "lock"] {
        let root = tempfile::tempdir().unwrap();
        let id = image(&Store::open(root.path()).unwrap(), "app:1").id;
        let path = root.path().join("image").join(name);
        folder_instead(&path);
        let store = Store::open(root.path()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(
            store.resolve("app:1").map(|image| image.id),
            Some(id),
            "{name}"
        );
        assert!(path.is_file(), "{name}");
        drop(store);
        let store = Store::open(root.path()).unwrap();
        assert!(
            store.damage().is_empty(),
            "{name}: reported once: {:?}",
            store.damage()
        );
    }
}

#[test]
fn a_file_in_place_of_a_folder_costs_what_the_folder_held() {
    for name in [
        "blobs",
        "blobs/sha256",
        "images",
        "layers",
        "cache",
        "partial",
        "tmp",
        "trash",
        "empty",
        "",
    ] {
        let root = tempfile::tempdir().unwrap();
        drop(image(&Store::open(root.path()).unwrap(), "app:1"));
        let path = root.path().join("image").join(name);
        remove(&path);
        fs::write(
            root.path()
                .join("image")
                .join(name)
                .as_os_str()
                .to_str()
                .unwrap()
                .trim_end_matches('/'),
            b"x",
        )
        .unwrap();
        let store = Store::open(root.path()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(!store.damage().is_empty(), "{name}");
        image(&store, "app:2");
        assert!(store.resolve("app:2").is_some(), "{name}");
    }
}

#[test]
fn a_damaged_image_costs_itself() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let lost = image(&store, "app:1");
    drop(store);
    folder_instead(&root.path().join("image/blobs/sha256").join(lost.id.hex()));
    let store = Store::open(root.path()).unwrap();
    assert!(store.resolve("app:1").is_none());
    assert_eq!(store.damage().len(), 1, "{:?}", store.damage());
    image(&store, "app:1");
    assert!(store.resolve("app:1").is_some());
}
