//! How many steps of a request are worked on at a time (`--parallel`). Waiting for a condition takes no slot.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    closed: CancellationToken,
}

/// Held while a step is worked on.
pub(super) type Slot = OwnedSemaphorePermit;

impl Slots {
    pub(crate) fn new(limit: Option<NonZeroU32>) -> Self {
        let limit = limit.and_then(|limit| usize::try_from(limit.get()).ok());
        // Half of what there can be: lending adds some for a while.
        let most = Semaphore::MAX_PERMITS / 2;
        let free = Semaphore::new(limit.map_or(most, |limit| limit.min(most)));
        Self {
            free: Arc::new(free),
            closed: CancellationToken::new(),
        }
    }

    /// `None`: nothing is to be begun any more.
    pub(super) async fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    pub(super) fn close(&self) {
        self.free.close();
        self.closed.cancel();
    }

    /// Resolves when nothing is to be begun any more, and what can be given up should be.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Gives a slot that the caller holds to others while it waits: what it waits for may need one.
    pub(crate) async fn lend<T>(&self, wait: impl Future<Output = T>) -> T {
        self.free.add_permits(1);
        let waited = wait.await;
        if let Ok(slot) = self.free.acquire().await {
            slot.forget();
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_waits_for_another_step_lends_it_its_slot() {
        let slots = Arc::new(Slots::new(NonZeroU32::new(1)));
        let (done, wait) = oneshot::channel::<()>();
        let held = slots.take().await.unwrap();
        let other = Arc::clone(&slots);
        let base = tokio::spawn(async move {
            let _slot = other.take().await.unwrap();
            done.send(()).unwrap();
        });
        slots.lend(wait).await.unwrap();
        base.await.unwrap();
        assert!(slots.free.try_acquire().is_err(), "it has its slot again");
        drop(held);
        assert!(slots.free.try_acquire().is_ok());
    }

    #[tokio::test]
    async fn closed_slots_begin_nothing() {
        let slots = Slots::new(None);
        slots.close();
        slots.closed().await;
        assert!(slots.take().await.is_none());
    }
}
