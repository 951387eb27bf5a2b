//! Host ports: whether they are free, and keeping them reserved.

use std::net::Ipv4Addr;

use crate::model::Protocol;

#[derive(Debug, thiserror::Error)]
#[error("port {port}/{protocol} on {ip} is already in use{}", holder.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
pub struct PortTaken {
    pub ip: Ipv4Addr,
    pub port: u16,
    pub protocol: Protocol,
    /// `name (pid N)` where it can be found out.
    pub holder: Option<String>,
    #[source]
    pub source: std::io::Error,
}
