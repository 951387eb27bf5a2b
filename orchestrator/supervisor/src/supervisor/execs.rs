//! The state of exec processes, from their creation until some time after their exit.

use std::time::Duration;

use hoist_object::Now;

use super::Supervisor;
use crate::effect::{Effect, Subject};
use crate::exec::Exec;
use crate::handles::Handles;
use crate::timer::{Forget, Timer};

/// A client asks for the exit code at once; docker keeps it as long.
const AFTER_END: Duration = Duration::from_secs(5 * 60);
/// Its creator starts it at once, or has died in between.
const WITHOUT_START: Duration = Duration::from_secs(10 * 60);

impl<H: Handles> Supervisor<H> {
    /// By its whole id.
    pub fn exec(&self, id: &str) -> Option<&Exec<H>> {
        self.execs.0.get(id)
    }

    pub(crate) fn exec_made(&mut self, exec: Exec<H>, now: Now, effects: &mut Vec<Effect<H>>) {
        let id = exec.id.clone();
        let timer = Timer::Exec {
            id: id.clone(),
            why: Forget::Unstarted,
        };
        effects.push(Effect::Wake {
            at: now.steady + WITHOUT_START,
            timer,
        });
        self.execs.0.insert(id.clone(), exec);
        self.announce_exec(&id, effects);
    }

    pub(crate) fn exec_started(&mut self, id: &str, handle: H::Exec, effects: &mut Vec<Effect<H>>) {
        if let Some(exec) = self.execs.0.get_mut(id) {
            exec.handle = Some(handle);
            exec.started = true;
        }
        self.announce_exec(id, effects);
    }

    pub(crate) fn exec_ended(&mut self, id: &str, code: i32, effects: &mut Vec<Effect<H>>) {
        if let Some(exec) = self.execs.0.get_mut(id) {
            exec.handle = None;
            exec.started = true;
            exec.code = Some(code);
        }
        self.announce_exec(id, effects);
    }

    pub(crate) fn exec_delivered(id: String, now: Now, effects: &mut Vec<Effect<H>>) {
        effects.push(Effect::Wake {
            at: now.steady + AFTER_END,
            timer: Timer::Exec {
                id,
                why: Forget::Ended,
            },
        });
    }

    pub(crate) fn forget_exec(&mut self, id: &str, why: Forget) {
        let due = self.execs.0.get(id).is_some_and(|exec| match why {
            Forget::Unstarted => !exec.started,
            Forget::Ended => exec.code.is_some(),
        });
        if due {
            self.execs.0.remove(id);
        }
    }

    fn announce_exec(&self, id: &str, effects: &mut Vec<Effect<H>>) {
        let Some(exec) = self.execs.0.get(id) else {
            return;
        };
        let Some(container) = self.containers.get(&exec.container) else {
            return;
        };
        let (id, command) = (exec.id.clone(), exec.command.clone());
        let what = match (exec.started, exec.code) {
            (false, _) => Subject::ExecMade { id, command },
            (true, None) => Subject::ExecStarted { id, command },
            (true, Some(code)) => Subject::ExecEnded { id, code },
        };
        container.announce(what, effects);
    }
}
