//! What engine, shim and container child say to each other: closed enums, one JSON value a packet.
//!
//! An engine meets shims of other versions, because it is replaced under running containers. So a shim greets with the
//! number of its protocol; fields that are not known are ignored and missing ones have defaults; a reply that is not
//! known is passed over, and an answer that is not known counts as a refusal. The number grows only when that is not enough.
//!
//! Only packets and their types; what to do about them is the business of `client`, `shim` and `init`.

mod launch;
mod packet;

pub(crate) use launch::{
    ExecConfig, FdRole, FileConfig, Head, InitConfig, MountConfig, MountKind, NodeConfig, Payload,
    ProcessConfig, Range, RenewConfig, RlimitConfig, RootConfig, SeccompConfig, ShimConfig,
    UserConfig,
};
pub(crate) use packet::{pair, recv, recv_until, recv_wait, send};

use serde::{Deserialize, Serialize};

use crate::client::Attach;

/// What this version speaks. Shims of before there was a number greet without one: they speak 0, which differs by that
/// alone.
pub(crate) const PROTOCOL: u32 = 1;

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
        #[serde(default)]
        protocol: u32,
    },
    Started {
        pid: i32,
        #[serde(default)]
        protocol: u32,
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
        #[serde(default)]
        paused: bool,
        #[serde(default)]
        tty: bool,
        started: bool,
        #[serde(default)]
        dropped_log_records: u64,
    },
}

impl Reply {
    /// `None`: a newer shim says something that is no answer and that this version does not know.
    pub(crate) fn of(packet: serde_json::Value) -> Option<Self> {
        let is_answer = packet.get("Answer").is_some();
        match serde_json::from_value(packet) {
            Ok(reply) => Some(reply),
            Err(_) if is_answer => Some(Self::Answer(Answer::Refused(
                "its answer is of a newer hoist than this engine".to_owned(),
            ))),
            Err(_) => None,
        }
    }
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
    #[serde(default)]
    pub(crate) signal: Option<i32>,
    #[serde(default)]
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
        let steady = time
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec);
        Self {
            code,
            signal,
            oom,
            at: crate::shim::record::now(),
            steady: Some(steady),
        }
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
