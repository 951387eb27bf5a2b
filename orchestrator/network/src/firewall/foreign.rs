//! Accepts for our bridges in other people's tables.
//!
//! A verdict `accept` of ours ends our own chains only: a base chain of Docker, ufw or firewalld whose policy is to drop
//! still drops our traffic. Each of them gets two rules in the place that its owner provides, and loses them with the
//! last network. Rules are written so that iptables-nft can still list the table.

use std::process::Command;

use serde_json::Value;

use super::apply::FirewallError;
use super::nft;
use crate::model::{BRIDGE_PREFIX, FirewallState};

/// A rule of ours in a table that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignAccept {
    /// Such as `ip filter`.
    pub table: String,
    /// Such as `DOCKER-USER`.
    pub chain: String,
    /// Why it is needed, such as `chain FORWARD drops by policy`.
    pub why: String,
}

/// Where accepts have to go and which.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    accept: ForeignAccept,
    direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Input,
}

type Run<'a> = &'a dyn Fn(&str) -> Result<(), FirewallError>;

/// Makes sure that the accepts stand where they are needed now.
pub(crate) fn ensure(tag: &str, state: &FirewallState, run: Run<'_>) -> Result<Vec<ForeignAccept>, FirewallError> {
    let chains = nft::list(&["list", "chains"])?;
    let mut accepts = Vec::new();
    for place in places(&chains, state.dns_port.is_some()) {
        let ForeignAccept { table, chain, .. } = &place.accept;
        let rules = wanted_rules(&place, tag, state.dns_port);
        let present = handles(&list_chain(table, chain)?, tag);
        if present.len() != rules.len() {
            let mut script = String::new();
            for handle in present {
                script.push_str(&format!("delete rule {table} {chain} handle {handle}\n"));
            }
            for rule in rules {
                script.push_str(&format!("insert rule {table} {chain} {rule}\n"));
            }
            run(&script)?;
            tracing::info!(table, chain, why = place.accept.why, "accepts container networks in a table of others");
        }
        accepts.push(place.accept);
    }
    if has_firewalld(&chains) {
        accepts.extend(trust_in_firewalld(state));
    }
    Ok(accepts)
}

/// Takes all accepts away, also those that an earlier life of this engine made.
pub(crate) fn remove(tag: &str, run: Run<'_>) -> Result<(), FirewallError> {
    let everything = nft::list(&["list", "ruleset"])?;
    let mut script = String::new();
    for rule in objects(&everything, "rule").filter(|rule| text(rule, "comment") == tag && text(rule, "table") != tag) {
        let (family, table, chain) = (text(rule, "family"), text(rule, "table"), text(rule, "chain"));
        script.push_str(&format!("delete rule {family} {table} {chain} handle {}\n", rule["handle"]));
    }
    if script.is_empty() { Ok(()) } else { run(&script) }
    // firewalld forgets an interface of a runtime zone with the interface.
}

fn list_chain(table: &str, chain: &str) -> Result<Value, FirewallError> {
    let mut arguments = vec!["list", "chain"];
    arguments.extend(table.split(' '));
    arguments.push(chain);
    nft::list(&arguments)
}

/// Tables of this engine and of its sisters.
pub(crate) fn is_ours(table: &str) -> bool {
    table == "hoist" || table.starts_with("hoist-")
}

/// Base chains at the hooks that our traffic passes and whose policy is to drop.
fn places(chains: &Value, with_dns: bool) -> Vec<Place> {
    let docker_user = |family: &str, table: &str| {
        objects(chains, "chain").any(|chain| {
            text(chain, "family") == family && text(chain, "table") == table && text(chain, "name") == "DOCKER-USER"
        })
    };
    let mut places = Vec::new();
    for chain in objects(chains, "chain") {
        let (family, table, name) = (text(chain, "family"), text(chain, "table"), text(chain, "name"));
        if is_ours(table) || !matches!(family, "ip" | "inet") || text(chain, "policy") != "drop" {
            continue;
        }
        let (direction, at) = match text(chain, "hook") {
            "forward" if docker_user(family, table) => (Direction::Forward, "DOCKER-USER"),
            "forward" => (Direction::Forward, name),
            "input" if with_dns => (Direction::Input, name),
            _ => continue,
        };
        let why = format!("chain {name} drops by policy");
        let accept = ForeignAccept { table: format!("{family} {table}"), chain: at.to_owned(), why };
        places.push(Place { accept, direction });
    }
    places
}

fn wanted_rules(place: &Place, tag: &str, dns_port: Option<u16>) -> Vec<String> {
    let link = format!("\"{BRIDGE_PREFIX}*\"");
    let end = format!("counter accept comment \"{tag}\"");
    match place.direction {
        Direction::Forward => vec![format!("iifname {link} {end}"), format!("oifname {link} {end}")],
        Direction::Input => {
            let Some(port) = dns_port else { return Vec::new() };
            ["udp", "tcp"].map(|protocol| format!("iifname {link} {protocol} dport {port} {end}")).into()
        }
    }
}

fn handles(listing: &Value, tag: &str) -> Vec<u64> {
    objects(listing, "rule")
        .filter(|rule| text(rule, "comment") == tag)
        .filter_map(|rule| rule["handle"].as_u64())
        .collect()
}

fn has_firewalld(chains: &Value) -> bool {
    objects(chains, "chain").any(|chain| text(chain, "table") == "firewalld")
}

/// firewalld owns its table alone; an interface of its trusted zone is the place that it provides.
fn trust_in_firewalld(state: &FirewallState) -> Option<ForeignAccept> {
    let mut trusted = false;
    for network in &state.networks {
        let interface = format!("--change-interface={}", network.bridge());
        let outcome = Command::new("firewall-cmd").args(["--quiet", "--zone=trusted", &interface]).status();
        match outcome {
            Ok(status) if status.success() => trusted = true,
            Ok(status) => tracing::warn!(%status, "firewall-cmd did not take a bridge into the trusted zone"),
            Err(error) => tracing::warn!(%error, "firewalld may drop container traffic, and firewall-cmd does not run"),
        }
    }
    trusted.then(|| ForeignAccept {
        table: "inet firewalld".to_owned(),
        chain: "zone trusted".to_owned(),
        why: "firewalld rejects what no zone accepts".to_owned(),
    })
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = listing["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(move |object| object.get(kind))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(chains: &[[&str; 5]]) -> Value {
        let chains: Vec<_> = chains
            .iter()
            .map(|[family, table, name, hook, policy]| {
                serde_json::json!({"chain": {"family": family, "table": table, "name": name, "hook": hook, "policy": policy}})
            })
            .collect();
        serde_json::json!({ "nftables": chains })
    }

    fn where_to(chains: &[[&str; 5]]) -> Vec<String> {
        let places = places(&listing(chains), true);
        places.iter().map(|place| format!("{} {}", place.accept.table, place.accept.chain)).collect()
    }

    #[test]
    fn docker_user_is_preferred_to_the_dropping_chain() {
        let chains = [["ip", "filter", "FORWARD", "forward", "drop"], ["ip", "filter", "DOCKER-USER", "", ""]];
        assert_eq!(where_to(&chains), ["ip filter DOCKER-USER"]);
    }

    #[test]
    fn head_of_the_dropping_chain_without_docker() {
        let chains = [["ip", "filter", "FORWARD", "forward", "drop"], ["ip", "filter", "INPUT", "input", "drop"]];
        assert_eq!(where_to(&chains), ["ip filter FORWARD", "ip filter INPUT"]);
    }

    #[test]
    fn accepting_chains_and_other_instances_are_left_alone() {
        let chains = [
            ["ip", "filter", "FORWARD", "forward", "accept"],
            ["inet", "hoist-0badcafe", "forward", "forward", "drop"],
        ];
        assert!(where_to(&chains).is_empty());
    }
}
