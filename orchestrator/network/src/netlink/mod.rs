//! Requests to the kernel over netlink: batches with one acknowledgement each, and dumps.

pub(crate) mod route;

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// A socket in the network namespace of the thread that opened it.
pub(crate) struct Connection {
    socket: Socket,
}

impl Connection {
    pub(crate) fn open(family: isize) -> io::Result<Self> {
        let mut socket = Socket::new(family)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Sends all messages at once; the kernel works through them whatever happens to their predecessors. One result each.
    pub(crate) fn batch<M>(&self, messages: Vec<(u16, M)>) -> io::Result<Vec<io::Result<()>>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut results: Vec<Option<io::Result<()>>> = messages.iter().map(|_| None).collect();
        let mut buffer = Vec::new();
        for (sequence, (flags, message)) in messages.into_iter().enumerate() {
            append(
                &mut buffer,
                sequence,
                NLM_F_REQUEST | NLM_F_ACK | flags,
                message,
            );
        }
        self.socket.send(&buffer, 0)?;
        while results.iter().any(Option::is_none) {
            self.receive::<M>(|header, payload| {
                if let NetlinkPayload::Error(error) = payload
                    && let Some(slot) = results.get_mut(header.sequence_number as usize)
                {
                    *slot = Some(if error.code.is_none() {
                        Ok(())
                    } else {
                        Err(to_io(error.raw_code()))
                    });
                }
                true
            })?;
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// One request that is answered with one object.
    pub(crate) fn get<M>(&self, message: M) -> io::Result<M>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut answer = None;
        let mut buffer = Vec::new();
        append(&mut buffer, 0, NLM_F_REQUEST, message);
        self.socket.send(&buffer, 0)?;
        while answer.is_none() {
            self.receive(|_, payload| {
                answer = match payload {
                    NetlinkPayload::InnerMessage(message) => Some(Ok(message)),
                    NetlinkPayload::Error(error) => Some(Err(to_io(error.raw_code()))),
                    _ => None,
                };
                answer.is_none()
            })?;
        }
        answer.expect("the loop ends with an answer")
    }

    pub(crate) fn dump<M>(&self, message: M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut found = Vec::new();
        let mut outcome = None;
        let mut buffer = Vec::new();
        append(&mut buffer, 0, NLM_F_REQUEST | NLM_F_DUMP, message);
        self.socket.send(&buffer, 0)?;
        while outcome.is_none() {
            self.receive(|_, payload| {
                match payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Done(_) => outcome = Some(Ok(())),
                    NetlinkPayload::Error(error) => outcome = Some(Err(to_io(error.raw_code()))),
                    _ => {}
                }
                outcome.is_none()
            })?;
        }
        outcome
            .expect("the loop ends with an outcome")
            .map(|()| found)
    }

    /// Hands over the messages of one datagram until `each` returns false.
    fn receive<M: NetlinkDeserializable>(
        &self,
        mut each: impl FnMut(NetlinkHeader, NetlinkPayload<M>) -> bool,
    ) -> io::Result<()> {
        let (datagram, _) = self.socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while rest.len() >= 16 {
            let message = NetlinkMessage::<M>::deserialize(rest).map_err(io::Error::other)?;
            let length = message.header.length as usize;
            if !each(message.header, message.payload) {
                break;
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn append<M: NetlinkSerializable>(buffer: &mut Vec<u8>, sequence: usize, flags: u16, message: M) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = u32::try_from(sequence).unwrap_or(u32::MAX);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let start = buffer.len();
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut buffer[start..]);
}

fn to_io(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code.abs())
}

pub(crate) fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
