//! The store looked over: what is whole is approved, what is broken is found, restored or dropped.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_image::{
    CheckOptions, CheckReport, Digest, Image, ImageConfig, Outcome, Reference, Store,
};
use support::{Tar, noise};

struct Fixture {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    image: Arc<Image>,
}

impl Fixture {
    /// An image of one layer that came as a tar and one that was committed from a directory.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let tar = Tar::new()
            .file("made/up/file", &noise(300_000, 1))
            .directory("d/")
            .file("d/x", b"x")
            .end();
        let unpacked = store.add_layer(&mut &tar[..]).unwrap();
        let scratch = store.begin_layer().unwrap();
        std::fs::write(scratch.upper().join("built"), noise(10_000, 2)).unwrap();
        let committed = store.commit_layer(scratch).unwrap();
        let mut config = ImageConfig::new("amd64", "linux");
        config.rootfs.diff_ids = vec![unpacked.diff_id, committed.diff_id];
        let image = store
            .add_image(&config, &[Reference::parse("app:1").unwrap()])
            .unwrap();
        store.sync().unwrap();
        Self {
            folder,
            store,
            image,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("image").join(name)
    }

    fn layer(&self, index: usize) -> PathBuf {
        self.path(&format!("layers/{}", self.image.layers[index].hex()))
    }

    fn check(&self, repair: bool) -> CheckReport {
        self.store
            .check(&CheckOptions {
                repair,
                ..CheckOptions::default()
            })
            .unwrap()
    }

    /// Finds exactly this, repairs it with this outcome, and approves afterwards.
    #[track_caller]
    fn finds(&self, object: &str, reason: &str, outcome: Outcome) {
        let found = self.check(false);
        let named = |report: &CheckReport| {
            report
                .problems
                .iter()
                .find(|p| p.object.contains(object) && p.reason.contains(reason))
                .cloned()
        };
        assert!(
            !found.is_sound() && named(&found).is_some(),
            "{object}: {reason} is not in {found:#?}"
        );
        let repaired = self.check(true);
        assert_eq!(
            named(&repaired).map(|problem| problem.outcome),
            Some(outcome),
            "{repaired:#?}"
        );
        assert!(repaired.is_sound(), "{repaired:#?}");
        assert_eq!(self.check(false).problems, [], "after the repair");
    }
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_store_is_approved() {
    let fixture = Fixture::new();
    let report = fixture.check(false);
    assert_eq!(report.problems, []);
    assert_eq!((report.images, report.layers, report.blobs), (1, 2, 2));
    let quick = CheckOptions {
        quick: true,
        ..CheckOptions::default()
    };
    assert_eq!(fixture.store.check(&quick).unwrap().problems, []);
}

#[test]
fn a_changed_file_of_a_layer_is_restored_from_its_blob() {
    let fixture = Fixture::new();
    damage(&fixture.layer(0).join("fs/made/up/file"));
    fixture.finds("layers/", "/made/up/file has another", Outcome::Restored);
    std::fs::remove_file(fixture.layer(0).join("fs/d/x")).unwrap();
    fixture.finds("layers/", "/d", Outcome::Restored);
    std::fs::write(fixture.layer(0).join("fs/made/more"), "").unwrap();
    fixture.finds(
        "layers/",
        "has more, which is not in the layer",
        Outcome::Restored,
    );
    std::fs::remove_dir_all(fixture.layer(0).join("fs")).unwrap();
    fixture.finds("layers/", "missing", Outcome::Restored);
    assert!(fixture.store.resolve("app:1").is_some());
}

#[test]
fn a_changed_layer_without_a_blob_is_dropped_with_its_images() {
    let fixture = Fixture::new();
    damage(&fixture.layer(1).join("fs/built"));
    fixture.finds("layers/", "not those of its diff id", Outcome::Dropped);
    assert!(fixture.store.resolve("app:1").is_none());
    assert!(!fixture.store.has_layer(&fixture.image.layers[1]));
}

#[test]
fn a_damaged_blob_costs_what_cannot_be_made_again() {
    let fixture = Fixture::new();
    let config = fixture.path(&format!("blobs/sha256/{}", fixture.image.id.hex()));
    let mut blobs = std::fs::read_dir(fixture.path("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let layer = blobs.find(|path| *path != config).unwrap();
    damage(&layer);
    fixture.finds("blobs/", "digest", Outcome::Dropped);
    assert!(
        fixture.store.resolve("app:1").is_none(),
        "its layer cannot be verified any more"
    );
    let fixture = Fixture::new();
    damage(&fixture.path(&format!("blobs/sha256/{}", fixture.image.id.hex())));
    fixture.finds("image app:1", "incomplete", Outcome::Dropped);
    assert!(
        fixture.store.has_layer(&fixture.image.layers[0]),
        "the layers are worth keeping"
    );
}

#[test]
fn records_and_strays_are_put_right() {
    let fixture = Fixture::new();
    std::fs::write(
        fixture.path(&format!("images/{}.json", fixture.image.id.hex())),
        "{",
    )
    .unwrap();
    fixture.finds("image app:1", "not its record", Outcome::Restored);
    std::fs::write(fixture.layer(0).join("layer.json"), "").unwrap();
    fixture.finds("layer.json", "not the layer's record", Outcome::Restored);
    let orphan = Digest::of(b"orphan").hex();
    std::fs::create_dir_all(fixture.path(&format!("layers/{orphan}/fs"))).unwrap();
    fixture.finds(&orphan, "nothing knows it", Outcome::Dropped);
    std::fs::write(fixture.path(&format!("images/{orphan}.json")), "").unwrap();
    fixture.finds(&orphan, "nothing knows it", Outcome::Dropped);
    std::fs::write(fixture.path("blobs/sha256/readme"), "").unwrap();
    fixture.finds("readme", "not a digest", Outcome::Dropped);
    assert!(fixture.store.resolve("app:1").is_some());
}

#[test]
fn what_a_running_container_uses_is_left_alone() {
    let fixture = Fixture::new();
    damage(&fixture.layer(1).join("fs/built"));
    let mounted = BTreeSet::from([fixture.image.layers[1]]);
    let options = CheckOptions {
        repair: true,
        mounted,
        ..CheckOptions::default()
    };
    let report = fixture.store.check(&options).unwrap();
    assert!(
        !report.is_sound() && report.problems[0].reason.contains("stop that first"),
        "{report:#?}"
    );
    assert!(fixture.store.has_layer(&fixture.image.layers[1]));
    let missing = CheckOptions {
        in_use: BTreeSet::from([Digest::of(b"gone")]),
        ..CheckOptions::default()
    };
    assert!(
        fixture
            .store
            .check(&missing)
            .unwrap()
            .problems
            .iter()
            .any(|problem| problem.reason.contains("container"))
    );
}

#[test]
fn a_name_that_was_on_its_way_to_another_image_leaves_a_sound_store() {
    if support::skip(&[]) {
        return;
    }
    let Fixture {
        folder,
        store,
        image,
    } = Fixture::new();
    let record = folder
        .path()
        .join(format!("image/images/{}.json", image.id.hex()));
    let before = std::fs::read(&record).unwrap();
    let mut config = image.config.clone();
    config.author = Some("another".to_owned());
    let younger = store
        .add_image(&config, &[Reference::parse("app:1").unwrap()])
        .unwrap();
    drop(store);
    // The engine ended between the two records.
    std::fs::write(&record, before).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(
        store.find(&Reference::parse("app:1").unwrap()).unwrap().id,
        younger.id
    );
    assert_eq!(store.check(&CheckOptions::default()).unwrap().problems, []);
}
