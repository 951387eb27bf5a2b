//! From the world to the wire.

mod attachments;
mod build;
mod inspect;
mod summary;

use hoist_api::{Ipam, IpamConfig, NetworkContainer, NetworkInspect, VolumeInspect};
use hoist_object::{NetworkDoc, PREDEFINED_NETWORK, Timestamp, VolumeDoc};

use crate::engine::rfc3339;
use crate::store::Layout;
use crate::world::World;
use attachments::mac;

pub(crate) use attachments::exposed;
pub(crate) use build::{all_credentials, build_event, credentials};
pub(crate) use inspect::inspect;
pub(crate) use summary::summary;

/// Docker's predefined networks and their drivers. A container on `host` or `none` has no network of the engine; the
/// bridge is there as long as containers are on it.
const PREDEFINED: [(&str, &str); 3] = [(PREDEFINED_NETWORK, "bridge"), ("host", "host"), ("none", "null")];

pub(crate) fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(known, _)| *known == name)
}

/// Those of docker's networks that exist in name only.
pub(crate) fn nominal(world: &World) -> impl Iterator<Item = NetworkInspect> {
    PREDEFINED.into_iter().filter(|(name, _)| !world.networks.contains_key(*name)).map(|(name, driver)| {
        let id = hoist_image::Digest::of(format!("predefined network {name}").as_bytes()).to_string();
        NetworkInspect {
            name: name.to_owned(),
            id: id.trim_start_matches("sha256:").to_owned(),
            created: rfc3339(Timestamp(0)),
            scope: "local".to_owned(),
            driver: driver.to_owned(),
            ipam: Ipam { driver: "default".to_owned(), config: Vec::new() },
            ..NetworkInspect::default()
        }
    })
}

/// By its name, or by the beginning of its id.
pub(crate) fn find_network(world: &World, name: &str) -> Option<NetworkInspect> {
    let by_name = |found: &NetworkInspect| found.name == name;
    let by_id = |found: &NetworkInspect| !name.is_empty() && found.id.starts_with(name);
    let nominal = || nominal(world).find(by_name).or_else(|| nominal(world).find(by_id));
    world.network(name).map(|found| network(world, found)).or_else(nominal)
}

pub(crate) fn network(world: &World, network: &NetworkDoc) -> NetworkInspect {
    let attached = world.containers.values().filter(|container| container.phase.is_up()).filter_map(|container| {
        let attachment = container.doc.record.networks.iter().find(|found| found.network == network.name)?;
        let entry = NetworkContainer {
            name: container.doc.record.name.clone(),
            endpoint_id: container.doc.id.clone(),
            mac_address: mac(attachment.mac),
            ipv4_address: format!("{}/{}", attachment.address, attachment.prefix),
            ipv6_address: String::new(),
        };
        Some((container.doc.id.clone(), entry))
    });
    NetworkInspect {
        name: network.name.clone(),
        id: network.id.clone(),
        created: rfc3339(network.created),
        scope: "local".to_owned(),
        driver: "bridge".to_owned(),
        enable_ipv6: false,
        internal: network.internal,
        attachable: false,
        ingress: false,
        ipam: Ipam {
            driver: "default".to_owned(),
            config: vec![IpamConfig { subnet: network.subnet.to_string(), gateway: network.gateway.to_string() }],
        },
        containers: attached.collect(),
        options: network.driver_opts.clone(),
        labels: network.labels.clone(),
    }
}

pub(crate) fn volume(layout: &Layout, volume: &VolumeDoc) -> VolumeInspect {
    VolumeInspect {
        name: volume.name.clone(),
        driver: "local".to_owned(),
        mountpoint: layout.volume_data(&volume.name).display().to_string(),
        created_at: rfc3339(volume.created),
        labels: volume.labels.clone(),
        options: volume.driver_opts.clone(),
        scope: "local".to_owned(),
    }
}
