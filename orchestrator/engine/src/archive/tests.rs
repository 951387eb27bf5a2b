//! Copies in and out of plain folders that stand for roots.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

struct Root {
    folder: hoist_tree::Scratch,
}

impl Root {
    fn new() -> Self {
        let folder = hoist_tree::Scratch::with_prefix_in("root-", &std::env::temp_dir()).unwrap();
        std::fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        std::fs::write(folder.path().join("usr/bin/sh"), "shell").unwrap();
        symlink("usr/bin", folder.path().join("bin")).unwrap();
        symlink("/usr/bin/sh", folder.path().join("shell")).unwrap();
        symlink("/usr/bin/new", folder.path().join("dangling")).unwrap();
        Self { folder }
    }

    fn view(&self) -> RootView {
        RootView::of_folder(self.folder.path()).unwrap()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_default()
    }
}

/// A file or a folder with a file `f`, packed under a name.
fn packed(name: &str, folder: bool) -> Vec<u8> {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join(name);
    if folder {
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
        std::fs::write(path.join("f"), "content").unwrap();
    } else {
        std::fs::write(&path, "content").unwrap();
    }
    let mut tar = Vec::new();
    let view = RootView::of_folder(from.path()).unwrap();
    find(&view, &format!("/{name}"), false)
        .unwrap()
        .pack(&mut tar)
        .unwrap();
    tar
}

#[test]
fn copies_go_where_docker_puts_them() {
    use Held::{Content, Entry};
    let refused = |folder, held, there, path| {
        placement(folder, held, there, path)
            .unwrap_err()
            .kind()
            .status()
    };
    let placed = |folder, held, there, path| placement(folder, held, there, path).unwrap();
    assert_eq!(placed(false, Entry, Some(true), "/tmp"), Placement::Inside);
    assert_eq!(placed(false, Entry, Some(false), "/f"), Placement::Target);
    assert_eq!(placed(false, Entry, None, "/f"), Placement::Target);
    assert_eq!(refused(false, Entry, None, "/f/"), 404);
    assert_eq!(refused(false, Entry, Some(false), "/f/"), 400);
    assert_eq!(placed(true, Entry, Some(true), "/tmp"), Placement::Inside);
    assert_eq!(placed(true, Content, Some(true), "/tmp"), Placement::Joined);
    assert_eq!(placed(true, Entry, None, "/new"), Placement::Target);
    assert_eq!(placed(true, Content, None, "/new/"), Placement::Target);
    assert_eq!(refused(true, Entry, Some(false), "/f"), 400);
}

#[test]
fn a_copy_goes_through_the_links_of_the_root_and_replaces_none() {
    let root = Root::new();
    let copy = |path: &str, name: &str, folder, held| {
        copy_in(
            &root.view(),
            path,
            &packed(name, folder)[..],
            held,
            Owners::Kept,
        )
    };
    copy("/bin", "tool", false, Held::Entry).unwrap();
    copy("/bin/", "tool2", false, Held::Entry).unwrap();
    copy("/bin/tool3", "x", false, Held::Entry).unwrap();
    for name in ["tool", "tool2", "tool3"] {
        assert_eq!(root.text(&format!("usr/bin/{name}")), "content", "{name}");
    }
    copy("/shell", "x", false, Held::Entry).unwrap();
    assert_eq!(root.text("usr/bin/sh"), "content");
    copy("/dangling", "x", false, Held::Entry).unwrap();
    assert_eq!(root.text("usr/bin/new"), "content");
    copy("/bin", "d", true, Held::Entry).unwrap();
    assert_eq!(root.text("usr/bin/d/f"), "content");
    copy("/bin", "d", true, Held::Content).unwrap();
    assert_eq!(root.text("usr/bin/f"), "content");
    copy("/fresh", "d", true, Held::Entry).unwrap();
    assert_eq!(root.text("fresh/f"), "content");
    assert_eq!(root.at("fresh").metadata().unwrap().mode() & 0o777, 0o751);
    for link in ["bin", "shell", "dangling"] {
        assert!(root.at(link).is_symlink(), "{link}");
    }
    assert_eq!(
        copy("/no/where", "x", false, Held::Entry)
            .unwrap_err()
            .kind()
            .status(),
        404
    );
    let error = copy("/usr", "bin", false, Held::Entry).unwrap_err();
    assert!(
        error.to_string().contains("directory") && root.at("usr/bin/sh").exists(),
        "{error}"
    );
}

#[test]
fn what_is_packed_can_be_unpacked() {
    let (from, to) = (Root::new(), Root::new());
    let found = find(&from.view(), "/bin/", false).unwrap();
    let mut tar = Vec::new();
    found.pack(&mut tar).unwrap();
    unpack(&to.view(), "/usr", &tar[..], false, Owners::Kept).unwrap();
    assert_eq!(to.text("usr/bin/sh"), "shell");
    let names = |path: &str| {
        let mut tar = Vec::new();
        find(&from.view(), path, false)
            .unwrap()
            .pack(&mut tar)
            .unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let paths = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(names("/usr/bin"), ["bin/", "bin/sh"]);
    assert_eq!(names("/bin/."), ["./", "./sh"]);
    assert_eq!(names("bin"), ["bin"]);
    assert_eq!(names("/usr/bin/.."), ["usr/", "usr/bin/", "usr/bin/sh"]);
}

#[test]
fn a_link_is_shown_with_where_it_leads() {
    let root = Root::new();
    let stat = |path: &str, follow| find(&root.view(), path, follow).map(|found| found.stat());
    let link = stat("/shell", false).unwrap();
    assert_eq!(
        (link.name.as_str(), link.link_target.as_str()),
        ("shell", "/usr/bin/sh")
    );
    assert_eq!(stat("/bin", false).unwrap().link_target, "/usr/bin");
    let followed = stat("/shell", true).unwrap();
    assert_eq!((followed.name.as_str(), followed.size), ("shell", 5));
    assert!(matches!(
        stat("/dangling", true),
        Err(ArchiveError::Missing(_))
    ));
    assert!(matches!(
        stat("/shell/", false),
        Err(ArchiveError::NotAFolder(_))
    ));
    assert!(matches!(
        stat("/none", false),
        Err(ArchiveError::Missing(_))
    ));
}

#[test]
fn links_in_the_root_do_not_lead_out() {
    let (root, outside) = (Root::new(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret"), b"x").unwrap();
    symlink(outside.path(), root.at("out")).unwrap();
    assert!(find(&root.view(), "/out/secret", false).is_err());
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "out/evil", &b"x"[..]).unwrap();
    let bytes = tar.into_inner().unwrap();
    let _ = unpack(&root.view(), "/", &bytes[..], true, Owners::Kept);
    assert!(!outside.path().join("evil").exists());
}

#[test]
fn a_folder_and_a_file_replace_each_other_only_when_that_is_asked_for() {
    let root = Root::new();
    let over = |name: &str, folder, exchange| {
        unpack(
            &root.view(),
            "/usr",
            &packed(name, folder)[..],
            exchange,
            Owners::Kept,
        )
    };
    assert_eq!(over("bin", false, false).unwrap_err().kind().status(), 400);
    assert!(root.at("usr/bin/sh").exists());
    over("bin", false, true).unwrap();
    assert_eq!(root.text("usr/bin"), "content");
    assert_eq!(over("bin", true, false).unwrap_err().kind().status(), 400);
    over("bin", true, true).unwrap();
    assert_eq!(root.text("usr/bin/f"), "content");
}

#[test]
fn files_that_the_kernel_makes_are_no_containers_files() {
    let view = RootView::of_folder(Path::new("/")).unwrap();
    assert!(matches!(
        find(&view, "/proc/version", false),
        Err(ArchiveError::KernelMade(_))
    ));
}

/// In a thread with a small stack: packing and unpacking are loops.
#[test]
fn a_folder_deeper_than_path_max_is_copied_out_and_in() {
    let (from, to) = (Root::new(), Root::new());
    let name = CString::new("n".repeat(255)).unwrap();
    let root = std::fs::File::open(from.folder.path()).unwrap();
    let mut place = hoist_tree::Descent::new(root.as_fd());
    for _ in 0..300 {
        rustix::fs::mkdirat(place.folder(), name.as_c_str(), Mode::from_raw_mode(0o755)).unwrap();
        place.enter(&name).unwrap();
    }
    drop(place);
    let small = std::thread::Builder::new().stack_size(256 << 10);
    std::thread::scope(|scope| {
        let copied = small.spawn_scoped(scope, || {
            let mut tar = Vec::new();
            find(&from.view(), &format!("/{}", "n".repeat(255)), false)
                .unwrap()
                .pack(&mut tar)
                .unwrap();
            unpack(&to.view(), "/", &tar[..], false, Owners::Kept).unwrap();
        });
        copied.unwrap().join().unwrap();
    });
    let there = std::fs::File::open(to.folder.path()).unwrap();
    let way: PathBuf = std::iter::repeat_n("n".repeat(255), 300).collect();
    hoist_tree::open_beneath(there.as_fd(), &way, OFlags::PATH).unwrap();
}
