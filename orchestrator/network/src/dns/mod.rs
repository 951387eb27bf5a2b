//! Names: who asks decides what they mean.

mod forward;
pub(crate) mod resolv;
pub mod server;
mod shared;
mod tcp;
mod wire;
mod worker;
pub mod zone;

pub use server::{DnsConfig, DnsError, DnsNetwork, Server};
pub use zone::{Zone, ZoneEndpoint, ZoneNetwork};
