//! Owns the signals that end a command.
//!
//! A signal handler replaces the kernel's default action for the whole process and for good. While a verb does not poll
//! its signals (waiting for an answer from the engine, say), nothing would interrupt it: [`unheard`] does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// A handler is registered.
static LISTENING: Notify = Notify::const_new();
/// Number of signals that were handled.
static HEARD: AtomicU64 = AtomicU64::new(0);
/// How long a signal may stay unhandled.
const PATIENCE: Duration = Duration::from_secs(3);

/// Resolves when a signal was not handled in time, or a second one arrived first.
pub(crate) async fn unheard() {
    LISTENING.notified().await;
    let Ok(mut own) = Interrupts::listen() else {
        return std::future::pending().await;
    };
    loop {
        let before = HEARD.load(Ordering::SeqCst);
        own.arrived().await;
        tokio::select! {
            () = tokio::time::sleep(PATIENCE) => {}
            () = own.arrived() => {}
        }
        if HEARD.load(Ordering::SeqCst) == before {
            return;
        }
    }
}

fn heard() {
    HEARD.fetch_add(1, Ordering::SeqCst);
}

/// SIGINT and SIGTERM as one stream of "stop".
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        LISTENING.notify_one();
        Ok(signals)
    }

    pub(crate) async fn next(&mut self) {
        self.arrived().await;
        heard();
    }

    async fn arrived(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Signals that a container in the foreground gets in our place.
#[derive(Debug)]
pub(crate) struct Forwarded {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
}

impl Forwarded {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let signals = Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        };
        LISTENING.notify_one();
        Ok(signals)
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        let name = tokio::select! {
            _ = self.hangup.recv() => "SIGHUP",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.user1.recv() => "SIGUSR1",
            _ = self.user2.recv() => "SIGUSR2",
        };
        heard();
        name
    }
}
