//! Archives of plain folders: everything that makes a file what it is comes back.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod support;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use hoist_image::{pack_folder, unpack_folder};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

fn fill(root: &Path) {
    let at = |name: &str| root.join(name);
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::write(at("dir/file"), "content").unwrap();
    std::os::unix::fs::chown(at("dir/file"), Some(70_000), Some(3_000_000)).unwrap();
    std::fs::set_permissions(at("dir/file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::fs::hard_link(at("dir/file"), at("second")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    // What would speak of lower layers in a layer stands for itself here.
    std::fs::write(at(".wh.name"), "literal").unwrap();
    let device = rustix::fs::makedev(0, 0);
    rustix::fs::mknodat(
        CWD,
        at("zero"),
        FileType::CharacterDevice,
        Mode::RUSR,
        device,
    )
    .unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let note = OsStr::new("user.note");
    rustix::fs::lsetxattr(at("dir"), note, b"a\n=b", XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(
        at("dir"),
        OsStr::new("trusted.overlay.opaque"),
        b"y",
        XattrFlags::empty(),
    )
    .unwrap();
    let mut sparse = File::create(at("sparse")).unwrap();
    for offset in [0, 5 << 20, 900 << 20] {
        sparse.seek(SeekFrom::Start(offset)).unwrap();
        sparse.write_all(b"island").unwrap();
    }
    sparse.set_len(1 << 30).unwrap();
    File::create(at("all-hole"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    for name in ["dir/file", "link", "sparse", "dir"] {
        let time = Timespec {
            tv_sec: 1_700_000_000,
            tv_nsec: 123_456_789,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(root, Some(999), Some(999)).unwrap();
}

fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            pending.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let content = match () {
            () if meta.is_file() && meta.len() < 1000 => {
                String::from_utf8(std::fs::read(&path).unwrap()).unwrap()
            }
            () if meta.is_symlink() => std::fs::read_link(&path).unwrap().display().to_string(),
            () => String::new(),
        };
        let value = |name: &str| {
            let mut value = [0; 100];
            let length =
                rustix::fs::lgetxattr(&path, OsStr::new(name), &mut value[..]).unwrap_or(0);
            String::from_utf8_lossy(&value[..length]).into_owned()
        };
        // A folder's own size, and times that nobody set, say nothing.
        let size = if meta.is_dir() { 0 } else { meta.len() };
        let time = if meta.mtime() == 1_700_000_000 {
            meta.mtime_nsec()
        } else {
            0
        };
        lines.push(format!(
            "{} {:o} {}:{} {size} {} {time} {} {content:?} {:?} {:?} {}",
            path.strip_prefix(root).unwrap().display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            if meta.file_type().is_char_device() {
                meta.rdev()
            } else {
                0
            },
            if meta.is_dir() { 1 } else { meta.nlink() },
            value("user.note"),
            value("trusted.overlay.opaque"),
            if meta.is_file() {
                meta.blocks() * 512 < meta.len()
            } else {
                false
            },
        ));
    }
    lines.sort();
    lines
}

#[test]
fn everything_that_makes_a_file_what_it_is_comes_back() {
    if support::skip(&[]) {
        return;
    }
    let (from, to) = (
        tempfile::tempdir_in("/var/tmp").unwrap(),
        tempfile::tempdir_in("/var/tmp").unwrap(),
    );
    fill(from.path());
    let mut archive = Vec::new();
    pack_folder(File::open(from.path()).unwrap().as_fd(), &mut archive).unwrap();
    assert!(
        archive.len() < 100_000,
        "holes cost nothing: {}",
        archive.len()
    );
    unpack_folder(&archive[..], File::open(to.path()).unwrap().as_fd()).unwrap();
    assert_eq!(listing(to.path()), listing(from.path()));
    let islands = |root: &Path| {
        let mut file = File::open(root.join("sparse")).unwrap();
        let mut found = Vec::new();
        for offset in [0, 5 << 20, 900 << 20] {
            let mut bytes = [0; 10];
            file.seek(SeekFrom::Start(offset)).unwrap();
            std::io::Read::read_exact(&mut file, &mut bytes).unwrap();
            found.push(bytes);
        }
        found
    };
    assert_eq!(islands(to.path()), islands(from.path()));
    let mut again = Vec::new();
    pack_folder(File::open(from.path()).unwrap().as_fd(), &mut again).unwrap();
    assert_eq!(archive, again, "the same bytes every time");
}

#[test]
fn gnu_tar_reads_what_is_packed_and_its_archives_are_read() {
    if support::skip(&["tar"]) {
        return;
    }
    let make = || tempfile::tempdir_in("/var/tmp").unwrap();
    let (from, by_tar, back) = (make(), make(), make());
    fill(from.path());
    // GNU tar leaves attributes of the host's own namespace out.
    rustix::fs::lremovexattr(
        from.path().join("dir"),
        OsStr::new("trusted.overlay.opaque"),
    )
    .unwrap();
    let mut archive = Vec::new();
    pack_folder(File::open(from.path()).unwrap().as_fd(), &mut archive).unwrap();
    let mut child = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--same-owner",
            "-xpf",
            "-",
            "-C",
        ])
        .arg(by_tar.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(listing(by_tar.path()), listing(from.path()));
    let output = Command::new("tar")
        .args(["--format=posix", "--sparse", "--xattrs", "-cf", "-", "-C"])
        .arg(from.path())
        .arg(".")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    unpack_folder(&output.stdout[..], File::open(back.path()).unwrap().as_fd()).unwrap();
    assert_eq!(listing(back.path()), listing(from.path()));
}

#[test]
fn an_archive_that_was_cut_between_two_entries_is_not_whole() {
    if !support::is_root() {
        return;
    }
    let from = tempfile::tempdir().unwrap();
    let unpack = |archive: &[u8]| {
        let to = tempfile::tempdir().unwrap();
        unpack_folder(archive, File::open(to.path()).unwrap().as_fd())
    };
    for name in ["a", "b", "c"] {
        std::fs::write(from.path().join(name), name).unwrap();
    }
    let mut whole = Vec::new();
    pack_folder(File::open(from.path()).unwrap().as_fd(), &mut whole).unwrap();
    let content = whole
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
        .next_multiple_of(512);
    for cut in (0..=content).step_by(512) {
        unpack(&whole[..cut]).expect_err("a part of an archive");
    }
    unpack(&whole).unwrap();
}
