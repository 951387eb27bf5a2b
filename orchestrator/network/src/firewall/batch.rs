//! A transaction as the netlink batch that nf_tables takes, sent without any helper program.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

use super::attributes::{Attributes, Message, attribute, messages};
use super::expressions::{self, ADDRESS_TYPE_NUMBER, PORT_TYPE_NUMBER};
use super::rules::{Chain, Data, Field, Kind, Point, Rule, Set, Target, Value};
use super::transaction::{Elements, Operation};

/// What the kernel said to a batch.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Number of the operation, if it was one of them.
    pub(crate) operation: Option<usize>,
    pub(crate) source: io::Error,
}

/// The one socket that this engine changes its table with.
pub(crate) struct Channel {
    socket: Socket,
    /// How the kernel names the writer when it tells others of the change.
    pub(crate) port: u32,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("port", &self.port).finish_non_exhaustive()
    }
}

const FIRST_OPERATION: usize = 1;
/// Also an acknowledgement, with the code 0.
const ERROR: u16 = 2;

impl Channel {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let address = socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, port: address.port_number() })
    }

    pub(crate) fn send(&self, table: &str, operations: &[Operation<'_>]) -> Result<(), Refusal> {
        let unanswered = |source| Refusal { operation: None, source };
        let (batch, last) = encode(table, operations);
        if sockopt::socket_send_buffer_size(&self.socket).is_ok_and(|size| size < 2 * batch.len()) {
            // Beyond the limit it needs privilege, which whoever may write rules has.
            let _ = sockopt::set_socket_send_buffer_size_force(&self.socket, 2 * batch.len());
        }
        self.socket.send(&batch, 0).map_err(unanswered)?;
        let mut refused = None;
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(unanswered)?;
            for message in messages(&datagram).filter(|message| message.kind == ERROR) {
                let sequence = message.sequence;
                let error = message.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code).wrapping_neg());
                if error != 0 && refused.is_none() {
                    let operation = operation_of(operations, sequence);
                    refused = Some(Refusal { operation, source: io::Error::from_raw_os_error(error) });
                }
                // The kernel answers for the whole batch, or at its end.
                if sequence == last || (sequence == 0 && error != 0) {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Base chains at the hook of any table: family, table name, hook.
    pub(crate) fn base_chains(&self) -> io::Result<Vec<(u8, String, u32)>> {
        const GET_CHAIN: u16 = 4;
        const DUMP: u16 = 0x300;
        let mut request = Batch::default();
        request.message(nf_tables(GET_CHAIN), REQUEST | DUMP, Family::Any, |_| {});
        self.socket.send(&request.buffer, 0)?;
        let mut found = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                const DONE: u16 = 3;
                match message.kind {
                    DONE => return Ok(found),
                    ERROR => return Err(io::Error::other("the kernel does not list chains")),
                    _ => found.extend(base_chain(&message)),
                }
            }
        }
    }
}

/// Family, table and hook of a chain that has a hook.
fn base_chain(message: &Message<'_>) -> Option<(u8, String, u32)> {
    const TABLE: u16 = 1;
    const HOOK: u16 = 4;
    const HOOK_NUMBER: u16 = 1;
    let table = attribute(message.attributes, TABLE)?;
    let hook = attribute(attribute(message.attributes, HOOK)?, HOOK_NUMBER)?;
    let table = String::from_utf8_lossy(table.strip_suffix(b"\0").unwrap_or(table)).into_owned();
    Some((*message.body.first()?, table, u32::from_be_bytes(*hook.first_chunk()?)))
}

/// An operation may take several messages, so sequence numbers say which operation it was.
fn operation_of(operations: &[Operation<'_>], sequence: u32) -> Option<usize> {
    let mut next = FIRST_OPERATION;
    for (number, operation) in operations.iter().enumerate() {
        next += messages_of(operation);
        if (sequence as usize) < next {
            return (sequence > 0).then_some(number);
        }
    }
    None
}

/// An attribute's length has 16 bits.
const ELEMENTS_IN_A_MESSAGE: usize = 300;

fn messages_of(operation: &Operation<'_>) -> usize {
    match operation {
        Operation::AddElements(_, elements) | Operation::DeleteElements(_, elements) => {
            elements.len().div_ceil(ELEMENTS_IN_A_MESSAGE)
        }
        _ => 1,
    }
}

/// The bytes and the sequence number that the kernel answers last.
fn encode(table: &str, operations: &[Operation<'_>]) -> (Vec<u8>, u32) {
    let mut batch = Batch::default();
    batch.message(BATCH_BEGIN, REQUEST, Family::Batch, |_| {});
    for (number, operation) in operations.iter().enumerate() {
        batch.operation(table, operation, number + 1 == operations.len());
    }
    let last = batch.sequence - 1;
    batch.message(BATCH_END, REQUEST, Family::Batch, |_| {});
    (batch.buffer, last)
}

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const SUBSYSTEM: u16 = 10;

const fn nf_tables(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

#[derive(Debug, Clone, Copy)]
enum Family {
    Any,
    Inet,
    /// Of the batch's own brackets.
    Batch,
}

#[derive(Default)]
struct Batch {
    buffer: Vec<u8>,
    sequence: u32,
}

impl Batch {
    fn operation(&mut self, table: &str, operation: &Operation<'_>, last: bool) {
        let end = if last { ACKNOWLEDGE } else { 0 };
        let create = REQUEST | CREATE | end;
        let delete = REQUEST | end;
        match operation {
            Operation::AddTable => self.inet(0, create, |table_message| table_message.text(1, table)),
            Operation::DeleteTable => self.inet(2, delete, |table_message| table_message.text(1, table)),
            Operation::AddChain(chain) => self.inet(3, create, |message| write_chain(message, table, chain)),
            Operation::DeleteChain(name) => self.inet(5, delete, |message| {
                message.text(1, table);
                message.text(3, name);
            }),
            Operation::AddRule(chain, rule) => {
                self.inet(6, create | APPEND, |message| write_rule(message, table, chain, rule));
            }
            Operation::FlushChain(name) => self.inet(8, delete, |message| {
                message.text(1, table);
                message.text(2, name);
            }),
            Operation::AddSet(set) => {
                // Only has to differ within the batch.
                let number = self.sequence;
                self.inet(9, create, |message| write_set(message, table, set, number));
            }
            Operation::FlushSet(set) => self.inet(14, delete, |message| {
                message.text(1, table);
                message.text(2, &set.name);
            }),
            Operation::AddElements(set, elements) => self.elements(12, REQUEST | CREATE, end, table, set, elements),
            Operation::DeleteElements(set, elements) => self.elements(14, REQUEST, end, table, set, elements),
        }
    }

    fn elements(&mut self, message: u16, flags: u16, end: u16, table: &str, set: &Set, elements: &Elements<'_>) {
        let chunks = elements.chunks(ELEMENTS_IN_A_MESSAGE);
        let count = chunks.len();
        for (number, chunk) in chunks.enumerate() {
            let end = if number + 1 == count { end } else { 0 };
            self.inet(message, flags | end, |message| write_elements(message, table, set, chunk));
        }
    }

    fn inet(&mut self, message: u16, flags: u16, attributes: impl FnOnce(&mut Attributes)) {
        self.message(nf_tables(message), flags, Family::Inet, attributes);
    }

    fn message(&mut self, kind: u16, flags: u16, family: Family, attributes: impl FnOnce(&mut Attributes)) {
        let (family, resource) = match family {
            Family::Any => (0, 0),
            Family::Inet => (1, 0),
            Family::Batch => (0, SUBSYSTEM),
        };
        let [high, low] = u16::to_be_bytes(resource);
        let buffer = std::mem::take(&mut self.buffer);
        let mut message = Attributes::after(buffer, kind, flags, self.sequence, [family, 0, high, low]);
        attributes(&mut message);
        self.buffer = message.finish();
        self.sequence += 1;
    }
}

fn write_chain(message: &mut Attributes, table: &str, chain: &Chain) {
    const ACCEPT: u32 = 1;
    message.text(1, table);
    message.text(3, &chain.name);
    if let Some(hook) = chain.hook {
        let point = match hook.point {
            Point::Prerouting => 0,
            Point::Input => 1,
            Point::Forward => 2,
            Point::Output => 3,
            Point::Postrouting => 4,
        };
        message.nested(4, |nested| {
            nested.number(1, point);
            nested.number(2, hook.priority.cast_unsigned());
        });
        message.number(5, ACCEPT);
        message.text(7, if hook.kind == Kind::Nat { "nat" } else { "filter" });
    }
}

fn write_rule(message: &mut Attributes, table: &str, chain: &str, rule: &Rule) {
    message.text(1, table);
    message.text(2, chain);
    message.nested(4, |list| expressions::rule(list, rule));
}

fn write_set(message: &mut Attributes, table: &str, set: &Set, number: u32) {
    const MAP: u32 = 8;
    const VERDICT: u32 = 0xffff_ff00;
    const TYPE_BITS: u32 = 6;
    message.text(1, table);
    message.text(2, &set.name);
    message.number(3, if set.data == Data::Nothing { 0 } else { MAP });
    message.number(4, set.key.iter().fold(0, |all, field| all << TYPE_BITS | field.type_number()));
    message.number(5, set.key.iter().map(|field| field.width()).sum());
    match set.data {
        Data::Nothing => {}
        Data::AddressPort => {
            message.number(6, ADDRESS_TYPE_NUMBER << TYPE_BITS | PORT_TYPE_NUMBER);
            message.number(7, 8);
        }
        Data::Verdict => message.number(6, VERDICT),
    }
    message.number(10, number);
    if let [Field::InputLink | Field::OutputLink] = set.key.as_slice() {
        // For nft's listings, which else read a lone name backwards: "key byte order, four bytes, the host's".
        let order = [[0, 4].as_slice(), &1u32.to_ne_bytes()].concat();
        message.bytes(13, &order);
    }
}

fn write_elements(message: &mut Attributes, table: &str, set: &Set, elements: &[(&Vec<Value>, &Target)]) {
    const LIST_ELEMENT: u16 = 1;
    const DATA_VALUE: u16 = 1;
    message.text(1, table);
    message.text(2, &set.name);
    message.nested(3, |list| {
        for (key, target) in elements {
            list.nested(LIST_ELEMENT, |element| {
                element.nested(1, |data| data.bytes(DATA_VALUE, &expressions::key_bytes(key)));
                if set.data != Data::Nothing {
                    element.nested(2, |data| expressions::target(data, target));
                }
            });
        }
    });
}
