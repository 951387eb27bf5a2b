//! What engine, shim and container child say to each other: closed enums, one JSON value a packet.
//!
//! Only packets and their types; what to do about them is the business of `client`, `shim` and `init`.

mod launch;
mod packet;

pub(crate) use launch::{
    ExecConfig, FdRole, FileConfig, Head, InitConfig, MountConfig, MountKind, NodeConfig, Payload, ProcessConfig,
    Range, RenewConfig, RlimitConfig, RootConfig, SeccompConfig, ShimConfig, UserConfig,
};
pub(crate) use packet::{pair, recv, recv_until, recv_wait, send};

use serde::{Deserialize, Serialize};

use crate::client::Attach;

/// Engine → shim on `shim.sock` (and on the socket that it was started with). Each gets one `Answer`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    State,
    Start,
    Kill {
        signal: i32,
    },
    KillAll,
    /// To an exec's process group.
    KillGroup {
        signal: i32,
    },
    Pause,
    Resume,
    Resize {
        rows: u16,
        columns: u16,
    },
    /// With one descriptor: the client's stream.
    Attach(Attach),
    /// Makes the bundle and `shim.sock` again if they are not there.
    Reopen,
    Detach,
    Shutdown,
}

/// Shim → engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Answer(Answer),
    /// Set up and waiting for `Request::Start` (`oci create`).
    Created {
        pid: i32,
    },
    Started {
        pid: i32,
    },
    Failed(Failure),
    Exited(Exit),
    Oom,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Refused(String),
    /// The gate was opened, and the program could not be executed.
    NotStarted(Failure),
    State {
        id: String,
        pid: i32,
        shim_pid: i32,
        paused: bool,
        tty: bool,
        started: bool,
        dropped_log_records: u64,
    },
}

/// A failed stage of set-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: String,
    pub(crate) object: String,
    pub(crate) errno: i32,
    pub(crate) exit_code: u8,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) oom: bool,
    /// Nanoseconds since the epoch.
    pub(crate) at: i64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    #[serde(default)]
    pub(crate) steady: Option<i64>,
}

impl Exit {
    /// At this moment.
    pub(crate) fn now(code: i32, signal: Option<i32>, oom: bool) -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let steady = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
        Self { code, signal, oom, at: crate::shim::record::now(), steady: Some(steady) }
    }
}

/// Container child → shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChildReport {
    /// With one descriptor: the terminal's master end.
    Terminal,
    /// Everything is set up; the child waits for one `Go`.
    Ready,
    Failed(Failure),
    // Success needs no word: exec closes the socket.
}

/// Shim → container child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Go;
