//! From a start to an exit, and what its restart policy makes of that.

use std::collections::VecDeque;
use std::sync::Arc;

use hoist_object::{ExitDoc, Now, Timestamp, Wanted};
use hoist_scheduler::health;
use hoist_scheduler::restart::{self, Cause, Decision};

use super::Supervisor;
use crate::container::{Container, HealthRun};
use crate::effect::{Effect, Notice, Subject};
use crate::event::ShimEvent;
use crate::handles::Handles;
use crate::status::Phase;
use crate::timer::Timer;

impl<H: Handles> Supervisor<H> {
    #[expect(clippy::too_many_arguments, reason = "an event's fields")]
    pub(crate) fn started(
        &mut self,
        id: &str,
        run: u64,
        shim: H::Shim,
        pid: i32,
        at: Timestamp,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.starting(id, run) else {
            // It was removed meanwhile.
            return effects.push(Effect::ShutDown { shim });
        };
        container.phase = Phase::Running;
        container.state.started = Some(at);
        container.state.began = Some(now.steady);
        container.pid = Some(pid);
        if container.health_plan.is_some() {
            let check = health::begin(now.steady);
            container.health = Some(HealthRun {
                check,
                log: VecDeque::new(),
                probing: false,
            });
        }
        container.publish(effects);
        Self::start_is_over(container, effects);
        self.announce_attachments(id, true, effects);
        self.containers[id].announce(Subject::Started, effects);
        effects.push(Effect::Follow {
            id: id.to_owned(),
            run,
            shim,
        });
        self.schedule_probe(id, effects);
        self.renew_sharers(id, effects);
        effects.push(Effect::Changed);
    }

    fn starting(&mut self, id: &str, run: u64) -> Option<&mut Container<H>> {
        self.in_run(id, run)
            .filter(|container| container.phase == Phase::Starting)
    }

    fn announce_attachments(&self, id: &str, up: bool, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let attached = container.doc.record.networks.iter();
        let networks = attached
            .filter_map(|attachment| self.networks.get(&attachment.network))
            .cloned()
            .collect();
        let doc = Arc::clone(&container.doc);
        effects.push(Effect::Announce(Notice::Attachments { doc, networks, up }));
    }

    /// A container in the namespaces of its last run is in dead ones: what to do is for a plan to say.
    fn renew_sharers(&self, id: &str, effects: &mut Vec<Effect<H>>) {
        let Some(owner) = self.containers.get(id) else {
            return;
        };
        let record = &owner.doc.record;
        let left_behind = |container: &Container<H>| {
            container.phase.has_processes()
                && container.began(&self.boot) < owner.began(&self.boot)
                && container
                    .doc
                    .record
                    .sharing
                    .iter()
                    .any(|sharing| sharing.container() == record.name)
        };
        if self.containers.values().any(left_behind) {
            effects.push(Effect::Supervise {
                projects: vec![record.project.clone()],
            });
        }
    }

    pub(crate) fn start_failed(
        &mut self,
        id: &str,
        run: u64,
        exit: ExitDoc,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.starting(id, run) else {
            return;
        };
        // The policy restarts what ran once; a container that cannot be started is left to the user, as docker does,
        // unless it was on a restart already.
        container.pid = None;
        container.state.exit = Some(exit.clone());
        let code = exit.code;
        container.phase = Phase::Exited(exit);
        let again = container.state.history.restarts > 0;
        let temporary = container.doc.remove;
        let cause = cause(container);
        if !again {
            container.state.wanted = Wanted::Created;
        }
        container.announce(Subject::Died { code, ran: None }, effects);
        container.put(effects);
        if again {
            self.decide(id, cause, now, effects);
        } else {
            container.publish(effects);
            if temporary {
                self.remove(id, effects);
            }
        }
        if let Some(container) = self.containers.get_mut(id) {
            Self::start_is_over(container, effects);
        }
        effects.extend([Effect::Wire, Effect::Touch]);
    }

    pub(crate) fn remove(&self, id: &str, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let volumes = container.doc.anonymous.values().cloned().collect();
        effects.push(Effect::Remove {
            id: id.to_owned(),
            volumes,
        });
    }

    pub(crate) fn heard_from_shim(
        &mut self,
        id: &str,
        run: u64,
        event: ShimEvent,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.in_run(id, run) else {
            return;
        };
        match event {
            ShimEvent::Oom => {
                container.oom = true;
                container.announce(Subject::OutOfMemory, effects);
            }
            ShimEvent::Exited(exit) => self.exited(id, exit, now, effects),
            // Its shim may have been killed; or only the connection has broken.
            ShimEvent::Closed => {
                if container.phase.has_processes() {
                    container
                        .unreachable
                        .get_or_insert_with(|| "its shim closed the connection".to_owned());
                    effects.push(Effect::Seek {
                        id: id.to_owned(),
                        run,
                    });
                }
            }
        }
    }

    fn exited(&mut self, id: &str, mut exit: ExitDoc, now: Now, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self
            .containers
            .get_mut(id)
            .filter(|container| container.phase.is_up())
        else {
            return;
        };
        exit.oom |= container.oom;
        exit.ended.get_or_insert(now.steady);
        container.phase = Phase::Exited(exit.clone());
        container.state.exit = Some(exit.clone());
        container.pid = None;
        container.unreachable = None;
        container.health = None;
        let ran = container
            .state
            .started
            .map(|started| exit.at.since(started))
            .unwrap_or_default();
        container.announce(
            Subject::Died {
                code: exit.code,
                ran: Some(ran),
            },
            effects,
        );
        let cause = cause(container);
        self.announce_attachments(id, false, effects);
        self.decide(id, cause, now, effects);
        effects.extend([Effect::Wire, Effect::Changed, Effect::Touch]);
    }

    /// Applies the restart policy to a container that is down.
    pub(crate) fn decide(
        &mut self,
        id: &str,
        cause: Cause,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(exit) = container.phase.exit().cloned() else {
            return;
        };
        let at = container.ended(&exit, &self.boot);
        let started = container.began(&self.boot).unwrap_or(at);
        let facts = restart::Exit {
            code: exit.code,
            at,
            started,
            cause,
        };
        let policy = &container.doc.record.restart;
        match restart::decide(policy, &container.state.history, &facts, now.steady) {
            Decision::Stay(_) => {
                container.phase = Phase::Exited(exit);
                container.publish(effects);
                container.put(effects);
                if container.doc.remove {
                    self.remove(id, effects);
                }
            }
            Decision::Wait { until } => {
                container.phase = Phase::Restarting { exit };
                container.publish(effects);
                container.put(effects);
                let timer = Timer::Restart {
                    id: id.to_owned(),
                    run: container.run,
                };
                effects.push(Effect::Wake { at: until, timer });
            }
            Decision::Start { history } => {
                container.state.history = history;
                container.phase = Phase::Restarting { exit };
                container.publish(effects);
                effects.push(Effect::Start { id: id.to_owned() });
            }
        }
    }

    pub(crate) fn restart_due(
        &mut self,
        id: &str,
        run: u64,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let waits =
            |container: &&mut Container<H>| matches!(container.phase, Phase::Restarting { .. });
        if self.in_run(id, run).as_ref().is_some_and(waits) {
            self.decide(id, Cause::Own, now, effects);
        }
    }

    pub(crate) fn found(
        &mut self,
        id: &str,
        run: u64,
        shim: H::Shim,
        pid: i32,
        paused: bool,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.in_run(id, run) else {
            return;
        };
        if container.unreachable.take().is_none() || !container.phase.has_processes() {
            return;
        }
        container.phase = if paused {
            Phase::Paused
        } else {
            Phase::Running
        };
        container.pid = Some(pid);
        container.publish(effects);
        effects.push(Effect::Follow {
            id: id.to_owned(),
            run,
            shim,
        });
        self.schedule_probe(id, effects);
    }

    pub(crate) fn unreachable(&mut self, id: &str, run: u64, reason: String) {
        if let Some(container) = self
            .in_run(id, run)
            .filter(|container| container.phase.has_processes())
        {
            container.unreachable = Some(reason);
        }
    }

    pub(crate) fn never_ran(&mut self, id: &str, run: u64, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self
            .in_run(id, run)
            .filter(|container| container.phase.has_processes())
        else {
            return;
        };
        let again = container.state.wanted == Wanted::Running && container.restarts();
        container.never_ran(again, effects);
        effects.push(Effect::Wire);
        if again {
            effects.push(Effect::Start { id: id.to_owned() });
        }
        effects.extend([Effect::Changed, Effect::Touch]);
    }
}

/// Why it is down.
pub(crate) fn cause<H: Handles>(container: &Container<H>) -> Cause {
    if container.state.wanted == Wanted::Stopped {
        Cause::Requested
    } else {
        Cause::Own
    }
}
