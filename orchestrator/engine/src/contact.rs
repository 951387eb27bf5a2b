//! Finds the shim of a running container, at engine start and whenever a connection breaks.
//!
//! A failed check proves nothing about the container: it stays listed as running, the failure is shown, and the check
//! is retried until the result is certain.

use std::sync::Arc;
use std::time::Duration;

use hoist_runtime::{Call, ExitStatus, Shim, ShimError, ShimState};
use tracing::Instrument as _;

use crate::engine::Engine;
use crate::error::chain;
use crate::world::{Event, ShimEvent, World, exit_doc};

/// A container's state according to its shim, its cgroup and its record.
#[derive(Debug)]
pub(crate) enum Found {
    Running(Shim, ShimState),
    /// Set up, but its start was never asked for.
    Held(Shim),
    /// Neither a shim nor processes are left.
    Gone(Trace),
    /// Its shim was killed; its processes run on unsupervised.
    Orphaned,
    /// It may be running; the reason why that is unknown.
    Unclear(String),
}

/// What an exited container left in its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// The socket of a shim that was killed.
    Socket,
    /// A shim removes its socket on a clean exit, and creates it before anything else.
    Nothing,
}

/// How long the shims of a starting engine have for their answers, all together.
pub(crate) const FIRST_LOOK: Duration = Duration::from_secs(1);
const ONE_LOOK: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the answer of its shim means.
pub(crate) fn judge(
    engine: &Engine,
    id: &str,
    answer: Result<(Shim, ShimState), ShimError>,
) -> Found {
    let error = match answer {
        Ok((shim, state)) if state.started => return Found::Running(shim, state),
        Ok((shim, _)) => return Found::Held(shim),
        Err(error) => error,
    };
    if !error.is_absent() {
        return Found::Unclear(chain(&error));
    }
    match engine.runtime.has_processes(id) {
        Ok(false) if error.is_refused() => Found::Gone(Trace::Socket),
        Ok(false) => Found::Gone(Trace::Nothing),
        Ok(true) if error.is_refused() => Found::Orphaned,
        Ok(true) => match engine.runtime.shim_processes(id).as_deref() {
            Ok([]) => Found::Orphaned,
            Ok([pid, ..]) => Found::Unclear(format!(
                "shim {pid} has no socket; was {} removed?",
                engine.bundle(id).display()
            )),
            Err(error) => Found::Unclear(format!("looking for its shim: {error}")),
        },
        Err(error) => Found::Unclear(format!("looking into its cgroup: {error}")),
    }
}

fn look(engine: &Engine, id: &str) -> Found {
    let answer = Call::begin(&engine.bundle(id))
        .and_then(|call| call.answer(std::time::Instant::now() + ONE_LOOK));
    judge(engine, id, answer)
}

/// Searches for this run's shim until it is found or the container is known to have exited.
pub(crate) fn seek(engine: &Arc<Engine>, id: &str, run: u64) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    let work = async move {
        let mut leaving = engine.leaving.subscribe();
        let mut pause = FIRST_PAUSE;
        let mut was_held = false;
        let mut said = String::new();
        while wanted(&engine, &id, run).await {
            let (seeker, sought) = (Arc::clone(&engine), id.clone());
            let Ok(found) =
                tokio::task::spawn_blocking(move || look_and_clear(&seeker, &sought)).await
            else {
                return;
            };
            match found {
                Found::Running(shim, state) => {
                    tracing::info!("its shim answers again");
                    let (pid, paused) = (state.pid, state.paused);
                    engine.tell(Event::Found {
                        id,
                        run,
                        shim: Box::new(shim),
                        pid,
                        paused,
                    });
                    return;
                }
                Found::Gone(_) if was_held => {
                    engine.tell(Event::NeverRan { id, run });
                    return;
                }
                Found::Gone(_) => {
                    let status = recorded(&engine, &id)
                        .unwrap_or_else(|| unseen_end(jiff::Timestamp::now()));
                    engine.tell(Event::FromShim {
                        id,
                        run,
                        event: ShimEvent::Exited(exit_doc(&status)),
                    });
                    return;
                }
                Found::Held(_) => was_held = true,
                Found::Orphaned => {}
                Found::Unclear(reason) if reason == said => {}
                Found::Unclear(reason) => {
                    tracing::warn!(
                        container = id,
                        reason,
                        "its shim cannot be reached; it is left running and tried again"
                    );
                    said.clone_from(&reason);
                    engine.tell(Event::Unreachable {
                        id: id.clone(),
                        run,
                        reason,
                    });
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = leaving.wait_for(|leaving| *leaving) => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    tokio::spawn(work.in_current_span());
}

async fn wanted(engine: &Engine, id: &str, run: u64) -> bool {
    let id = id.to_owned();
    let lost = move |world: &World| {
        let found = world
            .containers
            .get(&id)
            .filter(|found| found.run == run && found.phase.has_processes());
        found.is_some_and(|found| found.unreachable.is_some())
    };
    engine.look(lost).await.unwrap_or(false)
}

/// Kills what cannot be supervised: orphans, and containers set up for a previous engine.
fn look_and_clear(engine: &Engine, id: &str) -> Found {
    let found = look(engine, id);
    let cleared = match &found {
        Found::Orphaned => engine
            .runtime
            .kill_all(id)
            .map_err(|error| error.to_string()),
        Found::Held(shim) => shim.shutdown().map_err(|error| chain(&error)),
        _ => Ok(()),
    };
    if let Err(error) = cleared {
        tracing::warn!(container = id, error, "cannot end what is left of it");
        return found;
    }
    match found {
        // Nothing is left by now.
        Found::Orphaned => look(engine, id),
        found => found,
    }
}

/// How it ended, according to its shim's record. A record that stays unreadable after some retries counts as missing.
pub(crate) fn recorded(engine: &Engine, id: &str) -> Option<ExitStatus> {
    let path = engine.store.layout.exit_record(id);
    match crate::store::patiently(|| ExitStatus::read(&path)) {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(container = id, path = %path.display(), %error, "its exit record cannot be read");
            None
        }
    }
}

/// Presumably killed.
pub(crate) fn unseen_end(at: jiff::Timestamp) -> ExitStatus {
    ExitStatus {
        code: 137,
        signal: Some(9),
        oom: false,
        at,
        steady: Some(crate::engine::steady().0),
    }
}
