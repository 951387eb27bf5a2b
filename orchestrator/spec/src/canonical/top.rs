//! The top level: networks, volumes, secrets, configs.

use serde_json::{Map, Value};

use crate::fields;
use crate::model::{FileObject, FileSource, IpamPool, Network, Stack, Volume};

use super::kinds::{self, prints};
use super::{Object, service};

pub(super) fn stack(stack: &Stack) -> Value {
    let mut root = Object::default();
    root.put("name", stack.name.clone());
    let services = stack
        .services
        .iter()
        .map(|(name, one)| (name.clone(), service::service(one)));
    root.put("services", services.collect::<Map<_, _>>());
    let mut section = |key: &str, entries: Map<String, Value>| {
        if !entries.is_empty() {
            root.put(key, entries);
        }
    };
    section(
        "networks",
        stack
            .networks
            .iter()
            .map(|(name, one)| (name.clone(), network(one)))
            .collect(),
    );
    section(
        "volumes",
        stack
            .volumes
            .iter()
            .map(|(name, one)| (name.clone(), volume(one)))
            .collect(),
    );
    section(
        "secrets",
        stack
            .secrets
            .iter()
            .map(|(name, one)| (name.clone(), file_object(one)))
            .collect(),
    );
    section(
        "configs",
        stack
            .configs
            .iter()
            .map(|(name, one)| (name.clone(), file_object(one)))
            .collect(),
    );
    for (key, value) in &stack.extensions {
        root.put(key, value.clone());
    }
    root.done()
}

/// Only the name of something external can be nothing; others without one were not given theirs yet.
fn named(object: &mut Object, name: &str, external: bool) {
    if external || !name.is_empty() {
        object.text_or_empty("name", name);
    }
}

fn network(network: &Network) -> Value {
    let mut object = Object::default();
    named(&mut object, &network.name, network.external);
    network.print(&mut object);
    let mut ipam = Object::default();
    ipam.text("driver", network.ipam_driver.as_ref());
    ipam.list("config", network.ipam.iter().map(pool).collect());
    object.put("ipam", ipam.0);
    object.done()
}

fields::network!(prints);
fields::volume!(prints);

fn pool(pool: &IpamPool) -> Value {
    let IpamPool {
        subnet,
        ip_range,
        gateway,
        aux_addresses,
    } = pool;
    let mut object = Object::default();
    object.maybe("subnet", subnet.map(|subnet| subnet.to_string()));
    object.maybe("ip_range", ip_range.map(|range| range.to_string()));
    object.maybe("gateway", gateway.map(|address| address.to_string()));
    let mut aux = Object::default();
    for (name, address) in aux_addresses {
        aux.put(name, address.to_string());
    }
    object.section("aux_addresses", aux);
    object.done()
}

fn volume(volume: &Volume) -> Value {
    let mut object = Object::default();
    named(&mut object, &volume.name, volume.external);
    volume.print(&mut object);
    object.done()
}

fn file_object(file: &FileObject) -> Value {
    let mut object = Object::default();
    named(&mut object, &file.name, file.source == FileSource::External);
    match &file.source {
        FileSource::File(path) => object.put("file", path.to_string_lossy().into_owned()),
        FileSource::Environment(name) => object.put("environment", name.clone()),
        FileSource::Content(content) => object.put("content", content.clone()),
        FileSource::External => object.put("external", true),
    }
    object.table("labels", &file.labels);
    object.done()
}
