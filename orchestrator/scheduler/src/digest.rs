//! Owns when two configurations are the same: a digest per attribute, and one hash over them.
//!
//! Attributes at their default leave no digest, so an attribute that hoist learns later does not change the hash of a
//! stack that does not use it. What decides only how many containers there are, where their image comes from or when
//! they start (build, pull_policy, scale, depends_on, profiles) is left out: changing it replaces nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;

use hoist_spec::canonical;
use hoist_spec::model::{FileMount, Network, Service, Stack, Volume};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::desired::Desired;
use crate::planner::volume_keys;

/// Digests of the attributes that a container is made from, by Compose name: of their canonical form, so an attribute that
/// the model learns later is part of it by itself.
pub(crate) fn fields(desired: &Desired, service: &Service) -> BTreeMap<String, String> {
    let mut fields = Fields(BTreeMap::new());
    for (name, value) in canonical_form(service) {
        match (name.as_str(), value) {
            (_, Value::Null) | ("scale", _) => {}
            // Where limits stand in the file does not matter, only what they are.
            ("deploy", value) => {
                let policy = value.get("restart_policy").cloned().unwrap_or_default();
                fields.put(
                    "deploy.restart_policy",
                    &policy.to_string(),
                    &Value::Null.to_string(),
                );
            }
            (_, value) => {
                let outside = outside(desired, service, &name);
                fields.put(&name, &(value.to_string(), outside), &Default::default());
            }
        }
    }
    fields.0
}

/// The service without what makes no difference to a container.
fn canonical_form(service: &Service) -> serde_json::Map<String, Value> {
    let mut plain = service.clone();
    plain.build = None;
    plain.pull_policy = None;
    plain.depends_on.clear();
    plain.profiles.clear();
    plain.replicas = 1;
    plain.attach = true;
    plain.deploy = None;
    if plain.network_mode.is_some() {
        plain.networks.clear();
    }
    plain.bare_mounts.clear();
    plain.extensions.clear();
    let stack = Stack {
        services: BTreeMap::from([(String::new(), plain)]),
        ..Stack::default()
    };
    let mut form = canonical::to_json(&stack);
    let service = form
        .get_mut("services")
        .and_then(|services| services.get_mut(""));
    service
        .and_then(Value::as_object_mut)
        .map(std::mem::take)
        .unwrap_or_default()
}

/// The part of an attribute's meaning that lies outside of the service: real names, contents of files.
fn outside(desired: &Desired, service: &Service, attribute: &str) -> Vec<String> {
    let stack = &desired.stack;
    match attribute {
        "networks" => {
            let names = service.networks.keys();
            names
                .map(|key| {
                    stack
                        .networks
                        .get(key)
                        .map_or(key, |network| &network.name)
                        .clone()
                })
                .collect()
        }
        "volumes" => {
            let names = volume_keys(service);
            names
                .map(|key| {
                    stack
                        .volumes
                        .get(key)
                        .map_or(key, |volume| &volume.name)
                        .clone()
                })
                .collect()
        }
        "secrets" => contents(&service.secrets, &desired.secrets),
        "configs" => contents(&service.configs, &desired.configs),
        _ => Vec::new(),
    }
}

fn contents(mounts: &[FileMount], contents: &BTreeMap<String, String>) -> Vec<String> {
    mounts
        .iter()
        .map(|mount| contents.get(&mount.source).cloned().unwrap_or_default())
        .collect()
}

pub(crate) fn config_hash(fields: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, digest) in fields {
        text.push_str(name);
        text.push('=');
        text.push_str(digest);
        text.push('\n');
    }
    hex(&text)
}

pub(crate) fn network_hash(network: &Network) -> String {
    let Network {
        name: _,
        external: _,
        driver,
        driver_opts,
        internal,
        attachable: _,
        enable_ipv4,
        enable_ipv6,
        labels: _,
        // The one driver that there is.
        ipam_driver: _,
        ipam,
    } = network;
    let mut fields = Fields(BTreeMap::new());
    fields.put(
        "driver",
        &driver.clone().filter(|name| name != "bridge"),
        &None,
    );
    fields.put("driver_opts", driver_opts, &BTreeMap::new());
    fields.put("internal", internal, &false);
    fields.put("enable_ipv4", &enable_ipv4.filter(|on| !on), &None);
    fields.put("enable_ipv6", &enable_ipv6.filter(|on| *on), &None);
    fields.put("ipam", ipam, &Vec::new());
    config_hash(&fields.0)
}

pub fn volume_hash(volume: &Volume) -> String {
    let Volume {
        name: _,
        external: _,
        driver,
        driver_opts,
        labels: _,
    } = volume;
    let mut fields = Fields(BTreeMap::new());
    fields.put(
        "driver",
        &driver.clone().filter(|name| name != "local"),
        &None,
    );
    fields.put("driver_opts", driver_opts, &BTreeMap::new());
    config_hash(&fields.0)
}

/// Compose names of what differs, sorted.
pub(crate) fn changed(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut names: Vec<String> = before
        .keys()
        .chain(after.keys())
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

struct Fields(BTreeMap<String, String>);

impl Fields {
    fn put<T: Debug + PartialEq>(&mut self, name: &str, value: &T, default: &T) {
        if value != default {
            self.0
                .insert(name.to_owned(), hex(&format!("{value:?}"))[..16].to_owned());
        }
    }
}

pub(crate) fn hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
