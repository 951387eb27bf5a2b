//! The sockets of the name server: one thread, poll.
//!
//! It listens on a high port of each gateway, on that bridge only; the firewall leads port 53 there. So it needs no port
//! that a resolver of the host may hold, and nobody but the bridge's own containers can ask.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::shared::{Listener, Shared, lock};
use super::worker::Worker;
use super::zone::Zone;
use crate::model::bridge_name;

#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// `/etc/resolv.conf` but in tests.
    pub resolv_conf: PathBuf,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { resolv_conf: PathBuf::from("/etc/resolv.conf") }
    }
}

/// Where to listen for one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsNetwork {
    /// Network id.
    pub id: String,
    pub gateway: Ipv4Addr,
}

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("find a free port for the name server")]
    NoPort,
    #[error("start the name server's thread")]
    Start(#[source] io::Error),
    #[error("listen for names on {address}:{port} of bridge {bridge}")]
    Listen {
        address: Ipv4Addr,
        port: u16,
        bridge: String,
        #[source]
        source: io::Error,
    },
}

/// Stops and joins its thread on drop.
#[derive(Debug)]
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    listening: Mutex<Vec<Listening>>,
    thread: Option<JoinHandle<()>>,
}

/// A bridge that was made anew has another index, and a socket hears the old one only.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    network: DnsNetwork,
    bridge: u32,
}

impl Server {
    pub fn start(config: DnsConfig) -> Result<Self, DnsError> {
        let port = free_port().ok_or(DnsError::NoPort)?;
        let shared = Arc::new(Shared::new().map_err(|errno| DnsError::Start(errno.into()))?);
        let worker = Worker::new(Arc::clone(&shared), config.resolv_conf);
        let thread = std::thread::Builder::new().name("names".to_owned()).spawn(move || worker.run());
        Ok(Self { port, shared, listening: Mutex::default(), thread: Some(thread.map_err(DnsError::Start)?) })
    }

    /// The port on the gateways; goes into `FirewallState::dns_port`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every query that arrives after this returns sees the new table.
    pub fn set_zone(&self, zone: Zone) {
        self.shared.set_zone(zone);
    }

    /// Listens on exactly these networks' gateways. Their bridges must exist. Answers which networks have no server, and
    /// why.
    pub fn listen(&self, networks: &[DnsNetwork]) -> BTreeMap<String, DnsError> {
        let wanted: Vec<_> = networks
            .iter()
            .map(|network| {
                let bridge = if_nametoindex(bridge_name(&network.id).as_str()).unwrap_or_default();
                Listening { network: network.clone(), bridge }
            })
            .collect();
        // Held to the end: two calls at a time would each open what both want.
        let mut listening = lock(&self.listening);
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *listening).into_iter().partition(|old| wanted.contains(old));
        *listening = kept;
        let mut opened = Vec::new();
        let mut failed = BTreeMap::new();
        for new in wanted {
            if listening.contains(&new) {
                continue;
            }
            match open(&new.network, self.port) {
                Ok(listener) => {
                    opened.push(listener);
                    listening.push(new);
                }
                Err(error) => drop(failed.insert(new.network.id, error)),
            }
        }
        self.shared.order(|orders| {
            let gone: Vec<_> = gone.into_iter().map(|old| old.network.id).collect();
            orders.opened.retain(|listener| !gone.contains(&listener.network));
            orders.closed.extend(gone);
            orders.opened.extend(opened);
        });
        failed
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Below the range that the kernel hands out, so that no outgoing connection is ever in the way.
fn free_port() -> Option<u16> {
    const RANGE: std::ops::Range<u16> = 20053..20153;
    let free = |port| {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok()
    };
    RANGE.into_iter().find(|port| free(*port))
}

fn open(network: &DnsNetwork, port: u16) -> Result<Listener, DnsError> {
    let bridge = bridge_name(&network.id);
    let address = (network.gateway, port);
    let on_bridge = |kind| -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
        setsockopt(&socket, BindToDevice, &OsString::from(&bridge))?;
        bind(&socket, &std::net::SocketAddrV4::new(network.gateway, port))?;
        Ok(socket)
    };
    let sockets = || -> io::Result<(UdpSocket, TcpListener)> {
        let udp = on_bridge(SocketType::DGRAM)?;
        let tcp = on_bridge(SocketType::STREAM)?;
        listen(&tcp, 64)?;
        Ok((udp.into(), tcp.into()))
    };
    let (udp, tcp) = sockets().map_err(|source| DnsError::Listen {
        address: address.0,
        port: address.1,
        bridge: bridge.clone(),
        source,
    })?;
    Ok(Listener { network: network.id.clone(), udp, tcp })
}
