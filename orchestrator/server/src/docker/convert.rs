//! From the engine's objects to docker's.

mod attachments;
mod inspect;
mod references;
mod stats;
mod summary;

use hoist_api::{Ipam, IpamConfig, NetworkContainer, NetworkInspect, VolumeInspect};
use hoist_engine::{NetworkView, VolumeView, rfc3339};
use hoist_object::{PREDEFINED_NETWORK, Timestamp};

use attachments::mac;

pub(crate) use attachments::exposed;
pub(crate) use inspect::inspect;
pub(crate) use references::{names, parse, seconds};
pub(crate) use stats::stats;
pub(crate) use summary::summary;

/// Docker's predefined networks and their drivers. A container on `host` or `none` has no network of the engine; the
/// bridge is there as long as containers are on it.
const PREDEFINED: [(&str, &str); 3] = [
    (PREDEFINED_NETWORK, "bridge"),
    ("host", "host"),
    ("none", "null"),
];

pub(crate) fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(known, _)| *known == name)
}

/// Those of docker's networks that exist in name only, beside these.
pub(crate) fn nominal(known: &[NetworkView]) -> impl Iterator<Item = NetworkInspect> {
    let is_known = |name: &str| known.iter().any(|network| network.doc.name == name);
    PREDEFINED
        .into_iter()
        .filter(move |(name, _)| !is_known(name))
        .map(|(name, driver)| {
            let id = hoist_image::Digest::of(format!("predefined network {name}").as_bytes())
                .to_string();
            NetworkInspect {
                name: name.to_owned(),
                id: id.trim_start_matches("sha256:").to_owned(),
                created: rfc3339(Timestamp(0)),
                scope: "local".to_owned(),
                driver: driver.to_owned(),
                ipam: Ipam {
                    driver: "default".to_owned(),
                    config: Vec::new(),
                },
                ..NetworkInspect::default()
            }
        })
}

pub(crate) fn network(network: &NetworkView) -> NetworkInspect {
    let attached = network.attached.iter().map(|(id, name, attachment)| {
        let entry = NetworkContainer {
            name: name.clone(),
            endpoint_id: id.clone(),
            mac_address: mac(attachment.mac),
            ipv4_address: format!("{}/{}", attachment.address, attachment.prefix),
            ipv6_address: String::new(),
        };
        (id.clone(), entry)
    });
    let containers = attached.collect();
    let network = &network.doc;
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
            config: vec![IpamConfig {
                subnet: network.subnet.to_string(),
                gateway: network.gateway.to_string(),
            }],
        },
        containers,
        options: network.driver_opts.clone(),
        labels: network.labels.clone(),
    }
}

pub(crate) fn volume(volume: &VolumeView) -> VolumeInspect {
    let doc = &volume.doc;
    VolumeInspect {
        name: doc.name.clone(),
        driver: "local".to_owned(),
        mountpoint: volume.folder.display().to_string(),
        created_at: rfc3339(doc.created),
        labels: doc.labels.clone(),
        options: doc.driver_opts.clone(),
        scope: "local".to_owned(),
    }
}
