//! The store without a registry: names, collection, build layers, cache, and what it believes after a crash.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use hoist_image::{
    CacheEntry, Digest, Image, ImageConfig, LayerInfo, Reference, RemoveError, Scope, Store,
    StoreError,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use support::{Tar, noise};

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn layer(store: &Store, seed: u64) -> LayerInfo {
    let tar = Tar::new()
        .directory("d/")
        .file(&format!("d/{seed}"), &noise(10_000, seed))
        .end();
    store.add_layer(&mut &tar[..]).unwrap()
}

fn image(store: &Store, layers: &[&LayerInfo], names: &[&str]) -> Arc<Image> {
    let mut config = ImageConfig::new("amd64", "linux");
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    // Two images of the same layers need not be one image.
    config.author = Some(names.join(","));
    let names: Vec<Reference> = names.iter().map(|name| reference(name)).collect();
    store.add_image(&config, &names).unwrap()
}

fn count(data_root: &Path, folder: &str) -> usize {
    std::fs::read_dir(data_root.join("image").join(folder))
        .unwrap()
        .count()
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (a, b) = (
        image(&store, &[], &["app:1", "app:2"]),
        image(&store, &[], &["other"]),
    );
    assert_eq!(store.resolve("app:2").unwrap().id, a.id);
    assert_eq!(store.resolve("other").unwrap().id, b.id);
    assert_eq!(store.resolve(&a.id.to_string()).unwrap().id, a.id);
    assert_eq!(store.resolve(&a.id.short()).unwrap().id, a.id);
    assert!(store.resolve("app").is_none());
    assert!(store.resolve("../../etc").is_none());
    assert_eq!(
        store.lowers(&a).unwrap().len(),
        1,
        "an image without layers has an empty directory below it"
    );
}

#[test]
fn a_name_belongs_to_one_image_and_survives_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let old = image(&store, &[], &["app:1"]);
    let new = image(&store, &[], &["app:1", "app:2"]);
    assert_eq!(store.find(&reference("app:1")).unwrap().id, new.id);
    assert!(store.image(&old.id).unwrap().references.is_empty());
    store.tag(&old.id.to_string(), &reference("app:2")).unwrap();
    store.untag(&reference("app:1")).unwrap();
    assert!(matches!(
        store.untag(&reference("app:1")),
        Err(StoreError::NoSuchImage(_))
    ));
    assert!(matches!(
        Store::open(folder.path()),
        Err(StoreError::Locked(_))
    ));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.find(&reference("app:2")).unwrap().id, old.id);
    assert!(store.find(&reference("app:1")).is_none());
    assert_eq!(store.images().len(), 2);
}

#[test]
fn an_image_in_use_is_removed_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let app = image(&store, &[], &["app:1", "app:2"]);
    let in_use = BTreeSet::from([app.id]);
    let none = BTreeSet::new();
    assert!(matches!(
        store.remove("nothing", false, &none),
        Err(RemoveError::NoSuchImage(_))
    ));
    assert!(matches!(
        store.remove(&app.id.short(), false, &none),
        Err(RemoveError::SeveralNames { .. })
    ));
    let removed = store.remove("app:1", false, &in_use).unwrap();
    assert_eq!(
        (removed.untagged, removed.deleted.len()),
        (vec![reference("app:1")], 0)
    );
    assert!(matches!(
        store.remove("app:2", false, &in_use),
        Err(RemoveError::InUse { .. })
    ));
    assert_eq!(
        store.remove("app:2", true, &in_use).unwrap().deleted,
        [app.id]
    );
    assert!(store.images().is_empty());
}

#[test]
fn only_what_nothing_refers_to_is_collected() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [shared, top, in_container, cached, held, loose] =
        [1, 2, 3, 4, 5, 6].map(|seed| layer(&store, seed));
    image(&store, &[&shared], &["base"]);
    image(&store, &[&shared, &top], &["app"]);
    store
        .cache_put(
            &Digest::of(b"key"),
            &CacheEntry {
                layer: Some(cached.diff_id),
                data: "x".into(),
            },
        )
        .unwrap();
    let hold = store.hold(&[held.diff_id]);
    let names = [&shared, &top, &in_container, &cached, &held, &loose].map(|layer| layer.diff_id);
    let [shared, top, in_container, cached, held, loose] = {
        drop((shared, top, in_container, cached, held, loose));
        names
    };
    let containers = BTreeSet::from([in_container]);
    let collect = |scope| store.collect(&containers, scope).unwrap().layers;
    assert_eq!(collect(Scope::default()), [loose]);
    drop(hold);
    assert_eq!(collect(Scope::default()), [held]);
    store.remove("app", false, &BTreeSet::new()).unwrap();
    assert_eq!(collect(Scope::default()), [top]);
    assert_eq!(
        collect(Scope {
            cache: Some(std::time::SystemTime::now()),
            ..Scope::default()
        }),
        [cached]
    );
    assert_eq!(store.cache_get(&Digest::of(b"key")), None);
    store.untag(&reference("base")).unwrap();
    assert_eq!(collect(Scope::default()), []);
    assert_eq!(
        collect(Scope {
            dangling: true,
            ..Scope::default()
        }),
        [shared]
    );
    assert!(store.images().is_empty());
    assert_eq!(
        store
            .collect(&BTreeSet::new(), Scope::default())
            .unwrap()
            .layers,
        [in_container]
    );
    for folder_name in ["layers", "blobs/sha256", "images", "cache", "tmp", "trash"] {
        assert_eq!(count(folder.path(), folder_name), 0, "{folder_name}");
    }
}

/// What an overlay mount leaves in its upper directory.
fn fill(upper: &Path) {
    let at = |name: &str| upper.join(name);
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::set_permissions(at("dir"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::write(at("dir/file"), noise(100_000, 5)).unwrap();
    std::os::unix::fs::chown(at("dir/file"), Some(70_000), Some(3_000_000)).unwrap();
    std::fs::set_permissions(at("dir/file"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::hard_link(at("dir/file"), at("second-name")).unwrap();
    std::os::unix::fs::symlink("dir/file", at("link")).unwrap();
    let long = format!("{}/{}", "n".repeat(90), "m".repeat(90));
    std::fs::create_dir(at(&"n".repeat(90))).unwrap();
    std::fs::write(at(&long), "long").unwrap();
    std::fs::write(at("größe"), "unicode").unwrap();
    let device = |name: &str, major, minor| {
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, at(name), FileType::CharacterDevice, Mode::RUSR, number).unwrap();
    };
    device("gone", 0, 0);
    device("null", 1, 3);
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::fs::create_dir(at("opaque")).unwrap();
    let xattr = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(at(name), OsStr::new(key), value, XattrFlags::empty()).unwrap();
    };
    xattr("opaque", "trusted.overlay.opaque", b"y");
    xattr("dir", "trusted.overlay.impure", b"y");
    xattr("größe", "user.note", b"hello\n=");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    set_times(upper);
}

fn set_times(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            set_times(&path);
        }
        let time = rustix::fs::Timespec {
            tv_sec: 1_700_000_000,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Everything that an image's user can see of a tree.
fn listing(root: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, lines: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = match () {
                () if meta.is_file() => Digest::of(&std::fs::read(&path).unwrap()).short(),
                () if meta.is_symlink() => std::fs::read_link(&path).unwrap().display().to_string(),
                () => format!("{:x}", meta.rdev()),
            };
            let mut names = [0; 1024];
            let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
            let mut xattrs: Vec<String> = String::from_utf8_lossy(&names[..length])
                .split_terminator('\0')
                .map(str::to_owned)
                .collect();
            xattrs.retain(|name| name != "trusted.overlay.impure");
            xattrs.sort();
            if meta.file_type().is_char_device() && meta.rdev() == 0 {
                // Never seen through an overlay mount: only its name counts.
                lines.push(format!(
                    "{} whiteout",
                    path.strip_prefix(root).unwrap().display()
                ));
                continue;
            }
            lines.push(format!(
                "{} {:o} {}:{} {} {} {xattrs:?} {content}",
                path.strip_prefix(root).unwrap().display(),
                meta.mode(),
                meta.uid(),
                meta.gid(),
                if meta.is_dir() { 0 } else { meta.nlink() },
                meta.mtime(),
            ));
            if meta.is_dir() {
                walk(root, &path, lines);
            }
        }
    }
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.retain(|line| !line.starts_with("socket "));
    lines.sort();
    lines
}

#[test]
fn a_committed_layer_is_deterministic_and_travels_as_a_tar() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let commit = || {
        let scratch = store.begin_layer().unwrap();
        fill(scratch.upper());
        store.commit_layer(scratch).unwrap()
    };
    let (first, second) = (commit(), commit());
    assert_eq!(first.diff_id, second.diff_id);
    assert_eq!(count(folder.path(), "layers"), 1);
    assert_eq!(
        count(folder.path(), "tmp"),
        0,
        "the second of two equal layers goes"
    );

    let mut tar = Vec::new();
    store.write_layer(&first.diff_id, &mut tar).unwrap();
    assert_eq!(Digest::of(&tar), first.diff_id);
    let other_folder = tempfile::tempdir().unwrap();
    let other = Store::open(other_folder.path()).unwrap();
    let travelled = other.add_layer(&mut &tar[..]).unwrap();
    assert_eq!(travelled.diff_id, first.diff_id);
    assert_eq!(travelled.size, first.size);
    let root = |store: &Store| store.lowers_of(&[first.diff_id]).unwrap().remove(0);
    assert_eq!(listing(&root(&other)), listing(&root(&store)));
    assert_eq!(
        std::fs::metadata(root(&store)).unwrap().mode() & 0o7777,
        0o755
    );
    let mode = std::fs::metadata(other_folder.path().join("image"))
        .unwrap()
        .mode();
    assert_eq!(
        mode & 0o7777,
        0o700,
        "nobody but the owner walks into the store"
    );
}

#[test]
fn a_scratch_that_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let scratch = store.begin_layer().unwrap();
    std::fs::write(scratch.upper().join("x"), "x").unwrap();
    assert_eq!(count(folder.path(), "tmp"), 1);
    drop(scratch);
    assert_eq!(count(folder.path(), "tmp"), 0);
}

/// Makes a store look as after a power cut: other generation, and a layer that is not durable has empty files.
fn cut_power(data_root: &Path, layer: &Digest) {
    std::fs::write(data_root.join("image/generation"), "another boot").unwrap();
    let layer = data_root.join("image/layers").join(layer.hex());
    let _ = std::fs::remove_file(layer.join("durable"));
    std::fs::write(layer.join("layer.json"), "").unwrap();
    for entry in std::fs::read_dir(layer.join("fs/d")).unwrap() {
        std::fs::write(entry.unwrap().path(), "").unwrap();
    }
}

#[test]
fn after_a_power_cut_layers_come_back_from_their_blobs() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (lost, safe) = (layer(&store, 1), layer(&store, 2));
    image(&store, &[&safe, &lost], &["app"]);
    let (lost, safe) = (lost.diff_id, safe.diff_id);
    store.sync().unwrap();
    drop(store);
    // add_image knows no blobs; a pulled image's record names them, and so does this one.
    let record = std::fs::read_dir(folder.path().join("image/images"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&record).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for layer in value["layers"].as_array_mut().unwrap() {
        layer["blob"] = layer["diff_id"].clone();
    }
    std::fs::write(&record, value.to_string()).unwrap();
    cut_power(folder.path(), &lost);

    let store = Store::open(folder.path()).unwrap();
    assert!(store.damage().is_empty(), "{:?}", store.damage());
    let image = store.find(&reference("app")).unwrap();
    let lowers = store.lowers(&image).unwrap();
    assert_eq!(
        std::fs::read(lowers[0].join("d/1")).unwrap(),
        noise(10_000, 1)
    );
    assert_eq!(image.layers, [safe, lost]);
    store.sync().unwrap();
    assert!(lowers[0].parent().unwrap().join("durable").exists());
    drop(store);

    // The blob is gone bad too: the image is not listed any more, and the rest of the store is as it was.
    cut_power(folder.path(), &lost);
    std::fs::write(
        folder.path().join("image/blobs/sha256").join(lost.hex()),
        "",
    )
    .unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(store.find(&reference("app")).is_none());
    assert!(store.has_layer(&safe) && !store.has_layer(&lost));
    assert_eq!(store.damage().len(), 2, "{:?}", store.damage());
    assert_eq!(
        layer(&store, 1).diff_id,
        lost,
        "and it can be fetched again"
    );
}

#[test]
fn a_build_layer_that_had_not_reached_the_disk_is_dropped_with_its_cache_entry() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let scratch = store.begin_layer().unwrap();
    std::fs::create_dir(scratch.upper().join("d")).unwrap();
    std::fs::write(scratch.upper().join("d/x"), "x").unwrap();
    let built = store.commit_layer(scratch).unwrap();
    image(&store, &[&built], &["built"]);
    let key = Digest::of(b"step");
    store
        .cache_put(
            &key,
            &CacheEntry {
                layer: Some(built.diff_id),
                data: serde_json::Value::Null,
            },
        )
        .unwrap();
    assert!(store.cache_get(&key).is_some());
    let built = built.diff_id;
    store.sync().unwrap();
    drop(store);
    cut_power(folder.path(), &built);
    let store = Store::open(folder.path()).unwrap();
    assert!(store.find(&reference("built")).is_none());
    assert_eq!(store.cache_get(&key), None);
}

#[test]
fn a_build_layer_whose_files_reached_the_disk_is_believed_without_a_mark() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let scratch = store.begin_layer().unwrap();
    std::fs::write(scratch.upper().join("x"), "x").unwrap();
    let built = store.commit_layer(scratch).unwrap();
    image(&store, &[&built], &["built"]);
    let built = built.diff_id;
    store.sync().unwrap();
    drop(store);
    std::fs::write(folder.path().join("image/generation"), "another boot").unwrap();
    let mark = folder
        .path()
        .join("image/layers")
        .join(built.hex())
        .join("durable");
    std::fs::remove_file(&mark).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(store.find(&reference("built")).is_some());
    assert!(store.damage().is_empty(), "{:?}", store.damage());
    assert!(mark.exists());
}

#[test]
fn a_name_that_a_new_build_took_does_not_come_back_when_it_is_taken_away() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let build = |content: &str| {
        let scratch = store.begin_layer().unwrap();
        std::fs::write(scratch.upper().join("x"), content).unwrap();
        let layer = store.commit_layer(scratch).unwrap();
        image(&store, &[&layer], &["built"])
    };
    let (old, new) = (build("old"), build("new"));
    assert_eq!(store.find(&reference("built")).unwrap().id, new.id);
    store.untag(&reference("built")).unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert!(store.find(&reference("built")).is_none());
    assert!(store.image(&old.id).is_some() && store.image(&new.id).is_some());
}

#[test]
fn a_damaged_record_costs_its_own_image_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (kept, lost) = (image(&store, &[], &["kept"]), image(&store, &[], &["lost"]));
    drop(store);
    let images = folder.path().join("image/images");
    std::fs::write(
        images.join(format!("{}.json", lost.id.hex())),
        "{\"version\":",
    )
    .unwrap();
    std::fs::write(images.join("stray"), "").unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(
        store
            .images()
            .iter()
            .map(|image| image.id)
            .collect::<Vec<_>>(),
        [kept.id]
    );
    assert_eq!(store.damage().len(), 2);
}

/// Mounts the stack as a container sees it and runs `look` with the merged root.
fn mounted(lowers: &[std::path::PathBuf], look: impl FnOnce(&Path)) {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for lower in lowers {
        fsconfig_set_string(&context, "lowerdir+", lower).unwrap();
    }
    fsconfig_create(&context).unwrap();
    // Attached nowhere: it is gone with its descriptor.
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .unwrap();
    use std::os::fd::AsRawFd;
    look(Path::new(&format!("/proc/self/fd/{}", mount.as_raw_fd())));
}

#[test]
fn a_directory_that_a_layer_only_implies_is_as_the_layers_below_say() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut sticky = Tar::header(b'5', "tmp/", 0);
    sticky.set_mode(0o1777);
    sticky.set_uid(5);
    let base = Tar::new()
        .raw(&sticky, b"")
        .directory("usr/")
        .directory("usr/bin/")
        .file("usr/bin/sh", b"sh")
        .symlink("bin", "usr/bin")
        .directory("etc/")
        .file("etc/keep", b"keep")
        .end();
    let top = Tar::new()
        .file("bin/tool", b"tool")
        .file("bin/.wh.sh", b"")
        .file("tmp/x", b"x")
        .file("etc/y", b"y")
        .directory("srv/")
        .file("srv/deep/z", b"z")
        .end();
    let layers = [base, top].map(|tar| store.add_layer(&mut &tar[..]).unwrap());
    let ids = [layers[0].diff_id, layers[1].diff_id];
    let lowers = store.lowers_of(&ids).unwrap();
    assert_eq!(lowers, store.lowers_of(&ids).unwrap());
    assert_eq!(
        std::fs::metadata(&lowers[0]).unwrap().mode() & 0o7777,
        0o755
    );
    mounted(&lowers, |root| {
        assert!(root.join("bin").is_symlink());
        assert_eq!(std::fs::read(root.join("usr/bin/tool")).unwrap(), b"tool");
        assert!(
            !root.join("usr/bin/sh").exists(),
            "the whiteout went with its directory"
        );
        let tmp = std::fs::metadata(root.join("tmp")).unwrap();
        assert_eq!((tmp.mode() & 0o7777, tmp.uid()), (0o1777, 5));
        assert_eq!(std::fs::read(root.join("tmp/x")).unwrap(), b"x");
        assert_eq!(std::fs::read(root.join("etc/keep")).unwrap(), b"keep");
        assert_eq!(std::fs::read(root.join("etc/y")).unwrap(), b"y");
        assert_eq!(std::fs::read(root.join("srv/deep/z")).unwrap(), b"z");
    });
    // On another base the same layer needs nothing of that.
    assert!(store.lowers_of(&ids[1..]).unwrap()[0].ends_with("fs"));
    drop(layers);
    store.collect(&BTreeSet::new(), Scope::default()).unwrap();
    assert_eq!(count(folder.path(), "layers"), 0);
    assert_eq!(count(folder.path(), "tmp"), 0);
}
