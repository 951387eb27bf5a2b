//! rtnetlink messages as values: links, addresses, routes.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::model::Mac;

/// A message and the flags that it is sent with.
pub(crate) type Request = (u16, RouteNetlinkMessage);

pub(crate) fn new_bridge(name: &str, mac: Mac, mtu: u32, group: u32) -> Request {
    let mut link = named(name);
    link.attributes.extend([
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Group(group),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ]);
    (
        NLM_F_CREATE | NLM_F_EXCL,
        RouteNetlinkMessage::NewLink(link),
    )
}

pub(crate) struct VethPair<'a> {
    pub(crate) host: &'a str,
    pub(crate) bridge: u32,
    pub(crate) group: u32,
    pub(crate) mtu: u32,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) peer: &'a str,
    pub(crate) mac: Mac,
}

/// The peer is born in its namespace, so it is never visible on the host. It is born down: the kernel pairs the two
/// only afterwards.
pub(crate) fn new_veth(pair: &VethPair<'_>) -> Request {
    let mut peer = named(pair.peer);
    peer.attributes.extend([
        LinkAttribute::Address(pair.mac.0.to_vec()),
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::NetNsFd(pair.netns.as_raw_fd()),
    ]);
    let mut link = up(named(pair.host));
    link.attributes.extend([
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::Group(pair.group),
        LinkAttribute::Controller(pair.bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ]);
    (
        NLM_F_CREATE | NLM_F_EXCL,
        RouteNetlinkMessage::NewLink(link),
    )
}

/// With br_netfilter a published port that leads back to its caller leaves by the port it came in by.
pub(crate) fn hairpin(name: &str) -> Request {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(
            true,
        )])),
    ]));
    (0, RouteNetlinkMessage::NewLink(link))
}

pub(crate) fn set_mtu(name: &str, mtu: u32) -> Request {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::Mtu(mtu));
    (0, RouteNetlinkMessage::SetLink(link))
}

pub(crate) fn set_group(index: u32, group: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::Group(group));
    (0, RouteNetlinkMessage::SetLink(link))
}

pub(crate) fn set_up(name: &str) -> Request {
    (0, RouteNetlinkMessage::SetLink(up(named(name))))
}

pub(crate) fn delete_link(name: &str) -> Request {
    (0, RouteNetlinkMessage::DelLink(named(name)))
}

/// All links of a group at once: the kernel waits once, not once a link.
pub(crate) fn delete_group(group: u32) -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    (0, RouteNetlinkMessage::DelLink(link))
}

pub(crate) fn get_link(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(named(name))
}

pub(crate) fn all_links() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(LinkMessage::default())
}

pub(crate) fn all_addresses() -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    RouteNetlinkMessage::GetAddress(message)
}

pub(crate) fn all_routes() -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    RouteNetlinkMessage::GetRoute(message)
}

pub(crate) fn add_address(index: u32, address: Ipv4Net) -> Request {
    (
        NLM_F_CREATE | NLM_F_REPLACE,
        RouteNetlinkMessage::NewAddress(address_message(index, address)),
    )
}

pub(crate) fn delete_address(index: u32, address: Ipv4Net) -> Request {
    (
        0,
        RouteNetlinkMessage::DelAddress(address_message(index, address)),
    )
}

/// In place of another, too.
pub(crate) fn replace_default_route(gateway: Ipv4Addr) -> Request {
    let (_, message) = default_route(gateway);
    (NLM_F_CREATE | NLM_F_REPLACE, message)
}

pub(crate) fn default_route(gateway: Ipv4Addr) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
        .attributes
        .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    (
        NLM_F_CREATE | NLM_F_EXCL,
        RouteNetlinkMessage::NewRoute(message),
    )
}

/// What a link message says, as far as anybody here asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkFacts {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
    /// Index of the bridge that it is a port of; 0 for none.
    pub(crate) controller: u32,
}

pub(crate) fn link_facts(message: RouteNetlinkMessage) -> Option<LinkFacts> {
    let RouteNetlinkMessage::NewLink(link) = message else {
        return None;
    };
    let mut facts = LinkFacts {
        index: link.header.index,
        ..LinkFacts::default()
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => facts.name = name,
            LinkAttribute::Mtu(mtu) => facts.mtu = mtu,
            LinkAttribute::Group(group) => facts.group = group,
            LinkAttribute::Controller(index) => facts.controller = index,
            _ => {}
        }
    }
    Some(facts)
}

/// The link's index and the address with its prefix.
pub(crate) fn address_facts(message: &RouteNetlinkMessage) -> Option<(u32, Ipv4Net)> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })?;
    Some((
        message.header.index,
        Ipv4Net::new(local, message.header.prefix_len).ok()?,
    ))
}

fn address_message(index: u32, address: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address.addr())),
        AddressAttribute::Address(IpAddr::V4(address.addr())),
        AddressAttribute::Broadcast(address.broadcast()),
    ];
    message
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

fn up(mut link: LinkMessage) -> LinkMessage {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}
