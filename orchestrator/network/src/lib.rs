//! Wiring: bridges, veth pairs, addresses, routes, the firewall with published ports, and names.
//!
//! Owns every link, route, nft object and DNS answer of one engine (its `instance`). Knows containers only as ids with
//! addresses: it must not know services, stacks or images. Synchronous; the only thread that stays is the DNS server's.
//!
//! Kernel objects are made in the network namespace of the calling thread, which is the host's for the engine.
#![forbid(unsafe_code)]

pub mod dns;
mod facts;
pub mod firewall;
mod host;
mod model;
mod netlink;
mod netns;
mod ports;

pub use facts::{FactsError, HostFacts};
pub use firewall::FirewallError;
pub use firewall::foreign::ForeignAccept;
pub use firewall::watch::{FirewallEvent, FlushWatch};
pub use host::{Host, HostConfig, Link, LinkKind, NetworkError};
pub use ipnet::Ipv4Net;
pub use model::{
    Endpoint, FirewallState, InvalidMac, Mac, NetworkSpec, Protocol, Published, bridge_name,
    is_veth_name, veth_name,
};
pub use netns::{NetnsError, new_netns, set_sysctls};
pub use ports::PortTaken;
