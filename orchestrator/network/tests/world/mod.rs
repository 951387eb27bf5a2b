//! A private "host" for each test: the test's thread moves into a network namespace of its own, so that nothing of the
//! real host is ever touched and everything vanishes with the namespace.
//!
//! Without root the test runs again in a child process inside a user namespace.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test binary uses its part"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test's world either works or fails the test"
)]
#![allow(clippy::print_stdout, reason = "says why a test was skipped")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use hoist_network::{
    Endpoint, FirewallState, Host, HostConfig, NetworkSpec, Protocol, Published, new_netns,
};
use nix::sched::{CloneFlags, setns, unshare};

pub struct World {
    pub host: Host,
}

pub struct Container {
    pub netns: OwnedFd,
    pub id: String,
    pub address: Ipv4Addr,
}

/// None, with the reason printed, when this machine cannot make a world.
pub fn enter(test: &str) -> Option<World> {
    if Command::new("nft").arg("--version").output().is_err() {
        return skip("nft is not installed");
    }
    if !rustix::process::geteuid().is_root() {
        return run_in_user_namespace(test);
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        return skip(&format!("no network namespace: {errno}"));
    }
    command("ip", &["link", "set", "lo", "up"]);
    Some(World {
        host: Host::open(HostConfig::default()).unwrap(),
    })
}

fn skip(reason: &str) -> Option<World> {
    println!("skipped: {reason}");
    None
}

/// A threaded process cannot enter a user namespace, a fresh one can.
fn run_in_user_namespace(test: &str) -> Option<World> {
    let mine = std::env::current_exe().unwrap();
    let arguments = ["--user", "--map-root-user", "--net"];
    if !Command::new("unshare")
        .args(arguments)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        return skip("neither root nor user namespaces");
    }
    let status = Command::new("unshare")
        .args(arguments)
        .arg(mine)
        .args(["--exact", test])
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its user namespace");
    None
}

pub fn network(number: u8) -> NetworkSpec {
    NetworkSpec {
        id: format!("{number:02x}").repeat(32),
        subnet: format!("10.89.{number}.0/24").parse().unwrap(),
        gateway: Ipv4Addr::new(10, 89, number, 1),
        internal: false,
        mtu: None,
        bridge: None,
    }
}

pub fn publish(
    host_ip: Option<Ipv4Addr>,
    host_port: u16,
    targets: &[(Ipv4Addr, u16)],
) -> Published {
    Published {
        host_ip,
        host_port,
        protocol: Protocol::Tcp,
        targets: targets.to_vec(),
    }
}

impl World {
    pub fn raise(&self, networks: &[NetworkSpec], published: Vec<Published>) {
        for network in networks {
            self.host.create_network(network).unwrap();
        }
        self.firewall(networks, published);
    }

    pub fn firewall(&self, networks: &[NetworkSpec], published: Vec<Published>) {
        let state = FirewallState {
            networks: networks.to_vec(),
            published,
        };
        self.host.set_firewall(&state).unwrap();
    }

    pub fn container(&self, network: &NetworkSpec, last: u8) -> Container {
        let netns = new_netns(&[]).unwrap();
        let [a, b, c, _] = network.gateway.octets();
        let address = Ipv4Addr::new(a, b, c, last);
        let id = format!("{c:02x}{last:02x}").repeat(16);
        let endpoint = Endpoint {
            container: id.clone(),
            index: 0,
            network: network.id.clone(),
            bridge: network.bridge(),
            interface: "eth0".to_owned(),
            address,
            prefix: network.subnet.prefix_len(),
            gateway: Some(network.gateway),
            mac: None,
        };
        self.host.attach(netns.as_fd(), &[endpoint]).unwrap();
        Container { netns, id, address }
    }

    /// A machine on the host's LAN: the host is 192.0.2.1 on it, the neighbour 192.0.2.2.
    pub fn neighbour(&self) -> OwnedFd {
        let netns = new_netns(&[]).unwrap();
        command(
            "ip",
            &[
                "link", "add", "lan", "type", "veth", "peer", "name", "lan-peer",
            ],
        );
        command("ip", &["address", "add", "192.0.2.1/24", "dev", "lan"]);
        command("ip", &["link", "set", "lan", "up"]);
        // From a thread of this process, so that ip finds the namespace by a path.
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&netns)
        );
        command("ip", &["link", "set", "lan-peer", "netns", &path]);
        inside(&netns, || {
            command("ip", &["address", "add", "192.0.2.2/24", "dev", "lan-peer"]);
            command("ip", &["link", "set", "lan-peer", "up"]);
        });
        // Asking makes the kernel notice the carrier, which it would do some time later.
        command("ip", &["link", "show", "lan"]);
        netns
    }
}

pub const HOST_ON_LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

pub fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {error}",
        arguments.join(" ")
    );
}

/// Runs nft with a script; gives what it prints.
pub fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "nft {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `work` in a thread inside the namespace.
pub fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Answers each connection with `name` and the peer's address; lives until the test process ends.
pub fn serve(netns: &OwnedFd, port: u16, name: &'static str) {
    let listener = inside(netns, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().unwrap().ip();
            let _ = write!(stream, "{name} {peer}");
        }
    });
}

/// Echoes datagrams with `name` in front.
pub fn serve_udp(netns: &OwnedFd, port: u16, name: &'static str) {
    let socket = inside(netns, || {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&[name.as_bytes(), b" ", &buffer[..length]].concat(), from);
        }
    });
}

/// Longer than it takes to send a lost SYN again.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What the server at the other end says; Err when it cannot be reached.
pub fn ask(address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let target = SocketAddr::V4(SocketAddrV4::new(address, port));
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub fn ask_udp(address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    exchange(&udp_to(address, port)?)
}

pub fn udp_to(address: Ipv4Addr, port: u16) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends a word and gives the answer.
pub fn exchange(socket: &UdpSocket) -> std::io::Result<String> {
    socket.send(b"hello")?;
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub fn read(path: &str) -> String {
    let mut text = String::new();
    File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}
