//! Only regular files are opened for their content.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use hoist_tree::{NotRegular, is_kernel_made, open_regular};
use rustix::fs::{FileType, Mode, RenameFlags};

fn cause(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|cause| cause.is::<NotRegular>())
}

#[test]
fn pipes_sockets_devices_folders_and_links_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let fd = File::open(folder.path()).unwrap();
    rustix::fs::mknodat(&fd, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
    for name in ["pipe", "socket", "folder", "link"] {
        assert!(cause(&open_regular(&fd, name).unwrap_err()), "{name}");
    }
    assert!(cause(
        &open_regular(File::open("/dev").unwrap(), "null").unwrap_err()
    ));
    assert_eq!(
        io::read_to_string(open_regular(&fd, "file").unwrap().0).unwrap(),
        "content"
    );
}

/// Opening a pipe without a writer would block; the test is that it never does, although the pipe often has the file's
/// name.
#[test]
fn a_file_that_is_exchanged_for_a_pipe_all_the_time_is_opened_only_while_it_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let fd = File::open(folder.path()).unwrap();
    rustix::fs::mknodat(&fd, "b", FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::fs::write(folder.path().join("a"), "content").unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(&fd, "a", &fd, "b", RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..5000 {
            match open_regular(&fd, "a") {
                Ok((file, _)) => assert!(file.metadata().unwrap().is_file()),
                Err(error) => assert!(cause(&error), "{error}"),
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn files_of_the_kernel_are_told_from_others() {
    assert!(is_kernel_made(File::open("/proc/version").unwrap()).unwrap());
    assert!(is_kernel_made(File::open("/sys").unwrap()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    assert!(!is_kernel_made(File::open(folder.path()).unwrap().as_fd()).unwrap());
}
