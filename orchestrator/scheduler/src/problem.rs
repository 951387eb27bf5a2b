//! Owns the problems of a request, with which nothing is touched, and the notes about one that is carried out. All of
//! them are found at once, so that a user can fix a stack in one go.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use hoist_object::Transport;
use ipnet::Ipv4Net;

use crate::observed::PortHolder;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("no such service: {service}")]
    UnknownService { service: String },
    /// `start`, `run` and others on a service that has no container.
    #[error("service \"{service}\" has no container; `hoist up` makes it")]
    NoContainer { service: String },
    #[error("stack \"{project}\" has no container; `hoist up` makes them")]
    NoContainers { project: String },
    #[error("network \"{network}\": no free subnet left in the address pools")]
    PoolExhausted { network: String },
    #[error("network \"{network}\": subnet {subnet} overlaps with {holder}")]
    SubnetTaken {
        network: String,
        subnet: Ipv4Net,
        holder: String,
    },
    /// The stack gives a subnet that no container fits into, or a gateway or range outside of it.
    #[error("network \"{network}\": {cause}")]
    SubnetUnusable { network: String, cause: String },
    #[error("service \"{service}\": no free address left in network \"{network}\" ({subnet})")]
    NoFreeAddress {
        service: String,
        network: String,
        subnet: Ipv4Net,
    },
    #[error(
        "service \"{service}\": address {address} is not usable in network \"{network}\" ({subnet})"
    )]
    AddressOutside {
        service: String,
        network: String,
        address: Ipv4Addr,
        subnet: Ipv4Net,
    },
    #[error(
        "service \"{service}\": address {address} in network \"{network}\" is held by {holder}"
    )]
    AddressTaken {
        service: String,
        network: String,
        address: Ipv4Addr,
        holder: String,
    },
    #[error(
        "service \"{service}\": {} is in use{} by {holder}; publish another port, or stop what has it",
        PortText(*.host_ip, *.ports, *.transport),
        if .ports.0 == .ports.1 { "" } else { ", the first" }
    )]
    PortTaken {
        service: String,
        host_ip: Option<IpAddr>,
        ports: (u16, u16),
        transport: Transport,
        holder: PortHolder,
    },
    #[error("external network \"{network}\" does not exist; {}", external_network_hint(.network))]
    ExternalNetworkMissing { network: String },
    #[error(
        "external volume \"{volume}\" does not exist; make it with `hoist volume create {volume}`"
    )]
    ExternalVolumeMissing { volume: String },
    /// A stack declares the engine's own network as its own.
    #[error(
        "network \"{network}\" is the engine's own and belongs to no stack; give this one another `name`, \
         or declare it external to join the engine's"
    )]
    NetworkPredefined { network: String },
    /// Ports are published on IPv4 addresses only.
    #[error(
        "service \"{service}\": the IPv6 host address {address} is not supported yet; use one of IPv4"
    )]
    HostAddressV6 { service: String, address: IpAddr },
    #[error(
        "service \"{service}\": network \"{network}\" is full: a bridge holds {limit} containers; \
         put some services on another network"
    )]
    NetworkFull {
        service: String,
        network: String,
        limit: usize,
    },
    /// Another project owns it and the stack does not call it external.
    #[error(
        "network \"{network}\" belongs to project \"{project}\"; declare it external to share it"
    )]
    NetworkOwned { network: String, project: String },
    /// The network must be recreated, but these containers do not belong to the stack.
    #[error("network \"{network}\" has changed and cannot be recreated while {} is using it", List(.holders))]
    NetworkInUse {
        network: String,
        holders: BTreeSet<String>,
    },
    /// Not in the store and may not be pulled or built.
    #[error(
        "service \"{service}\": image \"{reference}\" is not in the store and may not be fetched; `hoist pull` fetches it"
    )]
    ImageMissing { service: String, reference: String },
    /// `build` is asked of a service without a build section.
    #[error("service \"{service}\" has no build section")]
    NotBuildable { service: String },
    #[error(
        "service \"{service}\": container name \"{name}\" is in use by project \"{project}\"; choose another \
         `container_name`, or remove the container that has it"
    )]
    NameTaken {
        service: String,
        name: String,
        project: String,
    },
    /// Several replicas cannot share a `container_name`.
    #[error("service \"{service}\": {replicas} replicas cannot share container_name \"{name}\"")]
    NameScaled {
        service: String,
        name: String,
        replicas: u32,
    },
    /// A dependent waits for it to be healthy.
    #[error(
        "service \"{dependent}\" waits for \"{service}\" to be healthy, but it has no healthcheck"
    )]
    NoHealthcheck { service: String, dependent: String },
    #[error("service \"{service}\": no container \"{owner}\" to share namespaces with")]
    NamespaceOwnerMissing { service: String, owner: String },
    /// `volumes_from`.
    #[error("service \"{service}\": no container \"{owner}\" to take volumes from")]
    VolumesOwnerMissing { service: String, owner: String },
    /// Services wait for each other; `spec` refuses this, a plan only stays safe.
    #[error("services wait for each other: {}", .services.join(" -> "))]
    Cycle { services: Vec<String> },
}

/// Derives `Error` for its `Display` only: each note has its text beside it, as each problem has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// Containers that no service of the stack owns; left alone.
    #[error("left alone, no service of this stack owns: {} (--remove-orphans removes)", List(.containers))]
    Orphans { containers: BTreeSet<String> },
    /// Made from another folder under the same project name; left alone as orphans, even by `--remove-orphans`.
    #[error(
        "left alone, made from {working_dir} under the same project name: {}",
        List(.containers)
    )]
    OtherOrigin {
        containers: BTreeSet<String>,
        working_dir: String,
    },
    /// Whether these are replaced depends on what the pull or build brings.
    #[error("service \"{service}\": {} replaced if the image changes", List(.containers))]
    ReplacedIfImageChanges {
        service: String,
        containers: BTreeSet<String>,
    },
    /// A changed volume keeps its old settings: recreating it would lose its data.
    #[error("volume \"{volume}\" has changed in the stack; it keeps its settings and its data")]
    VolumeKept { volume: String },
    /// Another project made it, and the stack does not call it external; it is shared all the same.
    #[error("volume \"{volume}\" was made by project \"{project}\"; declare it external to say so")]
    VolumeOwned { volume: String, project: String },
    #[error("network \"{network}\" stays, in use by {}", List(.holders))]
    NetworkKept {
        network: String,
        holders: BTreeSet<String>,
    },
    /// It has changed in the stack; containers of services that the request does not name hold it as it is.
    #[error("network \"{network}\" has changed; it stays as it is for {}", List(.holders))]
    NetworkNotApplied {
        network: String,
        holders: BTreeSet<String>,
    },
    #[error(
        "service \"{service}\": optional dependency \"{dependency}\" is not part of this stack"
    )]
    OptionalDependencyMissing { service: String, dependency: String },
    /// `restart` and `start` do not apply changes; `up` does.
    #[error("service \"{service}\" has changed ({}); `up` applies it", .fields.join(", "))]
    NotApplied {
        service: String,
        fields: Vec<String>,
    },
    /// It waits for this before it is started again by its policy.
    #[error("{container} waits for {by}")]
    Held { container: String, by: String },
    /// Its restart policy is used up.
    #[error("{container} stays down: its restart policy is used up")]
    GivenUp { container: String },
    /// The store has the image for another platform than the service asks for, and takes that.
    #[error(
        "service \"{service}\" asks for the platform {wanted}, and its image is for {image}; `pull` gets the other"
    )]
    OtherPlatform {
        service: String,
        wanted: String,
        image: String,
    },
}

impl Note {
    /// It says how the request continues: part of a printed plan, not a warning when the plan is executed.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::ReplacedIfImageChanges { .. })
    }
}

fn external_network_hint(network: &str) -> String {
    match network {
        "host" | "none" => format!("write `network_mode: {network}` in the service instead"),
        _ => format!("make it with `hoist network create {network}`"),
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

pub(crate) struct PortText(
    pub(crate) Option<IpAddr>,
    pub(crate) (u16, u16),
    pub(crate) Transport,
);

impl fmt::Display for PortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ip, (first, last), transport) = self;
        f.write_str(if first == last {
            "host port "
        } else {
            "every host port of "
        })?;
        if let Some(ip) = ip {
            if ip.is_ipv6() {
                write!(f, "[{ip}]:")?
            } else {
                write!(f, "{ip}:")?
            }
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
            Self::Container { project, name } if project.is_empty() => {
                write!(f, "container \"{name}\"")
            }
            Self::Container { project, name } => {
                write!(f, "container \"{name}\" of project \"{project}\"")
            }
        }
    }
}
