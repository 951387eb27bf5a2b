//! When healthchecks run, and what comes of them.

use std::sync::Arc;
use std::time::Duration;

use hoist_object::{Now, Probe, ProbeRecord};
use hoist_scheduler::health;

use super::Supervisor;
use crate::effect::{Effect, Subject};
use crate::handles::Handles;
use crate::status::Phase;
use crate::timer::Timer;

/// Docker keeps this many.
const LOG: usize = 5;

impl<H: Handles> Supervisor<H> {
    pub(crate) fn schedule_probe(&self, id: &str, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let Some(health) = container.health.as_ref().filter(|health| !health.probing) else {
            return;
        };
        let timer = Timer::Probe {
            id: id.to_owned(),
            run: container.run,
        };
        effects.push(Effect::Wake {
            at: health.check.next,
            timer,
        });
    }

    pub(crate) fn probe_due(&mut self, id: &str, run: u64, now: Now, effects: &mut Vec<Effect<H>>) {
        let Some(container) = self.in_run(id, run) else {
            return;
        };
        let (Phase::Running, Some(pid)) = (&container.phase, container.pid) else {
            return;
        };
        let (Some(health), Some(plan)) = (&mut container.health, &container.health_plan) else {
            return;
        };
        if health.probing {
            return;
        }
        if health.check.next > now.steady + Duration::from_millis(1) {
            // Not this one's turn; each timer that fires leaves a probe or another timer behind.
            return self.schedule_probe(id, effects);
        }
        health.probing = true;
        let plan = Arc::clone(plan);
        effects.push(Effect::Probe {
            run,
            pid,
            container: container.summary(),
            plan,
        });
    }

    pub(crate) fn probed(
        &mut self,
        id: &str,
        run: u64,
        probe: Probe,
        record: ProbeRecord,
        now: Now,
        effects: &mut Vec<Effect<H>>,
    ) {
        let Some(container) = self.in_run(id, run) else {
            return;
        };
        let (Some(health), Some(plan)) = (&mut container.health, &container.health_plan) else {
            return;
        };
        let before = health.check.status;
        health.probing = false;
        health.check = health::step(&health.check, probe, &plan.timing, now.steady);
        health.log.push_back(record);
        if health.log.len() > LOG {
            health.log.pop_front();
        }
        let check = health.check;
        if before != check.status {
            effects.push(Effect::KeepHealth {
                id: id.to_owned(),
                check,
            });
            container.publish(effects);
            container.announce(Subject::Health(check.status), effects);
            effects.push(Effect::Wire);
        }
        self.schedule_probe(id, effects);
    }
}
