//! A network's record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The network that every engine has for containers on the default bridge: it belongs to no project and is created on
/// demand.
pub const PREDEFINED_NETWORK: &str = "bridge";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkDoc {
    pub id: String,
    pub name: String,
    pub created: Timestamp,
    pub project: String,
    pub key: String,
    pub config_hash: String,
    pub subnet: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub range: Ipv4Net,
    #[serde(default)]
    pub reserved: BTreeSet<Ipv4Addr>,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub driver_opts: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl NetworkDoc {
    /// The network of [`PREDEFINED_NETWORK`], which belongs to no project.
    pub fn is_predefined(&self) -> bool {
        self.project.is_empty() && self.name == PREDEFINED_NETWORK
    }
}
