//! A thousand layers out of a grammar of tricks, the same ones in every run: nothing outside changes, no half layer
//! stays, and what is legal is taken.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hoist_image::Store;
use support::{Tar, TestLayer, noise};

const LAYERS: u64 = 1000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// Path, mode, links, inode, change time, content.
type State = (PathBuf, u32, u64, u64, i64, i64, Vec<u8>);

/// Everything around the store that a layer could want to change.
fn outside(folder: &Path) -> Vec<State> {
    let mut paths = vec![
        folder.to_owned(),
        PathBuf::from("/etc"),
        PathBuf::from("/tmp/.."),
        folder.join("data"),
    ];
    for name in ["canary", "canary/d"] {
        paths.push(folder.join(name));
        paths.extend(
            std::fs::read_dir(folder.join(name))
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    paths.sort();
    let look = |path: PathBuf| {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        (
            path,
            meta.mode(),
            meta.nlink(),
            meta.ino(),
            meta.ctime(),
            meta.ctime_nsec(),
            content,
        )
    };
    paths.into_iter().map(look).collect()
}

/// What every real layer may hold.
fn legal(tar: Tar, random: &mut Random, number: u64) -> Tar {
    let name = format!("l{number}");
    let directory = random.pick(&["", "usr/", "usr/lib/", "a b/", "\u{e9}/"]);
    let path = format!("{directory}{name}");
    let mut header = |kind: u8, mode: u32| {
        let mut header = Tar::header(kind, &path, 0);
        header.set_mode(mode);
        header.set_uid(random.below(70_000));
        header
    };
    match number % 15 {
        0 => tar.raw(&header(b'0', 0o4755), b""),
        1 => tar.raw(&header(b'5', 0o1777), b""),
        2 => tar.device(b'3', &path, 1, 3),
        3 => tar.device(b'4', &path, 8, 0),
        4 => tar.raw(&header(b'6', 0o600), b""),
        5 => tar.symlink(
            &path,
            random.pick(&["/etc/passwd", "../../../../etc", "loop", "l0"]),
        ),
        6 => tar
            .file(&path, b"content")
            .hard_link(&format!("{path}-again"), &path),
        7 => tar.file(&format!("{directory}.wh.{name}"), b""),
        8 => tar.file(&format!("{directory}.wh..wh..opq"), b""),
        9 => {
            let long = format!("{directory}{}name", "long/".repeat(60));
            let header = Tar::header(b'L', "././@LongLink", long.len() as u64 + 1);
            tar.raw(&header, format!("{long}\0").as_bytes())
                .file("short", b"x")
        }
        10 => tar
            .pax(&[
                ("path", format!("{directory}\u{e4}/{name}").as_bytes()),
                ("mtime", b"1.5"),
                ("uid", b"3000000"),
            ])
            .file("p", b"pax"),
        11 => tar.sparse(
            &path,
            random.below(3),
            1 << 40,
            &[(0, 512), (1 << 39, 100)],
            612,
        ),
        12 => tar.sparse(&path, random.below(3), 1 << 20, &[], 0),
        13 => tar
            .pax(&[("path", b"not\xffutf8/\xfe"), ("SCHILY.xattr.user.k", b"v")])
            .file("p", b"x"),
        _ => tar
            .file(&format!("/{path}"), &noise(3000, number))
            .file(&path, b"again"),
    }
}

/// What no honest layer holds.
fn trick(tar: Tar, random: &mut Random, canary: &str) -> Tar {
    let link = random.pick(&["s", "d/s", "usr", "t"]);
    let below = format!(
        "{link}/{}",
        random.pick(&[
            "secret",
            "d/x",
            "new",
            ".wh.secret",
            ".wh..wh..opq",
            ".wh.d"
        ])
    );
    match random.below(20) {
        0 => tar.file(
            random.pick(&["../x", "a/../../x", "a/..", "..", "/../../etc/hoist-pwned"]),
            b"x",
        ),
        1 => tar.file(format!("{canary}/new").trim_start_matches('/'), b"x"),
        2 => tar.symlink(link, canary).file(&below, b"x"),
        3 => tar
            .symlink(link, "../../../../../../../..")
            .file(&below, b"x"),
        4 => tar
            .symlink(link, canary)
            .hard_link("stolen", &format!("{link}/secret")),
        5 => tar.hard_link("stolen", &format!("{canary}/secret")),
        6 => tar.hard_link("stolen", "../../../../../../etc/passwd"),
        7 => tar
            .directory(&format!("{link}/"))
            .symlink(link, canary)
            .directory(&format!("{link}/"))
            .file(&below, b"x"),
        8 => tar
            .symlink(link, canary)
            .symlink("t2", link)
            .file("t2/new", b"x")
            .directory("t2/"),
        9 => tar.file(
            random.pick(&[
                ".wh.",
                ".wh..",
                ".wh...",
                ".wh..wh.aufs",
                "d/.wh..wh..wh..opq",
            ]),
            b"",
        ),
        10 => tar
            .symlink(link, canary)
            .file(&format!(".wh.{link}"), b"")
            .file(&below, b"x"),
        11 => tar.device(b'3', link, 0, 0).file(&below, b"x"),
        12 => tar
            .pax(&[("path", b"../../x"), ("linkpath", b"/etc/shadow")])
            .symlink("p", "x")
            .hard_link("h", "p"),
        13 => {
            let mut header = Tar::header(b'0', "huge", 0);
            header.set_size(1 << random.below(36));
            tar.raw(&header, b"short")
        }
        14 => tar
            .pax(&[("path", "p/".repeat(2500).as_bytes())])
            .file("f", b"x"),
        15 => tar
            .pax(&[("SCHILY.xattr.trusted.overlay.redirect", canary.as_bytes())])
            .directory("r/"),
        16 => tar.sparse(
            random.pick(&["s/x", "../x", ".wh.x", "x"]),
            random.below(3),
            random.below(1 << 40),
            &[(9, 9)],
            9,
        ),
        17 => {
            let mut number = || random.below(5) << random.below(60);
            let parts = [(number(), number()), (number(), number())];
            let size = number();
            tar.symlink("s", canary)
                .sparse("s/sparse", random.below(3), size, &parts, 700)
        }
        18 => tar.raw(
            &Tar::header(
                random.pick(&[&b'S', &b'Z', &b'7', &b'V']).to_owned(),
                "odd",
                0,
            ),
            b"",
        ),
        _ => tar
            .symlink(link, "/proc/self/cwd")
            .file(&below, b"x")
            .hard_link("h", &below),
    }
}

/// Another end, another byte, another form.
fn mangle(mut tar: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let at = |random: &mut Random, bytes: &[u8]| {
        usize::try_from(random.below(bytes.len() as u64)).unwrap()
    };
    if random.below(5) == 0 {
        let at = at(random, &tar);
        tar.truncate(at.max(1));
    }
    if random.below(4) == 0 {
        let at = at(random, &tar);
        tar[at] ^= 1 << random.below(8);
    }
    let mut blob = match random.below(3) {
        0 => TestLayer::gzip(tar).blob,
        1 => TestLayer::zstd(tar).blob,
        _ => tar,
    };
    if random.below(6) == 0 {
        let at = at(random, &blob);
        blob.truncate(at.max(1));
    }
    blob
}

#[test]
fn a_thousand_hostile_layers_change_nothing_outside() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let canary = folder.path().join("canary");
    std::fs::create_dir_all(canary.join("d")).unwrap();
    std::fs::write(canary.join("secret"), "secret").unwrap();
    let (data, canary_path) = (folder.path().join("data"), canary.to_str().unwrap());
    let store = Store::open(&data).unwrap();
    let count = |name: &str| {
        std::fs::read_dir(data.join("image").join(name))
            .unwrap()
            .count()
    };
    let before = outside(folder.path());
    let secret = std::fs::metadata(canary.join("secret")).unwrap().ino();
    let mut random = Random(0x5eed);
    let (mut diff_ids, mut blobs, mut refused) = (BTreeSet::new(), BTreeSet::new(), 0);
    for number in 0..LAYERS {
        let honest = number % 4 == 0;
        let mut tar = Tar::new();
        for entry in 0..=random.below(8) {
            if honest || random.below(3) == 0 {
                tar = legal(tar, &mut random, number + entry);
            } else {
                tar = trick(tar, &mut random, canary_path);
            }
        }
        let tar = tar.end();
        let blob = if honest {
            tar
        } else {
            mangle(tar, &mut random)
        };
        match store.add_layer(&mut &blob[..]) {
            Ok(layer) => {
                diff_ids.insert(layer.diff_id);
                blobs.insert(layer.digest);
                let root = store.lowers_of(&[layer.diff_id]).unwrap().remove(0);
                assert!(
                    !inodes(&root).contains(&secret),
                    "layer {number} got hold of the secret"
                );
            }
            Err(error) => {
                assert!(!honest, "layer {number} is legal: {error:?}");
                refused += 1;
            }
        }
        assert_eq!(outside(folder.path()), before, "layer {number}");
        assert_eq!((count("tmp"), count("trash")), (0, 0), "layer {number}");
    }
    assert_eq!(
        (count("layers"), count("blobs/sha256")),
        (diff_ids.len(), blobs.len())
    );
    assert!(
        refused > LAYERS / 3,
        "the tricks are refused for the most part: {refused}"
    );
    assert!(!Path::new("/etc/hoist-pwned").exists());
    println!("{} taken, {refused} refused", LAYERS - refused);
}

fn inodes(folder: &Path) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.insert(entry.metadata().unwrap().ino());
        if entry.file_type().unwrap().is_dir() {
            found.extend(inodes(&entry.path()));
        }
    }
    found
}
