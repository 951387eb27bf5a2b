//! Images for several platforms under one name, here and in Debian's real registry server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hoist_image::{
    Archive, CheckOptions, Digest, Image, ImageConfig, Platform, Platforms, PullOptions,
    PushOptions, Reference, Scope, Store, load, pull, push, silent,
};
use support::{Config, Registry};

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn open(folder: &Path, name: &str) -> Arc<Store> {
    Store::open(&folder.join(name)).unwrap()
}

/// An image of one layer, the same whenever it is made.
fn built(store: &Store, platform: &str, content: &str) -> Arc<Image> {
    let scratch = store.begin_layer().unwrap();
    std::fs::write(scratch.upper().join("made"), content).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::options()
        .append(true)
        .open(scratch.upper().join("made"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    std::fs::File::open(scratch.upper())
        .unwrap()
        .set_modified(time)
        .unwrap();
    let layer = store.commit_layer(scratch).unwrap();
    let platform: Platform = platform.parse().unwrap();
    let mut config = ImageConfig::new(&platform.architecture, &platform.os);
    config.rootfs.diff_ids = vec![layer.diff_id];
    store.add_image(&config, &[]).unwrap()
}

/// Two images under these names: for this machine and for another one.
fn two(store: &Store, names: &[Reference]) -> (Arc<Image>, Arc<Image>) {
    let (amd, arm) = (
        built(store, "linux/amd64", "amd64"),
        built(store, "linux/arm64", "arm64"),
    );
    store.add_index(&[arm.id, amd.id], names).unwrap();
    (amd, arm)
}

fn ids(images: &[Arc<Image>]) -> BTreeSet<Digest> {
    images.iter().map(|image| image.id).collect()
}

fn skip(programs: &[&str]) -> bool {
    if std::env::consts::ARCH != "x86_64" {
        println!("skipped: written for an amd64 machine");
        return true;
    }
    support::skip(programs)
}

fn wanting(platforms: Platforms) -> PullOptions {
    PullOptions {
        platforms,
        ..PullOptions::default()
    }
}

#[test]
fn a_name_means_this_machines_image_and_knows_the_others() {
    if skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (app, copy) = (reference("app:1"), reference("copy:1"));
    let (amd, arm) = {
        let store = open(folder.path(), "store");
        two(&store, std::slice::from_ref(&app))
    };
    let store = open(folder.path(), "store");
    assert_eq!(store.find(&app).unwrap().id, amd.id);
    assert_eq!(
        store
            .find_for(&app, &platform("linux/arm64/v8"))
            .unwrap()
            .id,
        arm.id
    );
    assert!(store.find_for(&app, &platform("linux/s390x")).is_none());
    store.tag("app:1", &copy).unwrap();
    assert_eq!(
        ids(&store.named(&copy)),
        ids(&[amd.clone(), arm.clone()]),
        "a new name is one for all of them"
    );
    store.tag(&amd.id.to_string(), &copy).unwrap();
    assert_eq!(
        ids(&store.named(&copy)),
        ids(std::slice::from_ref(&amd)),
        "an id is one image, which then has the name alone"
    );
    let other = built(&store, "linux/amd64", "other");
    store.tag(&other.id.to_string(), &app).unwrap();
    assert_eq!(
        ids(&store.named(&app)),
        ids(&[other]),
        "a name is taken from all images that had it"
    );
}

#[test]
fn the_name_goes_with_all_its_images_and_until_then_nothing_is_collected() {
    if skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "store");
    let (app, kept) = (reference("app:1"), reference("kept:1"));
    let (amd, arm) = two(&store, &[app.clone(), kept]);
    let collected = store
        .collect(
            &BTreeSet::new(),
            Scope {
                dangling: true,
                ..Scope::default()
            },
        )
        .unwrap();
    assert!(collected.images.is_empty() && collected.layers.is_empty());
    assert_eq!(store.check(&CheckOptions::default()).unwrap().problems, []);
    let removed = store.remove("app:1", false, &BTreeSet::new()).unwrap();
    assert_eq!((removed.untagged, removed.deleted), (vec![app], vec![]));
    let error = store.remove("kept:1", false, &[arm.id].into()).unwrap_err();
    assert!(error.to_string().contains("used by a container"), "{error}");
    let removed = store.remove("kept:1", false, &BTreeSet::new()).unwrap();
    assert_eq!(
        removed.deleted.into_iter().collect::<BTreeSet<_>>(),
        ids(&[amd, arm])
    );
    let collected = store.collect(&BTreeSet::new(), Scope::default()).unwrap();
    assert_eq!(collected.layers.len(), 2);
    assert_eq!(
        std::fs::read_dir(folder.path().join("store/image/blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_pushed_with_its_images_and_pulled_one_by_one() {
    if skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let name = reference(&format!("{}/team/app:1", registry.host()));
    let store = open(folder.path(), "store");
    let (amd, arm) = two(&store, std::slice::from_ref(&name));
    let pushed = push(&store, &name, &PushOptions::default()).await.unwrap();
    assert_eq!(
        ids(&store.named(&name)),
        ids(&[amd.clone(), arm.clone()]),
        "here they keep the name together"
    );
    assert_eq!(
        store.find(&name.with_digest(pushed.digest)).unwrap().id,
        amd.id
    );
    let twin = open(folder.path(), "twin");
    two(&twin, std::slice::from_ref(&name));
    let again = push(&twin, &name, &PushOptions::default()).await.unwrap();
    assert_eq!(
        again.digest, pushed.digest,
        "the same images make the same index"
    );

    let fresh = open(folder.path(), "fresh");
    let pulled = pull(&fresh, &name, &PullOptions::default()).await.unwrap();
    assert_eq!(
        (pulled.image.id, pulled.digest, pulled.up_to_date),
        (amd.id, pushed.digest, false)
    );
    assert_eq!(fresh.images().len(), 1, "only what this machine runs");
    let elsewhere = wanting(Platforms::One(platform("linux/s390x")));
    let error = pull(&fresh, &name, &elsewhere).await.unwrap_err();
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        error,
        "it has no image for platform linux/s390x, only for linux/amd64, linux/arm64"
    );
    let other = pull(
        &fresh,
        &name,
        &wanting(Platforms::One(platform("linux/arm64"))),
    )
    .await
    .unwrap();
    assert_eq!((other.image.id, other.up_to_date), (arm.id, false));
    assert_eq!(
        fresh.find(&name).unwrap().id,
        amd.id,
        "the other one stands beside it"
    );
    assert_eq!(ids(&fresh.named(&name)), ids(&[amd.clone(), arm.clone()]));
    assert!(
        pull(&fresh, &name, &wanting(Platforms::All))
            .await
            .unwrap()
            .up_to_date
    );
    let by_digest = name.with_digest(pushed.digest);
    let other = pull(
        &fresh,
        &by_digest,
        &wanting(Platforms::One(platform("linux/arm64"))),
    )
    .await
    .unwrap();
    assert_eq!((other.image.id, other.up_to_date), (arm.id, true));

    let copy = reference(&format!("{}/team/copy:1", registry.host()));
    fresh.tag(&name.to_string(), &copy).unwrap();
    let copied = push(&fresh, &copy, &PushOptions::default()).await.unwrap();
    assert_eq!(
        copied.digest, pushed.digest,
        "what was pulled goes back byte for byte"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moves_on_leaves_no_image_of_the_old_index() {
    if skip(&["docker-registry"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Config::default());
    let name = reference(&format!("{}/app:1", registry.host()));
    let (store, fresh) = (open(folder.path(), "store"), open(folder.path(), "fresh"));
    two(&store, std::slice::from_ref(&name));
    push(&store, &name, &PushOptions::default()).await.unwrap();
    pull(&fresh, &name, &wanting(Platforms::All)).await.unwrap();
    let (amd, arm) = (
        built(&store, "linux/amd64", "amd64"),
        built(&store, "linux/arm64", "newer"),
    );
    store
        .add_index(&[amd.id, arm.id], std::slice::from_ref(&name))
        .unwrap();
    push(&store, &name, &PushOptions::default()).await.unwrap();
    pull(&fresh, &name, &PullOptions::default()).await.unwrap();
    assert_eq!(
        ids(&fresh.named(&name)),
        ids(&[amd]),
        "the other one is out of date"
    );
    pull(
        &fresh,
        &name,
        &wanting(Platforms::One(platform("linux/arm64"))),
    )
    .await
    .unwrap();
    assert_eq!(
        fresh.find_for(&name, &platform("linux/arm64")).unwrap().id,
        arm.id
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_survives_an_archive() {
    if skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, fresh) = (open(folder.path(), "store"), open(folder.path(), "fresh"));
    let (app, second) = (reference("app:1"), reference("app:2"));
    let (amd, arm) = two(&store, &[app.clone(), second.clone()]);
    let mut archive = Vec::new();
    Archive::of(&store, &["app".to_owned()])
        .unwrap()
        .write(&mut archive)
        .unwrap();
    let loaded = load(&fresh, std::io::Cursor::new(archive), silent())
        .await
        .unwrap();
    assert_eq!(ids(&loaded), ids(&[amd.clone(), arm.clone()]));
    for name in [&app, &second] {
        assert_eq!(ids(&fresh.named(name)), ids(&[amd.clone(), arm.clone()]));
        assert_eq!(
            fresh.find(name).unwrap().indexes[name],
            store.find(name).unwrap().indexes[name]
        );
    }
}
