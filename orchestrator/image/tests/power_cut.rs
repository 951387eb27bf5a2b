//! A power cut: the file system of a store goes away without writing back what it has not written yet.
//!
//! A loop-mounted ext4 is shut down by its own ioctl, in a mount namespace that ends with the test.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::{Cursor, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use hoist_image::{
    CheckOptions, Image, ImageConfig, PullOptions, Reference, Store, load, pull, silent,
};
use support::{Config, Registry, Tar, TestImage, TestLayer, noise};

const INSIDE: &str = "HOIST_TEST_POWER_CUT";
const NAME: &str = "after_a_power_cut_no_listed_image_has_a_wrong_byte";
const LAYERS: u64 = 3;
const FILES: u64 = 1000;
const BUILT: &str = "built:1";
const SETTLED: &str = "settled:1";

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn image(number: u64) -> TestImage {
    let layer = |layer: u64| {
        let mut tar = Tar::new().directory("d/");
        for file in 0..FILES {
            tar = tar.file(&format!("d/{layer}-{file}"), &content(number, layer, file));
        }
        TestLayer::gzip(tar.end())
    };
    TestImage::new((0..LAYERS).map(layer).collect())
}

fn content(number: u64, layer: u64, file: u64) -> Vec<u8> {
    noise(2000, number * 1_000_000 + layer * 1000 + file + 1)
}

fn archive(number: u64) -> Vec<u8> {
    let image = image(number);
    let manifest = serde_json::json!([{"Config": "config", "RepoTags": [format!("app:{number}")],
        "Layers": (0..LAYERS).map(|layer| format!("{layer}.tar.gz")).collect::<Vec<_>>()}]);
    let mut tar = Tar::new()
        .file("config", &image.config)
        .file("manifest.json", manifest.to_string().as_bytes());
    for (index, layer) in image.layers.iter().enumerate() {
        tar = tar.file(&format!("{index}.tar.gz"), &layer.blob);
    }
    tar.end()
}

/// The numbers of the images that the store lists, after looking at every byte of theirs.
fn listed(store: &Store) -> Vec<u64> {
    (0..2)
        .filter(|number| {
            let Some(image) = store.find(&Reference::parse(&format!("app:{number}")).unwrap())
            else {
                return false;
            };
            check(store, &image, *number);
            true
        })
        .collect()
}

/// Looks at every byte.
fn check(store: &Store, image: &Image, number: u64) {
    for (layer, root) in (0..LAYERS).rev().zip(store.lowers(image).unwrap()) {
        for file in 0..FILES {
            let path = root.join(format!("d/{layer}-{file}"));
            assert!(
                std::fs::read(&path).unwrap() == content(number, layer, file),
                "{}",
                path.display()
            );
        }
    }
}

/// An image of one layer that was made here.
fn build(store: &Store, name: &str, number: u64) {
    let scratch = store.begin_layer().unwrap();
    for file in 0..FILES {
        std::fs::write(
            scratch.upper().join(format!("{file}")),
            content(number, 0, file),
        )
        .unwrap();
    }
    let layer = store.commit_layer(scratch).unwrap();
    let mut config = ImageConfig::new("amd64", "linux");
    config.rootfs.diff_ids = vec![layer.diff_id];
    store
        .add_image(&config, &[Reference::parse(name).unwrap()])
        .unwrap();
}

/// Whether the image of this name is, byte for byte, the one that was built with the number.
fn is_built(store: &Store, name: &str, number: u64) -> bool {
    let image = store
        .find(&Reference::parse(name).unwrap())
        .unwrap_or_else(|| panic!("{name} is not listed"));
    let root = store.lowers(&image).unwrap().remove(0);
    (0..FILES).all(|file| {
        std::fs::read(root.join(format!("{file}"))).unwrap() == content(number, 0, file)
    })
}

#[tokio::test]
async fn after_a_power_cut_no_listed_image_has_a_wrong_byte() {
    if support::skip(&["unshare", "python3", "mount", "docker-registry"]) {
        return;
    }
    let Some(folder) = std::env::var_os(INSIDE) else {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .args(["-m", "--propagation", "private"])
            .arg(program)
            .args(["--exact", NAME, "--nocapture"])
            .env(INSIDE, folder.path())
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    };
    let folder = Path::new(&folder);
    let (disk, mount) = (folder.join("disk"), folder.join("mount"));
    let (disk, mount) = (disk.to_str().unwrap(), mount.to_str().unwrap());
    std::fs::File::create(disk)
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    std::fs::create_dir(mount).unwrap();
    if !run("/sbin/mkfs.ext4", &["-q", disk]) || !run("mount", &["-o", "loop", disk, mount]) {
        println!("skipped: no loop-mounted ext4 here");
        return;
    }
    let store = Store::open(Path::new(mount)).unwrap();
    // The first image has had its time; the second one's files are in the page cache only.
    load(&store, Cursor::new(archive(0)), silent())
        .await
        .unwrap();
    build(&store, BUILT, 3);
    store.sync().unwrap();
    // The plug is in the hand before: a start of Python would give the background sync its time.
    let shutdown = "import fcntl, os, struct, sys; store = os.open(sys.argv[1], os.O_RDONLY); print(flush=True); \
                    sys.stdin.readline(); fcntl.ioctl(store, 0x8004587d, struct.pack('I', 2))";
    let mut plug = Command::new("python3")
        .args(["-c", shutdown, mount])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    plug.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    load(&store, Cursor::new(archive(1)), silent())
        .await
        .unwrap();
    let registry = Registry::start(folder, &Config::default());
    registry.push("app", "1", &image(2)).await;
    let pulled = Reference::parse(&format!("{}/app:1", registry.host())).unwrap();
    pull(&store, &pulled, &PullOptions::default())
        .await
        .unwrap();
    // Its data has reached the disk, the store's own mark may not have.
    build(&store, SETTLED, 4);
    store.sync().unwrap();
    build(&store, BUILT, 5);
    drop(plug.stdin.take());
    assert!(plug.wait().unwrap().success());
    drop(store);
    assert!(run("umount", &[mount]) || run("umount", &["-l", mount]));
    assert!(run("mount", &["-o", "loop", disk, mount]));
    let store = Store::open(Path::new(mount)).unwrap();
    // Blobs are on the disk before their image is, so nothing that was acknowledged is lost either.
    assert_eq!(listed(&store), [0, 1]);
    let image = store.find(&pulled).expect("what was pulled is there");
    check(&store, &image, 2);
    // What was built has no blob to be made again from, but its files say whether they are whole.
    assert!(is_built(&store, SETTLED, 4));
    // The last build is there as it was made, or its name is where it was before.
    let survived = is_built(&store, BUILT, 5);
    assert!(survived || is_built(&store, BUILT, 3));
    println!(
        "the last build {}",
        if survived { "survived" } else { "was lost" }
    );
    let report = store.check(&CheckOptions::default()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    drop(store);
    assert!(run("umount", &[mount]));
}
