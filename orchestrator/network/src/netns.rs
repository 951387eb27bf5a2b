//! Network namespaces that live as long as somebody holds them.

use std::os::fd::OwnedFd;

#[derive(Debug, thiserror::Error)]
pub enum NetnsError {}

/// A new namespace: `lo` up, pings and low ports free for every user as in docker, then the caller's `net.*` sysctls.
pub fn new_netns(_sysctls: &[(String, String)]) -> Result<OwnedFd, NetnsError> {
    todo!()
}
