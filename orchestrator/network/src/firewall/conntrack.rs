//! Forgets flows whose published port leads elsewhere now.
//!
//! The kernel looks at the maps for the first packet of a flow only. A UDP sender that never pauses keeps its flow alive
//! for ever, and would go on talking to a container that is gone, or to none if it began before the port was published.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::attributes::{Attributes, attribute, messages};
use crate::model::{Protocol, Published};
use crate::netlink::{Connection, route};

/// UDP host ports whose targets differ.
pub(crate) fn changed_ports(old: &[Published], new: &[Published]) -> BTreeSet<u16> {
    let changed = |all: &[Published], others: &[Published]| {
        let udp = all
            .iter()
            .filter(|port| port.protocol == Protocol::Udp && !others.contains(port));
        udp.map(|port| port.host_port).collect::<BTreeSet<_>>()
    };
    &changed(old, new) | &changed(new, old)
}

/// Forgets the flows to these ports of the host.
pub(crate) fn forget(ports: &BTreeSet<u16>) -> io::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let addresses =
        Connection::open(netlink_sys::protocols::NETLINK_ROUTE)?.dump(route::all_addresses())?;
    let own: BTreeSet<_> = addresses
        .iter()
        .filter_map(route::address_facts)
        .map(|(_, net)| net.addr())
        .collect();
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let stale = flows(&socket)?.into_iter().filter(|flow| {
        ports.contains(&flow.port)
            && (flow.destination.is_loopback() || own.contains(&flow.destination))
    });
    for flow in stale {
        // It may have ended meanwhile, which is as good.
        socket.send(&request(DELETE, 0, Some(&flow.tuple)), 0)?;
    }
    Ok(())
}

/// A UDP flow as its first packet was.
struct Flow {
    destination: Ipv4Addr,
    port: u16,
    /// The attribute that names the flow to the kernel.
    tuple: Vec<u8>,
}

const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const DUMP: u16 = 0x300;
/// The tuple of the first packet, and in it addresses and ports.
const ORIGINAL: u16 = 1;

fn flows(socket: &Socket) -> io::Result<Vec<Flow>> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    socket.send(&request(GET, DUMP, None), 0)?;
    let mut flows = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages(&datagram) {
            match message.kind {
                DONE => return Ok(flows),
                // No connection tracking, no flows.
                ERROR => return Ok(Vec::new()),
                _ => flows.extend(attribute(message.attributes, ORIGINAL).and_then(flow)),
            }
        }
    }
}

fn flow(tuple: &[u8]) -> Option<Flow> {
    const UDP: u8 = 17;
    let addresses = attribute(tuple, 1)?;
    let ports = attribute(tuple, 2)?;
    if attribute(ports, 1)? != [UDP] {
        return None;
    }
    Some(Flow {
        destination: Ipv4Addr::from(*attribute(addresses, 2)?.first_chunk::<4>()?),
        port: u16::from_be_bytes(*attribute(ports, 3)?.first_chunk()?),
        tuple: tuple.to_vec(),
    })
}

fn request(kind: u16, flags: u16, tuple: Option<&[u8]>) -> Vec<u8> {
    const REQUEST: u16 = 1;
    const IPV4: u8 = 2;
    const NESTED: u16 = 0x8000;
    let mut message = Attributes::message(kind, REQUEST | flags, 0, [IPV4, 0, 0, 0]);
    if let Some(tuple) = tuple {
        message.bytes(ORIGINAL | NESTED, tuple);
    }
    message.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_ports_that_differ_are_forgotten() {
        let port = |host_port, protocol, last| Published {
            host_ip: None,
            host_port,
            protocol,
            targets: vec![(Ipv4Addr::new(10, 89, 0, last), 1)],
        };
        let old = [
            port(1, Protocol::Udp, 2),
            port(2, Protocol::Udp, 2),
            port(3, Protocol::Tcp, 2),
        ];
        let new = [
            port(1, Protocol::Udp, 2),
            port(2, Protocol::Udp, 3),
            port(4, Protocol::Udp, 2),
        ];
        assert_eq!(changed_ports(&old, &new), BTreeSet::from([2, 4]));
    }
}
