//! Owns what is wrong with a request (problems: nothing is touched) and what is worth saying beside it (notes).
//! All of them are found at once, so that a user mends a stack in one go.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use hoist_object::Transport;
use ipnet::Ipv4Net;

use crate::observed::PortHolder;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    UnknownService {
        service: String,
    },
    /// `start`, `run` and others on a service that has no container.
    NoContainer {
        service: String,
    },
    NoContainers {
        project: String,
    },
    PoolExhausted {
        network: String,
    },
    SubnetTaken {
        network: String,
        subnet: Ipv4Net,
        holder: String,
    },
    /// The stack gives a subnet that no container fits into, or a gateway or range outside of it.
    SubnetUnusable {
        network: String,
        cause: String,
    },
    NoFreeAddress {
        service: String,
        network: String,
        subnet: Ipv4Net,
    },
    AddressOutside {
        service: String,
        network: String,
        address: Ipv4Addr,
        subnet: Ipv4Net,
    },
    AddressTaken {
        service: String,
        network: String,
        address: Ipv4Addr,
        holder: String,
    },
    PortTaken {
        service: String,
        host_ip: Option<IpAddr>,
        ports: (u16, u16),
        transport: Transport,
        holder: PortHolder,
    },
    ExternalNetworkMissing {
        network: String,
    },
    ExternalVolumeMissing {
        volume: String,
    },
    /// A stack declares the engine's own network as its own.
    NetworkPredefined {
        network: String,
    },
    /// Of IPv6, by which nothing is published.
    HostAddressV6 {
        service: String,
        address: IpAddr,
    },
    NetworkFull {
        service: String,
        network: String,
        limit: usize,
    },
    /// Another project owns it and the stack does not call it external.
    NetworkOwned {
        network: String,
        project: String,
    },
    /// The network must be made anew, but these do not belong to the stack.
    NetworkInUse {
        network: String,
        holders: BTreeSet<String>,
    },
    /// Not in the store and may not be pulled or built.
    ImageMissing {
        service: String,
        reference: String,
    },
    /// `build` is asked of a service without a build section.
    NotBuildable {
        service: String,
    },
    NameTaken {
        service: String,
        name: String,
        project: String,
    },
    /// Several replicas cannot share a `container_name`.
    NameScaled {
        service: String,
        name: String,
        replicas: u32,
    },
    /// A dependent waits for it to be healthy.
    NoHealthcheck {
        service: String,
        dependent: String,
    },
    NamespaceOwnerMissing {
        service: String,
        owner: String,
    },
    /// `volumes_from`.
    VolumesOwnerMissing {
        service: String,
        owner: String,
    },
    /// Services wait for each other; `spec` refuses this, a plan only stays safe.
    Cycle {
        services: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Containers that no service of the stack owns; left alone.
    Orphans {
        containers: BTreeSet<String>,
    },
    /// Made from another folder under the same project name; left alone as orphans, even by `--remove-orphans`.
    OtherOrigin {
        containers: BTreeSet<String>,
        working_dir: String,
    },
    /// Whether these are replaced depends on what the pull or build brings.
    ReplacedIfImageChanges {
        service: String,
        containers: BTreeSet<String>,
    },
    /// A changed volume keeps its old settings: making it anew would lose its data.
    VolumeKept {
        volume: String,
    },
    /// Another project made it, and the stack does not call it external; it is shared all the same.
    VolumeOwned {
        volume: String,
        project: String,
    },
    NetworkKept {
        network: String,
        holders: BTreeSet<String>,
    },
    /// It has changed in the stack; containers of services that the request does not name hold it as it is.
    NetworkNotApplied {
        network: String,
        holders: BTreeSet<String>,
    },
    OptionalDependencyMissing {
        service: String,
        dependency: String,
    },
    /// `restart` and `start` do not apply changes; `up` does.
    NotApplied {
        service: String,
        fields: Vec<String>,
    },
    /// It waits for this before it is started again by its policy.
    Held {
        container: String,
        by: String,
    },
    /// Its restart policy is used up.
    GivenUp {
        container: String,
    },
    /// The store has the image for another platform than the service asks for, and takes that.
    OtherPlatform {
        service: String,
        wanted: String,
        image: String,
    },
}

impl Note {
    /// It says how the request goes on, which a plan shows and which is no warning where it is carried out.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::ReplacedIfImageChanges { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService { service } => write!(f, "no such service: {service}"),
            Self::NoContainer { service } => write!(f, "service \"{service}\" has no container; `hoist up` makes it"),
            Self::NoContainers { project } => write!(f, "stack \"{project}\" has no container; `hoist up` makes them"),
            Self::PoolExhausted { network } => {
                write!(f, "network \"{network}\": no free subnet left in the address pools")
            }
            Self::SubnetTaken { network, subnet, holder } => {
                write!(f, "network \"{network}\": subnet {subnet} overlaps with {holder}")
            }
            Self::SubnetUnusable { network, cause } => write!(f, "network \"{network}\": {cause}"),
            Self::NoFreeAddress { service, network, subnet } => {
                write!(f, "service \"{service}\": no free address left in network \"{network}\" ({subnet})")
            }
            Self::AddressOutside { service, network, address, subnet } => {
                write!(f, "service \"{service}\": address {address} is not usable in network \"{network}\" ({subnet})")
            }
            Self::AddressTaken { service, network, address, holder } => {
                write!(f, "service \"{service}\": address {address} in network \"{network}\" is held by {holder}")
            }
            Self::PortTaken { service, host_ip, ports, transport, holder } => {
                let range = if ports.0 == ports.1 { "" } else { ", the first" };
                let text = PortText(*host_ip, *ports, *transport);
                write!(
                    f,
                    "service \"{service}\": {text} is in use{range} by {holder}; publish another port, or stop what has it"
                )
            }
            Self::ExternalNetworkMissing { network } => {
                write!(f, "external network \"{network}\" does not exist; ")?;
                match network.as_str() {
                    "host" | "none" => write!(f, "write `network_mode: {network}` in the service instead"),
                    _ => write!(f, "make it with `hoist network create {network}`"),
                }
            }
            Self::NetworkPredefined { network } => write!(
                f,
                "network \"{network}\" is the engine's own and belongs to no stack; give this one another `name`, \
                 or declare it external to join the engine's"
            ),
            Self::HostAddressV6 { service, address } => {
                write!(
                    f,
                    "service \"{service}\": the IPv6 host address {address} is not supported yet; use one of IPv4"
                )
            }
            Self::NetworkFull { service, network, limit } => write!(
                f,
                "service \"{service}\": network \"{network}\" is full: a bridge holds {limit} containers; \
                 put some services on another network"
            ),
            Self::ExternalVolumeMissing { volume } => {
                write!(f, "external volume \"{volume}\" does not exist; make it with `hoist volume create {volume}`")
            }
            Self::NetworkOwned { network, project } => {
                write!(f, "network \"{network}\" belongs to project \"{project}\"; declare it external to share it")
            }
            Self::NetworkInUse { network, holders } => {
                write!(f, "network \"{network}\" has changed and cannot be made anew while in use by {}", List(holders))
            }
            Self::ImageMissing { service, reference } => {
                write!(
                    f,
                    "service \"{service}\": image \"{reference}\" is not in the store and may not be fetched; `hoist pull` fetches it"
                )
            }
            Self::NotBuildable { service } => write!(f, "service \"{service}\" has no build section"),
            Self::NameTaken { service, name, project } => {
                write!(
                    f,
                    "service \"{service}\": container name \"{name}\" is in use by project \"{project}\"; choose another \
                     `container_name`, or remove the container that has it"
                )
            }
            Self::NameScaled { service, name, replicas } => {
                write!(f, "service \"{service}\": {replicas} replicas cannot share container_name \"{name}\"")
            }
            Self::NoHealthcheck { service, dependent } => {
                write!(f, "service \"{dependent}\" waits for \"{service}\" to be healthy, but it has no healthcheck")
            }
            Self::VolumesOwnerMissing { service, owner } => {
                write!(f, "service \"{service}\": no container \"{owner}\" to take volumes from")
            }
            Self::NamespaceOwnerMissing { service, owner } => {
                write!(f, "service \"{service}\": no container \"{owner}\" to share namespaces with")
            }
            Self::Cycle { services } => write!(f, "services wait for each other: {}", services.join(" -> ")),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphans { containers } => {
                write!(f, "left alone, no service of this stack owns: {} (--remove-orphans removes)", List(containers))
            }
            Self::OtherOrigin { containers, working_dir } => {
                write!(f, "left alone, made from {working_dir} under the same project name: {}", List(containers))
            }
            Self::ReplacedIfImageChanges { service, containers } => {
                write!(f, "service \"{service}\": {} replaced if the image changes", List(containers))
            }
            Self::VolumeKept { volume } => {
                write!(f, "volume \"{volume}\" has changed in the stack; it keeps its settings and its data")
            }
            Self::VolumeOwned { volume, project } => {
                write!(f, "volume \"{volume}\" was made by project \"{project}\"; declare it external to say so")
            }
            Self::NetworkKept { network, holders } => {
                write!(f, "network \"{network}\" stays, in use by {}", List(holders))
            }
            Self::NetworkNotApplied { network, holders } => {
                write!(f, "network \"{network}\" has changed; it stays as it is for {}", List(holders))
            }
            Self::OptionalDependencyMissing { service, dependency } => {
                write!(f, "service \"{service}\": optional dependency \"{dependency}\" is not part of this stack")
            }
            Self::NotApplied { service, fields } => {
                write!(f, "service \"{service}\" has changed ({}); `up` applies it", fields.join(", "))
            }
            Self::Held { container, by } => write!(f, "{container} waits for {by}"),
            Self::OtherPlatform { service, wanted, image } => write!(
                f,
                "service \"{service}\" asks for the platform {wanted}, and its image is for {image}; `pull` gets the other"
            ),
            Self::GivenUp { container } => write!(f, "{container} stays down: its restart policy is used up"),
        }
    }
}

struct List<'a>(&'a BTreeSet<String>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

pub(crate) struct PortText(pub(crate) Option<IpAddr>, pub(crate) (u16, u16), pub(crate) Transport);

impl fmt::Display for PortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ip, (first, last), transport) = self;
        f.write_str(if first == last { "host port " } else { "every host port of " })?;
        if let Some(ip) = ip {
            if ip.is_ipv6() { write!(f, "[{ip}]:")? } else { write!(f, "{ip}:")? }
        }
        write!(f, "{first}")?;
        if first != last {
            write!(f, "-{last}")?;
        }
        write!(f, "/{transport}")
    }
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("a process on the host"),
            Self::Container { project, name } if project.is_empty() => write!(f, "container \"{name}\""),
            Self::Container { project, name } => write!(f, "container \"{name}\" of project \"{project}\""),
        }
    }
}
