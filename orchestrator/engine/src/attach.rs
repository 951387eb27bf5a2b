//! Clients that attach to a container, or to the shell of a failed build step, before it starts.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hoist_runtime::Attach;
use tokio::sync::Notify;

/// Streams that wait for a start, by container id.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    waiting: Mutex<BTreeMap<String, Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    clients: Clients,
    arrived: Arc<Notify>,
}

/// Those who wait for one container.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) streams: Vec<(OwnedFd, Attach)>,
    /// Rows and columns of the last one's terminal: the program must see them from its first instruction on.
    pub(crate) size: Option<(u16, u16)>,
}

impl Attachments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a client has attached.
    pub(crate) fn expect(&self, id: &str) -> impl Future<Output = ()> + use<> {
        let arrived = Arc::clone(&self.lock().entry(id.to_owned()).or_default().arrived);
        async move { arrived.notified().await }
    }

    /// Whether somebody waits for a client of it.
    pub(crate) fn is_expected(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    pub(crate) fn add(&self, id: &str, stream: OwnedFd, want: Attach, size: Option<(u16, u16)>) {
        let mut waiting = self.lock();
        let entry = waiting.entry(id.to_owned()).or_default();
        entry.clients.streams.push((stream, want));
        entry.clients.size = size.or(entry.clients.size);
        entry.arrived.notify_one();
    }

    /// For the start: all that wait.
    pub(crate) fn take(&self, id: &str) -> Clients {
        self.lock()
            .remove(id)
            .map(|waiting| waiting.clients)
            .unwrap_or_default()
    }
}
