//! The sockets of the name server: one thread, poll.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::zone::Zone;

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
pub enum DnsError {}

/// Stops and joins its thread on drop.
#[derive(Debug)]
pub struct Server {}

impl Server {
    pub fn start(_config: DnsConfig) -> Result<Self, DnsError> {
        todo!()
    }

    /// The port on the gateways; goes into `FirewallState::dns_port`.
    pub fn port(&self) -> u16 {
        todo!()
    }

    /// Every query that arrives after this returns sees the new table.
    pub fn set_zone(&self, _zone: Zone) {
        todo!()
    }

    /// Listens on exactly these networks' gateways. Their bridges must exist.
    pub fn listen(&self, _networks: &[DnsNetwork]) -> Result<(), DnsError> {
        todo!()
    }
}
