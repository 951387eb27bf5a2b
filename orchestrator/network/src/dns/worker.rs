//! The loop of the name server's thread: waits for any socket, answers from the table, forwards the rest.
//!
//! Everything is bounded by the asker, which is a container: a flood of one costs the others a turn at most.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::forward::{Forwarded, HostResolvers, ReplyTo};
use super::shared::{Listener, Orders, Shared};
use super::shares::{Room, Shares};
use super::tcp::Conversation;
use super::wire::{self, Incoming};
use super::zone::Answer;

pub(super) struct Worker {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    listeners: BTreeMap<u64, Listener>,
    clients: Shares<Client>,
    forwarded: Shares<Forwarded>,
    resolvers: HostResolvers,
    /// Rotates answers.
    turn: usize,
}

/// A TCP client.
struct Client {
    listener: u64,
    conversation: Conversation,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Orders,
    Datagrams(u64),
    Connections(u64),
    Client(u64),
    Forwarded(u64),
}

const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
const CLIENTS_OF_ONE: usize = 16;
const CLIENTS: usize = 512;
const FORWARDED_OF_ONE: usize = 100;
/// Each holds a socket.
const FORWARDED: usize = 1000;
/// No query is longer, by datagram or stream.
const LONGEST_QUERY: usize = 4096;
/// Sources that are served before the others get their turn again.
const EVENTS: usize = 256;

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, resolv_conf: PathBuf) -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let worker = Self {
            shared,
            epoll,
            listeners: BTreeMap::new(),
            clients: Shares::new(CLIENTS_OF_ONE, CLIENTS),
            forwarded: Shares::new(FORWARDED_OF_ONE, FORWARDED),
            resolvers: HostResolvers::new(resolv_conf),
            turn: 0,
        };
        watch(&worker.epoll, worker.shared.wake(), Source::Orders, false)?;
        Ok(worker)
    }

    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(
                &self.epoll,
                spare_capacity(&mut events),
                self.timeout().as_ref(),
            ) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => {
                    tracing::error!(%errno, "the name server cannot wait for its sockets and stops");
                    return;
                }
            }
            for event in &events {
                match Source::of(event.data.u64()) {
                    Source::Orders => {
                        if !self.obey() {
                            return;
                        }
                    }
                    Source::Datagrams(listener) => self.take_datagrams(listener),
                    Source::Connections(listener) => self.take_connections(listener),
                    Source::Client(id) => self.serve_client(id),
                    Source::Forwarded(id) => self.advance(id, Forwarded::proceed),
                }
            }
            self.expire();
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let deadlines = self.clients.iter().map(|(_, client)| client.deadline);
        let next = deadlines
            .chain(self.forwarded.iter().map(|(_, query)| query.deadline))
            .min()?;
        Timespec::try_from(next.saturating_duration_since(Instant::now())).ok()
    }

    /// False to stop.
    fn obey(&mut self) -> bool {
        let Orders {
            stop,
            opened,
            closed,
        } = self.shared.take_orders();
        for id in closed {
            self.listeners.remove(&id);
            self.clients.remove_of(id);
            self.forwarded.remove_of(id);
        }
        for listener in opened {
            let id = listener.id;
            let watched = watch(&self.epoll, &listener.udp, Source::Datagrams(id), false)
                .and_then(|()| watch(&self.epoll, &listener.tcp, Source::Connections(id), false));
            if let Err(errno) = watched {
                tracing::error!(%errno, container = listener.asker.container, "cannot wait for a container's questions");
            }
            self.listeners.insert(id, listener);
        }
        !stop
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late = self
            .clients
            .iter()
            .filter(|(_, client)| client.deadline <= now)
            .map(|(id, _)| id);
        for id in late.collect::<Vec<_>>() {
            self.clients.remove(id);
        }
        let late = self
            .forwarded
            .iter()
            .filter(|(_, query)| query.deadline <= now)
            .map(|(id, _)| id);
        for id in late.collect::<Vec<_>>() {
            self.advance(id, Forwarded::ask_next);
        }
    }

    fn take_datagrams(&mut self, listener: u64) {
        const AT_ONCE: usize = 16;
        let mut packet = [0; LONGEST_QUERY];
        for _ in 0..AT_ONCE {
            let Some(Listener { udp, .. }) = self.listeners.get(&listener) else {
                return;
            };
            let Ok((length, to)) = udp.recv_from(&mut packet) else {
                return;
            };
            self.take_query(
                &packet[..length],
                listener,
                ReplyTo::Datagram { listener, to },
            );
        }
    }

    fn take_connections(&mut self, listener: u64) {
        const AT_ONCE: usize = 16;
        for _ in 0..AT_ONCE {
            let Some(Listener { tcp, .. }) = self.listeners.get(&listener) else {
                return;
            };
            let Ok((stream, _)) = tcp.accept() else {
                return;
            };
            self.take_connection(stream, listener);
        }
    }

    fn take_connection(&mut self, stream: TcpStream, listener: u64) {
        // The evicted connection is closed.
        if matches!(self.clients.room_for(listener), Room::None)
            || stream.set_nonblocking(true).is_err()
        {
            return;
        }
        let id = self.shared.number();
        if watch(&self.epoll, &stream, Source::Client(id), false).is_ok() {
            let conversation = Conversation::new(stream, LONGEST_QUERY);
            let deadline = Instant::now() + CLIENT_PATIENCE;
            self.clients.insert(
                id,
                listener,
                Client {
                    listener,
                    conversation,
                    deadline,
                },
            );
        }
    }

    fn serve_client(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let messages = client
            .conversation
            .flush()
            .and_then(|()| client.conversation.read());
        let Ok(messages) = messages else {
            self.clients.remove(id);
            return;
        };
        if !messages.is_empty() {
            client.deadline = Instant::now() + CLIENT_PATIENCE;
        }
        let listener = client.listener;
        self.watch_client(id);
        for message in messages {
            self.take_query(&message, listener, ReplyTo::Stream { client: id });
        }
    }

    fn take_query(&mut self, packet: &[u8], listener: u64, reply_to: ReplyTo) {
        let asked = match wire::read(packet) {
            Incoming::Query(asked) => asked,
            Incoming::Reply(reply) => return self.deliver(&reply_to, &reply),
            Incoming::Ignore => return,
        };
        self.turn = self.turn.wrapping_add(1);
        let Some(Listener { asker, .. }) = self.listeners.get(&listener) else {
            return;
        };
        let answer = self
            .shared
            .zone()
            .answer(asker, asked.question(), self.turn);
        let datagram = matches!(reply_to, ReplyTo::Datagram { .. });
        if let Some(reply) = asked.answer(&answer, datagram) {
            return self.deliver(&reply_to, &reply);
        }
        match self.forwarded.room_for(listener) {
            Room::Free => {}
            Room::Made(displaced) => self.deliver(&displaced.reply_to, &displaced.failure()),
            Room::None => return self.deliver(&reply_to, &asked.failure()),
        }
        let own = match &answer {
            Answer::Forward(own) if !own.is_empty() => own.as_slice(),
            _ => self.resolvers.current().servers.as_slice(),
        };
        let query = Forwarded::new(*asked, packet, reply_to, own);
        let id = self.shared.number();
        self.forwarded.insert(id, listener, query);
        self.advance(id, Forwarded::ask_next);
    }

    fn advance(&mut self, id: u64, step: impl FnOnce(&mut Forwarded) -> Option<Vec<u8>>) {
        let Some(query) = self.forwarded.get_mut(id) else {
            return;
        };
        let Some(answer) = step(query) else {
            // Each server is asked by a socket of its own.
            let watched = query.fd().map(|fd| {
                watch(
                    &self.epoll,
                    fd,
                    Source::Forwarded(id),
                    query.wants_to_write(),
                )
            });
            if let Some(Err(errno)) = watched {
                tracing::debug!(%errno, "cannot wait for a resolver's answer");
            }
            return;
        };
        let reply_to = query.reply_to.clone();
        self.forwarded.remove(id);
        self.deliver(&reply_to, &answer);
    }

    fn deliver(&mut self, reply_to: &ReplyTo, answer: &[u8]) {
        match reply_to {
            ReplyTo::Datagram { listener, to } => self.deliver_datagram(*listener, *to, answer),
            ReplyTo::Stream { client: id } => {
                let Some(client) = self.clients.get_mut(*id) else {
                    return;
                };
                if client.conversation.queue(answer) && client.conversation.flush().is_ok() {
                    self.watch_client(*id);
                } else {
                    self.clients.remove(*id);
                }
            }
        }
    }

    fn deliver_datagram(&self, listener: u64, to: SocketAddr, answer: &[u8]) {
        let Some(listener) = self.listeners.get(&listener) else {
            return;
        };
        if let Err(error) = listener.udp.send_to(answer, to) {
            tracing::debug!(%error, "cannot deliver an answer");
        }
    }

    /// Once more, since the awaited events may have changed.
    fn watch_client(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let write = client.conversation.wants_to_write();
        if watch(&self.epoll, &client.conversation, Source::Client(id), write).is_err() {
            self.clients.remove(id);
        }
    }
}

impl Source {
    const KINDS: u64 = 4;

    fn token(self) -> u64 {
        let (id, kind) = match self {
            Self::Orders => return u64::MAX,
            Self::Datagrams(id) => (id, 0),
            Self::Connections(id) => (id, 1),
            Self::Client(id) => (id, 2),
            Self::Forwarded(id) => (id, 3),
        };
        id * Self::KINDS + kind
    }

    fn of(token: u64) -> Self {
        let id = token / Self::KINDS;
        match token % Self::KINDS {
            _ if token == u64::MAX => Self::Orders,
            0 => Self::Datagrams(id),
            1 => Self::Connections(id),
            2 => Self::Client(id),
            _ => Self::Forwarded(id),
        }
    }
}

/// Begins to wait for a socket, or changes what it is waited for. A closed socket is forgotten by the kernel.
fn watch(
    epoll: &OwnedFd,
    socket: impl AsFd,
    source: Source,
    write: bool,
) -> rustix::io::Result<()> {
    let mut flags = epoll::EventFlags::IN;
    flags.set(epoll::EventFlags::OUT, write);
    let data = epoll::EventData::new_u64(source.token());
    match epoll::add(epoll, &socket, data, flags) {
        Err(rustix::io::Errno::EXIST) => epoll::modify(epoll, &socket, data, flags),
        outcome => outcome,
    }
}
