//! What happens to running containers: exits, restarts, health. Decisions are the scheduler's; this is their timing.

use std::sync::Arc;
use std::time::Duration;

use hoist_object::{ExitDoc, Timestamp, Wanted, When};
use hoist_runtime::{Event as ShimEvent, ExitStatus, Shim, ShimState};
use hoist_scheduler::health;
use hoist_scheduler::restart::{self, Cause, Decision};

use super::{Container, Event, HealthRun, Phase, World};
use crate::engine::{Engine, now, steady};
use crate::feed::OfContainer;
use crate::probe::HealthLog;
use crate::{actions, contact, execute, feed, probe, shims};

/// Docker keeps this many.
const HEALTH_LOG: usize = 5;

impl World {
    pub(super) fn started(&mut self, id: &str, run: u64, shim: Shim, pid: i32, at: Timestamp) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else {
            // The container was removed: shut the shim down. Its answer may take a while.
            tokio::task::spawn_blocking(move || drop(shim.shutdown()));
            return;
        };
        container.phase = Phase::Running;
        container.state.started = Some(at);
        container.state.began = Some(steady());
        container.pid = Some(pid);
        if container.health_plan.is_some() {
            container.health =
                Some(HealthRun { check: health::begin(steady()), log: Default::default(), probing: false });
        }
        container.publish();
        feed::attachments(&self.engine, &self.networks, container, true);
        feed::container(&self.engine, container, &OfContainer::Start);
        shims::follow(&self.engine, id, run, shim);
        self.schedule_probe(id);
        self.renew_sharers(id);
        self.changed();
    }

    /// Whoever lives in the namespaces of its last run is in dead ones: what to do is for a plan to say.
    fn renew_sharers(&self, id: &str) {
        let Some(owner) = self.containers.get(id) else { return };
        let (name, project) = (&owner.doc.record.name, &owner.doc.record.project);
        let boot = &self.engine.boot;
        let left_behind = |container: &Container| {
            container.phase.has_processes()
                && container.began(boot) < owner.began(boot)
                && container.doc.record.sharing.iter().any(|sharing| sharing.container() == name)
        };
        if self.containers.values().any(left_behind) {
            let (engine, project) = (Arc::clone(&self.engine), project.clone());
            tokio::spawn(async move { execute::supervise(&engine, &project).await });
        }
    }

    /// Takes over a container that outlived an engine.
    pub(crate) fn adopt(&mut self, id: &str, shim: Shim, found: &ShimState, check: Option<hoist_object::Check>) {
        let Some(run) = self.adopt_process(id, Some(found.pid), found.paused, check) else { return };
        shims::follow(&self.engine, id, run, shim);
    }

    /// The same with a container whose shim does not answer: it counts as running, and its shim is sought.
    pub(crate) fn adopt_unseen(&mut self, id: &str, reason: String) {
        let check = shims::kept_health(&self.engine, id);
        let pid = self.engine.runtime.first_process(id);
        let Some(run) = self.adopt_process(id, pid, false, check) else { return };
        self.unreachable(id, run, reason);
        contact::seek(&self.engine, id, run);
    }

    fn adopt_process(
        &mut self,
        id: &str,
        pid: Option<i32>,
        paused: bool,
        check: Option<hoist_object::Check>,
    ) -> Option<u64> {
        let container = self.containers.get_mut(id)?;
        container.run += 1;
        container.phase = if paused { Phase::Paused } else { Phase::Running };
        container.pid = pid;
        let state = &mut container.state;
        if state.started.is_none() || state.exit.is_some() || state.wanted == Wanted::Created {
            // Its state was lost.
            state.wanted = Wanted::Running;
            state.boot = self.engine.boot.clone();
            state.started.get_or_insert_with(now);
            state.exit = None;
            self.engine.store.put_state(id, state);
        }
        if container.health_plan.is_some() {
            let now = steady();
            let began = container.began(&self.engine.boot).unwrap_or(now);
            let mut check = check.unwrap_or_else(|| health::begin(began));
            // What an older engine kept may be of another clock.
            check.started = check.started.min(now);
            check.next = check.next.min(now);
            container.health = Some(HealthRun { check, log: Default::default(), probing: false });
        }
        container.publish();
        let run = container.run;
        self.schedule_probe(id);
        Some(run)
    }

    pub(super) fn found(&mut self, id: &str, run: u64, shim: Shim, found: &ShimState) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        if container.unreachable.take().is_none() || !container.phase.has_processes() {
            return;
        }
        tracing::info!(container = id, "its shim answers again");
        container.phase = if found.paused { Phase::Paused } else { Phase::Running };
        container.pid = Some(found.pid);
        container.publish();
        shims::follow(&self.engine, id, run, shim);
        self.schedule_probe(id);
    }

    pub(super) fn unreachable(&mut self, id: &str, run: u64, reason: String) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        if !container.phase.has_processes() || container.unreachable.as_ref() == Some(&reason) {
            return;
        }
        tracing::warn!(container = id, reason, "its shim cannot be reached; it is left running and tried again");
        container.unreachable = Some(reason);
    }

    pub(super) fn never_ran(&mut self, id: &str, run: u64) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        if !container.phase.has_processes() {
            return;
        }
        let again = container.state.wanted == Wanted::Running && container.doc.record.restart.when != When::Never;
        container.never_ran();
        self.engine.store.put_state(id, &container.state);
        self.engine.wiring.want();
        if again {
            actions::start_later(&self.engine, id);
        }
        self.changed();
        self.engine.activity.touch();
    }

    pub(super) fn start_failed(&mut self, id: &str, run: u64, exit: ExitDoc) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        // The policy restarts what ran once; a container that cannot be started is left to the user, as docker does,
        // unless it was on a restart already.
        container.pid = None;
        container.state.exit = Some(exit.clone());
        container.phase = Phase::Exited(exit.clone());
        let again = container.state.history.restarts > 0;
        let temporary = container.doc.remove;
        if !again {
            container.state.wanted = Wanted::Created;
        }
        container.publish();
        feed::container(&self.engine, container, &OfContainer::Die { code: exit.code, ran: None });
        self.engine.store.put_state(id, &container.state);
        self.engine.wiring.want();
        if again {
            self.decide(id, Cause::Own);
        } else if temporary {
            actions::remove_later(&self.engine, id);
        }
        self.engine.activity.touch();
    }

    pub(super) fn heard_from_shim(&mut self, id: &str, run: u64, event: ShimEvent) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        match event {
            ShimEvent::Started { .. } => {}
            ShimEvent::Oom => {
                container.oom = true;
                feed::container(&self.engine, container, &OfContainer::Oom);
            }
            ShimEvent::Exited(status) => self.exited(id, &status),
            // Its shim may have been killed; or only the connection has broken.
            ShimEvent::Closed => {
                if container.phase.has_processes() {
                    container.unreachable.get_or_insert_with(|| "its shim closed the connection".to_owned());
                    contact::seek(&self.engine, id, run);
                }
            }
        }
    }

    fn exited(&mut self, id: &str, status: &ExitStatus) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if !container.phase.is_up() {
            return;
        }
        let mut exit = exit_doc(status, container.oom);
        exit.ended.get_or_insert_with(steady);
        container.phase = Phase::Exited(exit.clone());
        container.state.exit = Some(exit.clone());
        container.pid = None;
        container.unreachable = None;
        container.health = None;
        let ran = container.state.started.map_or(0, |started| exit.at.since(started).as_secs());
        feed::container(&self.engine, container, &OfContainer::Die { code: exit.code, ran: Some(ran) });
        feed::attachments(&self.engine, &self.networks, container, false);
        let cause = if container.state.wanted == Wanted::Stopped { Cause::Requested } else { Cause::Own };
        self.decide(id, cause);
        self.engine.wiring.want();
        self.changed();
        self.engine.activity.touch();
    }

    /// Applies the restart policy to a container that is down.
    pub(crate) fn decide(&mut self, id: &str, cause: Cause) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(exit) = container.phase.exit().cloned() else { return };
        let boot = &self.engine.boot;
        let at = container.ended(&exit, boot);
        let facts = restart::Exit { code: exit.code, at, started: container.began(boot).unwrap_or(at), cause };
        let record = &container.doc.record;
        match restart::decide(&record.restart, &container.state.history, &facts, steady()) {
            Decision::Stay(_) => {
                container.phase = Phase::Exited(exit);
                container.publish();
                self.engine.store.put_state(id, &container.state);
                if container.doc.remove {
                    actions::remove_later(&self.engine, id);
                }
            }
            Decision::Wait { until } => {
                container.phase = Phase::Restarting { exit };
                container.publish();
                self.engine.store.put_state(id, &container.state);
                let (id, run) = (id.to_owned(), container.run);
                after(&self.engine, until, move || Event::RestartDue { id, run });
            }
            Decision::Start { history } => {
                container.state.history = history;
                container.phase = Phase::Restarting { exit };
                container.publish();
                actions::start_later(&self.engine, id);
            }
        }
    }

    pub(super) fn restart_due(&mut self, id: &str, run: u64) {
        let due = self
            .containers
            .get(id)
            .is_some_and(|container| container.run == run && matches!(container.phase, Phase::Restarting { .. }));
        if due {
            self.decide(id, Cause::Own);
        }
    }

    pub(super) fn schedule_probe(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let Some(health) = container.health.as_ref().filter(|health| !health.probing) else { return };
        let (id, run) = (id.to_owned(), container.run);
        after(&self.engine, health.check.next, move || Event::ProbeDue { id, run });
    }

    pub(super) fn probe_due(&mut self, id: &str, run: u64) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        let (Phase::Running, Some(pid)) = (&container.phase, container.pid) else { return };
        let (Some(health), Some(plan)) = (&mut container.health, &container.health_plan) else { return };
        if health.probing {
            return;
        }
        if health.check.next > steady() + Duration::from_millis(1) {
            // Not this one's turn; each timer that fires leaves a probe or another timer behind.
            self.schedule_probe(id);
            return;
        }
        health.probing = true;
        probe::spawn(&self.engine, container.run, pid, container.summary(), Arc::clone(plan));
    }

    pub(super) fn probed(&mut self, id: &str, run: u64, probe: hoist_object::Probe, entry: HealthLog) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.run == run) else { return };
        let (Some(health), Some(plan)) = (&mut container.health, &container.health_plan) else { return };
        let before = health.check.status;
        health.probing = false;
        health.check = health::step(&health.check, probe, &plan.timing, steady());
        health.log.push_back(entry);
        if health.log.len() > HEALTH_LOG {
            health.log.pop_front();
        }
        let after = health.check.status;
        if before != after {
            shims::keep_health(&self.engine, id, &health.check);
            container.publish();
            feed::container(&self.engine, container, &OfContainer::Health(after));
            self.engine.wiring.want();
        }
        self.schedule_probe(id);
    }

    /// It ended while no engine looked: its policy decides now.
    pub(super) fn review(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let cause = if container.state.wanted == Wanted::Stopped { Cause::Requested } else { Cause::Own };
        self.decide(id, cause);
        self.engine.wiring.want();
    }
}

pub(crate) fn exit_doc(status: &ExitStatus, oom: bool) -> ExitDoc {
    let at = Timestamp(i64::try_from(status.at.as_nanosecond()).unwrap_or(i64::MAX));
    let ended = status.steady.map(Timestamp);
    ExitDoc { code: status.code, at, ended, oom: status.oom || oom, error: String::new() }
}

/// `due` by the steady clock.
fn after(engine: &Arc<Engine>, due: Timestamp, event: impl FnOnce() -> Event + Send + 'static) {
    let wait = due.since(steady());
    if wait.is_zero() {
        engine.tell(event());
        return;
    }
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        engine.tell(event());
    });
}
