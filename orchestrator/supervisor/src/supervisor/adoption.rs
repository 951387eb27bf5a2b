//! What a new engine finds. It reports everything that is on record, one by one; nothing is started or stopped before it
//! has said that it is done, because the next thing that it looks at may change what is wanted.

use std::collections::VecDeque;

use hoist_object::{Check, ExitDoc, Now, Wanted};
use hoist_scheduler::health;

use super::Supervisor;
use super::lives::cause;
use crate::container::HealthRun;
use crate::effect::Effect;
use crate::event::End;
use crate::handles::Handles;
use crate::status::Phase;

impl<H: Handles> Supervisor<H> {
    #[expect(clippy::too_many_arguments, reason = "an event's fields")]
    pub(crate) fn adopted(
        &mut self,
        id: &str,
        shim: H::Shim,
        pid: i32,
        paused: bool,
        check: Option<Check>,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        match self.adopt_process(id, Some(pid), paused, check, now, effects) {
            Some(run) => effects.push(Effect::Follow {
                id: id.to_owned(),
                run,
                shim,
            }),
            None => effects.push(Effect::ShutDown { shim }),
        }
    }

    pub(crate) fn adopted_unseen(
        &mut self,
        id: &str,
        pid: Option<i32>,
        check: Option<Check>,
        reason: String,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(run) = self.adopt_process(id, pid, false, check, now, effects) else {
            return;
        };
        self.unreachable(id, run, reason);
        effects.push(Effect::Seek {
            id: id.to_owned(),
            run,
        });
    }

    fn adopt_process(
        &mut self,
        id: &str,
        pid: Option<i32>,
        paused: bool,
        check: Option<Check>,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) -> Option<u64> {
        let container = self.containers.get_mut(id)?;
        container.run += 1;
        container.phase = if paused {
            Phase::Paused
        } else {
            Phase::Running
        };
        container.pid = pid;
        container.unreachable = None;
        let state = &mut container.state;
        if state.started.is_none() || state.exit.is_some() || state.wanted == Wanted::Created {
            // Its state was lost.
            state.wanted = Wanted::Running;
            self.boot.clone_into(&mut state.boot);
            state.started.get_or_insert(now.wall);
            state.exit = None;
            container.put(effects);
        }
        if container.health_plan.is_some() {
            let began = container.began(&self.boot).unwrap_or(now.steady);
            let mut check = check.unwrap_or_else(|| health::begin(began));
            // What an older engine kept may be of another clock.
            check.started = check.started.min(now.steady);
            check.next = check.next.min(now.steady);
            container.health = Some(HealthRun {
                check,
                log: VecDeque::new(),
                probing: false,
            });
        }
        container.publish(effects);
        let run = container.run;
        let is_stopping = container.is_stopping();
        self.unfinished
            .stopping
            .retain(|(stopping, _)| stopping != id);
        if is_stopping {
            self.unfinished.stopping.push((id.to_owned(), run));
        }
        self.schedule_probe(id, effects);
        Some(run)
    }

    pub(crate) fn found_down(
        &mut self,
        id: &str,
        end: End,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let wanted = container.state.wanted == Wanted::Running && container.restarts();
        if container.state.started.is_none() {
            // It was about to be started when the engine ended.
            if wanted {
                self.unfinished.interrupted.push(id.to_owned());
            }
            return;
        }
        let same_boot = container.state.boot == self.boot;
        let mut interrupted = false;
        if container.state.exit.is_none() {
            // It was up (or coming up) when the engine died.
            let exit = match end {
                End::Recorded(exit) => exit,
                End::NeverBegan if same_boot && !wanted => {
                    return container.never_ran(false, effects);
                }
                End::NeverBegan | End::Unknown => {
                    interrupted = true;
                    ExitDoc::unrecorded(now.wall)
                }
            };
            container.state.exit = Some(exit.clone());
            container.phase = Phase::Exited(exit);
            container.publish(effects);
            container.put(effects);
        }
        if container.state.wanted == Wanted::Created {
            return;
        }
        if !same_boot {
            container.lost_in_reboot = true;
            self.unfinished
                .rebooted
                .insert(container.doc.record.project.clone());
        } else if interrupted && wanted {
            self.unfinished.interrupted.push(id.to_owned());
        } else {
            self.unfinished.ended.push(id.to_owned());
        }
    }

    /// Restart policies decide now, in dependency order after a reboot.
    pub(crate) fn resumed(&mut self, now: Now, effects: &mut Vec<Effect<H>>) {
        let unfinished = std::mem::take(&mut self.unfinished);
        effects.extend(
            unfinished
                .interrupted
                .into_iter()
                .map(|id| Effect::Start { id }),
        );
        effects.extend(
            unfinished
                .stopping
                .into_iter()
                .map(|(id, run)| Effect::FinishStop { id, run }),
        );
        for id in unfinished.ended {
            let Some(container) = self.containers.get(&id) else {
                continue;
            };
            let cause = cause(container);
            self.decide(&id, cause, now, effects);
        }
        if !unfinished.rebooted.is_empty() {
            effects.push(Effect::Supervise {
                projects: unfinished.rebooted.into_iter().collect(),
            });
        }
        effects.push(Effect::Wire);
    }
}
