//! The table inside a container's namespace that leads its port 53 to the name server.

use std::net::Ipv4Addr;

use super::FirewallError;
use super::batch::{Channel, Refusal};
use super::rules;
use super::text::Line;
use super::transaction;

const TABLE: &str = "hoist-names";

/// In the calling thread's namespace, in place of what an earlier server put there.
pub(crate) fn serve_names(address: Ipv4Addr, udp: u16, tcp: u16) -> Result<(), FirewallError> {
    let rules = rules::name_service(address, udp, tcp);
    let operations = transaction::replace(&rules, &[]);
    let channel = Channel::open().map_err(FirewallError::Channel)?;
    channel
        .send(TABLE, &operations)
        .map_err(|Refusal { operation, source }| {
            let operation = operation.and_then(|number| operations.get(number));
            let operation = operation.map(|operation| Line(TABLE, operation).to_string());
            FirewallError::Kernel {
                operation: operation.unwrap_or_else(|| TABLE.to_owned()),
                source,
            }
        })
}
