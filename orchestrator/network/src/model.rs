//! What callers ask for, as plain values, and the names of the kernel objects that follow from ids.

use std::fmt;
use std::net::Ipv4Addr;

use hoist_object::short;
use ipnet::Ipv4Net;

/// A network to raise: one bridge, one subnet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkSpec {
    /// 64 hex digits; the bridge is named from the first 12 unless it has a name of its own.
    pub id: String,
    pub subnet: Ipv4Net,
    /// The bridge's own address, inside `subnet`.
    pub gateway: Ipv4Addr,
    /// No way out and no way in but from the host itself.
    pub internal: bool,
    /// None follows the link of the default route.
    pub mtu: Option<u32>,
    /// Name of the bridge; None derives it from the id.
    pub bridge: Option<String>,
}

impl NetworkSpec {
    pub fn bridge(&self) -> String {
        self.bridge.clone().unwrap_or_else(|| bridge_name(&self.id))
    }
}

/// One attachment of a container to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Container id, 64 hex digits.
    pub container: String,
    /// Number of the attachment within the container, 0 to 9.
    pub index: u8,
    /// Network id.
    pub network: String,
    /// Name of the network's bridge, which must exist.
    pub bridge: String,
    /// Name inside the container, such as `eth0`.
    pub interface: String,
    pub address: Ipv4Addr,
    /// Prefix length of the network's subnet.
    pub prefix: u8,
    /// Sets the container's default route when present.
    pub gateway: Option<Ipv4Addr>,
    /// None derives it from the address, so that neighbours' ARP entries stay right over a restart.
    pub mac: Option<Mac>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// docker's form: locally administered `02:42` and the address.
    pub fn of_address(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        // A group address as a source is dropped by every bridge.
        if parts.next().is_some() || bytes[0] & 1 == 1 {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a unicast MAC address like 02:42:ac:11:00:02")]
pub struct InvalidMac(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host port and the replicas behind it. Without targets it is reserved, and connections are refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// None is every address of the host.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub protocol: Protocol,
    /// Balanced in turn.
    pub targets: Vec<(Ipv4Addr, u16)>,
}

/// The whole desired firewall.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallState {
    pub networks: Vec<NetworkSpec>,
    pub published: Vec<Published>,
}

/// `hb-` and 12 hex digits of the network id: 15 characters, the longest name a link may have.
pub fn bridge_name(network: &str) -> String {
    format!("{BRIDGE_PREFIX}{}", short(network))
}

/// `hv`, 12 hex digits of the container id and the attachment's number.
pub fn veth_name(container: &str, index: u8) -> String {
    format!("{VETH_PREFIX}{}{index}", short(container))
}

/// Whether a link can be the host end of a container's veth pair; no bridge may be called so.
pub fn is_veth_name(name: &str) -> bool {
    let hex = |rest: &str| rest.len() == 13 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix(VETH_PREFIX).is_some_and(hex)
}

pub(crate) const BRIDGE_PREFIX: &str = "hb-";
pub(crate) const VETH_PREFIX: &str = "hv";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_follows_the_address_as_in_docker() {
        assert_eq!(
            Mac::of_address(Ipv4Addr::new(172, 17, 0, 2)).to_string(),
            "02:42:ac:11:00:02"
        );
    }

    #[test]
    fn mac_text_round_trips_and_group_addresses_are_refused() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert!("01:00:5e:00:00:01".parse::<Mac>().is_err());
        assert!("02:42:ac:11:00".parse::<Mac>().is_err());
        assert!("02:42:ac:11:00:02:03".parse::<Mac>().is_err());
    }

    #[test]
    fn names_fit_a_link() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(bridge_name(&id), "hb-0123456789ab");
        assert_eq!(veth_name(&id, 3), "hv0123456789ab3");
        assert!(bridge_name(&id).len() <= 15 && veth_name(&id, 3).len() <= 15);
    }
}
