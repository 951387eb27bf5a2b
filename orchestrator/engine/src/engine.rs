//! What every task of the engine shares: the mechanisms, and the way to the world.
//!
//! Nothing here changes after the start. All mutable state is the world's, which lives in one task and is reached
//! through [`Engine::tell`] and [`Engine::look`].

use std::path::PathBuf;
use std::sync::Arc;

use hoist_image::Store as ImageStore;
use hoist_network::{Host, dns};
use hoist_object::Timestamp;
use hoist_runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::activity::Activity;
use crate::attach::Attachments;
use crate::buildnet::BuildNetwork;
use crate::config::EngineConfig;
use crate::feed::Feed;
use crate::names::Names;
use crate::observe::Claims;
use crate::projects::Turns;
use crate::store::Store;
use crate::volumes::VolumeLocks;
use crate::wiring::Wiring;
use crate::world::{Condition, Event, Message, Outcome, World};

/// Id of the boot, so that what was running is told from what the machine took down.
pub(crate) fn boot_id() -> std::io::Result<String> {
    let id =
        crate::store::patiently(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id"))?;
    Ok(id.trim().to_owned())
}

/// Wall time: for people, logs and files. It may be set at any moment, so no timer or decision depends on it.
pub fn now() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX))
}

/// The monotonic clock, which timers use as well. Its timestamps are valid within one boot.
pub(crate) fn steady() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Timestamp(
        time.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec),
    )
}

/// RFC 3339 with nanoseconds, as docker prints times.
pub fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .map(|time| format!("{time:.9}"))
        .unwrap_or_else(|_| "0001-01-01T00:00:00Z".to_owned())
}

/// 64 lower-case hex digits.
pub(crate) fn new_id() -> String {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // Interrupted by a signal at worst; any other failure is not possible with these arguments.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .unwrap_or(0);
    }
    hex::encode(bytes)
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) boot: String,
    pub(crate) store: Store,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) net: Arc<Host>,
    pub(crate) dns: dns::Server,
    pub(crate) names: Names,
    pub(crate) wiring: Wiring,
    pub(crate) turns: Turns,
    pub(crate) volumes: VolumeLocks,
    /// Held while a network is made or removed.
    pub(crate) network_turn: tokio::sync::Mutex<()>,
    /// How many containers may be on their way up at a time.
    pub(crate) lanes: tokio::sync::Semaphore,
    pub(crate) activity: Activity,
    pub(crate) attachments: Attachments,
    pub(crate) build_network: BuildNetwork,
    /// RUN steps in progress.
    pub(crate) steps: Activity,
    /// Set once, when the process is about to end in good order.
    pub(crate) leaving: watch::Sender<bool>,
    /// Counts how often something was missing from the run folder.
    pub(crate) missing: watch::Sender<u64>,
    /// One permit for each shim that was told so.
    pub(crate) left: tokio::sync::Semaphore,
    pub(crate) feed: Feed,
    /// Unbounded, and bounded by who sends: each request, shim, probe and timer has at most a few events under way, and
    /// the world handles an event in microseconds and never waits. A bound would make it wait for itself.
    pub(crate) messages: mpsc::UnboundedSender<Message>,
}

/// The world's task has ended, which only happens while the process ends.
#[derive(Debug, thiserror::Error)]
#[error("the engine is shutting down")]
pub(crate) struct ShuttingDown;

impl Engine {
    fn send(&self, message: Message) {
        // Without a receiver the process is ending, and nothing needs to know any more.
        let _ = self.messages.send(message);
    }

    pub(crate) fn tell(&self, event: Event) {
        self.send(Message::Event(event));
    }

    /// What a plan that is being carried out will create; nothing: it has ended.
    pub(crate) fn claim(&self, project: String, claims: Claims) {
        self.send(Message::Claimed { project, claims });
    }

    /// Waits until a container is in some state, or never will be.
    pub(crate) async fn wait(
        &self,
        id: &str,
        condition: Condition,
    ) -> Result<Outcome, ShuttingDown> {
        self.ask(|reply| Event::Await {
            id: id.to_owned(),
            condition,
            reply,
        })
        .await
    }

    /// Reads the world as it is after everything that was told before.
    pub(crate) async fn look<R, F>(&self, look: F) -> Result<R, ShuttingDown>
    where
        R: Send + 'static,
        F: FnOnce(&World) -> R + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Look(Box::new(move |world| {
            drop(reply.send(look(world)))
        })));
        answer.await.map_err(|_| ShuttingDown)
    }

    /// Sends an event that carries a reply channel, and waits for the reply.
    pub(crate) async fn ask<R>(
        &self,
        event: impl FnOnce(oneshot::Sender<R>) -> Event,
    ) -> Result<R, ShuttingDown> {
        let (reply, answer) = oneshot::channel();
        self.tell(event(reply));
        answer.await.map_err(|_| ShuttingDown)
    }

    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.config.run_dir.join("containers").join(id)
    }

    /// Secrets that must not reach a disk.
    pub(crate) fn volatile(&self, name: &str) -> PathBuf {
        self.config.run_dir.join("secrets").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hex_digits_and_differ() {
        let (one, other) = (new_id(), new_id());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(
            rfc3339(Timestamp(1_500_000_000)),
            "1970-01-01T00:00:01.500000000Z"
        );
    }
}
