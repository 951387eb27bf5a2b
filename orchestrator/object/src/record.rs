//! A [`Record`] is what was decided when a container was created. It holds enough to stop, restart and remove a
//! container, and to say what changed, without the file it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::restart;

/// What was decided at creation. The engine stores it with the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub project: String,
    pub name: String,
    pub service: String,
    /// Replica number from 1; 0 for one-offs.
    pub number: u32,
    pub oneoff: bool,
    pub config_hash: String,
    /// Digest of each attribute that is set, by its Compose name: tells which ones changed.
    pub fields: BTreeMap<String, String>,
    /// Image reference as used by the stack.
    pub image: String,
    pub networks: Vec<Attachment>,
    pub ports: Vec<Published>,
    /// Real names of named volumes in use.
    pub volumes: BTreeSet<String>,
    /// Namespaces of other containers that it lives in.
    pub sharing: Vec<Sharing>,
    pub depends_on: BTreeMap<String, Dependency>,
    pub restart: restart::Policy,
    /// `None`: the image's, then SIGTERM. The engine fills the image's in at creation, as the image may go.
    pub stop_signal: Option<String>,
    pub stop_grace: Duration,
    /// A healthcheck set by the stack; `None`: the image decides.
    pub healthcheck: Option<bool>,
    pub working_dir: String,
    pub files: Vec<String>,
}

/// A place on a network, wholly decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Real name of the network.
    pub network: String,
    /// `eth0` and so on, unless the stack names it.
    pub interface: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// Set on the one attachment that holds the default route.
    pub gateway: Option<Ipv4Addr>,
    pub mac: [u8; 6],
    /// Names in the network's DNS, the container's name first; the engine adds the short id.
    pub aliases: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One published port, wholly decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// `None`: all addresses.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub target: u16,
    pub transport: Transport,
}

/// `127.0.0.1:8080->80/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        write!(f, "{}->{}/{}", self.host_port, self.target, self.transport)
    }
}

/// One namespace taken from another container, looked up by name at each start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "namespace", content = "container")]
pub enum Sharing {
    Network(String),
    Pid(String),
    Ipc(String),
    Uts(String),
}

impl Sharing {
    pub fn container(&self) -> &str {
        match self {
            Self::Network(name) | Self::Pid(name) | Self::Ipc(name) | Self::Uts(name) => name,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub condition: DependencyCondition,
    pub restart: bool,
    pub required: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    Started,
    Healthy,
    CompletedSuccessfully,
}
