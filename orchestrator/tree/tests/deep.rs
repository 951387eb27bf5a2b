//! Trees deeper than the stack, PATH_MAX and the descriptor limit allow.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hoist_tree::{Descent, Visit, Walk, empty, open_beneath, open_in_root, remove, resolve};
use rustix::fs::{Mode, OFlags};

/// On a tmpfs if possible: creating a hundred thousand folders keeps a disk busy.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// `levels` folders, each in the one before; with a file in the last one. The names are those of the way down.
fn dig(root: &Path, name: &CStr, levels: usize) {
    let root = File::open(root).unwrap();
    let mut place = Descent::new(root.as_fd());
    for _ in 0..levels {
        rustix::fs::mkdirat(place.folder(), name, Mode::from_raw_mode(0o755)).unwrap();
        place.enter(name).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file =
        rustix::fs::openat(place.folder(), c"file", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
}

fn long() -> CString {
    CString::new(vec![b'n'; 255]).unwrap()
}

/// Entries and the length of the longest path.
fn walked(root: &Path) -> (usize, usize) {
    let root = File::open(root).unwrap();
    let mut walk = Walk::new(root.as_fd()).unwrap();
    let (mut entries, mut longest) = (0, 0);
    while let Some(visit) = walk.step().unwrap() {
        if let Visit::Entry { name, stat } = visit {
            entries += 1;
            if Visit::is_folder(&stat) {
                assert!(walk.enter(&name).unwrap());
            } else {
                longest = longest.max(walk.path_of(&name).len());
            }
        }
    }
    (entries, longest)
}

/// With a small stack and few descriptors: neither may limit the depth.
fn confined(work: impl FnOnce() + Send + 'static) {
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert!(
        open.current.is_none_or(|most| most > 500),
        "the test needs some descriptors: {open:?}"
    );
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn long_names_far_down_are_walked_opened_and_removed() {
    let folder = temporary();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    dig(&root, &long(), 2500);
    confined(move || {
        assert_eq!(walked(&root), (2501, 2500 * 256 + 4));
        let fd = File::open(&root).unwrap();
        let way: PathBuf = std::iter::repeat_n("n".repeat(255), 2500)
            .collect::<PathBuf>()
            .join("file");
        let read = |file: io::Result<std::os::fd::OwnedFd>| {
            io::read_to_string(File::from(file.unwrap())).unwrap()
        };
        assert_eq!(read(open_beneath(fd.as_fd(), &way, OFlags::RDONLY)), "deep");
        assert_eq!(read(open_in_root(fd.as_fd(), &way, OFlags::RDONLY)), "deep");
        remove(&root).unwrap();
        assert!(!root.exists());
    });
}

#[test]
fn a_hundred_thousand_levels_are_walked_and_removed_with_few_descriptors() {
    let folder = temporary();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    dig(&root, c"d", 100_000);
    confined(move || {
        let before = descriptors();
        let fd = File::open(&root).unwrap();
        let mut walk = Walk::new(fd.as_fd()).unwrap();
        while let Some(Visit::Entry { name, stat }) = walk.step().unwrap() {
            if Visit::is_folder(&stat) {
                walk.enter(&name).unwrap();
            }
        }
        assert_eq!(walk.depth(), 100_000);
        assert!(
            descriptors() < before + 150,
            "{} descriptors, {before} before",
            descriptors()
        );
        while walk.step().unwrap().is_some() {}
        assert_eq!(walk.depth(), 0);
        empty(fd.as_fd()).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    });
}

#[test]
fn wide_trees_with_everything_in_them_are_removed_and_links_are_not_followed() {
    let folder = temporary();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    for number in 0..40 {
        let full = root.join(format!("full-{number}/sub"));
        fs::create_dir_all(&full).unwrap();
        for file in 0..60 {
            fs::write(full.join(file.to_string()), "x").unwrap();
        }
        std::os::unix::fs::symlink(&outside, full.join("link")).unwrap();
    }
    for number in 0..3000 {
        fs::create_dir(root.join(format!("empty-{number}"))).unwrap();
    }
    remove(&root).unwrap();
    assert!(!root.exists() && outside.join("precious").exists());
    remove(&root).unwrap();
    remove(&root.join("not/there")).unwrap();
    std::os::unix::fs::symlink(&outside, &root).unwrap();
    remove(&root).unwrap();
    assert!(!root.is_symlink() && outside.join("precious").exists());
}

#[test]
fn a_folder_that_is_moved_away_ends_the_walk_and_leads_it_nowhere_else() {
    let folder = temporary();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    dig(&root, c"d", 200);
    let fd = File::open(&root).unwrap();
    let mut walk = Walk::new(fd.as_fd()).unwrap();
    while let Some(Visit::Entry { name, stat }) = walk.step().unwrap() {
        if Visit::is_folder(&stat) {
            walk.enter(&name).unwrap();
        }
    }
    let top: PathBuf = std::iter::repeat_n("d", 100).collect();
    fs::rename(root.join(&top).join("d"), folder.path().join("moved")).unwrap();
    let error = loop {
        match walk.step() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if nothing had happened"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("moved"), "{error}");
}

#[test]
fn paths_with_links_lead_where_a_process_in_the_root_is_led() {
    let folder = temporary();
    let root = folder.path();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/tool"), "tool").unwrap();
    for (target, link) in [
        ("usr/bin", "bin"),
        ("/usr/bin/tool", "abs"),
        ("../../usr/bin/new", "dangling"),
        ("loop", "loop"),
    ] {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    let fd = File::open(root).unwrap();
    let at = |path: &str, follow| {
        let place = resolve(fd.as_fd(), Path::new(path), follow);
        place
            .map(|place| (place.path().display().to_string(), place.stat.is_some()))
            .map_err(|error| error.kind())
    };
    let found = |path: &str| Ok((path.to_owned(), true));
    assert_eq!(at("/bin/tool", false), found("usr/bin/tool"));
    assert_eq!(at("bin", false), found("bin"));
    assert_eq!(at("bin", true), found("usr/bin"));
    assert_eq!(at("abs", true), found("usr/bin/tool"));
    assert_eq!(at("/../../bin/../bin", true), found("usr/bin"));
    assert_eq!(at("/", true), found(""));
    assert_eq!(at("bin/..", true), found("usr"));
    assert_eq!(at("dangling", true), Ok(("usr/bin/new".to_owned(), false)));
    assert_eq!(at("nowhere/x", true), Err(io::ErrorKind::NotFound));
    assert_eq!(at("abs/x", true), Err(io::ErrorKind::NotADirectory));
    assert!(at("loop", true).is_err());
    // Longer than PATH_MAX, through a link.
    let long: PathBuf = std::iter::repeat_n("usr/../bin/..", 600)
        .collect::<PathBuf>()
        .join("bin/tool");
    assert!(
        open_in_root(fd.as_fd(), &long, OFlags::RDONLY).is_err(),
        "usr/usr is not there"
    );
    let long: PathBuf = std::iter::repeat_n("usr/bin/../..", 600)
        .collect::<PathBuf>()
        .join("bin/tool");
    let file = open_in_root(fd.as_fd(), &long, OFlags::RDONLY).unwrap();
    assert_eq!(io::read_to_string(File::from(file)).unwrap(), "tool");
}
