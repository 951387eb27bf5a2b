//! Notices when another program changes the ruleset.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::apply::Writers;
use super::attributes::{Message, attribute, messages};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallEvent {
    /// Our table lost something, or a table that can drop our traffic changed: call `reassert_firewall`.
    Changed,
}

/// Readable (`AsFd`) when there may be something; `next_event` blocks, `try_next_event` does not.
pub struct FlushWatch {
    socket: Socket,
    tag: String,
    writers: Arc<Writers>,
}

impl std::fmt::Debug for FlushWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlushWatch")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

impl AsFd for FlushWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl FlushWatch {
    pub(super) fn open(tag: String, writers: Arc<Writers>) -> io::Result<Self> {
        const NFNLGRP_NFTABLES: u32 = 7;
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFNLGRP_NFTABLES)?;
        Ok(Self {
            socket,
            tag,
            writers,
        })
    }

    /// Waits for the next change by another program.
    pub fn next_event(&self) -> io::Result<FirewallEvent> {
        loop {
            if self.receive(0)? {
                self.drain()?;
                return Ok(FirewallEvent::Changed);
            }
        }
    }

    /// What has come already, for callers that wait on the descriptor themselves.
    pub fn try_next_event(&self) -> io::Result<Option<FirewallEvent>> {
        Ok(self.drain()?.then_some(FirewallEvent::Changed))
    }

    /// One call to `reassert_firewall` answers everything that is in the queue.
    fn drain(&self) -> io::Result<bool> {
        const MSG_DONTWAIT: i32 = 0x40;
        let mut changed = false;
        loop {
            match self.receive(MSG_DONTWAIT) {
                Ok(relevant) => changed |= relevant,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&self, flags: i32) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(1 << 16);
        match self.socket.recv_from(&mut buffer, flags) {
            Ok(_) => {}
            // Something was lost, so anything may have changed.
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
            {
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) => return Err(error),
        }
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(messages(&buffer)
            .any(|message| !writers.contains(&message.writer) && matters(&message, &self.tag)))
    }
}

/// nf_tables message types: nfnetlink subsystem 10.
const NEW_CHAIN: u16 = 0x0a03;
const DELETE_TABLE: u16 = 0x0a02;
const DELETE_CHAIN: u16 = 0x0a05;
const DELETE_RULE: u16 = 0x0a08;
const DELETE_SET: u16 = 0x0a0b;
const DELETE_ELEMENT: u16 = 0x0a0e;

fn matters(message: &Message<'_>, tag: &str) -> bool {
    const TABLE: u16 = 1;
    const RULE_CHAIN: u16 = 2;
    const CHAIN_HOOK: u16 = 4;
    const RULE_USER_DATA: u16 = 7;
    let get = |wanted| attribute(message.attributes, wanted);
    let table = get(TABLE).map_or(&b""[..], |name| name.strip_suffix(b"\0").unwrap_or(name));
    let ours = table == tag.as_bytes();
    // Engines side by side drop nothing of each other's. To answer another one's answer would never end.
    let of_another_engine = !ours && (table == b"hoist" || table.starts_with(b"hoist-"));
    match message.kind {
        DELETE_RULE if ours => get(RULE_CHAIN) != Some(b"user\0"),
        DELETE_TABLE | DELETE_CHAIN | DELETE_SET | DELETE_ELEMENT => ours,
        // Our accept in a chain of another program.
        DELETE_RULE => get(RULE_USER_DATA).is_some_and(|data| {
            data.windows(tag.len())
                .any(|window| window == tag.as_bytes())
        }),
        NEW_CHAIN => !ours && !of_another_engine && get(CHAIN_HOOK).is_some(),
        _ => false,
    }
}
