//! What follows from an event: each is carried out by one function of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hoist_object::{
    Check, ContainerDoc, ExitDoc, Health, HealthPlan, NetworkDoc, StateDoc, Timestamp,
};

use crate::condition::Outcome;
use crate::handles::{Handles, Summary};
use crate::status::Status;
use crate::timer::Timer;

#[derive(Debug)]
pub enum Effect<H: Handles> {
    PutState {
        id: String,
        state: Box<StateDoc>,
    },
    /// Followers of its state should see this one.
    Publish {
        id: String,
        status: Status,
    },
    /// There will be no other state of it.
    Forget {
        id: String,
    },
    /// Containers have come, gone or begun to run.
    Changed,
    /// Names or ports have changed.
    Wire,
    /// Something happened: the time without work starts again.
    Touch,
    Announce(Notice<H>),
    /// Turn what its shim says into events of this run.
    Follow {
        id: String,
        run: u64,
        shim: H::Shim,
    },
    /// End the shim and all that it holds: nothing here wants it.
    ShutDown {
        shim: H::Shim,
    },
    /// Look for its shim until it is found or its end is certain.
    Seek {
        id: String,
        run: u64,
    },
    /// Start it on behalf of its restart policy.
    Start {
        id: String,
    },
    /// Stop this run, which an engine before this one had begun to.
    FinishStop {
        id: String,
        run: u64,
    },
    /// Remove it and these volumes: it was made for one run.
    Remove {
        id: String,
        volumes: Vec<String>,
    },
    /// Plan these projects from their records, one after the other.
    Supervise {
        projects: Vec<String>,
    },
    Probe {
        run: u64,
        pid: i32,
        container: Summary<H>,
        plan: Arc<HealthPlan>,
    },
    /// For the next engine.
    KeepHealth {
        id: String,
        check: Check,
    },
    /// Say [`Due`](crate::Event::Due) at this time of the steady clock.
    Wake {
        at: Timestamp,
        timer: Timer,
    },
    AnswerStart {
        reply: H::StartReply,
        answer: StartAnswer<H>,
    },
    AnswerStop {
        reply: H::StopReply,
        answer: StopAnswer,
    },
    AnswerWait {
        reply: H::WaitReply,
        outcome: Outcome,
    },
}

#[derive(Debug)]
pub enum StartAnswer<H: Handles> {
    /// Go ahead; report with `Started` or `StartFailed` under this number.
    Go(Box<StartTicket<H>>),
    /// It runs already.
    Running,
    /// The start that was under way failed.
    Failed(ExitDoc),
    /// A stop was asked for since its policy decided.
    Unwanted,
    Gone,
}

/// Everything that a start needs to know of other objects.
#[derive(Debug)]
pub struct StartTicket<H: Handles> {
    pub run: u64,
    pub container: Summary<H>,
    /// Never started before.
    pub first: bool,
    /// By name, for those that it attaches to.
    pub networks: BTreeMap<String, NetworkDoc>,
    /// Each container whose namespaces it shares, by name; absent: not running.
    pub peers: BTreeMap<String, Peer>,
    /// Of its volumes that have some.
    pub driver_opts: BTreeMap<String, BTreeMap<String, String>>,
}

/// A running container whose namespaces another one lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub id: String,
    pub pid: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopAnswer {
    /// This run has processes.
    Running {
        run: u64,
        paused: bool,
    },
    /// It is down, and will stay so.
    Down,
    Gone,
}

/// Something that subscribers hear of.
#[derive(Debug)]
pub enum Notice<H: Handles> {
    Container {
        doc: Arc<ContainerDoc>,
        what: Subject,
    },
    /// A request did this to a container.
    Requested {
        doc: Arc<ContainerDoc>,
        what: H::Said,
    },
    NetworkMade(Box<NetworkDoc>),
    NetworkGone(Box<NetworkDoc>),
    /// With the container.
    Connected(Box<NetworkDoc>, String),
    Disconnected(Box<NetworkDoc>, String),
    VolumeMade(String),
    VolumeGone(String),
    /// Its networks and volumes are in use, or no longer.
    Attachments {
        doc: Arc<ContainerDoc>,
        networks: Vec<NetworkDoc>,
        up: bool,
    },
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Created,
    Started,
    Died { code: i32, ran: Option<Duration> },
    Removed,
    Paused(bool),
    OutOfMemory,
    Health(Health),
    ExecMade { id: String, command: Vec<String> },
    ExecStarted { id: String, command: Vec<String> },
    ExecEnded { id: String, code: i32 },
}
