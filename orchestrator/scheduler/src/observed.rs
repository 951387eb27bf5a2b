//! Owns the actual side of a comparison: plain data about what exists, built by the engine, changed by
//! [`Observed::apply`](crate::Observed::apply) in simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use hoist_object::{Health, History, PREDEFINED_NETWORK, Record, Timestamp, Transport};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::names::ImageName;

/// Everything that a plan for one project may depend on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observed {
    pub project: String,
    /// When this was seen. `apply` stamps what it changes with it.
    pub at: Timestamp,
    /// Containers of this project by name, one-offs included.
    pub containers: BTreeMap<String, Container>,
    /// All networks of the engine by name, other projects' too (external networks, subnets in use).
    pub networks: BTreeMap<String, Network>,
    /// All volumes of the engine by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Images by what a stack asks for; see [`crate::Desired::images`]. Absent: not in the store.
    pub images: BTreeMap<ImageName, Image>,
    /// Names of other projects' containers, by name: the project.
    pub foreign_containers: BTreeMap<String, String>,
    pub host: Host,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub id: String,
    /// Id of the image that it runs.
    pub image_id: String,
    pub created: Timestamp,
    /// Last start, also when it has ended since.
    pub started: Option<Timestamp>,
    pub state: State,
    /// Somebody asked for it to be stopped since its last start.
    pub stopped_by_request: bool,
    /// It ended because the host went down; stays set until it is started again.
    pub lost_in_reboot: bool,
    /// Last signal sent by `kill`, so that one request does not send it twice.
    pub signalled: Option<Timestamp>,
    pub history: History,
    /// Anonymous volumes by their target.
    pub anonymous: BTreeMap<String, String>,
    pub record: Record,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum State {
    Created,
    Running {
        health: Health,
    },
    Paused,
    /// Ended, and due to be started again by its restart policy.
    Restarting {
        code: i32,
        at: Timestamp,
    },
    Exited {
        code: i32,
        at: Timestamp,
    },
    /// Cannot be used any more (half made, damaged); only removal helps.
    Dead,
}

impl State {
    /// Has processes, so it holds its host ports.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused)
    }

    /// Needs a stop before it can be removed: it has processes or is about to have some.
    pub fn needs_stop(self) -> bool {
        self.is_running() || matches!(self, Self::Restarting { .. })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    pub id: String,
    pub name: String,
    /// Owner; empty for networks made by hand.
    pub project: String,
    pub key: String,
    pub config_hash: String,
    pub subnet: Ipv4Net,
    pub gateway: Ipv4Addr,
    /// Dynamic addresses come from here; the subnet unless `ip_range` is set.
    pub range: Ipv4Net,
    pub internal: bool,
    /// Addresses held by containers of other projects, by holder's name. This project's are in its records.
    pub foreign: BTreeMap<Ipv4Addr, String>,
    /// `aux_addresses`: never given out.
    pub reserved: BTreeSet<Ipv4Addr>,
}

impl Network {
    /// The network of `network_mode: bridge`, which belongs to no project.
    pub fn is_predefined(&self) -> bool {
        self.project.is_empty() && self.name == PREDEFINED_NETWORK
    }

    /// Whether a guest may have this address.
    pub fn is_free(&self, address: Ipv4Addr) -> bool {
        let known = self.foreign.contains_key(&address) || address == self.gateway;
        crate::ipam::is_host(self.subnet, address) && !known
    }

    /// The lowest address that nobody has who is known to this network: for a guest that no stack plans.
    pub fn free_address(&self) -> Option<Ipv4Addr> {
        let known = self
            .foreign
            .keys()
            .chain(&self.reserved)
            .chain([&self.gateway]);
        crate::ipam::free_address(self.subnet, self.range, &known.copied().collect())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    /// Owner; empty for volumes made by hand.
    pub project: String,
    /// Key in the stack; empty for anonymous volumes.
    pub key: String,
    pub config_hash: String,
    /// Used by containers of other projects.
    pub foreign_users: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Image {
    pub id: String,
    /// Last pull or build, for `pull_policy: every_<time>`.
    pub refreshed: Option<Timestamp>,
    pub has_healthcheck: bool,
    pub stop_signal: Option<String>,
    /// VOLUME targets.
    pub volumes: BTreeSet<String>,
    /// Its platform, where it is not the one that was asked for.
    #[serde(default)]
    pub other_platform: Option<String>,
}

/// Facts about the host and about what other projects hold of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Where new networks are cut from, in this order.
    pub pools: Vec<Pool>,
    /// Destinations that must stay reachable: routes and the host's own networks, the default route excepted.
    pub routes: Vec<Ipv4Net>,
    /// Host ports in use by anybody but this project's containers.
    pub ports: Vec<HeldPort>,
    /// Inclusive; for ports published without a number.
    pub ephemeral: (u16, u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub net: Ipv4Net,
    /// Prefix length of the subnets cut from it.
    pub size: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPort {
    /// `None`: all addresses.
    pub ip: Option<IpAddr>,
    pub port: u16,
    pub transport: Transport,
    pub holder: PortHolder,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PortHolder {
    /// A process on the host.
    Host,
    /// A container of this or another project.
    Container { project: String, name: String },
}

impl Default for Host {
    /// Docker's private ranges without docker0's own, in subnets for as many containers as a bridge
    /// holds, so that hundreds of stacks fit.
    fn default() -> Self {
        let cut = |a: u8, b: u8| Pool {
            net: Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), 16).expect("16 is a valid prefix length"),
            size: 22,
        };
        let pools = (18..=31)
            .map(|second| cut(172, second))
            .chain([cut(192, 168)])
            .collect();
        Self {
            pools,
            routes: Vec::new(),
            ports: Vec::new(),
            ephemeral: (32768, 60999),
        }
    }
}
