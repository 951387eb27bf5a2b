//! What can happen.

use hoist_object::{
    Check, ContainerDoc, ExitDoc, NetworkDoc, Probe, ProbeRecord, StackDoc, Timestamp, VolumeDoc,
};

use crate::condition::Condition;
use crate::container::Container;
use crate::exec::Exec;
use crate::handles::Handles;
use crate::status::StartWhy;
use crate::timer::Timer;

#[derive(Debug)]
pub enum Event<H: Handles> {
    StackApplied(Box<StackDoc>),
    StackGone(String),
    NetworkMade(Box<NetworkDoc>),
    NetworkGone {
        name: String,
    },
    VolumeMade(Box<VolumeDoc>),
    VolumeGone {
        name: String,
    },
    ContainerMade(Box<Container<H>>),
    /// It has joined or left a network.
    Rewired(Box<ContainerDoc>),
    ContainerGone {
        id: String,
    },
    StartWanted {
        id: String,
        why: StartWhy,
        reply: H::StartReply,
    },
    Started {
        id: String,
        run: u64,
        shim: H::Shim,
        pid: i32,
        at: Timestamp,
    },
    StartFailed {
        id: String,
        run: u64,
        exit: ExitDoc,
    },
    /// It is to be down and to stay down.
    StopWanted {
        id: String,
        /// Only if it is still this run: for a stop that an engine before this one had begun.
        run: Option<u64>,
        reply: H::StopReply,
    },
    /// A request waits for a state of it.
    Await {
        id: String,
        condition: Condition,
        reply: H::WaitReply,
    },
    Paused {
        id: String,
        paused: bool,
    },
    /// `kill` is sending a signal.
    Signalled {
        id: String,
    },
    /// Subscribers should know; nothing here changes by it.
    Announced {
        id: String,
        what: H::Said,
    },
    FromShim {
        id: String,
        run: u64,
        event: ShimEvent,
    },
    /// The shim that was sought answers.
    Found {
        id: String,
        run: u64,
        shim: H::Shim,
        pid: i32,
        paused: bool,
    },
    /// The shim that is sought does not answer.
    Unreachable {
        id: String,
        run: u64,
        reason: String,
    },
    /// It was set up, and its engine died before its program ran.
    NeverRan {
        id: String,
        run: u64,
    },
    Probed {
        id: String,
        run: u64,
        probe: Probe,
        record: ProbeRecord,
    },
    /// A time that was asked for by [`Effect::Wake`](crate::Effect::Wake) has come.
    Due(Timer),
    ExecMade(Box<Exec<H>>),
    ExecStarted {
        id: String,
        handle: H::Exec,
    },
    ExecEnded {
        id: String,
        code: i32,
    },
    /// Its client has all of its output, however long that took, and asks for the code next.
    ExecDelivered {
        id: String,
    },

    // What a new engine finds, before `Resumed`.
    /// It outlived an engine, and its shim answers.
    Adopted {
        id: String,
        shim: H::Shim,
        pid: i32,
        paused: bool,
        check: Option<Check>,
    },
    /// The same with a shim that does not answer: it counts as running, and its shim is sought.
    AdoptedUnseen {
        id: String,
        pid: Option<i32>,
        check: Option<Check>,
        reason: String,
    },
    /// Nothing of it runs.
    FoundDown {
        id: String,
        end: End,
    },
    /// It runs, and nothing here knew of it.
    Stray(Box<Container<H>>),
    /// Containers run on it, and its record was lost.
    NetworkRestored(Box<NetworkDoc>),
    /// All was looked at: what the records want is done from here on.
    Resumed,
}

/// What a container that is down left of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its shim recorded how it ended.
    Recorded(ExitDoc),
    /// Its start was cut short: neither a shim nor a record of an end was ever there.
    NeverBegan,
    /// It, its shim and their record went together, or it is on record already.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShimEvent {
    /// The kernel killed something in the container for memory.
    Oom,
    Exited(ExitDoc),
    /// The connection is gone; what became of the container is not known by that.
    Closed,
}
