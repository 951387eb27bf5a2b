//! The host's side of networks: bridges, the host ends of veth pairs, and the one firewall of this engine.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use crate::facts::{FactsError, HostFacts};
use crate::firewall::foreign::ForeignAccept;
use crate::firewall::watch::FlushWatch;
use crate::model::{Endpoint, FirewallState, NetworkSpec, Protocol};
use crate::ports::PortTaken;

#[derive(Debug, Clone, Default)]
pub struct HostConfig {
    /// Empty for the default data root; else 8 hex digits.
    pub instance: String,
}

/// `Send + Sync`; every method takes `&self`.
#[derive(Debug)]
pub struct Host {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub kind: LinkKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    Bridge,
    Veth,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {}

impl Host {
    pub fn open(_config: HostConfig) -> Result<Self, NetworkError> {
        todo!()
    }

    /// Makes the bridge with its address, up. Idempotent. Nothing is forwarded before `set_firewall` names it.
    pub fn create_network(&self, _network: &NetworkSpec) -> Result<(), NetworkError> {
        todo!()
    }

    /// Deletes the bridge; no error when it is gone already.
    pub fn remove_network(&self, _id: &str) -> Result<(), NetworkError> {
        todo!()
    }

    /// Our bridges that exist: the first 12 hex digits of their network ids.
    pub fn networks(&self) -> Result<Vec<String>, NetworkError> {
        todo!()
    }

    /// All our links that exist, bridges and host ends of veth pairs.
    pub fn links(&self) -> Result<Vec<Link>, NetworkError> {
        todo!()
    }

    /// Veth pairs, addresses and routes of one container. All or nothing.
    pub fn attach(&self, _netns: BorrowedFd<'_>, _endpoints: &[Endpoint]) -> Result<(), NetworkError> {
        todo!()
    }

    /// Removes a container's links at once. Not for the hot path (about 20 ms): a namespace takes its links with it.
    pub fn detach(&self, _container: &str) -> Result<(), NetworkError> {
        todo!()
    }

    /// Removes links of ours whose network or container id is in neither list; returns their names.
    pub fn sweep(&self, _networks: &[String], _containers: &[String]) -> Result<Vec<String>, NetworkError> {
        todo!()
    }

    /// Makes the firewall be exactly this. One transaction; an unchanged state does nothing.
    pub fn set_firewall(&self, _state: &FirewallState) -> Result<(), NetworkError> {
        todo!()
    }

    /// Puts the last `set_firewall` back after somebody flushed it.
    pub fn reassert_firewall(&self) -> Result<(), NetworkError> {
        todo!()
    }

    /// Tells when somebody else changed our table, or a table that can drop our traffic.
    pub fn watch_flush(&self) -> Result<FlushWatch, NetworkError> {
        todo!()
    }

    /// What was added to other people's tables.
    pub fn foreign_accepts(&self) -> Vec<ForeignAccept> {
        todo!()
    }

    pub fn facts(&self) -> Result<HostFacts, FactsError> {
        todo!()
    }

    /// Whether nobody but this engine holds the port. Ports reserved by this `Host` count as free.
    pub fn port_free(&self, _ip: Option<Ipv4Addr>, _port: u16, _protocol: Protocol) -> Result<(), PortTaken> {
        todo!()
    }
}
