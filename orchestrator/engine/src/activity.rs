//! Whether anybody needs the engine: requests and streams in progress, and when the last thing happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Activity {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    changed: Notify,
}

/// Counts as work in progress while it lives.
#[derive(Debug)]
pub struct Busy {
    inner: Arc<Inner>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.inner.open.fetch_sub(1, Ordering::SeqCst);
        self.inner.changed.notify_one();
    }
}

impl Activity {
    pub(crate) fn begin(&self) -> Busy {
        self.inner.open.fetch_add(1, Ordering::SeqCst);
        self.touch();
        Busy {
            inner: Arc::clone(&self.inner),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.inner.open.load(Ordering::SeqCst) > 0
    }

    /// Something happened: the time without work starts again.
    pub(crate) fn touch(&self) {
        self.inner.changed.notify_one();
    }

    pub(crate) async fn touched(&self) {
        self.inner.changed.notified().await;
    }
}
