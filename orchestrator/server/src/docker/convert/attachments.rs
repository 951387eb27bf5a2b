//! What a container is attached to: ports, networks, mounts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hoist_api::{EndpointSettings, MountPoint, NetworkSettings, PortBinding, PortSummary};
use hoist_engine::{ContainerView, Handle};
use hoist_object::{MountKind, Published, Transport, short};
use hoist_spec::model::NetworkMode;

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn host_ip(port: &Published) -> String {
    port.host_ip
        .map_or_else(|| "0.0.0.0".to_owned(), |ip: IpAddr| ip.to_string())
}

/// `8080/tcp`, or a range.
pub(crate) fn exposed(container: &ContainerView) -> Vec<(u16, String)> {
    let texts = container
        .config
        .expose
        .iter()
        .chain(&container.doc.image.exposed_ports);
    let mut ports: Vec<(u16, String)> = texts
        .filter_map(|text| {
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            Some(
                (first..=last)
                    .map(|port| (port, protocol.to_owned()))
                    .collect::<Vec<_>>(),
            )
        })
        .flatten()
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

pub(super) fn ports(container: &ContainerView) -> Vec<PortSummary> {
    let published = &container.doc.record.ports;
    let mut ports = Vec::new();
    if container.phase.is_up() {
        ports.extend(published.iter().map(|port| PortSummary {
            ip: host_ip(port),
            private_port: port.target,
            public_port: Some(port.host_port),
            protocol: transport(port.transport).to_owned(),
        }));
        let is_published = |port: u16, protocol: &str| {
            published
                .iter()
                .any(|found| found.target == port && transport(found.transport) == protocol)
        };
        let only_exposed = exposed(container)
            .into_iter()
            .filter(|(port, protocol)| !is_published(*port, protocol));
        ports.extend(only_exposed.map(|(private_port, protocol)| PortSummary {
            ip: String::new(),
            private_port,
            public_port: None,
            protocol,
        }));
    }
    ports.sort();
    ports
}

pub(super) fn network_mode(container: &ContainerView) -> String {
    match &container.config.network_mode {
        Some(NetworkMode::Host) => "host".to_owned(),
        Some(NetworkMode::None) => "none".to_owned(),
        Some(NetworkMode::Service(name) | NetworkMode::Container(name)) => {
            format!("container:{name}")
        }
        Some(NetworkMode::Network(name)) => name.clone(),
        None => container
            .doc
            .record
            .networks
            .first()
            .map(|found| found.network.clone())
            .unwrap_or_default(),
    }
}

pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

pub(super) fn endpoints(container: &ContainerView) -> BTreeMap<String, EndpointSettings> {
    let up = container.phase.is_up();
    let attachments = container.doc.record.networks.iter();
    attachments
        .map(|attachment| {
            let network = container.networks.get(&attachment.network);
            let settings = EndpointSettings {
                network_id: network.map(|(id, _)| id.clone()).unwrap_or_default(),
                gateway: network
                    .filter(|_| up)
                    .map(|(_, gateway)| gateway.to_string())
                    .unwrap_or_default(),
                ip_address: if up {
                    attachment.address.to_string()
                } else {
                    String::new()
                },
                ip_prefix_len: if up { attachment.prefix } else { 0 },
                mac_address: if up {
                    mac(attachment.mac)
                } else {
                    String::new()
                },
                aliases: attachment.aliases.clone(),
                dns_names: attachment
                    .aliases
                    .iter()
                    .cloned()
                    .chain([short(&container.doc.id).to_owned()])
                    .collect(),
            };
            (attachment.network.clone(), settings)
        })
        .collect()
}

pub(super) fn mounts(engine: &Handle, container: &ContainerView) -> Vec<MountPoint> {
    container
        .doc
        .mounts
        .iter()
        .map(|mount| {
            let point = MountPoint {
                destination: mount.target.clone(),
                rw: !mount.read_only,
                mode: if mount.read_only {
                    "ro".to_owned()
                } else {
                    "rw".to_owned()
                },
                ..MountPoint::default()
            };
            match &mount.kind {
                MountKind::Volume { name, .. } => MountPoint {
                    kind: "volume".to_owned(),
                    name: name.clone(),
                    source: engine.volume_folder(name).display().to_string(),
                    driver: "local".to_owned(),
                    ..point
                },
                MountKind::Bind {
                    path, propagation, ..
                } => MountPoint {
                    kind: "bind".to_owned(),
                    source: path.display().to_string(),
                    propagation: propagation.clone().unwrap_or_else(|| "rprivate".to_owned()),
                    ..point
                },
                MountKind::Tmpfs { .. } => MountPoint {
                    kind: "tmpfs".to_owned(),
                    ..point
                },
            }
        })
        .collect()
}

pub(super) fn bindings(container: &ContainerView) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: BTreeMap<String, Option<Vec<PortBinding>>> = exposed(container)
        .into_iter()
        .map(|(port, kind)| (format!("{port}/{kind}"), None))
        .collect();
    for port in &container.doc.record.ports {
        let binding = PortBinding {
            host_ip: host_ip(port),
            host_port: port.host_port.to_string(),
        };
        let key = format!("{}/{}", port.target, transport(port.transport));
        bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    bindings
}

pub(super) fn network_settings(container: &ContainerView) -> NetworkSettings {
    let networks = endpoints(container);
    let first = container
        .doc
        .record
        .networks
        .first()
        .and_then(|found| networks.get(&found.network))
        .cloned();
    let first = first.unwrap_or_default();
    NetworkSettings {
        ports: if container.phase.is_up() {
            bindings(container)
        } else {
            BTreeMap::new()
        },
        networks,
        ip_address: first.ip_address,
        gateway: first.gateway,
        mac_address: first.mac_address,
    }
}
