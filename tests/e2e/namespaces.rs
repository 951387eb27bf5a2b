//! Which namespaces a container is in: its own, the host's, or those of another container.

use std::collections::BTreeMap;
use std::fs;

use crate::lifecycle::pid_of;
use crate::world::{World, eventually};

const STACK: &str = r#"
name: spaces
services:
  owner:
    image: busybox
    stop_grace_period: 0s
    ipc: shareable
    command: [sh, -c, "echo shared >/dev/shm/note; exec sleep 100000"]
  guest:
    image: busybox
    stop_grace_period: 0s
    ipc: service:owner
    pid: service:owner
    command: [sleep, "200000"]
  apart: { image: busybox, stop_grace_period: 0s, command: [sleep, "300000"] }
  open: { image: busybox, stop_grace_period: 0s, ipc: host, pid: host, uts: host, command: [sleep, "400000"] }
  alone: { image: busybox, stop_grace_period: 0s, network_mode: none, user: "1000", command: [sleep, "500000"] }
"#;

fn of(pid: &str) -> BTreeMap<&'static str, String> {
    let link = |kind| {
        fs::read_link(format!("/proc/{pid}/ns/{kind}"))
            .expect("its namespace")
            .display()
            .to_string()
    };
    ["ipc", "pid", "uts", "net", "mnt"]
        .map(|kind| (kind, link(kind)))
        .into()
}

#[test]
fn namespaces_are_those_that_the_file_names() {
    let Some(world) = World::new("namespaces") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    let [owner, guest, apart, open] =
        ["owner", "guest", "apart", "open"].map(|service| of(&pid_of(&world, service)));
    let host = of("thread-self");
    for kind in ["ipc", "pid"] {
        assert_eq!(owner[kind], guest[kind], "{kind} is shared");
        assert_eq!(
            open[kind], host[kind],
            "{kind} is the host's where the file says so"
        );
        assert!(
            apart[kind] != owner[kind] && apart[kind] != host[kind],
            "{kind} is a container's own"
        );
        assert_ne!(guest[kind], host[kind], "and never the host's unasked");
    }
    assert_eq!(open["uts"], host["uts"]);
    assert_ne!(guest["uts"], owner["uts"]);
    for kind in ["net", "mnt"] {
        assert_ne!(guest[kind], owner[kind], "{kind} was not asked for");
    }

    // With the ipc namespace comes what POSIX shared memory lives in.
    let read = |service: &str| world.hoist(&["exec", "-T", service, "cat", "/dev/shm/note"]);
    eventually("the owner has written", || read("owner").code == 0);
    assert_eq!(read("guest").stdout, "shared\n");
    assert_ne!(read("apart").code, 0);
    world.ok(&[
        "exec",
        "-T",
        "guest",
        "sh",
        "-c",
        "echo answer >/dev/shm/answer",
    ]);
    assert_eq!(
        world.ok(&["exec", "-T", "owner", "cat", "/dev/shm/answer"]),
        "answer\n"
    );
    assert!(
        world
            .ok(&["exec", "-T", "guest", "ps"])
            .contains("sleep 100000")
    );

    // Without networks: loopback, and what docker grants in every namespace of a container's own.
    assert_eq!(
        world.ok(&[
            "exec",
            "-T",
            "alone",
            "cat",
            "/proc/sys/net/ipv4/ip_unprivileged_port_start"
        ]),
        "0\n"
    );
    let ping = world.ok(&[
        "exec",
        "-T",
        "alone",
        "cat",
        "/proc/sys/net/ipv4/ping_group_range",
    ]);
    assert!(
        ping.starts_with('0') && !ping.trim().ends_with('\t'),
        "{ping}"
    );
    let links = world.ok(&["exec", "-T", "alone", "ip", "-o", "addr"]);
    assert!(
        links.contains("127.0.0.1/8") && !links.contains("eth0"),
        "{links}"
    );
    world.finish();
}
