//! Files with holes in a layer, in every form that GNU tar writes: they come out as GNU tar unpacks them, and a map that
//! lies is refused.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use hoist_image::{CheckOptions, Digest, Store};
use rustix::fs::SeekFrom;
use support::{Tar, noise};

/// Name, size in bytes, and where data of which length stands.
type Content = (String, u64, Vec<(u64, usize)>);

fn contents() -> Vec<Content> {
    const MIB: u64 = 1 << 20;
    let islands = |count: u64| {
        (0..count)
            .map(|number| (number * MIB, 4096))
            .collect::<Vec<_>>()
    };
    vec![
        ("few".to_owned(), 32 * MIB, islands(3)),
        // More than fit into the old form's header, and into one block behind it.
        ("many".to_owned(), 200 * MIB, islands(150)),
        (
            "ends-with-data".to_owned(),
            8 * MIB + 5000,
            vec![(8 * MIB, 5000)],
        ),
        ("nothing".to_owned(), 64 * MIB, Vec::new()),
        ("huge".to_owned(), 1 << 40, vec![(0, 10), (1 << 39, 4096)]),
        (format!("{}/deep", "long".repeat(40)), 16 * MIB, islands(2)),
        ("full".to_owned(), 10_000, vec![(0, 10_000)]),
    ]
}

fn fill(folder: &Path) {
    for (name, size, parts) in contents() {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        for (offset, length) in parts {
            file.write_all_at(&noise(length, offset), offset).unwrap();
        }
        file.set_len(size).unwrap();
    }
}

/// The parts of a file that are not holes.
fn extents(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        found.push((start, at));
    }
    found
}

fn check(found: &Path, by_tar: &Path, form: &str) {
    for (name, size, parts) in contents() {
        let (ours, theirs) = (found.join(&name), by_tar.join(&name));
        let meta = std::fs::metadata(&ours).unwrap();
        assert_eq!(meta.len(), size, "{form}: {name}");
        assert_eq!(
            meta.mtime(),
            std::fs::metadata(&theirs).unwrap().mtime(),
            "{form}: {name}"
        );
        assert_eq!(
            extents(&ours),
            extents(&theirs),
            "{form}: {name} has the holes that GNU tar makes"
        );
        let file = File::open(&ours).unwrap();
        for (offset, length) in parts {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).unwrap();
            assert_eq!(bytes, noise(length, offset), "{form}: {name} at {offset}");
        }
    }
}

#[test]
fn every_form_unpacks_as_gnu_tar_unpacks_it() {
    if support::skip(&["tar"]) {
        return;
    }
    let make = || tempfile::tempdir_in("/var/tmp").unwrap();
    let (from, by_tar, data) = (make(), make(), make());
    fill(from.path());
    let store = Store::open(&data.path().join("data")).unwrap();
    let forms: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for form in forms {
        let label = form.join(" ");
        let archive = data.path().join("archive.tar");
        let tar = |folder: &Path, arguments: &[&str]| {
            let status = Command::new("tar")
                .arg("-C")
                .arg(folder)
                .args(arguments)
                .status()
                .unwrap();
            assert!(status.success(), "{label}");
        };
        let file = archive.to_str().unwrap();
        let order = [
            "--sparse",
            "--sort=name",
            "--owner=0",
            "--group=0",
            "-cf",
            file,
            ".",
        ];
        tar(from.path(), &[form, &order[..]].concat());
        let bytes = std::fs::read(&archive).unwrap();
        assert!(
            bytes.len() < 2 << 20,
            "{label}: holes are stored as holes: {}",
            bytes.len()
        );
        let expected = by_tar
            .path()
            .join(form.len().to_string() + form.last().unwrap());
        std::fs::create_dir(&expected).unwrap();
        tar(&expected, &["-xf", file]);
        let layer = store.add_layer(&mut &bytes[..]).unwrap();
        assert_eq!(
            layer.diff_id,
            Digest::of(&bytes),
            "{label}: the archive itself is what counts"
        );
        check(
            &store.lowers_of(&[layer.diff_id]).unwrap()[0],
            &expected,
            &label,
        );
    }
    // What is a hole on both sides is not read: a terabyte of it costs nothing.
    let report = store.check(&CheckOptions::default()).unwrap();
    assert!(report.is_sound(), "{report:#?}");
}

fn refused(tar: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    let error = store.add_layer(&mut &tar[..]).expect_err(expected);
    let first: &dyn std::error::Error = &error;
    let chain = std::iter::successors(Some(first), |error| error.source());
    let text: String = chain.map(|error| format!("{error}: ")).collect();
    assert!(
        text.contains(expected),
        "{text:?} does not say {expected:?}"
    );
}

#[test]
fn maps_that_lie_are_refused() {
    if support::skip(&[]) {
        return;
    }
    type Map<'a> = &'a [(&'a str, &'a str)];
    let maps: [(Map<'_>, u64, &str); 7] = [
        (
            &[("0", "4"), ("2", "4")],
            100,
            "out of order or leaves the file",
        ),
        (
            &[("8", "4"), ("0", "4")],
            100,
            "out of order or leaves the file",
        ),
        (&[("98", "4")], 100, "out of order or leaves the file"),
        (
            &[("18446744073709551615", "8")],
            100,
            "out of order or leaves the file",
        ),
        (&[("-1", "8")], 100, "malformed"),
        (&[("0", "4")], 1 << 63, "out of range"),
        (&[("0", "7")], 100, "do not fit together"),
    ];
    for (map, size, expected) in maps {
        let size = size.to_string();
        let (count, mut pairs) = (map.len().to_string(), Vec::new());
        for (offset, length) in map {
            pairs.extend([
                ("GNU.sparse.offset", offset.as_bytes()),
                ("GNU.sparse.numbytes", length.as_bytes()),
            ]);
        }
        let common = [
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.numblocks", count.as_bytes()),
        ];
        let zero = [&common[..], &pairs].concat();
        refused(
            &Tar::new().pax(&zero).file("f", b"12345678").end(),
            expected,
        );
        let joined = map
            .iter()
            .map(|(offset, length)| format!("{offset},{length}"))
            .collect::<Vec<_>>()
            .join(",");
        let one = [&common[..], &[("GNU.sparse.map", joined.as_bytes())]].concat();
        refused(&Tar::new().pax(&one).file("f", b"12345678").end(), expected);
        let lines: String = map
            .iter()
            .map(|(offset, length)| format!("{offset}\n{length}\n"))
            .collect();
        let mut body = format!("{count}\n{lines}").into_bytes();
        body.resize(512, 0);
        body.extend_from_slice(b"12345678");
        refused(
            &Tar::new().pax(&version_1(&size)).file("f", &body).end(),
            expected,
        );
    }
    for (body, expected) in [
        (&b"9\n0\n4\n"[..], "malformed"),
        (b"99999999\n", "too long"),
        (b"x\n", "malformed"),
    ] {
        let mut block = body.to_vec();
        block.resize(512, 0);
        refused(
            &Tar::new().pax(&version_1("100")).file("f", &block).end(),
            expected,
        );
    }
    refused(
        &Tar::new().pax(&version_1("100")).file("f", b"").end(),
        "malformed",
    );
    refused(
        &Tar::new().pax(&version_1("100")).directory("d/").end(),
        "not a file",
    );
    refused(
        &Tar::new()
            .pax(&[("GNU.sparse.major", b"2")])
            .file("f", b"")
            .end(),
        "an unknown form",
    );
}

fn version_1(size: &str) -> [(&str, &[u8]); 3] {
    [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ]
}

#[test]
fn old_maps_that_lie_are_refused() {
    if support::skip(&[]) {
        return;
    }
    let old = |size: u64, parts: &[(u64, u64)], more: bool| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_path("f").unwrap();
        header.set_mode(0o644);
        header.set_size(8);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(size);
        gnu.set_is_extended(more);
        for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(parts) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        header
    };
    let tar = |header: &tar::Header| Tar::new().raw(header, b"12345678").end();
    refused(&tar(&old(100, &[(0, 4), (2, 4)], false)), "out of order");
    refused(&tar(&old(100, &[(96, 8)], false)), "leaves the file");
    refused(&tar(&old(100, &[(u64::MAX, 8)], false)), "leaves the file");
    refused(&tar(&old(100, &[(0, 9)], false)), "do not fit together");
    refused(&tar(&old(100, &[], false)), "do not fit together");
    let promised = Tar::new().raw(&old(100, &[(0, 8)], true), b"").unfinished();
    refused(&promised, "ends in the middle");
    refused(
        &Tar::new()
            .pax(&version_1("100"))
            .raw(&old(100, &[(0, 8)], false), b"12345678")
            .end(),
        "two forms",
    );
    refused(
        &Tar::new().raw(&Tar::header(b'S', "f", 0), b"").end(),
        "an unknown form",
    );
}

#[test]
fn a_new_layer_of_a_terabyte_of_zeros_is_refused_at_once() {
    if support::skip(&[]) {
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    let scratch = store.begin_layer().unwrap();
    File::create(scratch.upper().join("lastlog"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let error = store.commit_layer(scratch).unwrap_err();
    let layer = std::error::Error::source(&error).unwrap();
    let text = format!(
        "{layer}: {}",
        layer.source().map(ToString::to_string).unwrap_or_default()
    );
    assert!(
        text.contains("\"lastlog\" of a new layer has 1099511627776 bytes"),
        "{text}"
    );
}
