//! Build caches that go from one machine to another, here through a folder: what is not done again, what crosses, and
//! what a cache cannot do.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests may panic, and say when they are skipped"
)]

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hoist_build::{BuildEvent, BuildRequest, CacheDestination, CacheMode, CacheTarget};
use hoist_image::{CachePlace, LayoutName};
use world::World;

const DOCKERFILE: &str = "FROM mybase:1.0 AS tools\nRUN echo tool >/tool && echo waste >/waste\nRUN cat /tool /tool >/made\n\
                          FROM mybase:1.0\nWORKDIR /srv\nCOPY --from=tools /made .\nCOPY source .\nRUN cat made source >both\n";

fn place(folder: &Path) -> CachePlace {
    CachePlace::Layout(LayoutName {
        folder: folder.to_owned(),
        tag: None,
        digest: None,
    })
}

/// A machine with the base image (the same on every one), the source and a store of its own.
async fn machine() -> World {
    let world = World::new();
    fs::copy(world::BUSYBOX, world.path("busybox")).unwrap();
    let base = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    let mut request = world.request(base);
    request.tags = vec!["mybase:1.0".to_owned()];
    request.args.insert(
        "SOURCE_DATE_EPOCH".to_owned(),
        Some("1700000000".to_owned()),
    );
    world.build_request(&request).await;
    fs::remove_file(world.path("busybox")).unwrap();
    world.runs();
    world.write("source", "one\n");
    world
}

fn exporting(world: &World, folder: &Path, mode: CacheMode) -> BuildRequest {
    let destination = CacheDestination::Place(place(folder));
    BuildRequest {
        cache_to: vec![CacheTarget {
            destination,
            mode,
            ignore_error: false,
        }],
        ..world.request(DOCKERFILE)
    }
}

fn importing(world: &World, folder: &Path) -> BuildRequest {
    BuildRequest {
        cache_from: vec![place(folder)],
        ..world.request(DOCKERFILE)
    }
}

/// How many layers came from a cache.
fn brought(world: &World) -> usize {
    let events = world.events.lock().unwrap();
    events
        .iter()
        .filter(|event| matches!(event, BuildEvent::Started { name, .. } if name.contains("bring")))
        .count()
}

fn warnings(world: &World) -> String {
    let events = world.events.lock().unwrap();
    let texts = events.iter().filter_map(|event| match event {
        BuildEvent::Warning { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Every file of a layout with what would change if it were written again.
fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(folder.join("blobs/sha256")).unwrap();
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path(), entry.metadata().unwrap().ino()))
        .collect()
}

#[tokio::test]
async fn another_machine_runs_nothing_and_brings_only_what_the_image_needs() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    for mode in [CacheMode::Max, CacheMode::Min] {
        let folder = cache.path().join(format!("{mode:?}"));
        let here = machine().await;
        let built = here.build_request(&exporting(&here, &folder, mode)).await;
        assert_eq!((built.ran, here.runs()), (6, 3));

        let there = machine().await;
        let again = there.build_request(&importing(&there, &folder)).await;
        assert_eq!(
            (again.ran, there.runs(), again.cached),
            (0, 0, 6),
            "{mode:?}: {}",
            there.log()
        );
        assert_eq!(again.id, built.id, "{mode:?}: the same image");
        assert_eq!(
            brought(&there),
            4,
            "{mode:?}: nothing of the other stage: {}",
            there.log()
        );
        assert_eq!(
            there.inside(&again.images[0], "cat /srv/both").await,
            "tool\ntool\none\n"
        );

        // What came once is here: nobody is asked, and the cache may be gone.
        fs::rename(&folder, folder.with_extension("away")).unwrap();
        let third = there.build_request(&importing(&there, &folder)).await;
        assert_eq!(
            (third.ran, third.cached, brought(&there)),
            (0, 6, 0),
            "{}",
            there.log()
        );
        assert_eq!(warnings(&there), "");
    }
}

#[tokio::test]
async fn a_changed_last_step_is_all_that_runs() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    let there = machine().await;
    let mut request = importing(&there, cache.path());
    request.dockerfile =
        hoist_build::DockerfileSource::Inline(DOCKERFILE.replace("both", "joined"));
    let built = there.build_request(&request).await;
    assert_eq!((built.ran, there.runs()), (1, 1), "{}", there.log());
    assert_eq!(brought(&there), 3, "what the step runs on");
    assert_eq!(
        there.inside(&built.images[0], "cat /srv/joined").await,
        "tool\ntool\none\n"
    );
}

/// A cache of the result alone knows the other stages' steps, and has not their files.
#[tokio::test]
async fn steps_whose_files_are_wanted_and_nowhere_run_again() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    here.build_request(&exporting(&here, cache.path(), CacheMode::Min))
        .await;
    let there = machine().await;
    let mut request = importing(&there, cache.path());
    request.dockerfile =
        hoist_build::DockerfileSource::Inline(DOCKERFILE.replace("/made .", "/tool ./made"));
    let built = there.build_request(&request).await;
    assert_eq!(
        there.runs(),
        3,
        "both of the stage, and the last one: {}",
        there.log()
    );
    assert_eq!(
        there.inside(&built.images[0], "cat /srv/both").await,
        "tool\none\n"
    );
}

#[tokio::test]
async fn no_cache_asks_no_cache() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    let there = machine().await;
    let request = BuildRequest {
        no_cache: true,
        ..importing(&there, cache.path())
    };
    let built = there.build_request(&request).await;
    assert_eq!(
        (built.ran, there.runs(), built.cached),
        (6, 3, 0),
        "{}",
        there.log()
    );
    assert!(!there.log().contains("[cache]"), "{}", there.log());
}

#[tokio::test]
async fn the_same_export_is_the_same_bytes_and_writes_nothing_twice() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    let index = fs::read(cache.path().join("index.json")).unwrap();
    let before = files(cache.path());
    here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    assert_eq!(fs::read(cache.path().join("index.json")).unwrap(), index);
    let layers = |files: &BTreeMap<PathBuf, u64>| files.clone();
    let after = files(cache.path());
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    let kept = layers(&before)
        .iter()
        .filter(|(path, inode)| after.get(*path) == Some(*inode))
        .count();
    assert!(
        kept + 2 >= before.len(),
        "only the two documents are written again"
    );

    // From what was imported, the layers that are not here included: the same again.
    let there = machine().await;
    let copy = cache.path().with_extension("copy");
    let mut request = exporting(&there, &copy, CacheMode::Max);
    request.cache_from = vec![place(cache.path())];
    there.build_request(&request).await;
    assert_eq!(
        fs::read(copy.join("index.json")).unwrap(),
        index,
        "a cache handed on is the same cache"
    );
    fs::remove_dir_all(copy).unwrap();
}

#[tokio::test]
async fn a_folder_of_caches_does_not_grow_with_every_build() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    let before = files(cache.path()).len();
    for change in ["two", "three", "four"] {
        here.write("source", change);
        here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
            .await;
    }
    assert_eq!(files(cache.path()).len(), before);
}

#[tokio::test]
async fn what_a_cache_says_counts_only_for_builds_that_name_it() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    here.build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    let there = machine().await;
    there.build_request(&importing(&there, cache.path())).await;
    assert_eq!(there.runs(), 0);
    let own = there.build(DOCKERFILE).await;
    assert_eq!((own.ran, there.runs()), (6, 3), "{}", there.log());
    // And what was done here stays what counts.
    let named = there.build_request(&importing(&there, cache.path())).await;
    assert_eq!((named.ran, named.id), (0, own.id), "{}", there.log());
}

#[tokio::test]
async fn a_cache_that_is_missing_or_damaged_is_a_warning() {
    let (_first, cache) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    let built = here
        .build_request(&exporting(&here, cache.path(), CacheMode::Max))
        .await;
    let nowhere = cache.path().join("nowhere");
    let there = machine().await;
    assert_eq!(
        there.build_request(&importing(&there, &nowhere)).await.ran,
        6
    );
    assert!(warnings(&there).contains("is not used"), "{}", there.log());

    // Every layer is something else than its digest says: steps run, and nothing of it is in the image.
    for (path, _) in files(cache.path()) {
        if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            fs::write(&path, b"\x1f\x8bnot what was promised").unwrap();
        }
    }
    let there = machine().await;
    let again = there.build_request(&importing(&there, cache.path())).await;
    assert_eq!((again.ran, there.runs()), (6, 3), "{}", there.log());
    assert!(warnings(&there).contains("is not used"), "{}", there.log());
    assert_eq!(again.images[0].layers.len(), built.images[0].layers.len());
    assert_eq!(
        there.inside(&again.images[0], "cat /srv/both").await,
        "tool\ntool\none\n"
    );

    // Records that are no records.
    let index = fs::read_to_string(cache.path().join("index.json")).unwrap();
    for text in [
        "{",
        "{\"schemaVersion\":2,\"manifests\":[]}",
        &index.replace("sha256:", "sha256:../../"),
    ] {
        fs::write(cache.path().join("index.json"), text).unwrap();
        let there = machine().await;
        assert_eq!(
            there
                .build_request(&importing(&there, cache.path()))
                .await
                .ran,
            6,
            "{text}"
        );
        assert!(warnings(&there).contains("is not used"), "{}", there.log());
    }
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_fails_the_build_unless_it_may() {
    let world = world_or_skip!();
    world.base().await;
    world.write("source", "one\n");
    let file = world.path("source");
    let mut request = exporting(&world, &file, CacheMode::Min);
    let error = world.try_build(&request).await.unwrap_err().to_string();
    assert!(
        error.contains("exporting the cache") && error.contains("source"),
        "{error}"
    );
    request.cache_to[0].ignore_error = true;
    world.build_request(&request).await;
    assert!(
        warnings(&world).contains("is not written"),
        "{}",
        world.log()
    );
}

#[tokio::test]
async fn an_image_of_a_layout_folder_is_a_context_and_nothing_that_a_dockerfile_can_name() {
    let (_first, layout) = (world_or_skip!(), tempfile::tempdir().unwrap());
    let here = machine().await;
    let mut archive = Vec::new();
    hoist_image::Archive::of(&here.store, &["mybase:1.0".to_owned()])
        .unwrap()
        .write(&mut archive)
        .unwrap();
    tar::Archive::new(archive.as_slice())
        .unpack(layout.path())
        .unwrap();

    let there = World::new();
    let text = format!("oci-layout://{}:1.0", layout.path().display());
    let mut request =
        there.request("FROM given\nRUN echo two >/two\nCOPY --from=given /bin/busybox /copy\n");
    request.contexts.insert(
        "given".to_owned(),
        hoist_build::NamedContext::parse(&text).unwrap(),
    );
    let built = there.build_request(&request).await;
    assert_eq!(
        there
            .inside(&built.images[0], "cat /two; test -s /copy && echo copied")
            .await,
        "two\ncopied\n"
    );
    let missing = format!("oci-layout://{}:2.0", layout.path().display());
    request.contexts.insert(
        "given".to_owned(),
        hoist_build::NamedContext::parse(&missing).unwrap(),
    );
    let error = there.try_build(&request).await.unwrap_err().to_string();
    assert!(error.contains("holds no tag 2.0, only 1.0"), "{error}");
    assert!(
        there
            .try_build(&there.request(&format!("FROM {text}\nRUN true\n")))
            .await
            .is_err()
    );
}
