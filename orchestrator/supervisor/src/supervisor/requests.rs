//! What requests ask of a container: to run, to be down, to be in some state.

use hoist_object::{Now, Wanted};

use super::Supervisor;
use crate::condition::{Condition, Outcome};
use crate::container::Container;
use crate::effect::{Effect, Peer, StartAnswer, StartTicket, StopAnswer, Subject};
use crate::handles::Handles;
use crate::status::{Phase, StartWhy};
use crate::waits::Waiting;

impl<H: Handles> Supervisor<H> {
    pub(crate) fn start_wanted(
        &mut self,
        id: &str,
        why: StartWhy,
        reply: H::StartReply,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let answer = match self.containers.get_mut(id) {
            None => StartAnswer::Gone,
            Some(container) => match &container.phase {
                Phase::Running | Phase::Paused => StartAnswer::Running,
                // Answered when that start has gone well or not.
                Phase::Starting => return container.starts.push(reply),
                Phase::Removed => StartAnswer::Gone,
                // The policy decided before somebody asked for a stop.
                _ if why == StartWhy::Policy && container.state.wanted != Wanted::Running => {
                    StartAnswer::Unwanted
                }
                Phase::Created | Phase::Restarting { .. } | Phase::Exited(_) => {
                    StartAnswer::Go(Box::new(self.ticket(id, why, now, effects)))
                }
            },
        };
        effects.push(Effect::AnswerStart { reply, answer });
    }

    fn ticket(
        &mut self,
        id: &str,
        why: StartWhy,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) -> StartTicket<H> {
        let container = &self.containers[id];
        let record = &container.doc.record;
        let networks = record
            .networks
            .iter()
            .filter_map(|attachment| self.networks.get(&attachment.network));
        let networks = networks
            .map(|network| (network.name.clone(), network.clone()))
            .collect();
        let peers = record.sharing.iter().filter_map(|sharing| {
            let peer = self.resolve(sharing.container())?;
            Some((
                sharing.container().to_owned(),
                Peer {
                    id: peer.doc.id.clone(),
                    pid: peer.pid?,
                },
            ))
        });
        let peers = peers.collect();
        let driver_opts = self.driver_opts(&container.doc);
        let container = self.containers.get_mut(id).expect("it was looked up above");
        let first = container.state.started.is_none();
        container.begin_start(why, &self.boot, now, effects);
        effects.push(Effect::Wire);
        StartTicket {
            run: container.run,
            container: container.summary(),
            first,
            networks,
            peers,
            driver_opts,
        }
    }

    pub(crate) fn stop_wanted(
        &mut self,
        id: &str,
        run: Option<u64>,
        reply: H::StopReply,
        effects: &mut Vec<Effect<H>>,
    ) {
        let container = self
            .containers
            .get_mut(id)
            .filter(|container| run.is_none_or(|run| run == container.run));
        let Some(container) = container else {
            return effects.push(Effect::AnswerStop {
                reply,
                answer: StopAnswer::Gone,
            });
        };
        let waited = match &container.phase {
            Phase::Restarting { exit } => Some(exit.clone()),
            _ => None,
        };
        if let Some(exit) = &waited {
            container.phase = Phase::Exited(exit.clone());
            container.publish(effects);
        }
        if container.state.wanted == Wanted::Running {
            container.state.wanted = Wanted::Stopped;
            container.put(effects);
        }
        match container.phase {
            // There is nothing to stop before it runs.
            Phase::Starting => container.stops.push(reply),
            _ => effects.push(Effect::AnswerStop {
                reply,
                answer: stop_answer(container),
            }),
        }
        if waited.is_some() && container.doc.remove {
            self.remove(id, effects);
        }
    }

    /// A start has gone well or not: those who waited for it go on.
    pub(crate) fn start_is_over(container: &mut Container<H>, effects: &mut Vec<Effect<H>>) {
        for reply in container.starts.drain(..) {
            let answer = match container.phase.exit() {
                Some(exit) if !exit.error.is_empty() => StartAnswer::Failed(exit.clone()),
                _ => StartAnswer::Running,
            };
            effects.push(Effect::AnswerStart { reply, answer });
        }
        let answer = stop_answer(container);
        let stops = container.stops.drain(..);
        effects.extend(stops.map(|reply| Effect::AnswerStop {
            reply,
            answer: answer.clone(),
        }));
    }

    pub(crate) fn await_state(
        &mut self,
        id: &str,
        condition: Condition,
        reply: H::WaitReply,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.containers.get_mut(id) else {
            return effects.push(Effect::AnswerWait {
                reply,
                outcome: Outcome::Gone,
            });
        };
        container
            .waits
            .retain(|waiting| !H::is_abandoned(&waiting.reply));
        let seen = container.view();
        let mut waiting = Waiting::new(condition, &seen, reply);
        match waiting.outcome(&seen) {
            Some(outcome) => effects.push(Effect::AnswerWait {
                reply: waiting.reply,
                outcome,
            }),
            None => container.waits.push(waiting),
        }
    }

    pub(crate) fn paused(&mut self, id: &str, paused: bool, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        match (&container.phase, paused) {
            (Phase::Running, true) => container.phase = Phase::Paused,
            (Phase::Paused, false) => container.phase = Phase::Running,
            _ => return,
        }
        container.publish(effects);
        container.announce(Subject::Paused(paused), effects);
        if !paused {
            self.schedule_probe(id, effects);
        }
    }
}

fn stop_answer<H: Handles>(container: &Container<H>) -> StopAnswer {
    match container.phase.has_processes() {
        true => StopAnswer::Running {
            run: container.run,
            paused: container.phase == Phase::Paused,
        },
        false => StopAnswer::Down,
    }
}
