//! Owns the labels that docker compose expects on a project's objects. It compares their hash with that of its own
//! file, so the hash is computed the same way: SHA-256 of the object's JSON with the fields in its order.

use std::collections::BTreeMap;

use hoist_spec::model::{IpamPool, Network, Volume};
use serde::Serialize;

use crate::digest::hex;

pub(crate) fn network(project: &str, key: &str, network: &Network) -> BTreeMap<String, String> {
    let ipam = Ipam {
        driver: network.ipam_driver.as_deref(),
        config: network.ipam.iter().map(Pool::of).collect(),
    };
    let shape = Shape {
        name: &network.name,
        driver: network.driver.as_deref(),
        driver_opts: &network.driver_opts,
        ipam: Some(ipam),
        internal: network.internal,
        attachable: network.attachable,
        labels: &network.labels,
        enable_ipv4: network.enable_ipv4,
        enable_ipv6: network.enable_ipv6,
    };
    with_own(&network.labels, project, ("network", key), &shape)
}

pub(crate) fn volume(project: &str, key: &str, volume: &Volume) -> BTreeMap<String, String> {
    let shape = Shape {
        name: &volume.name,
        driver: Some(
            volume
                .driver
                .as_deref()
                .filter(|driver| !driver.is_empty())
                .unwrap_or("local"),
        ),
        driver_opts: &volume.driver_opts,
        ipam: None,
        internal: false,
        attachable: false,
        labels: &volume.labels,
        enable_ipv4: None,
        enable_ipv6: None,
    };
    with_own(&volume.labels, project, ("volume", key), &shape)
}

fn with_own(
    labels: &BTreeMap<String, String>,
    project: &str,
    (kind, key): (&str, &str),
    shape: &Shape<'_>,
) -> BTreeMap<String, String> {
    let own = [
        ("project", project.to_owned()),
        (kind, key.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("config-hash", hash(shape)),
    ];
    let own = own
        .into_iter()
        .map(|(name, value)| (format!("com.docker.compose.{name}"), value));
    labels.clone().into_iter().chain(own).collect()
}

/// Of a network or a volume; empty fields are left out.
#[derive(Serialize)]
struct Shape<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    driver_opts: &'a BTreeMap<String, String>,
    /// A network's is there even when it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam: Option<Ipam<'a>>,
    #[serde(skip_serializing_if = "is_off")]
    internal: bool,
    #[serde(skip_serializing_if = "is_off")]
    attachable: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_ipv4: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_ipv6: Option<bool>,
}

#[derive(Serialize)]
struct Ipam<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    config: Vec<Pool>,
}

#[derive(Serialize)]
struct Pool {
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_range: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aux_addresses: BTreeMap<String, String>,
}

impl Pool {
    fn of(pool: &IpamPool) -> Self {
        Self {
            subnet: pool.subnet.map(|subnet| subnet.to_string()),
            gateway: pool.gateway.map(|address| address.to_string()),
            ip_range: pool.ip_range.map(|range| range.to_string()),
            aux_addresses: pool
                .aux_addresses
                .iter()
                .map(|(name, at)| (name.clone(), at.to_string()))
                .collect(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_off(flag: &bool) -> bool {
    !flag
}

fn hash(shape: &Shape<'_>) -> String {
    // Go writes these as escapes; in JSON they stand in strings only.
    let escapes = [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")];
    let text = serde_json::to_string(shape).unwrap_or_default();
    hex(&escapes
        .into_iter()
        .fold(text, |text, (plain, escape)| text.replace(plain, escape)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(labels: &BTreeMap<String, String>) -> &str {
        &labels["com.docker.compose.config-hash"]
    }

    #[test]
    fn a_plain_networks_hash_is_that_of_docker_composes_document() {
        let plain = Network {
            name: "shop_default".to_owned(),
            ..Network::default()
        };
        let labels = network("shop", "default", &plain);
        assert_eq!(
            hash_of(&labels),
            hex(r#"{"name":"shop_default","ipam":{}}"#)
        );
        assert_eq!(labels["com.docker.compose.network"], "default");
        assert_eq!(labels["com.docker.compose.project"], "shop");
    }

    #[test]
    fn every_field_stands_in_docker_composes_order() {
        let pool = IpamPool {
            subnet: "10.1.0.0/16".parse().ok(),
            ip_range: "10.1.2.0/24".parse().ok(),
            gateway: "10.1.0.1".parse().ok(),
            aux_addresses: BTreeMap::new(),
        };
        let full = Network {
            name: "n".to_owned(),
            driver: Some("bridge".to_owned()),
            driver_opts: BTreeMap::from([("a".to_owned(), "<1>".to_owned())]),
            ipam_driver: Some("default".to_owned()),
            ipam: vec![pool],
            internal: true,
            labels: BTreeMap::from([("l".to_owned(), "v".to_owned())]),
            enable_ipv6: Some(false),
            ..Network::default()
        };
        let text = r#"{"name":"n","driver":"bridge","driver_opts":{"a":"\u003c1\u003e"},"ipam":{"driver":"default","config":[{"subnet":"10.1.0.0/16","gateway":"10.1.0.1","ip_range":"10.1.2.0/24"}]},"internal":true,"labels":{"l":"v"},"enable_ipv6":false}"#;
        assert_eq!(hash_of(&network("p", "n", &full)), hex(text));
    }

    #[test]
    fn a_volumes_driver_is_local() {
        let data = Volume {
            name: "shop_data".to_owned(),
            ..Volume::default()
        };
        let labels = volume("shop", "data", &data);
        assert_eq!(
            hash_of(&labels),
            hex(r#"{"name":"shop_data","driver":"local"}"#)
        );
        assert_eq!(labels["com.docker.compose.volume"], "data");
    }
}
