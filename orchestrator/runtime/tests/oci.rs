//! The OCI command line's functions on a plain bundle.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hoist_runtime::oci::{Create, Oci, OciError};
use hoist_runtime::spec_defaults;
use support::{chain, set_argv};

fn bundle(root: &Path, folder: &Path, argv: &[&str], tty: bool) {
    fs::create_dir_all(folder).unwrap();
    let mut spec = spec_defaults::spec();
    set_argv(&mut spec, argv);
    spec.process_mut().as_mut().unwrap().set_terminal(Some(tty));
    spec.root_mut().as_mut().unwrap().set_path(root.to_owned());
    fs::write(
        folder.join("config.json"),
        serde_json::to_vec(&spec).unwrap(),
    )
    .unwrap();
}

fn status(oci: &Oci, id: &str) -> String {
    let state: serde_json::Value = serde_json::from_str(&oci.state(id).unwrap()).unwrap();
    assert_eq!(state["id"], id);
    state["status"].as_str().unwrap().to_owned()
}

fn until_stopped(oci: &Oci, id: &str) {
    let start = Instant::now();
    while status(oci, id) != "stopped" {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
}

/// The shim is found by the environment, as this process is a test and not hoist.
fn oci(world: &support::World) -> Oci {
    // The variable is the same for all tests of this file.
    Oci {
        root: world.path("oci"),
    }
}

fn request(world: &support::World, id: &str) -> Create {
    Create {
        id: id.to_owned(),
        bundle: world.path("bundle"),
        pid_file: Some(world.path("pid")),
        console_socket: None,
    }
}

fn ready() -> bool {
    let found = std::env::var_os("HOIST_SHIM").is_some()
        || std::env::current_exe()
            .unwrap()
            .with_file_name("hoist-shim")
            .exists();
    if !found {
        // Beside the test's executable is where it is looked for.
        let _ = std::os::unix::fs::symlink(
            env!("CARGO_BIN_EXE_hoist-shim"),
            std::env::current_exe()
                .unwrap()
                .with_file_name("hoist-shim"),
        );
    }
    true
}

#[test]
fn a_container_goes_through_its_states() {
    let world = world!();
    assert!(ready());
    let oci = oci(&world);
    let id = format!("life-{}", world.instance);
    bundle(
        &world.path("root"),
        &world.path("bundle"),
        &["sh", "-c", "echo ran > /tmp/ran; sleep 1000"],
        false,
    );
    oci.create(&request(&world, &id))
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(status(&oci, &id), "created");
    assert!(!world.path("root/tmp/ran").exists());
    assert!(matches!(
        oci.create(&request(&world, &id)),
        Err(OciError::Invalid(_))
    ));
    let pid: i32 = fs::read_to_string(world.path("pid"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    oci.start(&id).unwrap();
    assert_eq!(status(&oci, &id), "running");
    assert!(oci.start(&id).is_err());
    assert!(oci.delete(&id, false).is_err(), "it runs");
    let start = Instant::now();
    while !world.path("root/tmp/ran").exists() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    oci.kill(&id, "SIGKILL", false).unwrap();
    until_stopped(&oci, &id);
    assert!(oci.kill(&id, "TERM", false).is_err());
    assert_eq!(oci.exit_status(&id).unwrap().unwrap().signal, Some(9));
    oci.delete(&id, false).unwrap();
    assert!(matches!(oci.state(&id), Err(OciError::Unknown(_))));
}

#[test]
fn failures_leave_no_container() {
    let world = world!();
    assert!(ready());
    let oci = oci(&world);
    let id = format!("fail-{}", world.instance);
    bundle(
        &world.path("root"),
        &world.path("bundle"),
        &["nonsense"],
        false,
    );
    let error = oci.create(&request(&world, &id)).unwrap_err();
    assert!(
        chain(&error).contains("not found in $PATH"),
        "{}",
        chain(&error)
    );
    assert!(matches!(oci.state(&id), Err(OciError::Unknown(_))));
    for bad in ["", "..", "a/b", "a b"] {
        assert!(
            matches!(oci.create(&request(&world, bad)), Err(OciError::Invalid(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn terminal_goes_to_the_console_socket() {
    let world = world!();
    assert!(ready());
    let oci = oci(&world);
    let id = format!("tty-{}", world.instance);
    bundle(
        &world.path("root"),
        &world.path("bundle"),
        &["sh", "-c", "tty; exit 3"],
        true,
    );
    assert!(
        oci.create(&request(&world, &id)).is_err(),
        "no socket for the terminal"
    );
    let path = world.path("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    oci.create(&Create {
        console_socket: Some(path),
        ..request(&world, &id)
    })
    .unwrap();
    let mut terminal = fs::File::from(receive(&listener.accept().unwrap().0));
    oci.start(&id).unwrap();
    let mut text = String::new();
    let mut buffer = [0; 256];
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    assert_eq!(text, "/dev/pts/0\r\n");
    until_stopped(&oci, &id);
    assert_eq!(oci.exit_status(&id).unwrap().unwrap().code, 3);
    oci.delete(&id, true).unwrap();
}

fn receive(socket: &std::os::unix::net::UnixStream) -> OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    recvmsg(
        socket,
        &mut [std::io::IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::empty(),
    )
    .unwrap();
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.next().unwrap().next().unwrap()
}
