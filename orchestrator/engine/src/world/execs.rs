//! The state of exec processes, from their creation until some time after their exit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hoist_runtime::ExecHandle;

use super::Event;
use crate::engine::Engine;
use crate::exec::ExecEntry;

/// A client asks for the exit code at once; docker keeps it as long.
const AFTER_END: Duration = Duration::from_secs(5 * 60);
/// Its creator starts it at once, or has died in between.
const WITHOUT_START: Duration = Duration::from_secs(10 * 60);

/// Why an entry may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forget {
    /// It has been there for long without being started.
    Unstarted,
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Execs(BTreeMap<String, ExecEntry>);

impl Execs {
    pub(crate) fn get(&self, id: &str) -> Option<&ExecEntry> {
        self.0.get(id)
    }

    pub(super) fn made(&mut self, exec: ExecEntry) {
        self.0.insert(exec.id.clone(), exec);
    }

    pub(super) fn started(&mut self, id: &str, handle: Arc<ExecHandle>) {
        if let Some(exec) = self.0.get_mut(id) {
            exec.handle = Some(handle);
            exec.started = true;
        }
    }

    pub(super) fn ended(&mut self, id: &str, code: i32) {
        if let Some(exec) = self.0.get_mut(id) {
            exec.handle = None;
            exec.started = true;
            exec.code = Some(code);
        }
    }

    pub(super) fn forget(&mut self, id: &str, why: Forget) {
        let due = self.0.get(id).is_some_and(|exec| match why {
            Forget::Unstarted => !exec.started,
            Forget::Ended => exec.code.is_some(),
        });
        if due {
            self.0.remove(id);
        }
    }

    pub(super) fn container_gone(&mut self, container: &str) {
        self.0.retain(|_, exec| exec.container != container);
    }
}

/// Schedules the removal of the entry.
pub(super) fn forget_later(engine: &Arc<Engine>, id: &str, why: Forget) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    tokio::spawn(async move {
        tokio::time::sleep(match why {
            Forget::Unstarted => WITHOUT_START,
            Forget::Ended => AFTER_END,
        })
        .await;
        engine.tell(Event::ExecForgotten { id, why });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::ExecConfig;

    fn entry(id: &str) -> ExecEntry {
        ExecEntry {
            id: id.to_owned(),
            container: "c".to_owned(),
            config: ExecConfig::default(),
            started: false,
            code: None,
            handle: None,
        }
    }

    #[test]
    fn execs_leave_after_their_end_or_when_nobody_starts_them() {
        let mut execs = Execs::default();
        ["one", "two", "three"].into_iter().for_each(|id| execs.made(entry(id)));
        execs.ended("one", 3);
        execs.forget("one", Forget::Unstarted);
        assert_eq!(execs.get("one").and_then(|exec| exec.code), Some(3), "its end is still to be asked for");
        execs.forget("one", Forget::Ended);
        execs.forget("two", Forget::Unstarted);
        execs.forget("three", Forget::Ended);
        assert!(execs.get("one").is_none() && execs.get("two").is_none() && execs.get("three").is_some());
        execs.container_gone("c");
        assert!(execs.get("three").is_none());
    }
}
