//! What is shared by all containers, and goes when none runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::chain;

/// How many containers may be on their way up at a time: a small multiple of the processors.
pub(crate) fn lanes() -> u32 {
    std::thread::available_parallelism().map_or(8, |cores| {
        u32::try_from(cores.get()).unwrap_or(8).saturating_mul(4)
    })
}

/// When nothing runs any more: takes away what is shared by all containers (the parent cgroup). With all lanes held
/// no container is starting meanwhile.
pub(crate) async fn tidy(engine: &Arc<Engine>) {
    let Ok(_all) = engine.lanes.acquire_many(lanes()).await else {
        return;
    };
    let running = engine.look(|world| {
        world
            .containers
            .values()
            .any(|found| found.phase.has_processes())
    });
    if engine.steps.is_busy() || running.await.unwrap_or(true) {
        return;
    }
    let sweeper = Arc::clone(engine);
    let swept =
        tokio::task::spawn_blocking(move || sweeper.runtime.sweep(&BTreeSet::new(), |_| false))
            .await;
    for error in swept.unwrap_or_default().errors {
        tracing::warn!(error = chain(&error), "cannot sweep");
    }
}

/// At the end of an engine that supervises nothing.
pub(crate) fn clean_network(engine: &Engine, networks: &[String]) {
    if let Err(error) = engine
        .net
        .set_firewall(&hoist_network::FirewallState::default())
    {
        tracing::warn!(error = chain(&error), "cannot remove the firewall's table");
    }
    if let Err(error) = engine.net.sweep(networks, &[]) {
        tracing::warn!(error = chain(&error), "cannot sweep links");
    }
}
