//! A network's record → what the kernel needs to know of it.

use hoist_network::NetworkSpec;
use hoist_object::NetworkDoc;

/// Docker's options.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const MTU: &str = "com.docker.network.driver.mtu";

pub(crate) fn network_spec(network: &NetworkDoc) -> NetworkSpec {
    NetworkSpec {
        id: network.id.clone(),
        subnet: network.subnet,
        gateway: network.gateway,
        internal: network.internal,
        bridge: network.driver_opts.get(BRIDGE_NAME).cloned(),
        mtu: network
            .driver_opts
            .get(MTU)
            .and_then(|mtu| mtu.parse().ok()),
    }
}

/// Its bridge's name.
pub(crate) fn bridge(network: &NetworkDoc) -> String {
    network_spec(network).bridge()
}
