//! Host ports: whether they are free, and keeping them so while they are published.
//!
//! Published ports are rules in the kernel, and a rule takes connections away from any process silently. So each one is
//! also held by a bound socket of ours: another program that wants the port is told that it is taken, as docker's proxy
//! does it. The TCP socket never listens: should the rules be missing, connections are refused instead of hanging.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

use crate::model::{Protocol, Published};

#[derive(Debug, thiserror::Error)]
#[error("port {port}/{protocol} on {ip} is already in use{}", holder.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
pub struct PortTaken {
    pub ip: Ipv4Addr,
    pub port: u16,
    pub protocol: Protocol,
    /// `name (pid N)` where it can be found out.
    pub holder: Option<String>,
    #[source]
    pub source: io::Error,
}

type Port = (Ipv4Addr, u16, Protocol);

/// The sockets that hold published ports.
#[derive(Debug, Default)]
pub(crate) struct Reservations(BTreeMap<Port, OwnedFd>);

impl Reservations {
    pub(crate) fn holds(&self, ip: Option<Ipv4Addr>, port: u16, protocol: Protocol) -> bool {
        let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        self.0.contains_key(&(ip, port, protocol))
    }

    /// Holds exactly the published ports. Ports that another process took meanwhile are returned and left to the rules.
    pub(crate) fn follow(&mut self, published: &[Published]) {
        let wanted: Vec<Port> = published
            .iter()
            .map(|port| {
                (
                    port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
                    port.host_port,
                    port.protocol,
                )
            })
            .collect();
        self.0.retain(|port, _| wanted.contains(port));
        for port in wanted {
            if self.0.contains_key(&port) {
                continue;
            }
            match take(port) {
                Ok(socket) => {
                    self.0.insert(port, socket);
                }
                Err(error) => {
                    let (ip, number, protocol) = port;
                    tracing::warn!(%ip, port = number, %protocol, %error, "cannot reserve a published port");
                }
            }
        }
    }
}

pub(crate) fn check(ip: Option<Ipv4Addr>, port: u16, protocol: Protocol) -> Result<(), PortTaken> {
    let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    take((ip, port, protocol))
        .map(drop)
        .map_err(|source| PortTaken {
            ip,
            port,
            protocol,
            holder: holder(ip, port, protocol),
            source,
        })
}

/// Binds. SO_REUSEADDR would let others bind the same port, so it is the second choice, for a port whose last
/// connections are still in TIME_WAIT: only a listener stands in its way.
fn take(port: Port) -> io::Result<OwnedFd> {
    bound(port, false).or_else(|error| {
        if error.kind() == io::ErrorKind::AddrInUse && port.2 == Protocol::Tcp {
            bound(port, true)
        } else {
            Err(error)
        }
    })
}

fn bound((ip, port, protocol): Port, reuse: bool) -> io::Result<OwnedFd> {
    let (kind, transport) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = socket_with(
        AddressFamily::INET,
        kind,
        SocketFlags::CLOEXEC,
        Some(transport),
    )?;
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    if protocol == Protocol::Udp {
        // Nobody reads it; the kernel rounds up to its least.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    bind(&socket, &SocketAddrV4::new(ip, port))?;
    Ok(socket)
}

/// Best effort: the socket's inode from /proc/net, its owner from the processes' descriptors.
fn holder(ip: Ipv4Addr, port: u16, protocol: Protocol) -> Option<String> {
    let inode = ["", "6"].iter().find_map(|version| {
        let table =
            fs::read_to_string(format!("/proc/thread-self/net/{protocol}{version}")).ok()?;
        table
            .lines()
            .skip(1)
            .find_map(|line| inode_of(line, ip, port, protocol))
    })?;
    let target = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = descriptors.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == target.as_str())
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of a line of /proc/net/tcp and its sisters, if the line stands in the way of the port.
fn inode_of(line: &str, ip: Ipv4Addr, port: u16, protocol: Protocol) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, local_port) = fields.get(1)?.rsplit_once(':')?;
    if u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    if protocol == Protocol::Tcp && *fields.get(3)? != LISTEN {
        return None;
    }
    let any = address.bytes().all(|digit| digit == b'0');
    let same =
        u32::from_str_radix(address, 16).is_ok_and(|raw| Ipv4Addr::from(raw.to_ne_bytes()) == ip);
    (any || same || ip.is_unspecified()).then(|| fields.get(9)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_proc_net_tcp_is_matched_by_address_and_port() {
        let line = "   1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   102        0 31337 1";
        let localhost = Ipv4Addr::LOCALHOST;
        assert_eq!(inode_of(line, localhost, 5432, Protocol::Tcp), Some(31337));
        assert_eq!(
            inode_of(line, Ipv4Addr::UNSPECIFIED, 5432, Protocol::Tcp),
            Some(31337)
        );
        assert_eq!(
            inode_of(line, Ipv4Addr::new(10, 0, 0, 1), 5432, Protocol::Tcp),
            None
        );
        assert_eq!(inode_of(line, localhost, 5433, Protocol::Tcp), None);
    }
}
