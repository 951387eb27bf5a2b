//! Accepts for our bridges in other people's tables.
//!
//! A verdict `accept` of ours ends our own chains only: a base chain of Docker, ufw or firewalld whose policy is to drop
//! still drops our traffic. Each of them gets two rules in the place that its owner provides, and loses them with the
//! last network. Rules are written so that iptables-nft can still list the table.

use std::io;
use std::process::Command;

use super::batch::{Batch, Channel, Object};
use super::expressions::{self, Links, Side};
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

/// A chain of any table, as far as anybody here asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    hook: Option<u32>,
    drops: bool,
}

/// A chain that needs accepts, and the one that they go to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Insertion<'a> {
    dropping: &'a Chain,
    at: &'a Chain,
}

/// A rule of ours in a chain of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InsertedRule {
    family: u8,
    table: String,
    chain: String,
    handle: Vec<u8>,
}

const FORWARD: u32 = 2;
const INET: u8 = 1;
const IPV4: u8 = 2;

/// Makes sure that the accepts stand where they are needed now, and nowhere else.
pub(crate) fn ensure(
    channel: &Channel,
    tag: &str,
    state: &FirewallState,
) -> io::Result<Vec<ForeignAccept>> {
    let chains = chains(channel)?;
    let places = places(&chains);
    let mut accepts: Vec<_> = places.iter().map(Insertion::describe).collect();
    // Nearly everywhere there is nobody else, and nothing was put anywhere.
    if chains.iter().any(|chain| !is_ours(&chain.table)) {
        let standing = standing(channel, tag)?;
        if !places.is_empty() || !standing.is_empty() {
            let mut batch = Batch::begin();
            standing.iter().for_each(|rule| rule.delete(&mut batch));
            let named = state
                .networks
                .iter()
                .filter_map(|network| network.bridge.as_deref());
            let links: Vec<_> = named
                .map(Links::Named)
                .chain([Links::Prefixed(BRIDGE_PREFIX)])
                .collect();
            places
                .iter()
                .for_each(|place| place.insert(&mut batch, tag, &links));
            channel.commit(batch).map_err(|(_, error)| error)?;
        }
    }
    if chains.iter().any(|chain| chain.table == FIREWALLD) {
        accepts.extend(trust_in_firewalld(state));
    }
    Ok(accepts)
}

/// Takes all accepts away, also those that an earlier life of this engine made.
pub(crate) fn remove(channel: &Channel, tag: &str) -> io::Result<()> {
    if chains(channel)?.iter().all(|chain| is_ours(&chain.table)) {
        return Ok(());
    }
    let standing = standing(channel, tag)?;
    if standing.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::begin();
    standing.iter().for_each(|rule| rule.delete(&mut batch));
    // firewalld forgets an interface of a runtime zone with the interface.
    channel.commit(batch).map_err(|(_, error)| error)
}

impl Chain {
    fn of(object: &Object) -> Self {
        const DROP: [u8; 4] = [0; 4];
        let hook = object
            .bytes(4)
            .and_then(|hook| super::attributes::attribute(hook, 1));
        Self {
            family: object.family,
            table: object.text(1).to_owned(),
            name: object.text(3).to_owned(),
            hook: hook
                .and_then(|hook| hook.first_chunk())
                .map(|hook| u32::from_be_bytes(*hook)),
            drops: object.bytes(5) == Some(&DROP),
        }
    }
}

impl Insertion<'_> {
    fn describe(&self) -> ForeignAccept {
        let family = if self.at.family == INET { "inet" } else { "ip" };
        ForeignAccept {
            table: format!("{family} {}", self.at.table),
            chain: self.at.name.clone(),
            why: format!("chain {} drops by policy", self.dropping.name),
        }
    }

    fn insert(&self, batch: &mut Batch, tag: &str, links: &[Links<'_>]) {
        for (links, side) in links
            .iter()
            .flat_map(|links| [(links, Side::Input), (links, Side::Output)])
        {
            batch.insert_rule(self.at.family, &self.at.table, &self.at.name, |rule| {
                rule.nested(4, |list| expressions::accept_links(list, side, *links));
                rule.bytes(USER_DATA, &comment(tag));
            });
        }
    }
}

impl InsertedRule {
    fn delete(&self, batch: &mut Batch) {
        batch.delete_rule(self.family, &self.table, &self.chain, &self.handle);
    }
}

const USER_DATA: u16 = 7;

/// As nft keeps a rule's comment: kind 0, length, text with its final zero.
fn comment(tag: &str) -> Vec<u8> {
    let length = u8::try_from(tag.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], tag.as_bytes(), &[0]].concat()
}

fn standing(channel: &Channel, tag: &str) -> io::Result<Vec<InsertedRule>> {
    let rules = channel.rules()?;
    let ours = rules
        .iter()
        .filter(|rule| rule.bytes(USER_DATA) == Some(comment(tag).as_slice()));
    Ok(ours
        .map(|rule| InsertedRule {
            family: rule.family,
            table: rule.text(1).to_owned(),
            chain: rule.text(2).to_owned(),
            handle: rule.bytes(3).unwrap_or_default().to_vec(),
        })
        .filter(|rule| rule.table != tag)
        .collect())
}

fn chains(channel: &Channel) -> io::Result<Vec<Chain>> {
    Ok(channel.chains()?.iter().map(Chain::of).collect())
}

/// Tables of this engine and of its sisters.
fn is_ours(table: &str) -> bool {
    table == "hoist" || table.starts_with("hoist-")
}

/// Base chains at the hook that our traffic passes and whose policy is to drop.
fn places(chains: &[Chain]) -> Vec<Insertion<'_>> {
    let theirs = |chain: &&Chain| !is_ours(&chain.table) && matches!(chain.family, INET | IPV4);
    let dropping = chains
        .iter()
        .filter(theirs)
        .filter(|chain| chain.drops && chain.hook == Some(FORWARD));
    dropping
        .map(|dropping| {
            let docker_user = chains.iter().find(|chain| {
                (chain.family, &chain.table, chain.name.as_str())
                    == (dropping.family, &dropping.table, "DOCKER-USER")
            });
            Insertion {
                dropping,
                at: docker_user.unwrap_or(dropping),
            }
        })
        .collect()
}

const FIREWALLD: &str = "firewalld";

/// firewalld owns its table alone; an interface of its trusted zone is the place that it provides.
fn trust_in_firewalld(state: &FirewallState) -> Option<ForeignAccept> {
    let mut trusted = false;
    for network in &state.networks {
        let interface = format!("--change-interface={}", network.bridge());
        let outcome = Command::new("firewall-cmd")
            .args(["--quiet", "--zone=trusted", &interface])
            .status();
        match outcome {
            Ok(status) if status.success() => trusted = true,
            Ok(status) => {
                tracing::warn!(%status, "firewall-cmd did not take a bridge into the trusted zone")
            }
            Err(error) => {
                tracing::warn!(%error, "firewalld may drop container traffic, and firewall-cmd does not run")
            }
        }
    }
    trusted.then(|| ForeignAccept {
        table: "inet firewalld".to_owned(),
        chain: "zone trusted".to_owned(),
        why: "firewalld rejects what no zone accepts".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn where_to(chains: &[(&str, &str, Option<u32>, bool)]) -> Vec<String> {
        let chains: Vec<_> = chains
            .iter()
            .map(|(table, name, hook, drops)| Chain {
                family: IPV4,
                table: (*table).to_owned(),
                name: (*name).to_owned(),
                hook: *hook,
                drops: *drops,
            })
            .collect();
        let accepts = places(&chains)
            .iter()
            .map(Insertion::describe)
            .collect::<Vec<_>>();
        accepts
            .iter()
            .map(|accept| format!("{} {}", accept.table, accept.chain))
            .collect()
    }

    #[test]
    fn docker_user_is_preferred_to_the_dropping_chain() {
        let chains = [
            ("filter", "FORWARD", Some(FORWARD), true),
            ("filter", "DOCKER-USER", None, false),
        ];
        assert_eq!(where_to(&chains), ["ip filter DOCKER-USER"]);
    }

    #[test]
    fn head_of_the_dropping_chain_without_docker() {
        let chains = [
            ("filter", "FORWARD", Some(FORWARD), true),
            ("filter", "INPUT", Some(1), true),
        ];
        assert_eq!(where_to(&chains), ["ip filter FORWARD"]);
    }

    #[test]
    fn accepting_chains_and_other_instances_are_left_alone() {
        let chains = [
            ("filter", "FORWARD", Some(FORWARD), false),
            ("hoist-0badcafe", "forward", Some(FORWARD), true),
        ];
        assert!(where_to(&chains).is_empty());
    }
}
