//! Queries for names that are not ours, on their way to the host's resolvers.
//!
//! Each has a socket of its own, so its port and id are as random as the kernel makes them, and only the server that was
//! asked can answer. The bytes pass through unchanged but for the id.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use super::resolv::{self, ResolvConf};
use super::tcp::Conversation;
use super::wire::{self, Asked};

/// The host's resolv.conf, read again when it changes.
#[derive(Debug)]
pub(crate) struct HostResolvers {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    conf: ResolvConf,
}

impl HostResolvers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            stamp: None,
            conf: ResolvConf::default(),
        }
    }

    pub(crate) fn current(&mut self) -> &ResolvConf {
        let stamp = fs::metadata(&self.path)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        if stamp != self.stamp {
            self.stamp = stamp;
            self.conf = fs::read_to_string(&self.path)
                .map(|text| resolv::parse(&text))
                .unwrap_or_default();
        }
        &self.conf
    }
}

/// Whom the answer is for.
#[derive(Debug, Clone)]
pub(crate) enum ReplyTo {
    Datagram { listener: u64, to: SocketAddr },
    Stream { client: u64 },
}

pub(crate) struct Forwarded {
    pub(crate) reply_to: ReplyTo,
    pub(crate) deadline: Instant,
    asked: Asked,
    packet: Vec<u8>,
    question: Vec<u8>,
    original_id: u16,
    /// Still to be asked, the next one last.
    servers: Vec<SocketAddr>,
    /// Tells nothing better than this, so far.
    unhelpful: Option<Vec<u8>>,
    channel: Option<Channel>,
}

enum Channel {
    Datagram(UdpSocket),
    Stream(Conversation),
}

const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
const PORT: u16 = 53;

impl Forwarded {
    pub(crate) fn new(asked: Asked, packet: &[u8], reply_to: ReplyTo, servers: &[IpAddr]) -> Self {
        let once = servers
            .iter()
            .rev()
            .map(|server| SocketAddr::new(*server, PORT));
        let servers = once.cycle().take(servers.len() * ROUNDS).collect();
        let question = wire::raw_question(packet).unwrap_or_default().to_vec();
        let (packet, original_id) = (packet.to_vec(), wire::id(packet));
        let deadline = Instant::now();
        Self {
            reply_to,
            deadline,
            asked,
            packet,
            question,
            original_id,
            servers,
            unhelpful: None,
            channel: None,
        }
    }

    /// Asks the next server that can be asked; the final answer when there is none left.
    pub(crate) fn ask_next(&mut self) -> Option<Vec<u8>> {
        while let Some(server) = self.servers.pop() {
            match self.send(server) {
                Ok(channel) => {
                    self.channel = Some(channel);
                    self.deadline = Instant::now() + PATIENCE;
                    return None;
                }
                Err(error) => tracing::debug!(%server, %error, "cannot ask a resolver"),
            }
        }
        let mut answer = self
            .unhelpful
            .take()
            .unwrap_or_else(|| self.asked.failure());
        wire::set_id(&mut answer, self.original_id);
        Some(answer)
    }

    fn send(&mut self, server: SocketAddr) -> io::Result<Channel> {
        let mut id = [0; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        wire::set_id(&mut self.packet, u16::from_ne_bytes(id));
        // A client that came by TCP was told that a datagram is too small, or knows it.
        if matches!(self.reply_to, ReplyTo::Stream { .. }) {
            let mut conversation = Conversation::new(connect_soon(server)?, usize::from(u16::MAX));
            let _ = conversation.queue(&self.packet);
            return Ok(Channel::Stream(conversation));
        }
        let any: IpAddr = if server.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        socket.send(&self.packet)?;
        Ok(Channel::Datagram(socket))
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(|channel| match channel {
            Channel::Datagram(socket) => socket.as_fd(),
            Channel::Stream(conversation) => conversation.as_fd(),
        })
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        matches!(&self.channel, Some(Channel::Stream(conversation)) if conversation.wants_to_write())
    }

    /// What to say when the answer is not waited for any more.
    pub(crate) fn failure(&self) -> Vec<u8> {
        self.asked.failure()
    }

    /// Takes what has come. The final answer, or None to go on waiting.
    pub(crate) fn proceed(&mut self) -> Option<Vec<u8>> {
        let received = match &mut self.channel {
            None => return self.ask_next(),
            Some(Channel::Datagram(socket)) => receive_all(socket),
            Some(Channel::Stream(conversation)) => {
                conversation.flush().and_then(|()| conversation.read())
            }
        };
        // The server refused the connection or closed it.
        let Ok(packets) = received else {
            return self.ask_next();
        };
        let id = wire::id(&self.packet);
        let mut answer = packets
            .into_iter()
            .find(|packet| wire::answers(packet, id, &self.question))?;
        wire::set_id(&mut answer, self.original_id);
        if wire::is_unhelpful(&answer) {
            self.unhelpful = Some(answer);
            return self.ask_next();
        }
        Some(answer)
    }
}

fn receive_all(socket: &UdpSocket) -> io::Result<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => packets.push(buffer[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(packets),
            Err(error) => return Err(error),
        }
    }
}

/// A connection that is still being made.
fn connect_soon(server: SocketAddr) -> io::Result<TcpStream> {
    let family = if server.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match connect(&socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}
