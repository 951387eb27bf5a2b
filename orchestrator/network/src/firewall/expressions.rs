//! Rules as nf_tables expressions: what the kernel's little machine does to decide.
//!
//! A key is laid out in 32-bit registers one after the other, in the order and widths of the set's elements.

use ipnet::Ipv4Net;

use super::attributes::Attributes;
use super::rules::{Field, Rule, Statement, Target, Value};
use crate::model::Protocol;

/// The first of the 32-bit registers, `NFT_REG32_00`.
const REGISTER: u32 = 8;
/// Where a lookup says which chain is next.
const VERDICT_REGISTER: u32 = 0;
const NAME_LENGTH: usize = 16;

// Names of the attributes, as in linux/netfilter/nf_tables.h; each expression has its own numbering.
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Meta {
    InputName = 6,
    OutputName = 7,
    Family = 15,
    Transport = 16,
}

#[derive(Debug, Clone, Copy)]
enum Conntrack {
    State,
    Status,
}

#[derive(Debug, Clone, Copy)]
enum Verdict<'a> {
    Drop,
    Accept,
    Jump(&'a str),
    Goto(&'a str),
}

pub(crate) fn rule(out: &mut Attributes, rule: &Rule) {
    let mut writer = Expressions(out);
    // In an inet table IPv6 packets come along too.
    if rule.iter().any(needs_ipv4) {
        const IPV4: u8 = 2;
        writer.meta(Meta::Family, REGISTER);
        writer.compare(true, &[IPV4]);
    }
    for statement in rule {
        writer.statement(statement);
    }
}

/// Accepts what comes from or goes to such links, for a table that is not ours.
pub(crate) fn accept_links(out: &mut Attributes, side: Side, links: Links<'_>) {
    let mut writer = Expressions(out);
    writer.meta(
        if side == Side::Input {
            Meta::InputName
        } else {
            Meta::OutputName
        },
        REGISTER,
    );
    match links {
        Links::Prefixed(prefix) => writer.compare(true, prefix.as_bytes()),
        Links::Named(name) => writer.compare(true, &padded_name(name)),
    }
    // iptables expects one in every rule.
    writer.expression("counter", |_| {});
    writer.verdict(Verdict::Accept);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links<'a> {
    /// Whose names begin so.
    Prefixed(&'a str),
    Named(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

fn needs_ipv4(statement: &Statement) -> bool {
    match statement {
        Statement::SourceIn(_) | Statement::DestinationIn(_) => true,
        Statement::In { key, .. }
        | Statement::DnatBy { key, .. }
        | Statement::VerdictBy { key, .. } => key.contains(&Field::Destination),
        _ => false,
    }
}

/// The bytes of an element's key as the expressions lay it out in registers.
pub(crate) fn key_bytes(key: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    for value in key {
        match value {
            Value::Link(name) => bytes.extend(padded_name(name)),
            Value::Address(address) => bytes.extend(address.octets()),
            Value::Transport(protocol) => bytes.extend([protocol.number(), 0, 0, 0]),
            Value::Port(port) => bytes.extend(padded_port(*port)),
            Value::Slot(slot) => bytes.extend(slot.to_ne_bytes()),
        }
    }
    bytes
}

/// What an element maps to.
pub(crate) fn target(out: &mut Attributes, target: &Target) {
    match target {
        Target::Nothing => {}
        Target::AddressPort(address, port) => {
            let bytes: Vec<u8> = address
                .octets()
                .into_iter()
                .chain(padded_port(*port))
                .collect();
            out.bytes(DATA_VALUE, &bytes);
        }
        Target::Goto(chain) => verdict_data(out, Verdict::Goto(chain)),
    }
}

struct Expressions<'a>(&'a mut Attributes);

impl Expressions<'_> {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::InputLinkIsNot(name) => self.link(Meta::InputName, false, name),
            Statement::OutputLinkIs(name) => self.link(Meta::OutputName, true, name),
            Statement::OutputLinkIsNot(name) => self.link(Meta::OutputName, false, name),
            Statement::SourceIn(net) => self.subnet(SOURCE, *net),
            Statement::DestinationIn(net) => self.subnet(DESTINATION, *net),
            Statement::TransportIs(protocol) => {
                self.meta(Meta::Transport, REGISTER);
                self.compare(true, &[protocol.number()]);
            }
            Statement::In { key, set } => {
                self.load(key);
                self.lookup(set, None);
            }
            // Bits of ip_conntrack_info and ip_conntrack_status.
            Statement::Established => self.conntrack(Conntrack::State, 1 << 1 | 1 << 2),
            Statement::WasDnatted => self.conntrack(Conntrack::Status, 1 << 5),
            Statement::DestinationIsLocal => self.destination_is_local(),
            Statement::DnatBy { key, map } => {
                self.load(key);
                self.lookup(map, Some(REGISTER));
                self.dnat();
            }
            Statement::VerdictBy { key, map } => {
                self.load(key);
                self.lookup(map, Some(VERDICT_REGISTER));
            }
            Statement::DestinationPortIs(port) => self.port(DESTINATION_PORT, *port),
            Statement::SourcePortIs(port) => self.port(SOURCE_PORT, *port),
            Statement::SetDestinationPort(protocol, port) => {
                self.set_port(DESTINATION_PORT, *protocol, *port)
            }
            Statement::SetSourcePort(protocol, port) => {
                self.set_port(SOURCE_PORT, *protocol, *port)
            }
            Statement::Masquerade => self.expression("masq", |_| {}),
            Statement::Jump(chain) => self.verdict(Verdict::Jump(chain)),
            Statement::Accept => self.verdict(Verdict::Accept),
            Statement::Drop => self.verdict(Verdict::Drop),
        }
    }

    fn load(&mut self, key: &[Field]) {
        let mut register = REGISTER;
        for field in key {
            match field {
                Field::InputLink => self.meta(Meta::InputName, register),
                Field::OutputLink => self.meta(Meta::OutputName, register),
                Field::Destination => self.payload(NETWORK_HEADER, DESTINATION, 4, register),
                Field::Transport => self.meta(Meta::Transport, register),
                Field::Port => self.payload(TRANSPORT_HEADER, DESTINATION_PORT, 2, register),
                Field::Turn(count) => self.turn(*count, register),
            }
            register += field.width() / 4;
        }
    }

    fn link(&mut self, which: Meta, equal: bool, name: &str) {
        self.meta(which, REGISTER);
        self.compare(equal, &padded_name(name));
    }

    fn subnet(&mut self, offset: u32, net: Ipv4Net) {
        self.payload(NETWORK_HEADER, offset, 4, REGISTER);
        self.mask(&net.netmask().octets());
        self.compare(true, &net.network().octets());
    }

    fn meta(&mut self, key: Meta, register: u32) {
        self.expression("meta", |data| {
            data.number(1, register);
            data.number(2, key as u32);
        });
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) {
        self.expression("payload", |data| {
            data.number(1, register);
            data.number(2, base);
            data.number(3, offset);
            data.number(4, length);
        });
    }

    fn compare(&mut self, equal: bool, value: &[u8]) {
        self.expression("cmp", |data| {
            data.number(1, REGISTER);
            data.number(2, u32::from(!equal));
            data.nested(3, |data| data.bytes(DATA_VALUE, value));
        });
    }

    fn mask(&mut self, mask: &[u8; 4]) {
        self.expression("bitwise", |data| {
            data.number(1, REGISTER);
            data.number(2, REGISTER);
            data.number(3, 4);
            data.nested(4, |data| data.bytes(DATA_VALUE, mask));
            data.nested(5, |data| data.bytes(DATA_VALUE, &[0; 4]));
        });
    }

    /// Whether any of `bits` is set.
    fn conntrack(&mut self, what: Conntrack, bits: u32) {
        let key = match what {
            Conntrack::State => 0,
            Conntrack::Status => 2,
        };
        self.expression("ct", |data| {
            data.number(1, REGISTER);
            data.number(2, key);
        });
        self.mask(&bits.to_ne_bytes());
        self.compare(false, &[0; 4]);
    }

    fn destination_is_local(&mut self) {
        const ADDRESS_TYPE: u32 = 3;
        const OF_DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        self.expression("fib", |data| {
            data.number(1, REGISTER);
            data.number(2, ADDRESS_TYPE);
            data.number(3, OF_DESTINATION);
        });
        self.compare(true, &LOCAL.to_ne_bytes());
    }

    fn lookup(&mut self, set: &str, result: Option<u32>) {
        self.expression("lookup", |data| {
            data.text(1, set);
            data.number(2, REGISTER);
            if let Some(register) = result {
                data.number(3, register);
            }
        });
    }

    /// Round robin.
    fn turn(&mut self, count: u32, register: u32) {
        const INCREMENTAL: u32 = 0;
        self.expression("numgen", |data| {
            data.number(1, register);
            data.number(2, count);
            data.number(3, INCREMENTAL);
        });
    }

    /// To the address and port that a lookup left in the first two registers.
    fn dnat(&mut self) {
        const DNAT: u32 = 1;
        const IPV4: u32 = 2;
        self.expression("nat", |data| {
            data.number(1, DNAT);
            data.number(2, IPV4);
            data.number(3, REGISTER);
            data.number(5, REGISTER + 1);
        });
    }

    fn port(&mut self, offset: u32, port: u16) {
        self.payload(TRANSPORT_HEADER, offset, 2, REGISTER);
        self.compare(true, &port.to_be_bytes());
    }

    fn set_port(&mut self, offset: u32, protocol: Protocol, port: u16) {
        const INTERNET_CHECKSUM: u32 = 1;
        let checksum = match protocol {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
        };
        self.expression("immediate", |data| {
            data.number(1, REGISTER);
            data.nested(2, |data| data.bytes(DATA_VALUE, &port.to_be_bytes()));
        });
        self.expression("payload", |data| {
            data.number(5, REGISTER);
            data.number(2, TRANSPORT_HEADER);
            data.number(3, offset);
            data.number(4, 2);
            data.number(6, INTERNET_CHECKSUM);
            data.number(7, checksum);
        });
    }

    fn verdict(&mut self, verdict: Verdict<'_>) {
        self.expression("immediate", |data| {
            data.number(1, VERDICT_REGISTER);
            data.nested(2, |data| verdict_data(data, verdict));
        });
    }

    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Attributes)) {
        self.0.nested(LIST_ELEMENT, |expression| {
            expression.text(EXPRESSION_NAME, name);
            expression.nested(EXPRESSION_DATA, data);
        });
    }
}

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Offsets in the IPv4 header.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
/// The same in TCP and UDP.
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;

fn verdict_data(out: &mut Attributes, verdict: Verdict<'_>) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0i32, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    out.nested(DATA_VERDICT, |verdict| {
        verdict.number(VERDICT_CODE, code.cast_unsigned());
        if let Some(chain) = chain {
            verdict.text(VERDICT_CHAIN, chain);
        }
    });
}

fn padded_name(name: &str) -> [u8; NAME_LENGTH] {
    let mut bytes = [0; NAME_LENGTH];
    for (place, byte) in bytes.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    bytes
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

impl Field {
    /// Bytes in a key, whole registers.
    pub(crate) fn width(self) -> u32 {
        match self {
            Self::InputLink | Self::OutputLink => 16,
            Self::Destination | Self::Transport | Self::Port | Self::Turn(_) => 4,
        }
    }

    /// nft's number for the type, for its listings; the kernel only keeps it.
    pub(crate) fn type_number(self) -> u32 {
        match self {
            Self::InputLink | Self::OutputLink => 41,
            Self::Destination => ADDRESS_TYPE_NUMBER,
            Self::Transport => 12,
            Self::Port => PORT_TYPE_NUMBER,
            Self::Turn(_) => 19,
        }
    }
}

pub(crate) const ADDRESS_TYPE_NUMBER: u32 = 7;
pub(crate) const PORT_TYPE_NUMBER: u32 = 13;

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}
