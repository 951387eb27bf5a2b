//! The pure table: asker → its networks → names → addresses. No sockets, no wire format.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use hoist_object::short;
use ipnet::Ipv4Net;

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
    /// Containers do not find each other by name here, as on docker's default bridge; links are answered.
    pub nameless: bool,
    /// Running containers only.
    pub endpoints: Vec<ZoneEndpoint>,
    /// Names that belong here although no container of them runs: answered as not existing instead of being forwarded.
    pub reserved: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneEndpoint {
    /// Container id; its short form is a name too.
    pub container: String,
    /// Container name, the answer to a reverse lookup.
    pub name: String,
    /// Service name, host name and network aliases.
    pub aliases: Vec<String>,
    pub address: Ipv4Addr,
    /// Answered only while no other endpoint of the name is healthy. True without a healthcheck.
    pub healthy: bool,
    /// Instead of the host's resolvers (compose `dns:`); empty follows the host.
    pub resolvers: Vec<IpAddr>,
    /// Names that this container alone has for others on this network.
    pub links: BTreeMap<String, Vec<Candidate>>,
}

/// An address that a name may be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub address: Ipv4Addr,
    pub healthy: bool,
}

/// Who asks, as the sockets in its namespace tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    pub container: String,
    /// Ids of its networks until the table knows it.
    pub home: Vec<String>,
}

/// A whole table, swapped atomically.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    networks: HashMap<String, Network>,
    members: HashMap<String, Member>,
}

#[derive(Debug, Clone)]
struct Network {
    /// `.name`, lower case.
    suffix: String,
    subnet: Ipv4Net,
    internal: bool,
    names: Names,
    reserved: HashSet<String>,
    reverse: HashMap<Ipv4Addr, String>,
}

type Names = HashMap<String, Vec<Candidate>>;

#[derive(Debug, Clone, Default)]
struct Member {
    /// In the order given.
    networks: Vec<String>,
    resolvers: Vec<IpAddr>,
    links: Names,
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
}

impl Zone {
    pub fn new(networks: &[ZoneNetwork]) -> Self {
        let mut zone = Self::default();
        for network in networks {
            for endpoint in &network.endpoints {
                let member = zone.members.entry(endpoint.container.clone()).or_default();
                member.networks.push(network.id.clone());
                member.resolvers.clone_from(&endpoint.resolvers);
                for (name, candidates) in &endpoint.links {
                    member
                        .links
                        .entry(name.to_ascii_lowercase())
                        .or_default()
                        .extend(candidates);
                }
            }
            zone.networks
                .insert(network.id.clone(), Network::new(network));
        }
        zone
    }

    /// `turn` rotates the answers.
    pub(crate) fn answer(&self, asker: &Asker, question: Question<'_>, turn: usize) -> Answer {
        let member = self.members.get(&asker.container);
        let ids = member.map_or(&asker.home, |member| &member.networks);
        let networks: Vec<_> = ids.iter().filter_map(|id| self.networks.get(id)).collect();

        let link = member.and_then(|member| answer_from(&member.links, question, turn));
        if let Some(answer) = link.or_else(|| {
            networks
                .iter()
                .find_map(|network| network.answer(question, turn))
        }) {
            return answer;
        }
        if networks.iter().any(|network| network.reserves(question)) {
            return Answer::NoSuchName;
        }
        if networks.iter().all(|network| network.internal) {
            return Answer::NoWayOut;
        }
        Answer::Forward(
            member
                .map(|member| member.resolvers.clone())
                .unwrap_or_default(),
        )
    }
}

impl Network {
    fn new(network: &ZoneNetwork) -> Self {
        let mut names = Names::new();
        let mut reverse = HashMap::new();
        for endpoint in network.endpoints.iter().filter(|_| !network.nameless) {
            let candidate = Candidate {
                address: endpoint.address,
                healthy: endpoint.healthy,
            };
            let own = [endpoint.name.as_str(), short(&endpoint.container)];
            let all: HashSet<String> = endpoint
                .aliases
                .iter()
                .map(String::as_str)
                .chain(own)
                .map(plain)
                .collect();
            for name in all {
                names.entry(name).or_default().push(candidate);
            }
            reverse.insert(endpoint.address, endpoint.name.clone());
        }
        Self {
            suffix: format!(".{}", network.name.to_ascii_lowercase()),
            subnet: network.subnet,
            internal: network.internal,
            names,
            reserved: network.reserved.iter().map(|name| plain(name)).collect(),
            reverse,
        }
    }

    fn answer(&self, question: Question<'_>, turn: usize) -> Option<Answer> {
        match question {
            Question::Addresses(name) => {
                answer_from(&self.names, Question::Addresses(self.local(name)), turn)
            }
            Question::Other(name) => {
                answer_from(&self.names, Question::Other(self.local(name)), turn)
            }
            Question::Reverse(address) => match self.reverse.get(&address) {
                Some(name) => Some(Answer::Name(name.clone())),
                None => self.subnet.contains(&address).then_some(Answer::NoSuchName),
            },
        }
    }

    /// Without the network's name at its end, unless the whole is a name too.
    fn local<'a>(&self, name: &'a str) -> &'a str {
        if self.names.contains_key(name) {
            name
        } else {
            name.strip_suffix(&self.suffix).unwrap_or(name)
        }
    }

    fn reserves(&self, question: Question<'_>) -> bool {
        match question {
            Question::Addresses(name) | Question::Other(name) => self
                .reserved
                .contains(name.strip_suffix(&self.suffix).unwrap_or(name)),
            Question::Reverse(_) => false,
        }
    }
}

/// As names are compared: questions come without case and final dot.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn answer_from(names: &Names, question: Question<'_>, turn: usize) -> Option<Answer> {
    match question {
        Question::Addresses(name) => {
            let found = names.get(name)?;
            if found.is_empty() {
                return Some(Answer::NoSuchName);
            }
            let healthy = found.iter().any(|candidate| candidate.healthy);
            let usable = found
                .iter()
                .filter(|candidate| candidate.healthy || !healthy);
            let mut addresses: Vec<_> = usable.map(|candidate| candidate.address).collect();
            let middle = turn % addresses.len().max(1);
            addresses.rotate_left(middle);
            Some(Answer::Addresses(addresses))
        }
        Question::Other(name) => names.get(name).map(|_| Answer::Nothing),
        Question::Reverse(_) => None,
    }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
