//! The loop of the name server's thread: waits for any socket, answers from the table, forwards the rest.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::forward::{Forwarded, HostResolvers, ReplyTo};
use super::shared::{Listener, Orders, Shared};
use super::tcp::Conversation;
use super::wire::{self, Incoming};
use super::zone::Answer;

pub(super) struct Worker {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    clients: BTreeMap<u64, Client>,
    forwarded: BTreeMap<u64, Forwarded>,
    resolvers: HostResolvers,
    /// Numbers clients and forwarded queries, and rotates answers.
    counter: u64,
}

/// Somebody who asks by TCP.
struct Client {
    network: String,
    asker: Ipv4Addr,
    conversation: Conversation,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Orders,
    Datagrams(usize),
    Connections(usize),
    Client(u64),
    Forwarded(u64),
}

const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
const CLIENTS_OF_ONE_ASKER: usize = 16;
const FORWARDED_OF_ONE_ASKER: usize = 100;
/// Each holds a socket.
const FORWARDED: usize = 1000;

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, resolv_conf: PathBuf) -> Self {
        Self {
            shared,
            listeners: Vec::new(),
            clients: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            resolvers: HostResolvers::new(resolv_conf),
            counter: 0,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => {
                    tracing::error!(%errno, "the name server cannot wait for its sockets and stops");
                    return;
                }
            };
            let mut orders = false;
            for source in ready {
                match source {
                    Source::Orders => orders = true,
                    Source::Datagrams(listener) => self.take_datagrams(listener),
                    Source::Connections(listener) => self.take_connections(listener),
                    Source::Client(id) => self.serve_client(id),
                    Source::Forwarded(id) => self.advance(id, Forwarded::proceed),
                }
            }
            // Last, since it renumbers the listeners.
            if orders && !self.obey() {
                return;
            }
            self.expire();
        }
    }

    fn wait(&self) -> rustix::io::Result<Vec<Source>> {
        let mut sources = vec![Source::Orders];
        let mut fds = vec![PollFd::new(self.shared.wake(), PollFlags::IN)];
        for (number, listener) in self.listeners.iter().enumerate() {
            sources.extend([Source::Datagrams(number), Source::Connections(number)]);
            fds.extend([PollFd::new(&listener.udp, PollFlags::IN), PollFd::new(&listener.tcp, PollFlags::IN)]);
        }
        for (id, client) in &self.clients {
            sources.push(Source::Client(*id));
            fds.push(PollFd::new(&client.conversation, interest(client.conversation.wants_to_write())));
        }
        for (id, query) in &self.forwarded {
            if let Some(fd) = query.fd() {
                sources.push(Source::Forwarded(*id));
                fds.push(PollFd::from_borrowed_fd(fd, interest(query.wants_to_write())));
            }
        }
        let deadlines = self.clients.values().map(|client| client.deadline);
        let next = deadlines.chain(self.forwarded.values().map(|query| query.deadline)).min();
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        poll(&mut fds, timeout.as_ref())?;
        Ok(sources.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(source, _)| source).collect())
    }

    /// False to stop.
    fn obey(&mut self) -> bool {
        let Orders { stop, opened, closed } = self.shared.take_orders();
        self.listeners.retain(|listener| !closed.contains(&listener.network));
        self.clients.retain(|_, client| !closed.contains(&client.network));
        self.listeners.extend(opened);
        !stop
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.clients.retain(|_, client| client.deadline > now);
        let late: Vec<_> =
            self.forwarded.iter().filter(|(_, query)| query.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            self.advance(id, Forwarded::ask_next);
        }
    }

    fn take_datagrams(&mut self, listener: usize) {
        /// Then the others get their turn.
        const AT_ONCE: usize = 64;
        let mut packet = [0; 4096];
        for _ in 0..AT_ONCE {
            let Some(Listener { network, udp, .. }) = self.listeners.get(listener) else { return };
            let Ok((length, from)) = udp.recv_from(&mut packet) else { return };
            let IpAddr::V4(asker) = from.ip() else { continue };
            let reply_to = ReplyTo::Datagram { network: network.clone(), asker: from };
            let network = network.clone();
            self.take_query(&packet[..length], &network, asker, reply_to);
        }
    }

    fn take_connections(&mut self, listener: usize) {
        while let Some(Listener { network, tcp, .. }) = self.listeners.get(listener) {
            let Ok((stream, SocketAddr::V4(from))) = tcp.accept() else { return };
            let network = network.clone();
            self.take_connection(stream, network, *from.ip());
        }
    }

    fn take_connection(&mut self, stream: TcpStream, network: String, asker: Ipv4Addr) {
        let open = self.clients.values().filter(|client| client.asker == asker && client.network == network).count();
        if open >= CLIENTS_OF_ONE_ASKER || stream.set_nonblocking(true).is_err() {
            return;
        }
        let conversation = Conversation::new(stream);
        let deadline = Instant::now() + CLIENT_PATIENCE;
        let id = self.next();
        self.clients.insert(id, Client { network, asker, conversation, deadline });
    }

    fn serve_client(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let messages = client.conversation.flush().and_then(|()| client.conversation.read());
        let Ok(messages) = messages else {
            self.clients.remove(&id);
            return;
        };
        if !messages.is_empty() {
            client.deadline = Instant::now() + CLIENT_PATIENCE;
        }
        let (network, asker) = (client.network.clone(), client.asker);
        for message in messages {
            self.take_query(&message, &network, asker, ReplyTo::Stream { client: id });
        }
    }

    fn take_query(&mut self, packet: &[u8], network: &str, asker: Ipv4Addr, reply_to: ReplyTo) {
        let asked = match wire::read(packet) {
            Incoming::Query(asked) => asked,
            Incoming::Reply(reply) => return self.deliver(&reply_to, &reply),
            Incoming::Ignore => return,
        };
        let turn = usize::try_from(self.next()).unwrap_or_default();
        let answer = self.shared.zone().answer(network, asker, asked.question(), turn);
        let datagram = matches!(reply_to, ReplyTo::Datagram { .. });
        if let Some(reply) = asked.answer(&answer, datagram) {
            return self.deliver(&reply_to, &reply);
        }
        let of_asker = self.forwarded.values().filter(|query| query.asker == asker).count();
        if of_asker >= FORWARDED_OF_ONE_ASKER || self.forwarded.len() >= FORWARDED {
            return self.deliver(&reply_to, &asked.failure());
        }
        let own = match &answer {
            Answer::Forward(own) if !own.is_empty() => own.as_slice(),
            _ => self.resolvers.current().servers.as_slice(),
        };
        let query = Forwarded::new(*asked, packet, asker, reply_to, own);
        let id = self.next();
        self.forwarded.insert(id, query);
        self.advance(id, Forwarded::ask_next);
    }

    fn advance(&mut self, id: u64, step: impl FnOnce(&mut Forwarded) -> Option<Vec<u8>>) {
        let Some(query) = self.forwarded.get_mut(&id) else { return };
        if let Some(answer) = step(query) {
            let reply_to = query.reply_to.clone();
            self.forwarded.remove(&id);
            self.deliver(&reply_to, &answer);
        }
    }

    fn deliver(&mut self, reply_to: &ReplyTo, answer: &[u8]) {
        let sent: io::Result<()> = match reply_to {
            ReplyTo::Datagram { network, asker } => {
                let listener = self.listeners.iter().find(|listener| listener.network == *network);
                listener.map_or(Ok(()), |listener| listener.udp.send_to(answer, asker).map(drop))
            }
            ReplyTo::Stream { client: id } => {
                let Some(client) = self.clients.get_mut(id) else { return };
                client.conversation.queue(answer);
                client.conversation.flush().inspect_err(|_| drop(self.clients.remove(id)))
            }
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "cannot deliver an answer");
        }
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

fn interest(write: bool) -> PollFlags {
    if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
}
