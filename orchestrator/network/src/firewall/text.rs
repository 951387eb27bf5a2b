//! A transaction in nft's own language: for error messages, and for tests, where nft is the judge of what was sent.

use std::fmt;

use super::rules::{Chain, Data, Field, Hook, Kind, Point, Set, Statement, Target, Value};
use super::transaction::{Elements, Operation};

/// An operation on the table `inet <name>`.
pub(crate) struct Line<'a>(pub(crate) &'a str, pub(crate) &'a Operation<'a>);

#[cfg(test)]
pub(crate) fn script(table: &str, operations: &[Operation<'_>]) -> String {
    operations
        .iter()
        .map(|operation| Line(table, operation).to_string() + "\n")
        .collect()
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(table, operation) = self;
        let table = format_args!("inet {table}");
        match operation {
            Operation::AddTable => write!(f, "add table {table}"),
            Operation::DeleteTable => write!(f, "delete table {table}"),
            Operation::AddSet(set) => write!(
                f,
                "add {} {table} {} {{ {} }}",
                word(set),
                set.name,
                SetType(set)
            ),
            Operation::FlushSet(set) => write!(f, "flush {} {table} {}", word(set), set.name),
            Operation::AddElements(set, elements) => {
                write!(f, "add element {table} {} {{ ", set.name)?;
                write_elements(f, elements)
            }
            Operation::DeleteElements(set, elements) => {
                write!(f, "delete element {table} {} {{ ", set.name)?;
                write_elements(f, elements)
            }
            Operation::AddChain(Chain {
                name,
                hook: Some(hook),
                ..
            }) => {
                write!(f, "add chain {table} {name} {{ {hook} policy accept; }}")
            }
            Operation::AddChain(Chain { name, .. }) => write!(f, "add chain {table} {name}"),
            Operation::FlushChain(name) => write!(f, "flush chain {table} {name}"),
            Operation::DeleteChain(name) => write!(f, "delete chain {table} {name}"),
            Operation::AddRule(chain, rule) => {
                write!(f, "add rule {table} {chain}")?;
                rule.iter()
                    .try_for_each(|statement| write!(f, " {statement}"))
            }
        }
    }
}

fn write_elements(f: &mut fmt::Formatter<'_>, elements: &Elements<'_>) -> fmt::Result {
    for (number, (key, target)) in elements.iter().enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        write!(f, "{separator}{}", Joined(key))?;
        match target {
            Target::Nothing => {}
            Target::AddressPort(address, port) => write!(f, " : {address} . {port}")?,
            Target::Goto(chain) => write!(f, " : goto {chain}")?,
        }
    }
    f.write_str(" }")
}

fn word(set: &Set) -> &'static str {
    if set.data == Data::Nothing {
        "set"
    } else {
        "map"
    }
}

struct SetType<'a>(&'a Set);

impl fmt::Display for SetType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.key.iter().map(|field| field.type_name()).collect();
        write!(f, "type {}", Joined(&names))?;
        match self.0.data {
            Data::Nothing => f.write_str(";"),
            Data::AddressPort => f.write_str(" : ipv4_addr . inet_service;"),
            Data::Verdict => f.write_str(" : verdict;"),
        }
    }
}

impl Field {
    fn type_name(self) -> &'static str {
        match self {
            Self::InputLink | Self::OutputLink => "ifname",
            Self::Destination => "ipv4_addr",
            Self::Transport => "inet_proto",
            Self::Port => "inet_service",
            // nft has no name for a plain number here.
            Self::Turn(_) => "mark",
        }
    }
}

struct Joined<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(" . ")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputLink => f.write_str("iifname"),
            Self::OutputLink => f.write_str("oifname"),
            Self::Destination => f.write_str("ip daddr"),
            Self::Transport => f.write_str("meta l4proto"),
            Self::Port => f.write_str("th dport"),
            Self::Turn(count) => write!(f, "numgen inc mod {count}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => write!(f, "\"{name}\""),
            Self::Address(address) => address.fmt(f),
            Self::Transport(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Slot(slot) => slot.fmt(f),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        };
        let point = match self.point {
            Point::Prerouting => "prerouting",
            Point::Forward => "forward",
            Point::Output => "output",
            Point::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {point} priority {};", self.priority)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputLinkIsNot(name) => write!(f, "iifname != \"{name}\""),
            Self::OutputLinkIs(name) => write!(f, "oifname \"{name}\""),
            Self::OutputLinkIsNot(name) => write!(f, "oifname != \"{name}\""),
            Self::SourceIn(net) => write!(f, "ip saddr {net}"),
            Self::DestinationIn(net) => write!(f, "ip daddr {net}"),
            Self::TransportIs(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::In { key, set } => write!(f, "{} @{set}", Joined(key)),
            Self::Established => f.write_str("ct state established,related"),
            Self::WasDnatted => f.write_str("ct status dnat"),
            Self::DestinationIsLocal => f.write_str("fib daddr type local"),
            Self::DnatBy { key, map } => write!(f, "dnat ip to {} map @{map}", Joined(key)),
            Self::VerdictBy { key, map } => write!(f, "{} vmap @{map}", Joined(key)),
            Self::DestinationPortIs(port) => write!(f, "th dport {port}"),
            Self::SourcePortIs(port) => write!(f, "th sport {port}"),
            Self::SetDestinationPort(protocol, port) => write!(f, "{protocol} dport set {port}"),
            Self::SetSourcePort(protocol, port) => write!(f, "{protocol} sport set {port}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
        }
    }
}
