//! Names: who asks decides what they mean.

pub(crate) mod resolv;
pub mod server;
pub mod zone;

pub use server::{DnsConfig, DnsError, DnsNetwork, Server};
pub use zone::{Zone, ZoneEndpoint, ZoneNetwork};
