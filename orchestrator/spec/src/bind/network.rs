//! Networks, and a service's places and ports on them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::fields;
use crate::lower::ports;
use crate::model::{Attachment, IpamPool, Network, NetworkMode, Port, Protocol};
use crate::node::Node;
use crate::report::Span;

use super::kinds::{self, reads};
use super::{Reader, names};

pub(super) fn network(reader: &mut Reader<'_>) -> Network {
    reader.named();
    names::resource(reader);
    if !reader.flag("external") {
        reader.only("driver", &["bridge", "default"]);
        not_acted_on(reader);
    }
    Network::read(reader)
}

fields::network!(reads);

fn name(reader: &mut Reader<'_>) -> String {
    reader.text("name")
}

fn ipam_driver(reader: &mut Reader<'_>) -> Option<String> {
    let mut section = reader.section("ipam")?;
    let driver = section.string("driver")?;
    if driver != "default" {
        section.not_acted_on("driver", &format!("the address driver `{driver}`"));
    }
    Some(driver)
}

fn ipam(reader: &mut Reader<'_>) -> Vec<IpamPool> {
    let Some(mut section) = reader.section("ipam") else {
        return Vec::new();
    };
    let pools = section.items("config");
    pools
        .iter()
        .enumerate()
        .map(|(index, node)| pool(&mut section.item(node, "config", index)))
        .collect()
}

/// Values that would change the network, and do not yet.
fn not_acted_on(reader: &mut Reader<'_>) {
    let mut refuse =
        |at: Span, what: &str| reader.inert.refuse(&reader.path, at, what, reader.report);
    for (key, wrong, what) in [
        ("enable_ipv4", false, "a network without IPv4"),
        ("enable_ipv6", true, "IPv6"),
    ] {
        if let Some(node) = reader
            .map
            .get(key)
            .filter(|node| node.as_bool() == Some(wrong))
        {
            refuse(node.span, what);
        }
    }
    let options = reader.map.get("driver_opts").and_then(Node::as_map);
    for option in options.into_iter().flat_map(|map| &map.0) {
        match option.key.as_str() {
            MTU => {}
            BRIDGE => {
                let name = option.value.as_str().unwrap_or_default();
                if !is_bridge_name(name) {
                    refuse(option.value.span, &format!("the bridge name `{name}`"));
                }
            }
            other => refuse(option.key_span, &format!("the driver option `{other}`")),
        }
    }
    let pools = reader
        .node
        .at(&["ipam", "config"])
        .and_then(Node::as_seq)
        .unwrap_or_default();
    for subnet in pools.iter().filter_map(|pool| pool.at(&["subnet"])) {
        if subnet.as_str().is_some_and(|text| text.contains(':')) {
            refuse(subnet.span, "IPv6");
        }
    }
}

/// The options of a bridge that are acted on.
const MTU: &str = "com.docker.network.driver.mtu";
const BRIDGE: &str = "com.docker.network.bridge.name";

/// What the kernel takes for a link, without what looks like one of the engine's own.
pub fn is_bridge_name(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    let reserved = name.starts_with("hb-")
        || name.starts_with("hv")
        || matches!(name, "." | ".." | "lo" | "all" | "default");
    (1..=15).contains(&name.len()) && plain && !reserved
}

fn pool(reader: &mut Reader<'_>) -> IpamPool {
    let mut aux_addresses = BTreeMap::new();
    if let Some(mut section) = reader.section("aux_addresses") {
        let keys: Vec<String> = section
            .map
            .0
            .iter()
            .map(|entry| entry.key.clone())
            .collect();
        for key in keys {
            if let Some(address) = section.parsed(&key, "an address") {
                aux_addresses.insert(key, address);
            }
        }
    }
    IpamPool {
        subnet: reader.parsed("subnet", "a subnet like 10.1.0.0/16"),
        ip_range: reader.parsed("ip_range", "a range like 10.1.2.0/24"),
        gateway: reader.parsed("gateway", "an address"),
        aux_addresses,
    }
}

pub(super) fn attachments(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Attachment> {
    let mut attachments = BTreeMap::new();
    let entries = reader.entries(key);
    if let Some(mut section) = reader.section(key) {
        for entry in entries {
            let mut place = section.below(&entry.value, &entry.key);
            names::attachment(&mut place);
            attachments.insert(entry.key.clone(), Attachment::read(&mut place));
        }
    }
    attachments
}

fields::attachment!(reads);

pub(super) fn mode(reader: &mut Reader<'_>, key: &str) -> Option<NetworkMode> {
    let text = reader.string(key)?;
    match text.split_once(':') {
        _ if text == "none" => Some(NetworkMode::None),
        _ if text == "host" => Some(NetworkMode::Host),
        Some(("service", name)) => Some(NetworkMode::Service(name.to_owned())),
        Some(("container", name)) => Some(NetworkMode::Container(name.to_owned())),
        None if !text.is_empty() => Some(NetworkMode::Network(text)),
        _ => {
            reader.not_yet(key, &format!("the mode `{text}`"));
            None
        }
    }
}

/// Of IPv4: an address that is shown and not listened on would be worse than none.
fn host_ip(reader: &mut Reader<'_>) -> Option<IpAddr> {
    let address: IpAddr = reader.parsed("host_ip", "an address")?;
    if address.is_ipv6() {
        let span = reader
            .map
            .get("host_ip")
            .map_or(reader.node.span, |node| node.span);
        let what = format!("the IPv6 host address `{address}`");
        reader
            .inert
            .refuse(&reader.path, span, &what, reader.report);
    }
    Some(address)
}

pub(super) fn published(reader: &mut Reader<'_>, key: &str) -> Vec<Port> {
    let mut ports = Vec::new();
    let items = reader.items(key);
    for (index, node) in items.iter().enumerate() {
        let mut item = reader.item(node, key, index);
        if let Some(port) = port(&mut item) {
            ports.push(port);
        }
    }
    ports
}

fn port(reader: &mut Reader<'_>) -> Option<Port> {
    let protocol = match reader.text("protocol").to_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => {
            let path = reader.path.clone();
            reader.inert.not_yet(
                &path,
                reader.node,
                &format!("the protocol `{other}`"),
                reader.report,
            );
            return None;
        }
    };
    let published = match reader.string("published").filter(|text| !text.is_empty()) {
        Some(text) => match ports::range(&text) {
            Some(range) => Some(range),
            None => {
                reader.invalid(
                    "published",
                    &format!("`{text}` is not a port or a range of ports"),
                );
                None
            }
        },
        None => None,
    };
    Some(Port {
        target: reader.number("target")?,
        published: published.filter(|range| *range != (0, 0)),
        host_ip: host_ip(reader),
        protocol,
        mode: reader
            .string("mode")
            .unwrap_or_else(|| "ingress".to_owned()),
        name: reader.string("name"),
        app_protocol: reader.string("app_protocol"),
    })
}
