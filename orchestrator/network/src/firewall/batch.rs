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
        f.debug_struct("Channel")
            .field("port", &self.port)
            .finish_non_exhaustive()
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
        Ok(Self {
            socket,
            port: address.port_number(),
        })
    }

    pub(crate) fn send(&self, table: &str, operations: &[Operation<'_>]) -> Result<(), Refusal> {
        let mut batch = Batch::begin();
        for operation in operations {
            batch.operation(table, operation);
        }
        self.commit(batch).map_err(|(sequence, source)| Refusal {
            operation: operation_of(operations, sequence),
            source,
        })
    }

    /// One transaction; the error comes with the number of the message that it is about, 0 for the whole.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), (u32, io::Error)> {
        let (batch, last) = batch.end();
        if sockopt::socket_send_buffer_size(&self.socket).is_ok_and(|size| size < 2 * batch.len()) {
            // Beyond the limit it needs privilege, which writing rules needs, too.
            let _ = sockopt::set_socket_send_buffer_size_force(&self.socket, 2 * batch.len());
        }
        self.socket.send(&batch, 0).map_err(|error| (0, error))?;
        let mut refused = None;
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(|error| (0, error))?;
            for message in messages(&datagram).filter(|message| message.kind == ERROR) {
                let sequence = message.sequence;
                let error = message
                    .body
                    .first_chunk()
                    .map_or(0, |code| i32::from_ne_bytes(*code).wrapping_neg());
                if error != 0 && refused.is_none() {
                    refused = Some((sequence, io::Error::from_raw_os_error(error)));
                }
                // The kernel answers for the whole batch, or at its end.
                if sequence == last || (sequence == 0 && error != 0) {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Every chain of every table.
    pub(crate) fn chains(&self) -> io::Result<Vec<Object>> {
        self.dump(4)
    }

    /// Every rule of every table.
    pub(crate) fn rules(&self) -> io::Result<Vec<Object>> {
        self.dump(7)
    }

    fn dump(&self, message: u16) -> io::Result<Vec<Object>> {
        const DUMP: u16 = 0x300;
        const DONE: u16 = 3;
        let request = Attributes::message(nf_tables(message), REQUEST | DUMP, 0, [0; 4]);
        self.socket.send(&request.finish(), 0)?;
        let mut found = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                match message.kind {
                    DONE => return Ok(found),
                    ERROR => return Err(io::Error::other("nf_tables refuses to list its objects")),
                    _ => found.extend(Object::of(&message)),
                }
            }
        }
    }
}

/// A chain or rule as the kernel lists it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) family: u8,
    attributes: Vec<u8>,
}

impl Object {
    fn of(message: &Message<'_>) -> Option<Self> {
        Some(Self {
            family: *message.body.first()?,
            attributes: message.attributes.to_vec(),
        })
    }

    pub(crate) fn bytes(&self, kind: u16) -> Option<&[u8]> {
        attribute(&self.attributes, kind)
    }

    pub(crate) fn text(&self, kind: u16) -> &str {
        let bytes = self.bytes(kind).unwrap_or_default();
        std::str::from_utf8(bytes.strip_suffix(b"\0").unwrap_or(bytes)).unwrap_or_default()
    }
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

const INET: u8 = 1;

/// Messages between the brackets of a transaction.
#[derive(Debug)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    sequence: u32,
    /// Where the last message begins.
    last: usize,
}

impl Batch {
    pub(crate) fn begin() -> Self {
        let mut batch = Self {
            buffer: Vec::new(),
            sequence: 0,
            last: 0,
        };
        batch.bracket(BATCH_BEGIN);
        batch
    }

    /// The bytes, and the number of the message that the kernel answers last.
    fn end(mut self) -> (Vec<u8>, u32) {
        const FLAGS: usize = 6;
        let last = self.sequence - 1;
        if let Some(flags) = self
            .buffer
            .get_mut(self.last + FLAGS..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *flags = (u16::from_ne_bytes(*flags) | ACKNOWLEDGE).to_ne_bytes();
        }
        self.bracket(BATCH_END);
        (self.buffer, last)
    }

    fn bracket(&mut self, kind: u16) {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.message(kind, REQUEST, [0, 0, high, low], |_| {});
    }

    /// At the head of a chain of any table.
    pub(crate) fn insert_rule(
        &mut self,
        family: u8,
        table: &str,
        chain: &str,
        rule: impl FnOnce(&mut Attributes),
    ) {
        self.message(
            nf_tables(6),
            REQUEST | CREATE,
            [family, 0, 0, 0],
            |message| {
                message.text(1, table);
                message.text(2, chain);
                rule(message);
            },
        );
    }

    pub(crate) fn delete_rule(&mut self, family: u8, table: &str, chain: &str, handle: &[u8]) {
        self.message(nf_tables(8), REQUEST, [family, 0, 0, 0], |message| {
            message.text(1, table);
            message.text(2, chain);
            message.bytes(3, handle);
        });
    }

    fn operation(&mut self, table: &str, operation: &Operation<'_>) {
        let create = REQUEST | CREATE;
        let delete = REQUEST;
        match operation {
            Operation::AddTable => {
                self.inet(0, create, |table_message| table_message.text(1, table))
            }
            Operation::DeleteTable => {
                self.inet(2, delete, |table_message| table_message.text(1, table))
            }
            Operation::AddChain(chain) => {
                self.inet(3, create, |message| write_chain(message, table, chain))
            }
            Operation::DeleteChain(name) => self.inet(5, delete, |message| {
                message.text(1, table);
                message.text(3, name);
            }),
            Operation::AddRule(chain, rule) => {
                self.inet(6, create | APPEND, |message| {
                    write_rule(message, table, chain, rule)
                });
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
            Operation::AddElements(set, elements) => {
                self.elements(12, create, table, set, elements)
            }
            Operation::DeleteElements(set, elements) => {
                self.elements(14, delete, table, set, elements)
            }
        }
    }

    fn elements(
        &mut self,
        message: u16,
        flags: u16,
        table: &str,
        set: &Set,
        elements: &Elements<'_>,
    ) {
        for chunk in elements.chunks(ELEMENTS_IN_A_MESSAGE) {
            self.inet(message, flags, |message| {
                write_elements(message, table, set, chunk)
            });
        }
    }

    fn inet(&mut self, message: u16, flags: u16, attributes: impl FnOnce(&mut Attributes)) {
        self.message(nf_tables(message), flags, [INET, 0, 0, 0], attributes);
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: [u8; 4],
        attributes: impl FnOnce(&mut Attributes),
    ) {
        let buffer = std::mem::take(&mut self.buffer);
        self.last = buffer.len();
        let mut message = Attributes::after(buffer, kind, flags, self.sequence, family);
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
            Point::Forward => 2,
            Point::Output => 3,
            Point::Postrouting => 4,
        };
        message.nested(4, |nested| {
            nested.number(1, point);
            nested.number(2, hook.priority.cast_unsigned());
        });
        message.number(5, ACCEPT);
        message.text(
            7,
            if hook.kind == Kind::Nat {
                "nat"
            } else {
                "filter"
            },
        );
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
    message.number(
        4,
        set.key
            .iter()
            .fold(0, |all, field| all << TYPE_BITS | field.type_number()),
    );
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

fn write_elements(
    message: &mut Attributes,
    table: &str,
    set: &Set,
    elements: &[(&Vec<Value>, &Target)],
) {
    const LIST_ELEMENT: u16 = 1;
    const DATA_VALUE: u16 = 1;
    message.text(1, table);
    message.text(2, &set.name);
    message.nested(3, |list| {
        for (key, target) in elements {
            list.nested(LIST_ELEMENT, |element| {
                element.nested(1, |data| {
                    data.bytes(DATA_VALUE, &expressions::key_bytes(key))
                });
                if set.data != Data::Nothing {
                    element.nested(2, |data| expressions::target(data, target));
                }
            });
        }
    });
}
