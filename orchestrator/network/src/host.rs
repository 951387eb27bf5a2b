//! The host's side of networks: bridges, the host ends of veth pairs, and the one firewall of this engine.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use hoist_object::short;
use ipnet::Ipv4Net;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use crate::facts::{self, FactsError, HostFacts};
use crate::firewall::foreign::ForeignAccept;
use crate::firewall::watch::FlushWatch;
use crate::firewall::{Firewall, FirewallError};
use crate::model::{
    Endpoint, FirewallState, Mac, NetworkSpec, Protocol, VETH_PREFIX, is_veth_name, veth_name,
};
use crate::netlink::{Connection, is, route};
use crate::netns::{self, NetnsError};
use crate::ports::{self, PortTaken};

#[derive(Debug, Clone, Default)]
pub struct HostConfig {
    /// Empty for the default data root; else 8 hex digits.
    pub instance: String,
}

/// `Send + Sync`; every method takes `&self`.
#[derive(Debug)]
pub struct Host {
    /// Link group of everything that this engine makes: the mark that its names do not carry.
    group: u32,
    firewall: Firewall,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub kind: LinkKind,
    /// Index of the bridge that it is a port of; 0 for none.
    pub controller: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    Bridge,
    Veth,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("`{0}` is not an instance: empty or 8 hex digits")]
    Instance(String),
    #[error("open a netlink socket")]
    Netlink(#[source] io::Error),
    #[error("list the host's links")]
    List(#[source] io::Error),
    #[error("make bridge {bridge}")]
    Bridge {
        bridge: String,
        #[source]
        source: io::Error,
    },
    #[error("give {address} to bridge {bridge}")]
    BridgeAddress {
        bridge: String,
        address: Ipv4Net,
        #[source]
        source: io::Error,
    },
    #[error("find bridge {bridge}")]
    NoBridge {
        bridge: String,
        #[source]
        source: io::Error,
    },
    #[error("make veth pair {link} of container {container}")]
    Veth {
        link: String,
        container: String,
        #[source]
        source: io::Error,
    },
    #[error("set up {interface} with {address} in container {container}")]
    Interface {
        interface: String,
        address: Ipv4Addr,
        container: String,
        #[source]
        source: io::Error,
    },
    #[error("lead a container's default route to {gateway}")]
    DefaultRoute {
        gateway: Ipv4Addr,
        #[source]
        source: io::Error,
    },
    #[error("{address}/{prefix} is not an address with a prefix length")]
    Prefix { address: Ipv4Addr, prefix: u8 },
    #[error("delete link {link}")]
    Delete {
        link: String,
        #[source]
        source: io::Error,
    },
    #[error("write {path}")]
    Sysctl {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("watch for changes of the firewall")]
    Watch(#[source] io::Error),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

impl Host {
    pub fn open(config: HostConfig) -> Result<Self, NetworkError> {
        /// "hois": away from the small numbers that people give their own groups.
        const DEFAULT_GROUP: u32 = 0x686f_6973;
        let group = if config.instance.is_empty() {
            DEFAULT_GROUP
        } else {
            let valid = config.instance.len() == 8;
            let number = u32::from_str_radix(&config.instance, 16)
                .ok()
                .filter(|number| valid && *number != 0);
            number.ok_or_else(|| NetworkError::Instance(config.instance.clone()))?
        };
        Ok(Self {
            group,
            firewall: Firewall::new(&config.instance),
        })
    }

    /// Makes the bridge with its address, up. Idempotent. Nothing is forwarded before `set_firewall` names it.
    pub fn create_network(&self, network: &NetworkSpec) -> Result<(), NetworkError> {
        let name = network.bridge();
        let mtu = match network.mtu {
            Some(mtu) => mtu,
            None => facts::read()?.mtu,
        };
        let failed = |source| NetworkError::Bridge {
            bridge: name.clone(),
            source,
        };
        let connection = connect()?;
        // The MTU is set again since only an explicit change keeps a bridge from following its smallest port.
        let requests = vec![
            route::new_bridge(&name, Mac::of_address(network.gateway), mtu, self.group),
            route::set_mtu(&name, mtu),
        ];
        let mut results = connection.batch(requests).map_err(failed)?.into_iter();
        match results.next() {
            Some(Err(error)) if !is(&error, Errno::EXIST) || !self.is_ours(&connection, &name) => {
                return Err(failed(error));
            }
            _ => {}
        }
        results.collect::<io::Result<()>>().map_err(failed)?;

        let address = Ipv4Net::new(network.gateway, network.subnet.prefix_len()).map_err(|_| {
            NetworkError::Prefix {
                address: network.gateway,
                prefix: network.subnet.prefix_len(),
            }
        })?;
        set_only_address(&connection, &name, address)?;
        // A link-local IPv6 address would lead from containers to the host's services past the IPv4 rules.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        connection
            .batch(vec![route::set_up(&name)])
            .and_then(all)
            .map_err(failed)?;
        // A bridge that was deleted by another program is recreated; the rules are still there.
        if self.firewall.covers(&network.id) {
            allow_published_loopback(&name)
        } else {
            Ok(())
        }
    }

    /// Deletes the bridge of this name; no error when it is gone already.
    pub fn remove_network(&self, bridge: &str) -> Result<(), NetworkError> {
        let connection = connect()?;
        // A user-given name may belong to another link by now.
        if self.is_ours(&connection, bridge) {
            delete(&connection, bridge)
        } else {
            Ok(())
        }
    }

    fn is_ours(&self, connection: &Connection, link: &str) -> bool {
        let found = connection.get(route::get_link(link)).map(route::link_facts);
        found.is_ok_and(|link| link.is_some_and(|link| link.group == self.group))
    }

    /// Names of our bridges that exist.
    pub fn networks(&self) -> Result<Vec<String>, NetworkError> {
        let bridges = self
            .links()?
            .into_iter()
            .filter(|link| link.kind == LinkKind::Bridge);
        Ok(bridges.map(|link| link.name).collect())
    }

    /// All our links that exist, bridges and host ends of veth pairs.
    pub fn links(&self) -> Result<Vec<Link>, NetworkError> {
        let links = connect()?
            .dump(route::all_links())
            .map_err(NetworkError::List)?;
        let ours = links
            .into_iter()
            .filter_map(route::link_facts)
            .filter(|link| link.group == self.group);
        let ours = ours.map(|link| {
            let kind = if is_veth_name(&link.name) {
                LinkKind::Veth
            } else {
                LinkKind::Bridge
            };
            Link {
                name: link.name,
                index: link.index,
                kind,
                controller: link.controller,
            }
        });
        Ok(ours.collect())
    }

    /// Veth pairs, addresses and routes of one container. All or nothing.
    pub fn attach(
        &self,
        netns: BorrowedFd<'_>,
        endpoints: &[Endpoint],
    ) -> Result<(), NetworkError> {
        let connection = connect()?;
        let mut made = Vec::new();
        let result = endpoints
            .iter()
            .try_for_each(|endpoint| {
                let name = veth_name(&endpoint.container, endpoint.index);
                self.make_pair(&connection, netns, endpoint, &name)?;
                made.push(name);
                Ok(())
            })
            .and_then(|()| netns::within(netns, || set_up_inside(endpoints))?);
        for (name, endpoint) in made.iter().zip(endpoints) {
            // The kernel notices a link that came up in a worker of its own, and bridge ports drop packets until then: a
            // first SYN lost is a second lost. Asking for a link makes the kernel notice at once.
            let _ = connection.get(route::get_link(name));
            let _ = connection.get(route::get_link(&endpoint.bridge));
        }
        if result.is_err() {
            let _ = connection.batch(made.iter().map(|name| route::delete_link(name)).collect());
        }
        result
    }

    fn make_pair(
        &self,
        connection: &Connection,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
        name: &str,
    ) -> Result<(), NetworkError> {
        let bridge = endpoint.bridge.clone();
        let found = connection
            .get(route::get_link(&bridge))
            .map(route::link_facts);
        let found = found.and_then(|link| link.ok_or_else(|| Errno::NODEV.into()));
        let bridge = found.map_err(|source| NetworkError::NoBridge { bridge, source })?;
        let pair = route::VethPair {
            host: name,
            bridge: bridge.index,
            group: self.group,
            mtu: bridge.mtu,
            netns,
            peer: &endpoint.interface,
            mac: endpoint
                .mac
                .unwrap_or_else(|| Mac::of_address(endpoint.address)),
        };
        let make = || {
            connection
                .batch(vec![route::new_veth(&pair), route::hairpin(name)])
                .and_then(all)
        };
        let made = make().or_else(|error| {
            if !is(&error, Errno::EXIST) {
                return Err(error);
            }
            // The previous life of the same container: its namespace is dying but has not let go of the link yet.
            let gone = connection
                .batch(vec![route::delete_link(name)])
                .and_then(all);
            gone.or_else(ignore_missing).and_then(|()| make())
        });
        made.map_err(|source| NetworkError::Veth {
            link: name.to_owned(),
            container: short(&endpoint.container).to_owned(),
            source,
        })
    }

    /// Removes a container's links at once. Not for the hot path (about 20 ms): a namespace takes its links with it.
    pub fn detach(&self, container: &str) -> Result<(), NetworkError> {
        let prefix = format!("{VETH_PREFIX}{}", short(container));
        let links = self
            .links()?
            .into_iter()
            .filter(|link| link.name.starts_with(&prefix))
            .collect();
        self.delete_together(links).map(drop)
    }

    /// Takes a running container off one network.
    pub fn leave(&self, container: &str, bridge: &str) -> Result<(), NetworkError> {
        let links = self.links()?;
        let Some(bridge) = links
            .iter()
            .find(|link| link.name == bridge)
            .map(|link| link.index)
        else {
            return Ok(());
        };
        let prefix = format!("{VETH_PREFIX}{}", short(container));
        let port = |link: &Link| link.kind == LinkKind::Veth && link.controller == bridge;
        let ports = links
            .into_iter()
            .filter(|link| port(link) && link.name.starts_with(&prefix))
            .collect();
        self.delete_together(ports).map(drop)
    }

    /// A number that no attachment of the running container has; None when it has ten.
    pub fn free_index(&self, container: &str) -> Result<Option<u8>, NetworkError> {
        let links = self.links()?;
        Ok((0..10).find(|index| {
            !links
                .iter()
                .any(|link| link.name == veth_name(container, *index))
        }))
    }

    /// The default gateway of a running container.
    pub fn set_default_route(
        &self,
        netns: BorrowedFd<'_>,
        gateway: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        netns::within(netns, || {
            let routed = connect()?
                .batch(vec![route::replace_default_route(gateway)])
                .and_then(all);
            routed.map_err(|source| NetworkError::DefaultRoute { gateway, source })
        })?
    }

    /// Removes links of ours that are neither one of these bridges nor of one of these containers; returns their names.
    pub fn sweep(
        &self,
        bridges: &[String],
        containers: &[String],
    ) -> Result<Vec<String>, NetworkError> {
        let known = |link: &Link| match link.kind {
            LinkKind::Bridge => bridges.contains(&link.name),
            LinkKind::Veth => {
                let id = link
                    .name
                    .get(VETH_PREFIX.len()..VETH_PREFIX.len() + 12)
                    .unwrap_or_default();
                containers.iter().any(|container| short(container) == id)
            }
        };
        let strays = self
            .links()?
            .into_iter()
            .filter(|link| !known(link))
            .collect();
        self.delete_together(strays)
    }

    /// One by one costs 20 ms each; as a group the kernel waits once.
    fn delete_together(&self, links: Vec<Link>) -> Result<Vec<String>, NetworkError> {
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let doomed = !self.group;
        let connection = connect()?;
        let list = || {
            links
                .iter()
                .map(|link| link.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let failed = |source| NetworkError::Delete {
            link: list(),
            source,
        };
        let moves = links
            .iter()
            .map(|link| route::set_group(link.index, doomed))
            .collect();
        for moved in connection.batch(moves).map_err(failed)? {
            moved.or_else(ignore_missing).map_err(failed)?;
        }
        connection
            .batch(vec![route::delete_group(doomed)])
            .and_then(all)
            .or_else(ignore_missing)
            .map_err(failed)?;
        Ok(links.into_iter().map(|link| link.name).collect())
    }

    /// Makes the firewall be exactly this. One transaction; an unchanged state does nothing.
    ///
    /// The first network turns on forwarding on the host. Without networks nothing is left, not even the table.
    pub fn set_firewall(&self, state: &FirewallState) -> Result<(), NetworkError> {
        self.firewall.set(state)?;
        if state.networks.is_empty() {
            return Ok(());
        }
        // Only now: the rules that keep others from what this opens are in place.
        enable_forwarding()?;
        for network in &state.networks {
            allow_published_loopback(&network.bridge())?;
        }
        Ok(())
    }

    /// Puts the last `set_firewall` back after another program flushed it.
    pub fn reassert_firewall(&self) -> Result<(), NetworkError> {
        Ok(self.firewall.reassert()?)
    }

    /// Tells when another program changed our table, or a table that can drop our traffic.
    pub fn watch_flush(&self) -> Result<FlushWatch, NetworkError> {
        self.firewall.watch().map_err(NetworkError::Watch)
    }

    /// What was added to other people's tables.
    pub fn foreign_accepts(&self) -> Vec<ForeignAccept> {
        self.firewall.foreign_accepts()
    }

    pub fn facts(&self) -> Result<HostFacts, FactsError> {
        facts::read()
    }

    /// Whether no other process holds the port. Ports reserved by this `Host` count as free.
    pub fn port_free(
        &self,
        ip: Option<Ipv4Addr>,
        port: u16,
        protocol: Protocol,
    ) -> Result<(), PortTaken> {
        if self.firewall.reserves(ip, port, protocol) {
            return Ok(());
        }
        ports::check(ip, port, protocol)
    }
}

fn connect() -> Result<Connection, NetworkError> {
    Connection::open(NETLINK_ROUTE).map_err(NetworkError::Netlink)
}

fn all(results: Vec<io::Result<()>>) -> io::Result<()> {
    results.into_iter().collect()
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if is(&error, Errno::NODEV) {
        Ok(())
    } else {
        Err(error)
    }
}

fn delete(connection: &Connection, name: &str) -> Result<(), NetworkError> {
    let deleted = connection
        .batch(vec![route::delete_link(name)])
        .and_then(all);
    deleted
        .or_else(ignore_missing)
        .map_err(|source| NetworkError::Delete {
            link: name.to_owned(),
            source,
        })
}

/// A bridge left by an earlier life may still have the address of then.
fn set_only_address(
    connection: &Connection,
    bridge: &str,
    address: Ipv4Net,
) -> Result<(), NetworkError> {
    let failed = |source| NetworkError::BridgeAddress {
        bridge: bridge.to_owned(),
        address,
        source,
    };
    let link = connection
        .get(route::get_link(bridge))
        .map(route::link_facts)
        .map_err(failed)?;
    let index = link
        .map(|link| link.index)
        .ok_or_else(|| failed(Errno::NODEV.into()))?;
    let present = connection.dump(route::all_addresses()).map_err(failed)?;
    let present: Vec<_> = present
        .iter()
        .filter_map(route::address_facts)
        .filter(|(of, _)| *of == index)
        .collect();
    let mut requests: Vec<_> = present
        .iter()
        .filter(|(_, other)| *other != address)
        .map(|(index, other)| route::delete_address(*index, *other))
        .collect();
    if !present.iter().any(|(_, other)| *other == address) {
        requests.push(route::add_address(index, address));
    }
    connection.batch(requests).and_then(all).map_err(failed)
}

/// Runs in the container's namespace.
fn set_up_inside(endpoints: &[Endpoint]) -> Result<(), NetworkError> {
    let connection = connect()?;
    for endpoint in endpoints {
        let failed = |source| NetworkError::Interface {
            interface: endpoint.interface.clone(),
            address: endpoint.address,
            container: short(&endpoint.container).to_owned(),
            source,
        };
        let address =
            Ipv4Net::new(endpoint.address, endpoint.prefix).map_err(|_| NetworkError::Prefix {
                address: endpoint.address,
                prefix: endpoint.prefix,
            })?;
        let link = connection
            .get(route::get_link(&endpoint.interface))
            .map(route::link_facts)
            .map_err(failed)?;
        let index = link
            .map(|link| link.index)
            .ok_or_else(|| failed(Errno::NODEV.into()))?;
        let mut requests = vec![
            route::set_up(&endpoint.interface),
            route::add_address(index, address),
        ];
        requests.extend(endpoint.gateway.map(route::default_route));
        connection.batch(requests).and_then(all).map_err(failed)?;
    }
    Ok(())
}

fn enable_forwarding() -> Result<(), NetworkError> {
    const PATH: &str = "/proc/sys/net/ipv4/ip_forward";
    if fs::read_to_string(PATH).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    write_sysctl(PATH, "1")?;
    tracing::info!(
        "turned on IPv4 forwarding on this host (net.ipv4.ip_forward=1) for container networks"
    );
    Ok(())
}

/// Lets ports be published on 127.0.0.1. A bridge that does not exist gets it when it is made.
fn allow_published_loopback(bridge: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    match write_sysctl(&path, "1") {
        Err(NetworkError::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        outcome => outcome,
    }
}

fn write_sysctl(path: &str, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(|source| NetworkError::Sysctl {
        path: path.to_owned(),
        source,
    })
}
