//! Names: who asks decides what they mean.

mod forward;
pub(crate) mod resolv;
pub mod server;
mod shared;
mod shares;
mod sockets;
mod tcp;
mod wire;
mod worker;
pub mod zone;

pub use server::{DnsConfig, DnsError, Server, Serving};
pub use sockets::{ADDRESS, Sockets};
pub use zone::{Asker, Candidate, Zone, ZoneEndpoint, ZoneNetwork};
