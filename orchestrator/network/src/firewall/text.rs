//! A ruleset in nft's own language, as one transaction.

use std::fmt::{self, Write as _};

use super::rules::{Chain, Data, Field, Hook, Kind, Point, Ruleset, Set, Statement, Target, Value};

/// The transaction that makes `table` be `new`, whatever it holds now, without touching the user's chain.
/// `stale` are chains that exist and are not in `new`.
pub(crate) fn replace(table: &str, new: &Ruleset, stale: &[&str]) -> String {
    let mut script = String::new();
    write_replace(&mut script, table, new).expect("writing to a String cannot fail");
    for chain in stale {
        writeln!(script, "delete chain {table} {chain}").expect("writing to a String cannot fail");
    }
    script
}

/// The transaction from `old` to `new` where only elements differ; None where a rule does.
pub(crate) fn change(table: &str, old: &Ruleset, new: &Ruleset) -> Option<String> {
    let same_sets = old.sets.iter().map(shape).eq(new.sets.iter().map(shape));
    if old.chains != new.chains || !same_sets {
        return None;
    }
    let mut script = String::new();
    for (old, new) in old.sets.iter().zip(&new.sets) {
        write_change(&mut script, table, old, new).expect("writing to a String cannot fail");
    }
    Some(script)
}

/// The transaction that leaves nothing, whether the table exists or not.
pub(crate) fn remove(table: &str) -> String {
    format!("add table {table}\ndelete table {table}\n")
}

fn shape(set: &Set) -> (&str, &[Field], Data) {
    (&set.name, &set.key, set.data)
}

fn write_replace(out: &mut String, table: &str, new: &Ruleset) -> fmt::Result {
    writeln!(out, "add table {table}")?;
    for set in &new.sets {
        writeln!(out, "add {} {table} {} {{ {} }}", word(set), set.name, SetType(set))?;
    }
    for chain in &new.chains {
        match chain.hook {
            Some(hook) => writeln!(out, "add chain {table} {} {{ {hook} policy accept; }}", chain.name)?,
            None => writeln!(out, "add chain {table} {}", chain.name)?,
        }
        if !chain.users {
            writeln!(out, "flush chain {table} {}", chain.name)?;
        }
    }
    for set in &new.sets {
        writeln!(out, "flush {} {table} {}", word(set), set.name)?;
        write_elements(out, "add", table, set, set.elements.iter())?;
    }
    for Chain { name, rules, .. } in &new.chains {
        for rule in rules {
            write!(out, "add rule {table} {name}")?;
            for statement in rule {
                write!(out, " {statement}")?;
            }
            out.push('\n');
        }
    }
    Ok(())
}

fn write_change(out: &mut String, table: &str, old: &Set, new: &Set) -> fmt::Result {
    let gone = old.elements.iter().filter(|(key, target)| new.elements.get(*key) != Some(*target));
    write_elements(out, "delete", table, old, gone)?;
    let come = new.elements.iter().filter(|(key, target)| old.elements.get(*key) != Some(*target));
    write_elements(out, "add", table, new, come)
}

fn write_elements<'a>(
    out: &mut String,
    verb: &str,
    table: &str,
    set: &Set,
    elements: impl Iterator<Item = (&'a Vec<Value>, &'a Target)>,
) -> fmt::Result {
    let mut separator = "";
    for (key, target) in elements {
        if separator.is_empty() {
            write!(out, "{verb} element {table} {} {{ ", set.name)?;
        }
        write!(out, "{separator}{}", Joined(key))?;
        match target {
            Target::Nothing => {}
            Target::AddressPort(address, port) => write!(out, " : {address} . {port}")?,
            Target::Goto(chain) => write!(out, " : goto {chain}")?,
        }
        separator = ", ";
    }
    if !separator.is_empty() {
        out.push_str(" }\n");
    }
    Ok(())
}

fn word(set: &Set) -> &'static str {
    if set.data == Data::Nothing { "set" } else { "map" }
}

struct SetType<'a>(&'a Set);

impl fmt::Display for SetType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only `typeof` can say what a slot is, and behind it nft 1.0.6 confines a port to tcp.
        let by_expression = self.0.key.iter().any(|field| matches!(field, Field::Turn(_)));
        if by_expression {
            write!(f, "typeof {}", Joined(&self.0.key))?;
        } else {
            let names: Vec<_> = self.0.key.iter().map(|field| field.type_name()).collect();
            write!(f, "type {}", Joined(&names))?;
        }
        match self.0.data {
            Data::Nothing => f.write_str(";"),
            Data::AddressPort if by_expression => f.write_str(" : ip daddr . tcp dport;"),
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
            Self::Turn(_) => "integer",
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
            Point::Input => "input",
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
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
        }
    }
}
