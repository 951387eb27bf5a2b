//! The ruleset as data: pure, made from a `FirewallState` alone.
//!
//! Everything that changes often is an element of a set or map; chains depend only on the networks and
//! which replica counts occur. Publishing a port adds an element and touches no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{FirewallState, NetworkSpec, Protocol};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

/// A named set, or a map when `data` says what it maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) key: Vec<Field>,
    pub(crate) data: Data,
    pub(crate) elements: BTreeMap<Vec<Value>, Target>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    Nothing,
    AddressPort,
    Verdict,
}

/// What a packet is looked up by; also the type of a set's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    InputLink,
    OutputLink,
    Destination,
    Transport,
    Port,
    /// Each lookup takes the next of so many slots.
    Turn(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Link(String),
    Address(Ipv4Addr),
    Transport(Protocol),
    Port(u16),
    Slot(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Nothing,
    AddressPort(Ipv4Addr, u16),
    Goto(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
    /// Belongs to the user: made once, never flushed.
    pub(crate) users: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) kind: Kind,
    pub(crate) point: Point,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Filter,
    Nat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

pub(crate) type Rule = Vec<Statement>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    InputLinkIsNot(String),
    OutputLinkIs(String),
    OutputLinkIsNot(String),
    SourceIn(Ipv4Net),
    DestinationIn(Ipv4Net),
    TransportIs(Protocol),
    In {
        key: Vec<Field>,
        set: &'static str,
    },
    Established,
    WasDnatted,
    DestinationIsLocal,
    DnatBy {
        key: Vec<Field>,
        map: &'static str,
    },
    VerdictBy {
        key: Vec<Field>,
        map: &'static str,
    },
    DestinationPortIs(u16),
    SourcePortIs(u16),
    /// Rewrites the packet without connection tracking.
    SetDestinationPort(Protocol, u16),
    SetSourcePort(Protocol, u16),
    Masquerade,
    Jump(&'static str),
    Accept,
    Drop,
}

const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
const LAST: i32 = 300;

/// Every address of the host: single target, and balanced.
const ANY_KEY: [Field; 2] = [Field::Transport, Field::Port];
/// One address of the host.
const ADDRESS_KEY: [Field; 3] = [Field::Destination, Field::Transport, Field::Port];

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

impl Ruleset {
    pub(crate) fn of(state: &FirewallState) -> Self {
        let ports = Ports::of(state);
        let mut chains = vec![
            user(),
            raw(),
            forward(),
            prerouting(),
            output(),
            postrouting(&state.networks),
        ];
        chains.extend(ports.replica_counts.iter().map(|count| balance(*count)));
        chains.push(publish());

        let mut sets = network_sets(&state.networks);
        sets.extend(ports.into_sets());
        Self { sets, chains }
    }
}

/// In a container's namespace: leads port 53 of `address` to the ports that a server listens on there.
///
/// Ports are rewritten packet by packet on the way out of a socket, so that nothing in the container is tracked and port 53
/// stays free for a program of the container. What is asked passes before connection tracking and what is answered after
/// it: a firewall of the container's own sees one consistent flow.
pub(crate) fn name_service(address: Ipv4Addr, udp: u16, tcp: u16) -> Ruleset {
    const STANDARD: u16 = 53;
    use Statement::{
        DestinationIn, DestinationPortIs, SetDestinationPort, SetSourcePort, SourceIn,
        SourcePortIs, TransportIs,
    };
    let address = Ipv4Net::from(address);
    let ports = [(Protocol::Udp, udp), (Protocol::Tcp, tcp)];
    let ask = ports.map(|(protocol, port)| {
        let to = DestinationIn(address);
        vec![
            to,
            TransportIs(protocol),
            DestinationPortIs(STANDARD),
            SetDestinationPort(protocol, port),
        ]
    });
    let answer = ports.map(|(protocol, port)| {
        let from = SourceIn(address);
        vec![
            from,
            TransportIs(protocol),
            SourcePortIs(port),
            SetSourcePort(protocol, STANDARD),
        ]
    });
    let chains = vec![
        base("ask", Kind::Filter, Point::Output, RAW, ask.into()),
        base("answer", Kind::Filter, Point::Output, LAST, answer.into()),
    ];
    Ruleset {
        sets: Vec::new(),
        chains,
    }
}

fn user() -> Chain {
    Chain {
        name: "user".to_owned(),
        hook: None,
        rules: Vec::new(),
        users: true,
    }
}

fn base(name: &str, kind: Kind, point: Point, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        hook: Some(Hook {
            kind,
            point,
            priority,
        }),
        rules,
        users: false,
    }
}

/// route_localnet lets 127.0.0.1 be published; this keeps everybody else from reaching loopback through it, and
/// containers from posing as it.
fn raw() -> Chain {
    use Statement::{DestinationIn, Drop, InputLinkIsNot, SourceIn};
    let rules = vec![
        vec![
            InputLinkIsNot("lo".to_owned()),
            DestinationIn(LOOPBACK),
            Drop,
        ],
        vec![InputLinkIsNot("lo".to_owned()), SourceIn(LOOPBACK), Drop],
    ];
    base("raw", Kind::Filter, Point::Prerouting, RAW, rules)
}

fn forward() -> Chain {
    use Statement::{Accept, Drop, Established, In, Jump, WasDnatted};
    let from = |set| In {
        key: vec![Field::InputLink],
        set,
    };
    let to = |set| In {
        key: vec![Field::OutputLink],
        set,
    };
    let rules = vec![
        vec![Jump("user")],
        vec![Established, Accept],
        // Bridged traffic comes here too where br_netfilter is on.
        vec![
            In {
                key: vec![Field::InputLink, Field::OutputLink],
                set: "within",
            },
            Accept,
        ],
        vec![from("internal"), Drop],
        vec![to("internal"), Drop],
        vec![to("bridges"), WasDnatted, Accept],
        // Other networks, and neighbours that route to our subnets.
        vec![to("bridges"), Drop],
    ];
    base("forward", Kind::Filter, Point::Forward, FILTER, rules)
}

fn prerouting() -> Chain {
    let rules = vec![vec![
        Statement::DestinationIsLocal,
        Statement::Jump("publish"),
    ]];
    base("prerouting", Kind::Nat, Point::Prerouting, DSTNAT, rules)
}

fn output() -> Chain {
    let rules = vec![vec![
        Statement::DestinationIsLocal,
        Statement::Jump("publish"),
    ]];
    base("output", Kind::Nat, Point::Output, DSTNAT, rules)
}

fn publish() -> Chain {
    use Statement::{DnatBy, VerdictBy};
    let rules = vec![
        vec![DnatBy {
            key: ADDRESS_KEY.to_vec(),
            map: "published",
        }],
        vec![VerdictBy {
            key: ADDRESS_KEY.to_vec(),
            map: "balanced",
        }],
        vec![DnatBy {
            key: ANY_KEY.to_vec(),
            map: "published-any",
        }],
        vec![VerdictBy {
            key: ANY_KEY.to_vec(),
            map: "balanced-any",
        }],
    ];
    Chain {
        name: "publish".to_owned(),
        hook: None,
        rules,
        users: false,
    }
}

/// One chain serves every port that has this many replicas.
fn balance(count: u32) -> Chain {
    let with_turn = |key: &[Field]| key.iter().copied().chain([Field::Turn(count)]).collect();
    let rules = vec![
        vec![Statement::DnatBy {
            key: with_turn(&ADDRESS_KEY),
            map: "replicas",
        }],
        vec![Statement::DnatBy {
            key: with_turn(&ANY_KEY),
            map: "replicas-any",
        }],
    ];
    Chain {
        name: balance_name(count),
        hook: None,
        rules,
        users: false,
    }
}

fn balance_name(count: u32) -> String {
    format!("balance-{count}")
}

fn postrouting(networks: &[NetworkSpec]) -> Chain {
    use Statement::{Masquerade, OutputLinkIs, OutputLinkIsNot, SourceIn, WasDnatted};
    let mut rules = Vec::new();
    for network in networks {
        let subnet = network.subnet.trunc();
        let bridge = network.bridge();
        if !network.internal {
            rules.push(vec![
                SourceIn(subnet),
                OutputLinkIsNot(bridge.clone()),
                Masquerade,
            ]);
        }
        // A container that reaches its neighbour through the host's address must get the answer from that address.
        rules.push(vec![
            SourceIn(subnet),
            OutputLinkIs(bridge.clone()),
            WasDnatted,
            Masquerade,
        ]);
        rules.push(vec![SourceIn(LOOPBACK), OutputLinkIs(bridge), Masquerade]);
    }
    base("postrouting", Kind::Nat, Point::Postrouting, SRCNAT, rules)
}

fn network_sets(networks: &[NetworkSpec]) -> Vec<Set> {
    let bridge = |network: &NetworkSpec| Value::Link(network.bridge());
    let members = |keys: Vec<Vec<Value>>| {
        keys.into_iter()
            .map(|key| (key, Target::Nothing))
            .collect::<BTreeMap<_, _>>()
    };
    let all = networks
        .iter()
        .map(|network| vec![bridge(network)])
        .collect();
    let internal = networks
        .iter()
        .filter(|network| network.internal)
        .map(|network| vec![bridge(network)])
        .collect();
    let within = networks
        .iter()
        .map(|network| vec![bridge(network), bridge(network)])
        .collect();
    let set = |name: &str, key: Vec<Field>, keys| Set {
        name: name.to_owned(),
        key,
        data: Data::Nothing,
        elements: members(keys),
    };
    vec![
        set("bridges", vec![Field::OutputLink], all),
        set("internal", vec![Field::OutputLink], internal),
        set("within", vec![Field::InputLink, Field::OutputLink], within),
    ]
}

/// Published ports sorted into the maps that serve them.
#[derive(Default)]
struct Ports {
    published: BTreeMap<Vec<Value>, Target>,
    published_any: BTreeMap<Vec<Value>, Target>,
    balanced: BTreeMap<Vec<Value>, Target>,
    balanced_any: BTreeMap<Vec<Value>, Target>,
    replicas: BTreeMap<Vec<Value>, Target>,
    replicas_any: BTreeMap<Vec<Value>, Target>,
    replica_counts: BTreeSet<u32>,
}

impl Ports {
    fn of(state: &FirewallState) -> Self {
        let mut ports = Self::default();
        for port in &state.published {
            let mut key = Vec::with_capacity(4);
            key.extend(port.host_ip.map(Value::Address));
            key.extend([Value::Transport(port.protocol), Value::Port(port.host_port)]);
            let any = port.host_ip.is_none();
            match port.targets.as_slice() {
                [] => {}
                [(address, target)] => {
                    let map = if any {
                        &mut ports.published_any
                    } else {
                        &mut ports.published
                    };
                    map.insert(key, Target::AddressPort(*address, *target));
                }
                replicas => ports.balance(any, key, replicas),
            }
        }
        ports
    }

    fn balance(&mut self, any: bool, key: Vec<Value>, replicas: &[(Ipv4Addr, u16)]) {
        let slots = if any {
            &mut self.replicas_any
        } else {
            &mut self.replicas
        };
        let mut count = 0;
        for (address, port) in replicas {
            let slot = key.iter().cloned().chain([Value::Slot(count)]).collect();
            slots.insert(slot, Target::AddressPort(*address, *port));
            count += 1;
        }
        self.replica_counts.insert(count);
        let map = if any {
            &mut self.balanced_any
        } else {
            &mut self.balanced
        };
        map.insert(key, Target::Goto(balance_name(count)));
    }

    fn into_sets(self) -> Vec<Set> {
        // The slot's type does not depend on how many there are.
        let with_turn = |key: &[Field]| {
            key.iter()
                .copied()
                .chain([Field::Turn(1)])
                .collect::<Vec<_>>()
        };
        let map = |name: &str, key: Vec<Field>, data, elements| Set {
            name: name.to_owned(),
            key,
            data,
            elements,
        };
        vec![
            map(
                "published",
                ADDRESS_KEY.to_vec(),
                Data::AddressPort,
                self.published,
            ),
            map(
                "published-any",
                ANY_KEY.to_vec(),
                Data::AddressPort,
                self.published_any,
            ),
            map(
                "balanced",
                ADDRESS_KEY.to_vec(),
                Data::Verdict,
                self.balanced,
            ),
            map(
                "balanced-any",
                ANY_KEY.to_vec(),
                Data::Verdict,
                self.balanced_any,
            ),
            map(
                "replicas",
                with_turn(&ADDRESS_KEY),
                Data::AddressPort,
                self.replicas,
            ),
            map(
                "replicas-any",
                with_turn(&ANY_KEY),
                Data::AddressPort,
                self.replicas_any,
            ),
        ]
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
