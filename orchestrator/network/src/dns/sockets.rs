//! The sockets of the name server inside a container's network namespace.
//!
//! They listen on free ports of [`ADDRESS`], and two rules of the namespace lead port 53 there. So the server knows who asks
//! by the socket, which no source address can forge; nothing outside of the container reaches it; and port 53 of the
//! container's own addresses stays free for its programs.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;

use super::DnsError;
use crate::firewall::{self, FirewallError};
use crate::netns;

/// Where containers ask, as in docker: images name it in their configuration.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Keep the namespace alive while they are open.
#[derive(Debug)]
pub struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

impl Sockets {
    /// Opens them in this namespace, also when a server of an earlier engine has listened there.
    pub fn open(netns: BorrowedFd<'_>) -> Result<Self, DnsError> {
        netns::within(netns, || {
            let sockets = Self::listen().map_err(DnsError::Listen)?;
            let ports = (sockets.udp.local_addr(), sockets.tcp.local_addr());
            let (Ok(udp), Ok(tcp)) = ports else {
                return Err(DnsError::Listen(io::ErrorKind::AddrNotAvailable.into()));
            };
            let lead = |error: FirewallError| DnsError::Lead(Box::new(error));
            firewall::serve_names(ADDRESS, udp.port(), tcp.port()).map_err(lead)?;
            Ok(sockets)
        })?
    }

    fn listen() -> io::Result<Self> {
        let (udp, tcp) = (
            UdpSocket::bind((ADDRESS, 0))?,
            TcpListener::bind((ADDRESS, 0))?,
        );
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp })
    }
}
