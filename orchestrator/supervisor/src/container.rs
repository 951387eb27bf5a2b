//! One container's state: what was decided, where it is in its life, and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use hoist_object::{
    Check, ContainerDoc, ExitDoc, Health, HealthPlan, History, Now, ProbeRecord, StateDoc,
    Timestamp, Wanted, When,
};

use crate::effect::{Effect, Notice, Subject};
use crate::handles::{Handles, Summary};
use crate::status::{Phase, StartWhy, Status};
use crate::waits::{View, Waiting};

/// A running healthcheck.
#[derive(Debug, Clone)]
pub struct HealthRun {
    pub check: Check,
    pub log: VecDeque<ProbeRecord>,
    pub probing: bool,
}

#[derive(Debug)]
pub struct Container<H: Handles> {
    pub doc: Arc<ContainerDoc>,
    pub config: Arc<H::Config>,
    pub health_plan: Option<Arc<HealthPlan>>,
    pub state: StateDoc,
    pub phase: Phase,
    /// Counts starts since this engine runs; events of earlier runs are stale.
    pub run: u64,
    pub pid: Option<i32>,
    /// Why its shim cannot be spoken to, while it is sought; it counts as running all the same.
    pub unreachable: Option<String>,
    pub oom: bool,
    /// It ended because the machine did.
    pub lost_in_reboot: bool,
    /// When this engine made it, by the steady clock; `None`: an engine before it did.
    pub made: Option<Timestamp>,
    /// When `kill` last sent it a signal, by the steady clock.
    pub signalled: Option<Timestamp>,
    pub health: Option<HealthRun>,
    /// The last state that followers were told.
    published: Option<Status>,
    pub(crate) waits: Vec<Waiting<H>>,
    /// Requests that wait for the start under way.
    pub(crate) starts: Vec<H::StartReply>,
    pub(crate) stops: Vec<H::StopReply>,
}

impl<H: Handles> Container<H> {
    /// Down, until adoption finds otherwise.
    pub fn new(
        doc: ContainerDoc,
        config: H::Config,
        health_plan: Option<HealthPlan>,
        state: StateDoc,
    ) -> Self {
        let phase = match (&state.exit, state.started) {
            (Some(exit), _) => Phase::Exited(exit.clone()),
            (None, None) => Phase::Created,
            (None, Some(started)) => Phase::Exited(ExitDoc::unrecorded(started)),
        };
        Self {
            doc: Arc::new(doc),
            config: Arc::new(config),
            health_plan: health_plan.map(Arc::new),
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
            published: None,
            waits: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
        }
    }

    pub fn summary(&self) -> Summary<H> {
        Summary {
            doc: Arc::clone(&self.doc),
            config: Arc::clone(&self.config),
        }
    }

    pub fn status(&self) -> Status {
        Status {
            phase: self.phase.clone(),
            health: self.health(),
            run: self.run,
        }
    }

    pub fn health(&self) -> Health {
        match (&self.health, &self.health_plan) {
            (_, None) => Health::None,
            (Some(run), Some(_)) => run.check.status,
            (None, Some(_)) if self.phase.is_up() => Health::Starting,
            (None, Some(_)) => Health::None,
        }
    }

    /// When it was last started, by the steady clock of this boot.
    pub fn began(&self, boot: &str) -> Option<Timestamp> {
        let started = self.state.started?;
        Some(
            self.state
                .began
                .filter(|_| self.state.boot == boot)
                .unwrap_or_else(|| Timestamp::before_boot(started)),
        )
    }

    /// When it ended so, by the same clock.
    pub fn ended(&self, exit: &ExitDoc, boot: &str) -> Timestamp {
        exit.ended
            .filter(|_| self.state.boot == boot)
            .unwrap_or_else(|| Timestamp::before_boot(exit.at))
    }

    /// A stop was asked for, and it has processes still.
    pub fn is_stopping(&self) -> bool {
        self.phase.has_processes() && self.state.wanted == Wanted::Stopped
    }

    pub(crate) fn view(&self) -> View {
        let (has_healthcheck, is_stopping) = (self.health_plan.is_some(), self.is_stopping());
        View {
            status: self.status(),
            has_healthcheck,
            is_stopping,
        }
    }

    pub(crate) fn restarts(&self) -> bool {
        self.doc.record.restart.when != When::Never
    }

    pub(crate) fn put(&self, effects: &mut Vec<Effect<H>>) {
        effects.push(Effect::PutState {
            id: self.doc.id.clone(),
            state: Box::new(self.state.clone()),
        });
    }

    pub(crate) fn announce(&self, what: Subject, effects: &mut Vec<Effect<H>>) {
        effects.push(Effect::Announce(Notice::Container {
            doc: Arc::clone(&self.doc),
            what,
        }));
    }

    /// Tells followers, and ends the waits that this state ends.
    pub(crate) fn publish(&mut self, effects: &mut Vec<Effect<H>>) {
        let status = self.status();
        if self.published.as_ref() != Some(&status) {
            self.published = Some(status.clone());
            effects.push(Effect::Publish {
                id: self.doc.id.clone(),
                status,
            });
        }
        let seen = self.view();
        for mut waiting in std::mem::take(&mut self.waits) {
            match waiting.outcome(&seen) {
                Some(outcome) => effects.push(Effect::AnswerWait {
                    reply: waiting.reply,
                    outcome,
                }),
                None => self.waits.push(waiting),
            }
        }
    }

    pub(crate) fn begin_start(
        &mut self,
        why: StartWhy,
        boot: &str,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        if why == StartWhy::Request {
            self.state.history = History::default();
        }
        self.state.wanted = Wanted::Running;
        boot.clone_into(&mut self.state.boot);
        self.state.started = Some(now.wall);
        self.state.began = Some(now.steady);
        self.state.exit = None;
        self.run += 1;
        self.phase = Phase::Starting;
        self.unreachable = None;
        self.oom = false;
        self.lost_in_reboot = false;
        self.health = None;
        self.publish(effects);
        self.put(effects);
    }

    /// Its start was recorded, and its program was never executed. `again`: it is about to be started once more.
    pub(crate) fn never_ran(&mut self, again: bool, effects: &mut Vec<Effect<H>>) {
        self.state.started = None;
        self.state.exit = None;
        self.state.wanted = if again {
            Wanted::Running
        } else {
            Wanted::Created
        };
        self.phase = Phase::Created;
        self.pid = None;
        self.unreachable = None;
        self.health = None;
        self.publish(effects);
        self.put(effects);
    }
}
