//! One container's state: what was decided, where it is in its life, and who watches it.

use std::collections::VecDeque;
use std::sync::Arc;

use hoist_object::{Check, ContainerDoc, ExitDoc, Health, HealthPlan, StateDoc, Timestamp, Wanted};
use hoist_spec::canonical;
use hoist_spec::model::Service;
use tokio::sync::watch;

use super::StartWhy;
use crate::engine::{earlier, steady};
use crate::lower;
use crate::probe::HealthLog;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Starting,
    Running,
    Paused,
    /// Ended; its restart policy starts it again.
    Restarting {
        exit: ExitDoc,
    },
    Exited(ExitDoc),
    Removed,
}

impl Phase {
    /// Its names and ports are (about to be) live.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused)
    }

    pub(crate) fn has_processes(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// The last exit, if it is down.
    pub(crate) fn exit(&self) -> Option<&ExitDoc> {
        match self {
            Self::Restarting { exit } | Self::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Docker's word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Created | Self::Starting => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited(_) => "exited",
            Self::Removed => "removing",
        }
    }
}

/// What watchers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    pub(crate) health: Health,
    /// Grows with each start.
    pub(crate) run: u64,
}

/// A running healthcheck.
#[derive(Debug, Clone)]
pub(crate) struct HealthRun {
    pub(crate) check: Check,
    pub(crate) log: VecDeque<HealthLog>,
    pub(crate) probing: bool,
}

/// What does not change, shared with tasks.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) doc: Arc<ContainerDoc>,
    pub(crate) service: Arc<Service>,
}

#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) doc: Arc<ContainerDoc>,
    pub(crate) service: Arc<Service>,
    pub(crate) health_plan: Option<Arc<HealthPlan>>,
    pub(crate) state: StateDoc,
    pub(crate) phase: Phase,
    /// Counts starts since this engine runs; events of earlier runs are stale.
    pub(crate) run: u64,
    pub(crate) pid: Option<i32>,
    /// Why its shim cannot be spoken to, while it is sought; it counts as running all the same.
    pub(crate) unreachable: Option<String>,
    pub(crate) oom: bool,
    /// It ended because the machine did.
    pub(crate) lost_in_reboot: bool,
    /// When this engine made it, by the steady clock; `None`: an engine before it did.
    pub(crate) made: Option<Timestamp>,
    /// When `kill` last sent it a signal, by the steady clock.
    pub(crate) signalled: Option<Timestamp>,
    pub(crate) health: Option<HealthRun>,
    pub(crate) status: watch::Sender<Status>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("its stored service is not a canonical stack: {0}")]
    Service(String),
    #[error("its stored stack has no service")]
    NoService,
}

impl Container {
    /// Down, until adoption finds otherwise.
    pub(crate) fn new(doc: ContainerDoc, state: StateDoc) -> Result<Self, ContainerError> {
        let stack = canonical::from_json(&doc.service).map_err(|diagnostics| {
            ContainerError::Service(diagnostics.first().map(|first| format!("{first:?}")).unwrap_or_default())
        })?;
        let service = stack.services.into_values().next().ok_or(ContainerError::NoService)?;
        Ok(Self::with_service(doc, service, state))
    }

    pub(crate) fn with_service(doc: ContainerDoc, service: Service, state: StateDoc) -> Self {
        let phase = match (&state.exit, state.started) {
            (Some(exit), _) => Phase::Exited(exit.clone()),
            (None, None) => Phase::Created,
            (None, Some(started)) => Phase::Exited(ExitDoc { code: 137, at: started, ..ExitDoc::default() }),
        };
        let status = watch::Sender::new(Status { phase: phase.clone(), health: Health::None, run: 0 });
        let health_plan = lower::health_plan(&service, &doc.image).map(Arc::new);
        Self {
            doc: Arc::new(doc),
            service: Arc::new(service),
            health_plan,
            state,
            phase,
            run: 0,
            pid: None,
            unreachable: None,
            oom: false,
            lost_in_reboot: false,
            made: None,
            signalled: None,
            health: None,
            status,
        }
    }

    /// One that runs and whose record is lost: nothing but its id is known.
    pub(crate) fn unknown(id: &str, state: StateDoc) -> Self {
        Self::with_service(ContainerDoc::unknown(id), Service::default(), state)
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary { doc: Arc::clone(&self.doc), service: Arc::clone(&self.service) }
    }

    pub(crate) fn health(&self) -> Health {
        match (&self.health, &self.health_plan) {
            (_, None) => Health::None,
            (Some(run), Some(_)) => run.check.status,
            (None, Some(_)) if self.phase.is_up() => Health::Starting,
            (None, Some(_)) => Health::None,
        }
    }

    /// When it was last started, by the steady clock of this boot.
    pub(crate) fn began(&self, boot: &str) -> Option<Timestamp> {
        let started = self.state.started?;
        Some(self.state.began.filter(|_| self.state.boot == boot).unwrap_or_else(|| earlier(started)))
    }

    /// When it ended so, by the same clock.
    pub(crate) fn ended(&self, exit: &ExitDoc, boot: &str) -> Timestamp {
        exit.ended.filter(|_| self.state.boot == boot).unwrap_or_else(|| earlier(exit.at))
    }

    /// Tells watchers.
    pub(crate) fn publish(&self) {
        let status = Status { phase: self.phase.clone(), health: self.health(), run: self.run };
        self.status.send_if_modified(|seen| {
            let changed = *seen != status;
            *seen = status;
            changed
        });
    }

    /// Its start was recorded, and its program was never executed.
    pub(crate) fn never_ran(&mut self) {
        self.state.started = None;
        self.state.exit = None;
        self.state.wanted = Wanted::Created;
        self.phase = Phase::Created;
        self.pid = None;
        self.unreachable = None;
        self.health = None;
        self.publish();
    }

    pub(super) fn begin_start(&mut self, why: StartWhy, boot: String, now: Timestamp) {
        if why == StartWhy::Request {
            self.state.history = hoist_object::History::default();
        }
        self.state.wanted = Wanted::Running;
        self.state.boot = boot;
        self.state.started = Some(now);
        self.state.began = Some(steady());
        self.state.exit = None;
        self.run += 1;
        self.phase = Phase::Starting;
        self.unreachable = None;
        self.oom = false;
        self.lost_in_reboot = false;
        self.health = None;
        self.publish();
    }

    /// Answers whether the durable state changed.
    pub(super) fn stop_requested(&mut self) -> bool {
        if let Phase::Restarting { exit } = &self.phase {
            self.phase = Phase::Exited(exit.clone());
            self.publish();
        }
        let changed = self.state.wanted == Wanted::Running;
        if changed {
            self.state.wanted = Wanted::Stopped;
        }
        changed
    }
}
