//! The facts about the host on which subnets and resolvers are chosen.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use crate::dns::resolv;
use crate::netlink::{Connection, route};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Destinations of all routes but the default one; pools must avoid them.
    pub routes: Vec<Ipv4Net>,
    /// The host's own addresses with their prefixes, loopback left out.
    pub addresses: Vec<Ipv4Net>,
    /// MTU of the default route's link, 1500 without one.
    pub mtu: u32,
    /// The host's own address on the default route's link, if there is one.
    pub default_address: Option<Ipv4Addr>,
    /// From /etc/resolv.conf.
    pub resolvers: Vec<IpAddr>,
    /// `search` of /etc/resolv.conf.
    pub search: Vec<String>,
    /// `options` of /etc/resolv.conf.
    pub options: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    #[error("list the host's {what}")]
    List {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

const ETHERNET_MTU: u32 = 1500;
const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(crate) fn read() -> Result<HostFacts, FactsError> {
    let list = |what| move |source| FactsError::List { what, source };
    let connection =
        Connection::open(netlink_sys::protocols::NETLINK_ROUTE).map_err(list("links"))?;
    let links: Vec<_> = connection
        .dump(route::all_links())
        .map_err(list("links"))?
        .into_iter()
        .filter_map(route::link_facts)
        .collect();
    let addresses: Vec<_> = connection
        .dump(route::all_addresses())
        .map_err(list("addresses"))?
        .iter()
        .filter_map(route::address_facts)
        .collect();
    let routes = main_routes(
        connection
            .dump(route::all_routes())
            .map_err(list("routes"))?,
    );

    let default = routes
        .iter()
        .filter(|(destination, ..)| destination.prefix_len() == 0);
    let default = default
        .min_by_key(|(.., metric)| *metric)
        .and_then(|(_, link, _)| *link);
    let mtu = links
        .iter()
        .find(|link| Some(link.index) == default)
        .map_or(ETHERNET_MTU, |link| link.mtu);
    let default_address = addresses
        .iter()
        .find(|(link, _)| Some(*link) == default)
        .map(|(_, net)| net.addr());
    let resolv = fs::read_to_string(RESOLV_CONF)
        .map(|text| resolv::parse(&text))
        .unwrap_or_default();
    Ok(HostFacts {
        routes: routes
            .into_iter()
            .map(|(net, ..)| net)
            .filter(|net| net.prefix_len() > 0)
            .collect(),
        addresses: addresses
            .into_iter()
            .map(|(_, net)| net)
            .filter(|net| !net.addr().is_loopback())
            .collect(),
        mtu,
        default_address,
        resolvers: resolv.servers,
        search: resolv.search,
        options: resolv.options,
    })
}

/// Destination, outgoing link and metric of what is in no table of the kernel's own.
fn main_routes(messages: Vec<RouteNetlinkMessage>) -> Vec<(Ipv4Net, Option<u32>, u32)> {
    const LOCAL: u8 = 255;
    let mut routes = Vec::new();
    for message in messages {
        let RouteNetlinkMessage::NewRoute(message) = message else {
            continue;
        };
        if message.header.table != LOCAL && message.header.kind == RouteType::Unicast {
            routes.extend(route_facts(&message));
        }
    }
    routes
}

fn route_facts(message: &RouteMessage) -> Option<(Ipv4Net, Option<u32>, u32)> {
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let mut link = None;
    let mut metric = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    Some((
        Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?,
        link,
        metric,
    ))
}
