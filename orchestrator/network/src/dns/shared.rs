//! What the name server's owner and its thread both hold: the table, and the orders of the one to the other.
//!
//! Must not know how listeners are opened or what is done with a query.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::zone::{Asker, Zone};

#[derive(Debug)]
pub(super) struct Shared {
    zone: Mutex<Arc<Zone>>,
    orders: Mutex<Orders>,
    /// Becomes readable when there are orders.
    wake: OwnedFd,
    numbers: AtomicU64,
}

/// What the thread has still to do.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) stop: bool,
    pub(super) opened: Vec<Listener>,
    /// Numbers of listeners that are to be closed.
    pub(super) closed: Vec<u64>,
}

/// The sockets in one container's namespace.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) id: u64,
    pub(super) asker: Asker,
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

impl Shared {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            zone: Mutex::default(),
            orders: Mutex::default(),
            wake,
            numbers: AtomicU64::default(),
        })
    }

    /// Never given before.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn zone(&self) -> Arc<Zone> {
        Arc::clone(&lock(&self.zone))
    }

    pub(super) fn set_zone(&self, zone: Zone) {
        *lock(&self.zone) = Arc::new(zone);
    }

    /// Adds to what is to be done, and wakes the thread.
    pub(super) fn order(&self, add: impl FnOnce(&mut Orders)) {
        add(&mut lock(&self.orders));
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn wake(&self) -> &OwnedFd {
        &self.wake
    }

    pub(super) fn take_orders(&self) -> Orders {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut lock(&self.orders))
    }
}

/// Neither side leaves anything half changed, so what a panicked holder left is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
