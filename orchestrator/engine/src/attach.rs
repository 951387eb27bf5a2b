//! Clients that attach to a container before it starts.

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
    streams: Vec<(OwnedFd, Attach)>,
    arrived: Arc<Notify>,
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

    pub(crate) fn add(&self, id: &str, stream: OwnedFd, want: Attach) {
        let mut waiting = self.lock();
        let entry = waiting.entry(id.to_owned()).or_default();
        entry.streams.push((stream, want));
        entry.arrived.notify_one();
    }

    /// For the start: all streams that wait.
    pub(crate) fn take(&self, id: &str) -> Vec<(OwnedFd, Attach)> {
        self.lock().remove(id).map(|waiting| waiting.streams).unwrap_or_default()
    }
}
