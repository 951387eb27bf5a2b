//! What the host looks like to somebody who chooses subnets and resolvers.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Destinations of all routes but the default one; pools must avoid them.
    pub routes: Vec<Ipv4Net>,
    /// The host's own addresses with their prefixes, loopback left out.
    pub addresses: Vec<Ipv4Net>,
    /// MTU of the default route's link, 1500 without one.
    pub mtu: u32,
    /// The source address of the default route, if there is one.
    pub default_address: Option<Ipv4Addr>,
    /// From /etc/resolv.conf.
    pub resolvers: Vec<IpAddr>,
    /// `search` of /etc/resolv.conf.
    pub search: Vec<String>,
    /// `options` of /etc/resolv.conf.
    pub options: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FactsError {}
