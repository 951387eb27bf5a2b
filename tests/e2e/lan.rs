//! A host of its own for a scenario about networks: its thread moves into network and mount namespaces, so the real
//! host's links, rules and resolver take no part. On its LAN lies an outside with a name server and a web server.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::world::note;

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A second address of the host.
pub(crate) const HOST_TOO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Behind the neighbour, which is the host's router: answers HTTP with the asker's address, and names.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// The only name that the outside's name server knows.
pub(crate) const OUTSIDE_NAME: &str = "outside.example";

/// The neighbour's network namespace.
pub(crate) struct Outside(File);

/// The network namespace in which the tests were started.
static HOME: OnceLock<File> = OnceLock::new();

thread_local! {
    /// Whether the thread has left the host's network.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// Moves the thread, and with it all that it starts, into a network namespace in which there is only loopback.
pub(crate) fn own_network(claim: &str) -> Option<()> {
    if APART.get() {
        return Some(());
    }
    leave(claim, CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up");
    Some(())
}

/// Back from a namespace in which an earlier scenario left this thread.
pub(crate) fn hosts_network() {
    if APART.replace(false) {
        let home = HOME.get().expect("was opened before the thread left it");
        setns(home.as_fd(), CloneFlags::CLONE_NEWNET).expect("return to the host's network");
    }
}

fn leave(claim: &str, spaces: CloneFlags) -> Option<()> {
    HOME.get_or_init(|| {
        File::open("/proc/thread-self/ns/net").expect("open the host's network namespace")
    });
    if let Err(errno) = unshare(spaces) {
        note(&format!(
            "skipped: {claim}: no namespaces of its own: {errno}"
        ));
        return None;
    }
    APART.set(true);
    Some(())
}

/// Runs a scenario on a host of its own; where that cannot be had, says so.
pub(crate) fn on_a_lan(claim: &str, scenario: impl FnOnce(&Outside) + Send) {
    let run = || {
        let Some(()) = leave(claim, CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) else {
            return;
        };
        let outside = raise();
        scenario(&outside);
    };
    // In a thread of its own, which takes its namespaces with it.
    if let Err(panic) = thread::scope(|scope| scope.spawn(run).join()) {
        std::panic::resume_unwind(panic);
    }
}

fn raise() -> Outside {
    private_mounts();
    let folder = tempfile::tempdir().expect("make a folder");
    let conf = folder.path().join("resolv.conf");
    fs::write(&conf, format!("nameserver {OUTSIDE}\n")).expect("write resolv.conf");
    mount_bind(&conf, "/etc/resolv.conf").expect("bind resolv.conf");

    let outside =
        Outside(thread::scope(|scope| scope.spawn(namespace).join()).expect("make a namespace"));
    ip("link set lo up");
    ip("link add lan type veth peer name lan-peer");
    for address in [HOST, HOST_TOO] {
        ip(&format!("address add {address}/24 dev lan"));
    }
    ip("link set lan up");
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&outside.0)
    );
    ip(&format!("link set lan-peer netns {path}"));
    outside.inside(|| {
        ip("link set lo up");
        ip(&format!("address add {NEIGHBOUR}/24 dev lan-peer"));
        ip(&format!("address add {OUTSIDE}/32 dev lo"));
        ip("link set lan-peer up");
    });
    ip(&format!("route add default via {NEIGHBOUR}"));
    outside.serve();
    outside
}

pub(crate) fn private_mounts() {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", flags).expect("keep mounts to this namespace");
}

fn namespace() -> File {
    unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
    File::open("/proc/thread-self/ns/net").expect("open it")
}

pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("run ip");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Does something in the network namespace of a process, in a thread of its own.
pub(crate) fn in_network_of<T: Send>(pid: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace =
        File::open(Path::new("/proc").join(pid).join("ns/net")).expect("open the namespace");
    inside(&namespace, work)
}

fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter the namespace");
        work()
    };
    match thread::scope(|scope| scope.spawn(enter).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Outside {
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.0, work)
    }

    /// Both servers live until the test process ends; their sockets keep the namespace.
    fn serve(&self) {
        let (web, names) = self.inside(|| {
            let web = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).expect("listen");
            (web, UdpSocket::bind((OUTSIDE, 53)).expect("listen"))
        });
        thread::spawn(move || {
            while let Ok((stream, asker)) = web.accept() {
                answer_http(stream, &asker.ip().to_string());
            }
        });
        serve_names(names);
    }
}

/// Answers for [`OUTSIDE_NAME`] until the test process ends.
pub(crate) fn serve_names(names: UdpSocket) {
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, asker)) = names.recv_from(&mut packet) {
            if let Some(answer) = answer_name(&packet[..length]) {
                let _ = names.send_to(&answer, asker);
            }
        }
    });
}

fn answer_http(mut stream: TcpStream, text: &str) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
}

/// The outside's address for its name, no such name for all others.
fn answer_name(query: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut end = HEADER;
    let mut labels = Vec::new();
    while let length @ 1.. = usize::from(*query.get(end)?) {
        labels.push(String::from_utf8_lossy(query.get(end + 1..end + 1 + length)?).into_owned());
        end += 1 + length;
    }
    let question = query.get(HEADER..end + 5)?;
    let is_known = labels.join(".") == OUTSIDE_NAME;
    let asks_address = query.get(end + 1..end + 3)? == [0, 1];
    let (code, count) = (
        if is_known { 0x80 } else { 0x83 },
        u8::from(is_known && asks_address),
    );
    let mut answer = [
        &query[..2],
        &[0x81, code, 0, 1, 0, count, 0, 0, 0, 0],
        question,
    ]
    .concat();
    if count == 1 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(OUTSIDE.octets());
    }
    Some(answer)
}

/// A server in the network of a container; while it is there, so is that network.
pub(crate) struct Datagrams {
    serving: Option<thread::JoinHandle<()>>,
    ending: Arc<AtomicBool>,
}

impl Datagrams {
    /// Answers datagrams to `port` with `name` in front.
    pub(crate) fn serve(pid: &str, port: u16, name: &'static str) -> Self {
        let socket = in_network_of(pid, || {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("listen")
        });
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("look up now and then");
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ending);
        let serving = thread::spawn(move || {
            let mut packet = [0; 100];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut packet) {
                    let _ =
                        socket.send_to(&[name.as_bytes(), b" ", &packet[..length]].concat(), from);
                }
            }
        });
        Self {
            serving: Some(serving),
            ending,
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.serving.take().map(thread::JoinHandle::join);
    }
}

/// What comes back for a datagram from this thread's network.
pub(crate) fn ask_datagram(address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, port))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(b"hello")?;
    let mut packet = [0; 100];
    let length = socket.recv(&mut packet)?;
    Ok(String::from_utf8_lossy(&packet[..length]).into_owned())
}
