//! Layers that mean harm: nothing outside is touched, no half layer stays, and honest oddities still work.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_image::{Store, StoreError};
use support::{Tar, noise};

struct Field {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Field {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let canary = folder.path().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("secret"), "secret").unwrap();
        std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o700)).unwrap();
        let store = Store::open(&folder.path().join("data")).unwrap();
        Self { folder, store }
    }

    fn canary(&self) -> PathBuf {
        self.folder.path().join("canary")
    }

    /// Everything outside the store: names, modes, link counts, times.
    fn outside(&self) -> Vec<(PathBuf, u32, u64, i64, i64)> {
        let mut all: Vec<_> = [
            self.folder.path().to_owned(),
            self.canary(),
            self.canary().join("secret"),
        ]
        .into_iter()
        .chain(
            std::fs::read_dir(self.folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        )
        .chain(
            std::fs::read_dir(self.canary())
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        )
        .map(|path| {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            (
                path,
                meta.mode(),
                meta.nlink(),
                meta.mtime(),
                meta.mtime_nsec(),
            )
        })
        .collect();
        all.sort();
        all
    }

    fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.folder.path().join("data/image").join(folder))
            .unwrap()
            .count()
    }

    fn refused(&self, tar: &[u8], expected: &str) {
        let before = self.outside();
        let error = self.store.add_layer(&mut &tar[..]).expect_err(expected);
        let text = chain(&error);
        assert!(
            text.contains(expected),
            "{text:?} does not say {expected:?}"
        );
        assert_eq!(self.outside(), before);
        assert_eq!(
            (self.count("layers"), self.count("tmp"), self.count("trash")),
            (0, 0, 0),
            "{expected}"
        );
        assert_eq!(self.count("blobs/sha256"), 0);
    }

    fn taken(&self, tar: &[u8]) -> PathBuf {
        let before = self.outside();
        let layer = self
            .store
            .add_layer(&mut &tar[..])
            .map_err(|error| chain(&error))
            .unwrap();
        assert_eq!(self.outside(), before);
        self.store.lowers_of(&[layer.diff_id]).unwrap().remove(0)
    }
}

fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[test]
fn paths_that_lead_outside_are_refused_or_stay_inside() {
    if support::skip(&[]) {
        return;
    }
    let field = Field::new();
    let canary = field.canary();
    let outside = canary.to_str().unwrap();
    let parents = "../../../../../../..";
    field.refused(
        &Tar::new().file("../escape", b"x").end(),
        "its path contains ..",
    );
    field.refused(
        &Tar::new().file("a/../../escape", b"x").end(),
        "its path contains ..",
    );
    field.refused(
        &Tar::new().hard_link("h", "../../../etc/passwd").end(),
        "its path contains ..",
    );
    field.refused(
        &Tar::new().hard_link("h", "/etc/passwd").end(),
        "not in this layer",
    );
    field.refused(
        &Tar::new()
            .symlink("s", "/")
            .hard_link("h", "s/etc/passwd")
            .end(),
        "not in this layer",
    );
    field.refused(
        &Tar::new().symlink("s", outside).file("s/x", b"x").end(),
        "a symlink that leads nowhere",
    );
    field.refused(
        &Tar::new()
            .symlink("s", outside)
            .file("s/secret", b"x")
            .end(),
        "a symlink that leads nowhere",
    );
    field.refused(
        &Tar::new()
            .symlink("s", parents)
            .hard_link("h", &format!("s{outside}/secret"))
            .end(),
        "not in",
    );
    field.refused(
        &Tar::new().file("f", b"x").file("f/g", b"x").end(),
        "not a directory",
    );
    field.refused(&Tar::new().file("", b"x").end(), "replaces the root");
    field.refused(
        &Tar::new()
            .symlink("a", "b")
            .symlink("b", "a")
            .file("a/x", b"x")
            .end(),
        "opening its directory",
    );

    let root = field.taken(
        &Tar::new()
            .file("/abs", b"abs")
            .symlink("up", parents)
            .file("up/in", b"in")
            .end(),
    );
    assert_eq!(std::fs::read(root.join("abs")).unwrap(), b"abs");
    assert_eq!(
        std::fs::read(root.join("in")).unwrap(),
        b"in",
        "a symlink is followed inside the layer's root"
    );

    let root = field.taken(
        &Tar::new()
            .symlink("s", &format!("{outside}/secret"))
            .file("s", b"mine")
            .end(),
    );
    assert!(
        std::fs::symlink_metadata(root.join("s")).unwrap().is_file(),
        "a file replaces a symlink"
    );
    let root = field.taken(
        &Tar::new()
            .symlink("d", outside)
            .directory("d/")
            .file("d/x", b"x")
            .end(),
    );
    assert!(
        std::fs::symlink_metadata(root.join("d")).unwrap().is_dir(),
        "a directory replaces a symlink"
    );
    assert_eq!(
        std::fs::read_to_string(canary.join("secret")).unwrap(),
        "secret"
    );
    assert_eq!(std::fs::metadata(&canary).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn whiteouts_and_overlay_marks_cannot_be_smuggled() {
    if support::skip(&[]) {
        return;
    }
    let field = Field::new();
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        ".wh..wh.plnk",
        ".wh..wh..wh..opq",
        "d/.wh.",
    ] {
        field.refused(&Tar::new().file(name, b"").end(), "whiteout");
    }
    field.refused(&Tar::new().device(b'3', "w", 0, 0).end(), "0:0");
    field.refused(
        &Tar::new().file(".wh.w", b"").hard_link("h", "w").end(),
        "not in this layer",
    );
    let outside = field.canary();
    let opaque_elsewhere = Tar::new()
        .symlink("s", outside.to_str().unwrap())
        .file("s/.wh..wh..opq", b"")
        .end();
    field.refused(&opaque_elsewhere, "a symlink that leads nowhere");

    let overlay: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.whiteout", b"y"),
    ];
    let root = field.taken(&Tar::new().pax(&overlay).directory("d/").end());
    let mut buffer = [0; 1024];
    let length = rustix::fs::llistxattr(root.join("d"), &mut buffer[..]).unwrap();
    assert_eq!(
        length,
        0,
        "{:?}",
        String::from_utf8_lossy(&buffer[..length])
    );

    // A whiteout beside an entry of the same name hides what is below, and the entry stays.
    let whiteout_last = Tar::new()
        .directory("d/")
        .file("d/x", b"x")
        .file(".wh.d", b"")
        .end();
    let whiteout_first = Tar::new()
        .file(".wh.d", b"")
        .directory("d/")
        .file("d/x", b"x")
        .end();
    for tar in [whiteout_last, whiteout_first] {
        let root = field.taken(&tar);
        assert_eq!(std::fs::read(root.join("d/x")).unwrap(), b"x");
        let length =
            rustix::fs::lgetxattr(root.join("d"), "trusted.overlay.opaque", &mut buffer[..])
                .unwrap();
        assert_eq!(&buffer[..length], b"y");
    }
}

#[test]
fn malformed_archives_are_refused() {
    if support::skip(&[]) {
        return;
    }
    let field = Field::new();
    let whole = Tar::new()
        .file("a", &noise(5000, 1))
        .file("b", &noise(5000, 2))
        .end();
    field.refused(&whole[..700], "ends in the middle");
    field.refused(&whole[..512 + 5120 + 100], "ends in the middle of an entry");
    let mut wrong = whole.clone();
    wrong[3] ^= 1;
    field.refused(&wrong, "checksum is wrong");
    let mut gzip = support::TestLayer::gzip(whole.clone()).blob;
    gzip.truncate(gzip.len() - 200);
    field.refused(&gzip, "reading the layer");
    field.refused(b"not a tar at all", "ends in the middle");
    field.refused(
        &[b"BZh9".as_slice(), &[0; 600]].concat(),
        "reading the layer",
    );
    field.refused(
        &[b"\xfd7zXZ\0".as_slice(), &[0; 600]].concat(),
        "reading the layer",
    );

    let pax = |records: &[(&str, &[u8])]| Tar::new().pax(records).file("f", b"x").end();
    field.refused(
        &pax(&[("path", b"a"), ("path", b"b")]),
        "a key appears twice",
    );
    field.refused(&pax(&[("size", b"-1")]), "a number is malformed");
    field.refused(&pax(&[("path", b"a\0b")]), "holds a NUL");
    field.refused(&pax(&[("path", &[b'a'; 5000])]), "its name is too long");
    field.refused(&pax(&[("GNU.sparse.major", b"1")]), "sparse");
    field.refused(&pax(&[("uid", b"4294967295")]), "owner is out of range");
    field.refused(&pax(&[("size", b"100000")]), "ends in the middle");
    field.refused(
        &Tar::new().pax(&[("path", b"a")]).unfinished(),
        "ends in the middle",
    );
    field.refused(
        &Tar::new()
            .pax(&[("path", b"a")])
            .pax(&[("path", b"b")])
            .file("f", b"")
            .end(),
        "a second one",
    );
    let header = Tar::header(b'x', "PaxHeaders", 7);
    field.refused(
        &Tar::new().raw(&header, b"9 a=bc\n").file("f", b"").end(),
        "length is wrong",
    );
    let global = Tar::header(b'g', "pax_global_header", 10);
    field.refused(
        &Tar::new().raw(&global, b"10 path=x\n").file("f", b"").end(),
        "changes every entry",
    );
    let long = Tar::header(b'L', "././@LongLink", 2 << 20);
    field.refused(
        &Tar::new()
            .raw(&long, &vec![b'a'; 2 << 20])
            .file("f", b"")
            .end(),
        "longer than 1 MiB",
    );
    field.refused(
        &Tar::new().raw(&Tar::header(b'S', "sparse", 0), b"").end(),
        "sparse",
    );
    field.refused(
        &Tar::new().raw(&Tar::header(b'Z', "odd", 0), b"").end(),
        "its type is unknown",
    );
    field.refused(
        &Tar::new()
            .pax(&[("path", "d/".repeat(1500).as_bytes())])
            .file("f", b"x")
            .end(),
        "too deep",
    );

    // The size of the extension record is the one that counts: what follows is a body, not an entry.
    let inner = Tar::new().file("smuggled", b"x").unfinished();
    let mut outer = Tar::header(b'0', "f", 0);
    outer.set_size(0);
    let tar = Tar::new()
        .pax(&[("size", inner.len().to_string().as_bytes())])
        .raw(&outer, &inner)
        .end();
    let root = field.taken(&tar);
    assert_eq!(
        std::fs::metadata(root.join("f")).unwrap().len(),
        inner.len() as u64
    );
    assert!(!root.join("smuggled").exists());
}

/// A header that promises much, then zeros without end.
struct Zeros(Vec<u8>);

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            buffer.fill(0);
            return Ok(buffer.len());
        }
        let count = self.0.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0.drain(..count);
        Ok(count)
    }
}

#[test]
fn bombs_are_stopped() {
    if support::skip(&[]) {
        return;
    }
    let field = Field::new();
    let bomb = || {
        let size = 7 << 30;
        Zeros(
            Tar::new()
                .raw(&Tar::header(b'0', "zeros", size), b"")
                .unfinished(),
        )
        .take(1 << 30)
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut bomb(), &mut gzip).unwrap();
    field.refused(&gzip.finish().unwrap(), "decompression bomb");
    field.refused(&zstd::encode_all(bomb(), 1).unwrap(), "decompression bomb");
    // Trailing data counts as well: the digest has to cover it, so it has to be read.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&Tar::new().file("a", b"a").end()).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(1 << 30), &mut gzip).unwrap();
    field.refused(&gzip.finish().unwrap(), "decompression bomb");
}

#[test]
fn damaged_layers_leave_nothing_outside_and_no_half_layer() {
    if support::skip(&[]) {
        return;
    }
    let field = Field::new();
    let canary = field.canary();
    let original = Tar::new()
        .directory("etc/")
        .file("etc/passwd", b"root")
        .symlink("link", canary.to_str().unwrap())
        .hard_link("etc/again", "etc/passwd")
        .file("etc/.wh.gone", b"")
        .pax(&[("path", b"long/name"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", &noise(700, 3))
        .device(b'3', "null", 1, 3)
        .end();
    let before = field.outside();
    let mut random = noise(8 * 400, 99).into_iter();
    let mut next =
        || usize::from(random.next().unwrap()) << 8 | usize::from(random.next().unwrap());
    let mut taken = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let mut tar = original.clone();
        let at = next() % tar.len();
        tar[at] = next().to_le_bytes()[0];
        // Headers with a wrong checksum end the story early; most damage is made to look deliberate.
        let block = at / 512 * 512;
        let mut header = tar::Header::new_old();
        header
            .as_mut_bytes()
            .copy_from_slice(&tar[block..block + 512]);
        header.set_cksum();
        if &tar[block + 257..block + 262] == b"ustar" {
            tar[block..block + 512].copy_from_slice(header.as_bytes());
        }
        if next() % 8 == 0 {
            tar.truncate(next() % tar.len());
        }
        if let Ok(layer) = field.store.add_layer(&mut &tar[..]) {
            taken.insert(layer.diff_id);
        }
        assert_eq!(field.outside(), before);
    }
    assert_eq!(field.count("layers"), taken.len());
    assert_eq!((field.count("tmp"), field.count("trash")), (0, 0));
    assert!(!Path::new("/etc/again").exists());
}
