//! Owns the choice of subnets and addresses: lowest free first, and never one that somebody else needs.
//! Must not know services or containers; it deals in nets and numbers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::observed::Pool;

pub(crate) fn overlaps(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The first subnet of the pools that overlaps with nothing in `used`.
pub(crate) fn free_subnet(pools: &[Pool], used: &[Ipv4Net]) -> Option<Ipv4Net> {
    pools.iter().find_map(|pool| {
        let mut candidates = pool
            .net
            .subnets(pool.size.max(pool.net.prefix_len()))
            .ok()?;
        candidates.find(|candidate| !used.iter().any(|other| overlaps(*candidate, *other)))
    })
}

/// First usable address: the gateway, unless the stack says otherwise.
pub(crate) fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    subnet.hosts().next().unwrap_or_else(|| subnet.network())
}

/// True for an address that a container may have in the subnet.
pub(crate) fn is_host(subnet: Ipv4Net, address: Ipv4Addr) -> bool {
    let whole = subnet.prefix_len() >= 31;
    subnet.contains(&address)
        && (whole || (address != subnet.network() && address != subnet.broadcast()))
}

/// The lowest address of `range` that is usable in `subnet` and not taken.
pub(crate) fn free_address(
    subnet: Ipv4Net,
    range: Ipv4Net,
    taken: &BTreeSet<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let mut next = u32::from(range.network());
    let last = u32::from(range.broadcast());
    // At most one more step than there are taken addresses, plus network and broadcast: sizes of ranges do not matter.
    loop {
        let address = Ipv4Addr::from(next);
        if is_host(subnet, address) && !taken.contains(&address) {
            return Some(address);
        }
        if next >= last {
            return None;
        }
        next += 1;
    }
}

/// Docker's scheme: the address tells the MAC, so neighbours' tables stay right when an address is used again.
pub fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}
