//! What a new engine finds: containers that run under their shims, containers that ended meanwhile, and leftovers.
//!
//! The engine before may have died at any instant. Everything is named from ids, so whatever has no record is removed,
//! and whatever has one is made to agree with it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use hoist_runtime::{ExitStatus, Shim};
use hoist_scheduler::restart::When;

use crate::actions;
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::execute;
use crate::shims;
use crate::store::{ExitDoc, Wanted};
use crate::world::{Event, Phase, World, exit_doc};

/// What is left to decide once the world runs.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Ended while nobody looked.
    ended: Vec<String>,
    /// Their start was cut short, or their shim was killed with them: there is no record of an end.
    interrupted: Vec<String>,
    /// Were being stopped.
    stopping: Vec<(String, u64)>,
    /// Projects with containers that the machine took down.
    rebooted: BTreeSet<String>,
}

/// Before the world runs: connects, reads records, sweeps.
pub(crate) fn adopt(engine: &Arc<Engine>, world: &mut World) -> Unfinished {
    let mut unfinished = Unfinished::default();
    let ids: Vec<String> = world.containers.keys().cloned().collect();
    let mut running = BTreeSet::new();
    for id in ids {
        if adopt_one(engine, world, &id, &mut unfinished) {
            running.insert(id);
        }
    }
    for error in engine.runtime.sweep(&running) {
        tracing::warn!(error = chain(&error), "cannot sweep");
    }
    restore_networks(engine, world, &running);
    serve_names(engine, world, &running);
    sweep_volatile(engine, world);
    unfinished
}

/// Answers whether it runs.
fn adopt_one(engine: &Arc<Engine>, world: &mut World, id: &str, unfinished: &mut Unfinished) -> bool {
    let bundle = engine.bundle(id);
    if bundle.join("shim.sock").exists()
        && let Ok(shim) = Shim::connect(&bundle)
        && let Ok(state) = shim.state()
    {
        if state.started {
            world.adopt(id, shim, state.pid, state.paused, shims::kept_health(engine, id));
            let adopted = world.containers.get(id).filter(|container| container.state.wanted == Wanted::Stopped);
            unfinished.stopping.extend(adopted.map(|container| (id.to_owned(), container.run)));
            return true;
        }
        // Set up, but its start was never asked for.
        let _ = shim.shutdown();
    }
    let Some(container) = world.containers.get_mut(id) else { return false };
    if container.state.started.is_none() {
        return false;
    }
    let mut interrupted = false;
    if container.state.exit.is_none() {
        // It was up (or coming up) when the engine died.
        let recorded = ExitStatus::read(&engine.store.layout.exit_record(id)).ok().flatten();
        interrupted = recorded.is_none();
        let exit = match recorded {
            Some(status) => exit_doc(&status, false),
            None => ExitDoc { code: 137, at: now(), ..ExitDoc::default() },
        };
        container.state.exit = Some(exit.clone());
        container.phase = Phase::Exited(exit);
        engine.store.put_state(id, &container.state);
    }
    if container.state.wanted == Wanted::Created {
        return false;
    }
    if container.state.boot == engine.boot {
        let again = interrupted && container.state.wanted == Wanted::Running;
        if again && container.doc.record.restart.when != When::Never {
            unfinished.interrupted.push(id.to_owned());
            return false;
        }
        unfinished.ended.push(id.to_owned());
    } else {
        container.lost_in_reboot = true;
        unfinished.rebooted.insert(container.doc.record.project.clone());
    }
    false
}

/// Networks are the kernel's to forget at a reboot; others' leftovers are ours to remove.
fn restore_networks(engine: &Engine, world: &World, running: &BTreeSet<String>) {
    for network in world.networks.values() {
        if let Err(error) = engine.net.create_network(&network.spec()) {
            tracing::error!(network = network.name, error = chain(&error), "cannot restore a network");
        }
    }
    let networks: Vec<String> = world.networks.values().map(|network| network.spec().bridge()).collect();
    let containers: Vec<String> = running.iter().cloned().collect();
    if let Err(error) = engine.net.sweep(&networks, &containers) {
        tracing::warn!(error = chain(&error), "cannot sweep links");
    }
}

/// The sockets in the containers' namespaces ended with the engine before.
fn serve_names(engine: &Engine, world: &World, running: &BTreeSet<String>) {
    for container in running.iter().filter_map(|id| world.containers.get(id)) {
        let record = &container.doc.record;
        let home: Vec<String> = record
            .networks
            .iter()
            .filter_map(|attachment| world.networks.get(&attachment.network))
            .map(|network| network.id.clone())
            .collect();
        let (Some(pid), false) = (container.pid, home.is_empty()) else { continue };
        let served = File::open(format!("/proc/{pid}/ns/net")).map_err(|error| error.to_string()).and_then(|netns| {
            let served = engine.names.serve(&engine.dns, &container.doc.id, home, netns.as_fd());
            served.map_err(|error| chain(&error))
        });
        if let Err(error) = served {
            tracing::error!(container = record.name, error, "cannot answer a container's questions for names");
        }
    }
}

fn sweep_volatile(engine: &Engine, world: &World) {
    let Ok(entries) = std::fs::read_dir(engine.volatile("")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_string_lossy().split('-').next().unwrap_or_default().to_owned();
        if !world.containers.contains_key(&owner) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How many containers may be on their way up at a time: a small multiple of the processors.
pub(crate) fn lanes() -> u32 {
    std::thread::available_parallelism().map_or(8, |cores| u32::try_from(cores.get()).unwrap_or(8).saturating_mul(4))
}

/// When nothing runs any more: takes away what is shared by all containers (the parent cgroup). With all lanes held
/// nobody is on the way up meanwhile.
pub(crate) async fn tidy(engine: &Arc<Engine>) {
    let Ok(_nobody) = engine.lanes.acquire_many(lanes()).await else { return };
    let running = engine.look(|world| world.containers.values().any(|found| found.phase.has_processes()));
    if engine.steps.is_busy() || running.await.unwrap_or(true) {
        return;
    }
    let sweeper = Arc::clone(engine);
    let swept = tokio::task::spawn_blocking(move || sweeper.runtime.sweep(&BTreeSet::new())).await;
    for error in swept.unwrap_or_default() {
        tracing::warn!(error = chain(&error), "cannot sweep");
    }
}

/// At the end of an engine that supervises nothing.
pub(crate) fn clean_network(engine: &Engine, networks: &[String]) {
    if let Err(error) = engine.net.set_firewall(&hoist_network::FirewallState::default()) {
        tracing::warn!(error = chain(&error), "cannot remove the firewall's table");
    }
    if let Err(error) = engine.net.sweep(networks, &[]) {
        tracing::warn!(error = chain(&error), "cannot sweep links");
    }
}

/// Once the world runs: restart policies, in dependency order after a reboot.
pub(crate) fn resume(engine: &Arc<Engine>, unfinished: Unfinished) {
    let Unfinished { ended, interrupted, stopping, rebooted } = unfinished;
    for id in interrupted {
        actions::start_later(engine, &id);
    }
    for (id, run) in stopping {
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            if let Err(error) = actions::finish_stop(&engine, &id, run).await {
                tracing::warn!(container = id, %error, "cannot finish stopping");
            }
        });
    }
    let resumer = Arc::clone(engine);
    tokio::spawn(async move {
        for id in ended {
            resumer.tell(Event::Reviewed { id });
        }
        for project in rebooted {
            execute::supervise(&resumer, &project).await;
        }
    });
}
