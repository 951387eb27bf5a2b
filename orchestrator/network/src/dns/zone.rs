//! The pure table: asker's address → its networks → names → addresses. No sockets, no wire format.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::model::short;

/// One network's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneNetwork {
    /// Network id.
    pub id: String,
    /// Its name; `db.<name>` is answered as `db`.
    pub name: String,
    pub subnet: Ipv4Net,
    /// No forwarding for askers that are only in internal networks.
    pub internal: bool,
    /// Running containers only.
    pub endpoints: Vec<ZoneEndpoint>,
    /// Names that belong here although nobody runs now: answered as not existing instead of being forwarded.
    pub reserved: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneEndpoint {
    /// Container id; its short form is a name too.
    pub container: String,
    /// Container name, the answer to a reverse lookup.
    pub name: String,
    /// Service name and network aliases.
    pub aliases: Vec<String>,
    pub address: Ipv4Addr,
    /// Answered only while no other endpoint of the name is healthy. True without a healthcheck.
    pub healthy: bool,
    /// Instead of the host's resolvers (compose `dns:`); empty follows the host.
    pub resolvers: Vec<IpAddr>,
}

/// A whole table, swapped atomically.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    networks: HashMap<String, Network>,
    /// Networks of each container, in the order given.
    memberships: HashMap<String, Vec<String>>,
}

#[derive(Debug, Clone)]
struct Network {
    /// `.name`, lower case.
    suffix: String,
    subnet: Ipv4Net,
    internal: bool,
    names: HashMap<String, Vec<Candidate>>,
    reserved: HashSet<String>,
    members: HashMap<Ipv4Addr, Member>,
}

#[derive(Debug, Clone)]
struct Member {
    container: String,
    name: String,
    resolvers: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    address: Ipv4Addr,
    healthy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    /// A name in lower case without the final dot.
    Addresses(&'a str),
    /// Any other type for such a name.
    Other(&'a str),
    Reverse(Ipv4Addr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Addresses(Vec<Ipv4Addr>),
    Name(String),
    /// The name is ours, and has nothing of this type.
    Nothing,
    NoSuchName,
    /// Not ours: ask these servers, or the host's when there are none.
    Forward(Vec<IpAddr>),
    /// Not ours, and the asker has no way out.
    NoWayOut,
    /// The asker is not on this network.
    Refused,
}

impl Zone {
    pub fn new(networks: &[ZoneNetwork]) -> Self {
        let mut zone = Self::default();
        for network in networks {
            for endpoint in &network.endpoints {
                zone.memberships.entry(endpoint.container.clone()).or_default().push(network.id.clone());
            }
            zone.networks.insert(network.id.clone(), Network::new(network));
        }
        zone
    }

    /// `turn` rotates the answers.
    pub(crate) fn answer(&self, network: &str, asker: Ipv4Addr, question: Question<'_>, turn: usize) -> Answer {
        let Some(here) = self.networks.get(network).filter(|network| network.subnet.contains(&asker)) else {
            return Answer::Refused;
        };
        // An asker that the table does not know yet is on this bridge for sure, and on nothing else.
        let member = here.members.get(&asker);
        let others = member.and_then(|member| self.memberships.get(&member.container)).map_or(&[][..], Vec::as_slice);
        let others = others.iter().filter(|id| *id != network).filter_map(|id| self.networks.get(id));
        let networks: Vec<_> = std::iter::once(here).chain(others).collect();

        if let Some(answer) = networks.iter().find_map(|network| network.answer(question, turn)) {
            return answer;
        }
        if networks.iter().any(|network| network.reserves(question)) {
            return Answer::NoSuchName;
        }
        if networks.iter().all(|network| network.internal) {
            return Answer::NoWayOut;
        }
        Answer::Forward(member.map(|member| member.resolvers.clone()).unwrap_or_default())
    }
}

impl Network {
    fn new(network: &ZoneNetwork) -> Self {
        let mut names: HashMap<String, Vec<Candidate>> = HashMap::new();
        let mut members = HashMap::new();
        for endpoint in &network.endpoints {
            let candidate = Candidate { address: endpoint.address, healthy: endpoint.healthy };
            let own = [endpoint.name.as_str(), short(&endpoint.container)];
            let all: HashSet<String> =
                endpoint.aliases.iter().map(String::as_str).chain(own).map(str::to_ascii_lowercase).collect();
            for name in all {
                names.entry(name).or_default().push(candidate);
            }
            members.insert(
                endpoint.address,
                Member {
                    container: endpoint.container.clone(),
                    name: endpoint.name.clone(),
                    resolvers: endpoint.resolvers.clone(),
                },
            );
        }
        Self {
            suffix: format!(".{}", network.name.to_ascii_lowercase()),
            subnet: network.subnet,
            internal: network.internal,
            names,
            reserved: network.reserved.iter().map(|name| name.to_ascii_lowercase()).collect(),
            members,
        }
    }

    fn answer(&self, question: Question<'_>, turn: usize) -> Option<Answer> {
        match question {
            Question::Addresses(name) => {
                let found = self.candidates(name)?;
                let healthy = found.iter().any(|candidate| candidate.healthy);
                let mut addresses: Vec<_> = found
                    .iter()
                    .filter(|candidate| candidate.healthy || !healthy)
                    .map(|candidate| candidate.address)
                    .collect();
                let middle = turn % addresses.len().max(1);
                addresses.rotate_left(middle);
                Some(Answer::Addresses(addresses))
            }
            Question::Other(name) => self.candidates(name).map(|_| Answer::Nothing),
            Question::Reverse(address) => match self.members.get(&address) {
                Some(member) => Some(Answer::Name(member.name.clone())),
                None => self.subnet.contains(&address).then_some(Answer::NoSuchName),
            },
        }
    }

    fn candidates(&self, name: &str) -> Option<&Vec<Candidate>> {
        self.names.get(name).or_else(|| self.names.get(name.strip_suffix(&self.suffix)?))
    }

    fn reserves(&self, question: Question<'_>) -> bool {
        match question {
            Question::Addresses(name) | Question::Other(name) => {
                self.reserved.contains(name.strip_suffix(&self.suffix).unwrap_or(name))
            }
            Question::Reverse(_) => false,
        }
    }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
