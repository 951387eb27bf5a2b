//! Follows the shims: one small task a running container turns what arrives on its socket into events.

use std::sync::Arc;

use hoist_runtime::{Event as ShimEvent, Shim};
use hoist_scheduler::health::Check;
use tokio::io::Interest;

use crate::engine::Engine;
use crate::readiness;
use crate::world::Event;

pub(crate) fn follow(engine: &Arc<Engine>, id: &str, run: u64, shim: Shim) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    tokio::spawn(async move {
        let mut leaving = engine.leaving.subscribe();
        let watched = match readiness::watch(shim, Interest::READABLE) {
            Ok(watched) => watched,
            Err(error) => {
                tracing::error!(container = id, %error, "cannot watch the shim");
                engine.tell(Event::FromShim { id, run, event: ShimEvent::Closed });
                return;
            }
        };
        // Once before waiting: something may have arrived with the answer to the start.
        let mut open = drain(&engine, &id, run, watched.get_ref());
        while open {
            tokio::select! {
                ready = watched.readable() => {
                    let Ok(mut ready) = ready else { return };
                    // Before reading: what comes in between must wake us again.
                    ready.clear_ready();
                    open = drain(&engine, &id, run, watched.get_ref());
                }
                _ = leaving.wait_for(|leaving| *leaving) => {
                    // A word of farewell, so that the shim does not take it for a crash and start an engine.
                    let _ = watched.into_inner().detach();
                    engine.left.add_permits(1);
                    return;
                }
            }
        }
    });
}

/// Answers whether more may come.
fn drain(engine: &Engine, id: &str, run: u64, shim: &Shim) -> bool {
    loop {
        match shim.try_event() {
            Ok(Some(event)) => {
                let last = matches!(event, ShimEvent::Closed | ShimEvent::Exited(_));
                engine.tell(Event::FromShim { id: id.to_owned(), run, event });
                if last {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(container = id, %error, "the shim's connection failed");
                engine.tell(Event::FromShim { id: id.to_owned(), run, event: ShimEvent::Closed });
                return false;
            }
        }
    }
}

/// Remembers a health status for the next engine of this boot; in memory only, so it costs no disk.
pub(crate) fn keep_health(engine: &Engine, id: &str, check: &Check) {
    let path = engine.bundle(id).join("health.json");
    let bytes = serde_json::to_vec(check).unwrap_or_default();
    if let Err(error) = std::fs::write(&path, bytes) {
        tracing::debug!(path = %path.display(), %error, "cannot keep the health status");
    }
}

pub(crate) fn kept_health(engine: &Engine, id: &str) -> Option<Check> {
    let bytes = std::fs::read(engine.bundle(id).join("health.json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}
