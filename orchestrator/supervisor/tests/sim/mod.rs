//! A host made of plain data: it carries out effects as an engine does, one at a time and whenever the test says so.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part; a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hoist_object::{
    ContainerDoc, ExitDoc, HealthPlan, Now, Outcome as ProbeOutcome, Policy, Probe, ProbeRecord,
    StateDoc, Timestamp, Timing, Wanted, When,
};
use hoist_scheduler::restart::{self, Cause, Decision};
use hoist_supervisor::{
    Condition, Container, Effect, End, Event, Handles, Notice, Outcome, Phase, ShimEvent,
    StartAnswer, StartWhy, StopAnswer, Supervisor, Timer,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {}

impl Handles for Plain {
    /// The process that it holds.
    type Shim = i32;
    type Exec = u32;
    type Terms = ();
    type Config = ();
    type Said = &'static str;
    /// Numbers of requests.
    type StartReply = u64;
    type StopReply = u64;
    type WaitReply = u64;

    fn is_abandoned(wait: &u64) -> bool {
        *wait == ABANDONED
    }
}

pub(crate) const ABANDONED: u64 = u64::MAX;

/// A start that the supervisor let through and that is still at work.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) id: String,
    pub(crate) run: u64,
}

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) supervisor: Supervisor<Plain>,
    pub(crate) now: Now,
    pub(crate) docs: BTreeMap<String, (ContainerDoc, Option<HealthPlan>)>,
    /// What is on disk.
    pub(crate) states: BTreeMap<String, StateDoc>,
    /// Exit records of shims.
    pub(crate) records: BTreeMap<String, ExitDoc>,
    /// Processes by container.
    pub(crate) alive: BTreeMap<String, i32>,
    /// Containers whose shims do not speak.
    pub(crate) silent: BTreeSet<String>,
    /// Runs that are followed.
    pub(crate) followed: BTreeMap<String, u64>,
    pub(crate) launches: Vec<Launch>,
    pub(crate) timers: Vec<(Timestamp, Timer)>,
    pub(crate) policy_starts: Vec<String>,
    pub(crate) unfinished_stops: Vec<(String, u64)>,
    pub(crate) removals: Vec<String>,
    pub(crate) seeks: Vec<(String, u64)>,
    pub(crate) probes: Vec<(String, u64)>,
    pub(crate) supervised: Vec<String>,
    /// Containers that a request wants down, until a request wants them up.
    pub(crate) stop_asked: BTreeSet<String>,
    /// Runs to be killed for a stop.
    pub(crate) to_kill: Vec<(String, u64)>,
    /// Requests without an answer, with what they are for.
    pub(crate) open: BTreeMap<u64, &'static str>,
    pub(crate) outcomes: BTreeMap<u64, Outcome>,
    pub(crate) answers: BTreeMap<u64, &'static str>,
    pub(crate) said: Vec<String>,
    /// Containers of the start answers that were not given yet, by number.
    starts: BTreeMap<u64, (String, StartWhy)>,
    stops: BTreeMap<u64, String>,
    next: u64,
    next_pid: i32,
}

pub(crate) const BOOT: &str = "boot-1";

pub(crate) fn always() -> Policy {
    Policy {
        when: When::Always,
        ..Policy::default()
    }
}

pub(crate) fn exit(code: i32) -> ExitDoc {
    ExitDoc {
        code,
        ..ExitDoc::default()
    }
}

impl Sim {
    pub(crate) fn new() -> Self {
        Self {
            supervisor: Supervisor::new(BOOT.to_owned()),
            now: Now {
                steady: Timestamp::from_millis(1_000_000),
                wall: Timestamp::from_millis(50_000_000),
            },
            docs: BTreeMap::new(),
            states: BTreeMap::new(),
            records: BTreeMap::new(),
            alive: BTreeMap::new(),
            silent: BTreeSet::new(),
            followed: BTreeMap::new(),
            launches: Vec::new(),
            timers: Vec::new(),
            policy_starts: Vec::new(),
            unfinished_stops: Vec::new(),
            removals: Vec::new(),
            seeks: Vec::new(),
            probes: Vec::new(),
            supervised: Vec::new(),
            stop_asked: BTreeSet::new(),
            to_kill: Vec::new(),
            open: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            answers: BTreeMap::new(),
            said: Vec::new(),
            starts: BTreeMap::new(),
            stops: BTreeMap::new(),
            next: 0,
            next_pid: 100,
        }
    }

    /// With one container `c`.
    pub(crate) fn with(policy: Policy) -> Self {
        let mut sim = Self::new();
        sim.make("c", policy, false, None);
        sim
    }

    pub(crate) fn make(
        &mut self,
        id: &str,
        restart: Policy,
        remove: bool,
        health: Option<HealthPlan>,
    ) {
        let mut doc = ContainerDoc::unknown(id);
        doc.record.name = format!("name-{id}");
        "project".clone_into(&mut doc.record.project);
        doc.record.restart = restart;
        doc.remove = remove;
        self.docs
            .insert(id.to_owned(), (doc.clone(), health.clone()));
        self.states.insert(id.to_owned(), StateDoc::default());
        self.tell(Event::ContainerMade(Box::new(Container::new(
            doc,
            (),
            health,
            StateDoc::default(),
        ))));
    }

    pub(crate) fn tell(&mut self, event: Event<Plain>) {
        for effect in self.supervisor.handle(event, self.now) {
            self.perform(effect);
        }
    }

    pub(crate) fn container(&self, id: &str) -> &Container<Plain> {
        &self.supervisor.containers[id]
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.container("c").phase
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now.steady = self.now.steady + by;
        self.now.wall = self.now.wall + by;
    }

    fn number(&mut self, what: &'static str) -> u64 {
        self.next += 1;
        self.open.insert(self.next, what);
        self.next
    }

    pub(crate) fn start(&mut self, id: &str, why: StartWhy) -> u64 {
        let reply = self.number("start");
        self.starts.insert(reply, (id.to_owned(), why));
        if why == StartWhy::Request
            && self
                .supervisor
                .containers
                .get(id)
                .is_some_and(|c| !c.phase.is_up())
        {
            self.stop_asked.remove(id);
        }
        self.tell(Event::StartWanted {
            id: id.to_owned(),
            why,
            reply,
        });
        reply
    }

    pub(crate) fn stop(&mut self, id: &str) -> u64 {
        self.stop_run(id, None)
    }

    pub(crate) fn stop_run(&mut self, id: &str, run: Option<u64>) -> u64 {
        let reply = self.number("stop");
        self.stops.insert(reply, id.to_owned());
        if run.is_none() && self.supervisor.containers.contains_key(id) {
            self.stop_asked.insert(id.to_owned());
        }
        self.tell(Event::StopWanted {
            id: id.to_owned(),
            run,
            reply,
        });
        reply
    }

    pub(crate) fn wait(&mut self, id: &str, condition: Condition) -> u64 {
        let reply = self.number("wait");
        self.tell(Event::Await {
            id: id.to_owned(),
            condition,
            reply,
        });
        reply
    }

    /// The start at work for this container ends well.
    pub(crate) fn launched(&mut self, id: &str) {
        let index = self
            .launches
            .iter()
            .position(|launch| launch.id == id)
            .expect("a start is at work");
        let Launch { id, run } = self.launches.remove(index);
        self.next_pid += 1;
        let (pid, at) = (self.next_pid, self.now.wall);
        let before = self.alive.insert(id.clone(), pid);
        assert_eq!(before, None, "two runs of {id}");
        self.silent.remove(&id);
        self.tell(Event::Started {
            id,
            run,
            shim: pid,
            pid,
            at,
        });
    }

    pub(crate) fn launch_failed(&mut self, id: &str) {
        let index = self
            .launches
            .iter()
            .position(|launch| launch.id == id)
            .expect("a start is at work");
        let Launch { id, run } = self.launches.remove(index);
        let (at, ended) = (self.now.wall, Some(self.now.steady));
        let exit = ExitDoc {
            code: 127,
            at,
            ended,
            oom: false,
            error: "no such command".to_owned(),
        };
        self.tell(Event::StartFailed { id, run, exit });
    }

    /// Start, and up.
    pub(crate) fn up(&mut self, id: &str) {
        self.start(id, StartWhy::Request);
        self.launched(id);
    }

    /// Its process ends; its shim records that, and says it unless it is silent.
    pub(crate) fn exits(&mut self, id: &str, code: i32) {
        if self.alive.remove(id).is_none() {
            return;
        }
        let record = ExitDoc {
            code,
            at: self.now.wall,
            ended: Some(self.now.steady),
            ..ExitDoc::default()
        };
        self.records.insert(id.to_owned(), record.clone());
        if let Some(run) = self
            .followed
            .get(id)
            .copied()
            .filter(|_| !self.silent.contains(id))
        {
            self.shim_says_exit(id, run, record);
        }
    }

    fn shim_says_exit(&mut self, id: &str, run: u64, exit: ExitDoc) {
        let counts = self
            .supervisor
            .containers
            .get(id)
            .is_some_and(|c| c.run == run && c.phase.is_up());
        self.tell(Event::FromShim {
            id: id.to_owned(),
            run,
            event: ShimEvent::Exited(exit.clone()),
        });
        if let Some(container) = self.supervisor.containers.get(id).filter(|_| counts) {
            assert_eq!(
                container.phase.exit().map(|shown| shown.code),
                Some(exit.code),
                "the code of {id} is as recorded"
            );
            assert_eq!(
                container.state.exit.as_ref().map(|kept| kept.code),
                Some(exit.code)
            );
        }
    }

    pub(crate) fn goes_silent(&mut self, id: &str) {
        self.silent.insert(id.to_owned());
        if let Some(run) = self.followed.remove(id) {
            self.tell(Event::FromShim {
                id: id.to_owned(),
                run,
                event: ShimEvent::Closed,
            });
        }
    }

    /// Looks for a shim as long as it is wanted.
    pub(crate) fn seek(&mut self, index: usize) {
        let (id, run) = self.seeks.remove(index);
        match self.alive.get(&id).copied() {
            Some(pid) => {
                self.silent.remove(&id);
                self.tell(Event::Found {
                    id,
                    run,
                    shim: pid,
                    pid,
                    paused: false,
                });
            }
            None => {
                let end = self.records.get(&id).cloned();
                let end = end.unwrap_or_else(|| ExitDoc {
                    ended: Some(self.now.steady),
                    ..ExitDoc::unrecorded(self.now.wall)
                });
                self.shim_says_exit(&id, run, end);
            }
        }
    }

    pub(crate) fn probed(&mut self, index: usize, outcome: ProbeOutcome) {
        let (id, run) = self.probes.remove(index);
        let probe = Probe {
            began: self.now.steady,
            outcome,
        };
        self.tell(Event::Probed {
            id,
            run,
            probe,
            record: ProbeRecord::default(),
        });
    }

    /// As `remove` of an engine does it: down first.
    pub(crate) fn remove(&mut self, id: &str) {
        self.stop(id);
        self.exits(id, 137);
        self.gone(id);
    }

    pub(crate) fn gone(&mut self, id: &str) {
        self.docs.remove(id);
        self.states.remove(id);
        self.tell(Event::ContainerGone { id: id.to_owned() });
    }

    pub(crate) fn fire(&mut self, index: usize) {
        let (at, timer) = self.timers.remove(index);
        if at > self.now.steady {
            let wait = at.since(self.now.steady);
            self.advance(wait);
        }
        self.tell(Event::Due(timer));
    }

    /// The engine dies with all that it was doing. `spawned`: a start at work had come to its process.
    pub(crate) fn engine_dies(&mut self, spawned: bool) {
        for Launch { id, .. } in std::mem::take(&mut self.launches) {
            if spawned && self.docs.contains_key(&id) && !self.alive.contains_key(&id) {
                self.next_pid += 1;
                self.alive.insert(id, self.next_pid);
            }
        }
        for list in [
            &mut self.policy_starts,
            &mut self.removals,
            &mut self.supervised,
        ] {
            list.clear();
        }
        self.timers.clear();
        self.unfinished_stops.clear();
        self.seeks.clear();
        self.probes.clear();
        self.to_kill.clear();
        self.open.clear();
        self.starts.clear();
        self.stops.clear();
        self.followed.clear();
        // What no record knows of is swept.
        self.alive.retain(|id, _| self.docs.contains_key(id));
    }

    pub(crate) fn machine_dies(&mut self) {
        self.engine_dies(false);
        self.alive.clear();
    }

    /// A new engine comes and looks. `boot`: the one that it finds itself in.
    pub(crate) fn engine_comes(&mut self, boot: &str) {
        self.supervisor = Supervisor::new(boot.to_owned());
        for (id, (doc, health)) in &self.docs {
            let state = self.states.get(id).cloned().unwrap_or_default();
            self.supervisor
                .load(Container::new(doc.clone(), (), health.clone(), state));
        }
        for id in self.docs.keys().cloned().collect::<Vec<_>>() {
            match self.alive.get(&id).copied() {
                Some(pid) if self.silent.contains(&id) => self.tell(Event::AdoptedUnseen {
                    id,
                    pid: Some(pid),
                    check: None,
                    reason: "its shim does not answer".to_owned(),
                }),
                Some(pid) => self.tell(Event::Adopted {
                    id,
                    shim: pid,
                    pid,
                    paused: false,
                    check: None,
                }),
                None => {
                    let state = &self.supervisor.containers[&id].state;
                    let known = state.exit.is_some() || state.started.is_none();
                    let end = match self.records.get(&id) {
                        _ if known => End::Unknown,
                        Some(exit) => End::Recorded(exit.clone()),
                        None => End::NeverBegan,
                    };
                    self.tell(Event::FoundDown { id, end });
                }
            }
        }
        self.tell(Event::Resumed);
    }

    fn perform(&mut self, effect: Effect<Plain>) {
        match effect {
            Effect::PutState { id, state } => {
                if self.docs.contains_key(&id) {
                    self.states.insert(id, *state);
                }
            }
            Effect::Follow { id, run, .. } => drop(self.followed.insert(id, run)),
            Effect::ShutDown { shim } => self.alive.retain(|_, pid| *pid != shim),
            Effect::Seek { id, run } => self.seeks.push((id, run)),
            Effect::Start { id } => self.policy_starts.push(id),
            Effect::FinishStop { id, run } => self.unfinished_stops.push((id, run)),
            Effect::Remove { id, .. } => self.removals.push(id),
            Effect::Supervise { projects } => self.supervised.extend(projects),
            Effect::Probe { run, container, .. } => {
                self.probes.push((container.doc.id.clone(), run))
            }
            Effect::Wake { at, timer } => self.timers.push((at, timer)),
            Effect::AnswerStart { reply, answer } => self.start_answered(reply, answer),
            Effect::AnswerStop { reply, answer } => {
                self.open.remove(&reply);
                let id = self.stops.remove(&reply).unwrap_or_default();
                let word = match answer {
                    StopAnswer::Running { run, .. } => {
                        self.to_kill.push((id, run));
                        "running"
                    }
                    StopAnswer::Down => "down",
                    StopAnswer::Gone => "gone",
                };
                self.answers.insert(reply, word);
            }
            Effect::AnswerWait { reply, outcome } => {
                self.open.remove(&reply);
                self.outcomes.insert(reply, outcome);
            }
            Effect::Announce(Notice::Container { what, .. }) => self.said.push(format!("{what:?}")),
            Effect::Announce(Notice::Requested { what, .. }) => self.said.push(what.to_owned()),
            Effect::Announce(notice) => self.said.push(format!("{notice:?}")),
            Effect::Publish { .. }
            | Effect::Forget { .. }
            | Effect::Changed
            | Effect::Wire
            | Effect::Touch => {}
            Effect::KeepHealth { .. } => {}
        }
    }

    fn start_answered(&mut self, reply: u64, answer: StartAnswer<Plain>) {
        self.open.remove(&reply);
        let (id, why) = self.starts.remove(&reply).expect("an answer to a request");
        let word = match answer {
            StartAnswer::Go(ticket) => {
                let stopped = why == StartWhy::Policy && self.stop_asked.contains(&id);
                assert!(!stopped, "{id} is restarted after a stop was asked for");
                assert!(
                    !self.launches.iter().any(|launch| launch.id == id),
                    "two starts of {id}"
                );
                self.records.remove(&id);
                self.launches.push(Launch {
                    id,
                    run: ticket.run,
                });
                "go"
            }
            StartAnswer::Running => "running",
            StartAnswer::Failed(_) => "failed",
            StartAnswer::Unwanted => "unwanted",
            StartAnswer::Gone => "gone",
        };
        self.answers.insert(reply, word);
    }

    /// Kills the runs that stops are for.
    pub(crate) fn kill_stopped(&mut self) {
        for (id, run) in std::mem::take(&mut self.to_kill) {
            if self
                .supervisor
                .containers
                .get(&id)
                .is_some_and(|container| container.run == run)
            {
                self.exits(&id, 137);
            }
        }
    }

    /// A plan of what the restart policies want after a boot, carried out.
    pub(crate) fn supervise(&mut self) {
        self.supervised.clear();
        let lost = self
            .supervisor
            .containers
            .values()
            .filter(|container| container.lost_in_reboot);
        let due: Vec<String> = lost
            .filter(|container| {
                let Some(exit) = container.phase.exit() else {
                    return false;
                };
                let stopped = container.state.wanted == Wanted::Stopped;
                let cause = if stopped {
                    Cause::RebootAfterStop
                } else {
                    Cause::Reboot
                };
                let facts = restart::Exit {
                    code: exit.code,
                    at: exit.at,
                    started: exit.at,
                    cause,
                };
                let policy = &container.doc.record.restart;
                matches!(
                    restart::decide(policy, &container.state.history, &facts, self.now.steady),
                    Decision::Start { .. }
                )
            })
            .map(|container| container.doc.id.clone())
            .collect();
        for id in due {
            self.start(&id, StartWhy::Request);
        }
    }

    /// Does everything that is to be done, except that what runs keeps running. Answers whether there was anything.
    pub(crate) fn settle_once(&mut self) -> bool {
        if let Some(launch) = self.launches.first().cloned() {
            self.launched(&launch.id);
        } else if !self.seeks.is_empty() {
            self.seek(0);
        } else if !self.to_kill.is_empty() {
            self.kill_stopped();
        } else if let Some((id, run)) = self.unfinished_stops.pop() {
            self.stop_run(&id, Some(run));
        } else if let Some(id) = self.policy_starts.pop() {
            self.start(&id, StartWhy::Policy);
        } else if let Some(id) = self.removals.pop() {
            self.remove(&id);
        } else if !self.supervised.is_empty() {
            self.supervise();
        } else if let Some(index) = self
            .timers
            .iter()
            .position(|(_, timer)| matches!(timer, Timer::Restart { .. }))
        {
            self.fire(index);
        } else {
            return false;
        }
        true
    }

    pub(crate) fn settle(&mut self) {
        let mut turns = 0;
        while self.settle_once() {
            turns += 1;
            assert!(turns < 1000, "it never comes to rest");
        }
    }
}

pub(crate) fn health() -> HealthPlan {
    HealthPlan {
        test: vec!["CMD".to_owned(), "true".to_owned()],
        timing: Timing {
            retries: 1,
            ..Timing::default()
        },
    }
}
