//! Follows the shims: one small task a running container turns what arrives on its socket into events.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hoist_object::Check;
use hoist_runtime::Shim;
use tokio::io::Interest;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::engine::Engine;
use crate::readiness;
use crate::world::{Event, ShimEvent, exit_doc};

/// A broken connection is reported as closed, whatever the error; checking the shim again shows what became of the
/// container.
pub(crate) fn follow(engine: &Arc<Engine>, id: &str, run: u64, shim: Shim) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    let work = async move {
        match listen(&engine, &id, run, Arc::new(shim)).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the connection to its shim broke");
                // A persistent cause must not cause a busy loop.
                tokio::time::sleep(Duration::from_millis(100)).await;
                engine.tell(Event::FromShim {
                    id,
                    run,
                    event: ShimEvent::Closed,
                });
            }
        }
    };
    tokio::spawn(work.in_current_span());
}

async fn listen(engine: &Arc<Engine>, id: &str, run: u64, shim: Arc<Shim>) -> io::Result<()> {
    let mut leaving = engine.leaving.subscribe();
    let mut missing = engine.missing.subscribe();
    let watched = readiness::watch(Arc::clone(&shim), Interest::READABLE)?;
    // Once before waiting: something may have arrived with the answer to the start.
    let mut open = drain(engine, id, run, &shim)?;
    while open {
        tokio::select! {
            ready = watched.readable() => {
                // Before reading: data that arrives in between must wake us again.
                ready?.clear_ready();
                open = drain(engine, id, run, &shim)?;
            }
            Ok(()) = missing.changed() => {
                let shim = Arc::clone(&shim);
                let reopened = tokio::task::spawn_blocking(move || shim.reopen()).await;
                if let Ok(Err(error)) = reopened {
                    tracing::warn!(container = id, error = crate::error::chain(&error), "its shim cannot listen again");
                }
            }
            () = left(&mut leaving) => break,
        }
    }
    if open {
        // Say goodbye, so that the shim does not mistake this for a crash and start an engine.
        let _ = tokio::task::spawn_blocking(move || shim.detach()).await;
        engine.left.add_permits(1);
    }
    Ok(())
}

async fn left(leaving: &mut watch::Receiver<bool>) {
    // Without a sender the process is ending, too.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}

/// Answers whether more may come.
fn drain(engine: &Engine, id: &str, run: u64, shim: &Shim) -> io::Result<bool> {
    while let Some(event) = shim.try_event().map_err(io::Error::other)? {
        let event = match event {
            // Its start was answered by that.
            hoist_runtime::Event::Started { .. } => continue,
            hoist_runtime::Event::Oom => ShimEvent::Oom,
            hoist_runtime::Event::Exited(status) => ShimEvent::Exited(exit_doc(&status)),
            hoist_runtime::Event::Closed => ShimEvent::Closed,
        };
        let last = matches!(event, ShimEvent::Closed | ShimEvent::Exited(_));
        engine.tell(Event::FromShim {
            id: id.to_owned(),
            run,
            event,
        });
        if last {
            return Ok(false);
        }
    }
    Ok(true)
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
