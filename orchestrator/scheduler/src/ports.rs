//! Owns the choice of host ports: who holds which, and the lowest free one. Must not know services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hoist_object::{Published, Transport};

use crate::observed::{HeldPort, PortHolder};

/// Host ports in use, with their holders.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortTable {
    held: BTreeMap<(Transport, u16), Vec<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    ip: Option<IpAddr>,
    holder: PortHolder,
    /// Holders of one group and target share a port: traffic is spread over them.
    group: Option<(String, u16)>,
}

impl PortTable {
    pub(crate) fn new(held: &[HeldPort]) -> Self {
        let mut table = Self::default();
        for port in held {
            let held = Held {
                ip: port.ip,
                holder: port.holder.clone(),
                group: None,
            };
            table
                .held
                .entry((port.transport, port.port))
                .or_default()
                .push(held);
        }
        table
    }

    pub(crate) fn hold(&mut self, port: Published, holder: PortHolder, group: &str) {
        let held = Held {
            ip: port.host_ip,
            holder,
            group: Some((group.to_owned(), port.target)),
        };
        self.held
            .entry((port.transport, port.host_port))
            .or_default()
            .push(held);
    }

    /// Who holds it, other than holders that would share it with this group.
    pub(crate) fn holder(&self, port: Published, group: &str) -> Option<&PortHolder> {
        let mut held = self.held.get(&(port.transport, port.host_port))?.iter();
        let shares = |held: &Held| {
            held.ip == port.host_ip
                && held
                    .group
                    .as_ref()
                    .is_some_and(|(name, target)| name == group && *target == port.target)
        };
        held.find(|held| clash(port.host_ip, held.ip) && !shares(held))
            .map(|held| &held.holder)
    }

    pub(crate) fn is_free(&self, port: Published) -> bool {
        let held = self.held.get(&(port.transport, port.host_port));
        held.is_none_or(|held| !held.iter().any(|held| clash(port.host_ip, held.ip)))
    }
}

/// All addresses clash with each one; loopback and LAN addresses live side by side.
pub(crate) fn clash(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    any(a) || any(b) || a == b
}
