//! Owns when two configurations are the same: a digest per attribute, and one hash over them.
//!
//! Attributes at their default leave no digest, so an attribute that hoist learns later does not change the hash of a
//! stack that does not use it. What decides only how many containers there are, where their image comes from or when
//! they start (build, pull_policy, scale, depends_on, profiles) is left out: changing it replaces nothing.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use hoist_spec::model::{FileMount, MountSource, Network, Service, Volume};
use sha2::{Digest, Sha256};

use crate::desired::Desired;

/// Digests of the attributes that a container is made from, by Compose name.
pub(crate) fn fields(desired: &Desired, service: &Service) -> BTreeMap<String, String> {
    let mut fields = Fields(BTreeMap::new());
    process_fields(&mut fields, service);
    host_fields(&mut fields, service);
    object_fields(&mut fields, desired, service);
    fields.0
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
        ipam,
    } = network;
    let mut fields = Fields(BTreeMap::new());
    fields.put("driver", &driver.clone().filter(|name| name != "bridge"));
    fields.put("driver_opts", driver_opts);
    fields.put("internal", internal);
    fields.put("enable_ipv4", &enable_ipv4.filter(|on| !on));
    fields.put("enable_ipv6", &enable_ipv6.filter(|on| *on));
    fields.put("ipam", ipam);
    config_hash(&fields.0)
}

pub(crate) fn volume_hash(volume: &Volume) -> String {
    let Volume { name: _, external: _, driver, driver_opts, labels: _ } = volume;
    let mut fields = Fields(BTreeMap::new());
    fields.put("driver", &driver.clone().filter(|name| name != "local"));
    fields.put("driver_opts", driver_opts);
    config_hash(&fields.0)
}

/// Compose names of what differs, sorted.
pub(crate) fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> =
        before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

struct Fields(BTreeMap<String, String>);

impl Fields {
    fn put<T: Debug + Default + PartialEq>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.0.insert(name.to_owned(), hex(&format!("{value:?}"))[..16].to_owned());
        }
    }
}

fn process_fields(fields: &mut Fields, service: &Service) {
    fields.put("image", &service.image);
    fields.put("platform", &service.platform);
    fields.put("command", &service.command);
    fields.put("entrypoint", &service.entrypoint);
    fields.put("environment", &service.environment);
    fields.put("working_dir", &service.working_dir);
    fields.put("user", &service.user);
    fields.put("group_add", &service.group_add);
    fields.put("hostname", &service.hostname);
    fields.put("domainname", &service.domainname);
    fields.put("container_name", &service.container_name);
    fields.put("init", &service.init);
    fields.put("tty", &service.tty);
    fields.put("stdin_open", &service.stdin_open);
    fields.put("stop_signal", &service.stop_signal);
    fields.put("stop_grace_period", &service.stop_grace_period);
    fields.put("labels", &service.labels);
    fields.put("annotations", &service.annotations);
    fields.put("healthcheck", &service.healthcheck);
    fields.put("restart", &service.restart);
    fields.put("deploy.restart_policy", &service.deploy_restart);
}

fn host_fields(fields: &mut Fields, service: &Service) {
    fields.put("network_mode", &service.network_mode);
    fields.put("ports", &service.ports);
    fields.put("expose", &service.expose);
    fields.put("dns", &service.dns);
    fields.put("dns_search", &service.dns_search);
    fields.put("dns_opt", &service.dns_opt);
    fields.put("extra_hosts", &service.extra_hosts);
    fields.put("mac_address", &service.mac_address);
    fields.put("read_only", &service.read_only);
    fields.put("shm_size", &service.shm_size);
    fields.put("resources", &service.resources);
    fields.put("ulimits", &service.ulimits);
    fields.put("sysctls", &service.sysctls);
    fields.put("oom_score_adj", &service.oom_score_adj);
    fields.put("cap_add", &service.cap_add);
    fields.put("cap_drop", &service.cap_drop);
    fields.put("security_opt", &service.security_opt);
    fields.put("privileged", &service.privileged);
    fields.put("devices", &service.devices);
    fields.put("pid", &service.pid);
    fields.put("ipc", &service.ipc);
    fields.put("uts", &service.uts);
    fields.put("logging", &service.logging);
}

/// Attributes whose meaning lies partly outside of the service: real names, contents of files.
fn object_fields(fields: &mut Fields, desired: &Desired, service: &Service) {
    let stack = &desired.stack;
    let networks: Vec<_> = service
        .networks
        .iter()
        .map(|(key, attachment)| (stack.networks.get(key).map_or(key.as_str(), |network| &network.name), attachment))
        .collect();
    fields.put("networks", &networks);
    let mounts: Vec<_> = service
        .mounts
        .iter()
        .map(|mount| {
            let real = match &mount.source {
                MountSource::Volume { name: Some(key), .. } => {
                    Some(stack.volumes.get(key).map_or(key.as_str(), |volume| &volume.name))
                }
                _ => None,
            };
            (mount, real)
        })
        .collect();
    fields.put("volumes", &mounts);
    fields.put("secrets", &with_contents(&service.secrets, &desired.secrets));
    fields.put("configs", &with_contents(&service.configs, &desired.configs));
}

fn with_contents<'a>(
    mounts: &'a [FileMount],
    contents: &'a BTreeMap<String, String>,
) -> Vec<(&'a FileMount, Option<&'a String>)> {
    mounts.iter().map(|mount| (mount, contents.get(&mount.source))).collect()
}

fn hex(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
