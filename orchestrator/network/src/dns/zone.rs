//! The pure table: asker's address → its networks → names → addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

/// One network's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneNetwork {
    /// Network id.
    pub id: String,
    /// Its name; `db.<name>` is answered as `db`.
    pub name: String,
    pub subnet: Ipv4Net,
    /// No forwarding for askers that are only in internal networks.
    pub internal: bool,
    /// Running containers only.
    pub endpoints: Vec<ZoneEndpoint>,
    /// Names that belong here although nobody runs now: answered as not existing instead of being forwarded.
    pub reserved: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneEndpoint {
    /// Container id; its short form is a name too.
    pub container: String,
    /// Container name, the answer to a reverse lookup.
    pub name: String,
    /// Service name and network aliases.
    pub aliases: Vec<String>,
    pub address: Ipv4Addr,
    /// Answered only while no other endpoint of the name is healthy. True without a healthcheck.
    pub healthy: bool,
    /// Instead of the host's resolvers (compose `dns:`); empty follows the host.
    pub resolvers: Vec<IpAddr>,
}

/// A whole table, swapped atomically.
#[derive(Debug, Clone, Default)]
pub struct Zone {}

impl Zone {
    pub fn new(_networks: &[ZoneNetwork]) -> Self {
        todo!()
    }
}
