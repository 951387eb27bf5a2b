//! What a new engine finds: containers that run under their shims, containers that ended meanwhile, and leftovers.
//!
//! The engine before may have died at any instant. Everything is named from ids, so whatever has no record is removed,
//! and whatever has one is made to agree with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hoist_object::{ExitDoc, StateDoc, Wanted, When};
use hoist_runtime::{Call, Shim, ShimError, ShimState};

use crate::actions;
use crate::contact::{self, Found, Trace};
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::execute;
use crate::lower;
use crate::shims;
use crate::store::kept;
use crate::world::{Container, Event, Phase, World, exit_doc};

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

/// Before the world runs: connects, reads records, sweeps. All shims are queried concurrently within one shared time
/// limit, so a hung shim delays no other.
pub(crate) fn adopt(engine: &Arc<Engine>, world: &mut World, strays: Vec<String>) -> Unfinished {
    let mut unfinished = Unfinished::default();
    for id in strays {
        let container = stray(engine, &id);
        world.take_in(container);
    }
    let ask = |id: &String| (id.clone(), Call::begin(&engine.bundle(id)));
    let calls: Vec<_> = world.containers.keys().map(ask).collect();
    let deadline = Instant::now() + contact::FIRST_LOOK;
    let mut running = BTreeSet::new();
    for (id, call) in calls {
        let answer = call.and_then(|call| call.answer(deadline));
        if adopt_one(engine, world, &id, answer, &mut unfinished) {
            running.insert(id);
        }
    }
    sweep(engine, world, &mut running);
    restore_networks(engine, world, &running);
    serve_names(engine, world, &running);
    sweep_volatile(engine, world);
    unfinished
}

/// Running without a record. It is listed with what its bundle still tells, so that it can at least be stopped and
/// removed.
fn stray(engine: &Engine, id: &str) -> Container {
    let state =
        StateDoc { wanted: Wanted::Running, boot: engine.boot.clone(), started: Some(now()), ..StateDoc::default() };
    let kept = kept::container(&engine.bundle(id)).and_then(|doc| Container::new(doc, state.clone()).ok());
    match kept {
        Some(container) => {
            tracing::warn!(container = id, "its record was lost; restored from the run folder");
            engine.store.put_container(&container.doc);
            engine.store.put_state(id, &container.state);
            container
        }
        None => {
            tracing::error!(container = id, "it runs, but its record was lost");
            Container::unknown(id, state)
        }
    }
}

fn sweep(engine: &Arc<Engine>, world: &mut World, running: &mut BTreeSet<String>) {
    let steps = crate::build::leftover_steps(engine);
    let swept = engine.runtime.sweep(running, |id| steps.contains(id));
    for error in swept.errors {
        tracing::warn!(error = chain(&error), "cannot sweep");
    }
    for id in swept.strays {
        if !world.containers.contains_key(&id) {
            let container = stray(engine, &id);
            world.take_in(container);
        } else if !engine.runtime.has_processes(&id).unwrap_or(false) {
            // Its record says it is down; an unreadable bundle does not contradict that.
            continue;
        }
        world.adopt_unseen(&id, "it was not expected to run".to_owned());
        running.insert(id);
    }
    crate::build::forget_steps(engine, steps);
}

type Answer = Result<(Shim, ShimState), ShimError>;

/// Answers whether it runs, or may run.
fn adopt_one(engine: &Arc<Engine>, world: &mut World, id: &str, answer: Answer, unfinished: &mut Unfinished) -> bool {
    let Some(container) = world.containers.get(id) else { return false };
    // Its end, or that it never began, is on record.
    let down = container.state.exit.is_some() || container.state.started.is_none();
    let runs = match contact::judge(engine, id, answer) {
        Found::Running(shim, state) => {
            world.adopt(id, shim, &state, shims::kept_health(engine, id));
            true
        }
        Found::Unclear(reason) if down && !engine.runtime.has_processes(id).unwrap_or(false) => {
            tracing::warn!(container = id, reason, "cannot ask its shim; it is down by its record");
            false
        }
        Found::Unclear(reason) => {
            world.adopt_unseen(id, reason);
            true
        }
        Found::Held(_) => {
            world.adopt_unseen(id, "it was set up for an engine that is no more".to_owned());
            true
        }
        Found::Orphaned => {
            world.adopt_unseen(id, "its shim was killed".to_owned());
            true
        }
        Found::Gone(_) if container.state.started.is_none() => false,
        Found::Gone(trace) => has_ended(engine, world, id, trace, unfinished),
    };
    let stopping = world.containers.get(id).filter(|container| runs && container.state.wanted == Wanted::Stopped);
    unfinished.stopping.extend(stopping.map(|container| (id.to_owned(), container.run)));
    runs
}

/// Nothing of it is left, and it was started once. Answers whether it may run all the same.
fn has_ended(engine: &Arc<Engine>, world: &mut World, id: &str, trace: Trace, unfinished: &mut Unfinished) -> bool {
    let Some(container) = world.containers.get_mut(id) else { return false };
    let same_boot = container.state.boot == engine.boot;
    let mut interrupted = false;
    if container.state.exit.is_none() {
        // It was up (or coming up) when the engine died.
        let exit = match contact::recorded(engine, id) {
            Some(status) => exit_doc(&status, false),
            None if same_boot && trace == Trace::Nothing => {
                match engine.runtime.shim_processes(id).as_deref() {
                    Ok([]) => {}
                    Ok(_) => {
                        world.adopt_unseen(id, "its shim is being started".to_owned());
                        return true;
                    }
                    Err(error) => {
                        world.adopt_unseen(id, format!("looking for its shim: {error}"));
                        return true;
                    }
                }
                // The engine died between the start request and the exec: it never ran.
                if container.doc.record.restart.when == When::Never || container.state.wanted != Wanted::Running {
                    container.never_ran();
                    engine.store.put_state(id, &container.state);
                    return false;
                }
                interrupted = true;
                ExitDoc { code: 137, at: now(), ..ExitDoc::default() }
            }
            None => {
                interrupted = true;
                ExitDoc { code: 137, at: now(), ..ExitDoc::default() }
            }
        };
        container.state.exit = Some(exit.clone());
        container.phase = Phase::Exited(exit);
        engine.store.put_state(id, &container.state);
    }
    if container.state.wanted == Wanted::Created {
        return false;
    }
    if same_boot {
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
fn restore_networks(engine: &Arc<Engine>, world: &mut World, running: &BTreeSet<String>) {
    find_lost_networks(engine, world, running);
    for network in world.networks.values() {
        // Also for networks of an engine that kept no copies.
        kept::keep_network(&engine.config.run_dir, network);
        let spec = lower::network_spec(network);
        let restore = move |engine: &Engine| engine.net.create_network(&spec).map_err(|error| chain(&error));
        insist(engine, format!("cannot restore network {}", network.name), restore);
    }
    let networks: Vec<String> = world.networks.values().map(lower::bridge).collect();
    let containers: Vec<String> = running.iter().cloned().collect();
    if let Err(error) = engine.net.sweep(&networks, &containers) {
        tracing::warn!(error = chain(&error), "cannot sweep links");
    }
}

/// The sockets in the containers' namespaces ended with the engine before.
fn serve_names(engine: &Arc<Engine>, world: &World, running: &BTreeSet<String>) {
    for container in running.iter().filter_map(|id| world.containers.get(id)) {
        let record = &container.doc.record;
        let home: Vec<String> = record
            .networks
            .iter()
            .filter_map(|attachment| world.networks.get(&attachment.network))
            .map(|network| network.id.clone())
            .collect();
        let (Some(pid), false) = (container.pid, home.is_empty()) else { continue };
        let id = container.doc.id.clone();
        let serve = move |engine: &Engine| {
            let netns = File::open(format!("/proc/{pid}/ns/net")).map_err(|error| error.to_string())?;
            engine.names.serve(&engine.dns, &id, home.clone(), netns.as_fd()).map_err(|error| chain(&error))
        };
        let what = format!("cannot answer questions of {} for names", record.name);
        insist(engine, what, serve);
    }
}

/// Runs the action now; on failure, retries it a few times in the background.
fn insist(engine: &Arc<Engine>, what: String, attempt: impl Fn(&Engine) -> Result<(), String> + Send + Sync + 'static) {
    const TRIES: u32 = 8;
    let Err(error) = attempt(engine) else { return };
    tracing::error!(error, "{what}; it is tried again");
    let (engine, attempt) = (Arc::clone(engine), Arc::new(attempt));
    tokio::spawn(async move {
        let mut pause = Duration::from_millis(100);
        for _ in 0..TRIES {
            tokio::time::sleep(pause).await;
            pause *= 2;
            let (trying, attempt) = (Arc::clone(&engine), Arc::clone(&attempt));
            match tokio::task::spawn_blocking(move || attempt(&trying)).await {
                Ok(Err(_)) => {}
                _ => return,
            }
        }
        tracing::error!("{what}; given up");
    });
}

/// A network whose record was lost is still that of the containers that run on it.
fn find_lost_networks(engine: &Engine, world: &mut World, running: &BTreeSet<String>) {
    let used: BTreeSet<&String> = running
        .iter()
        .filter_map(|id| world.containers.get(id))
        .flat_map(|container| container.doc.record.networks.iter().map(|attachment| &attachment.network))
        .filter(|name| !world.networks.contains_key(*name))
        .collect();
    if used.is_empty() {
        return;
    }
    let kept: BTreeMap<String, _> = kept::networks(&engine.config.run_dir)
        .into_iter()
        .filter(|network| used.contains(&network.name))
        .map(|network| (network.name.clone(), network))
        .collect();
    for network in kept.into_values() {
        let restored = format!("the record of network {} was lost; restored from the run folder", network.name);
        tracing::warn!("{restored}");
        engine.store.put_network(&network);
        world.damaged.push(restored);
        world.networks.insert(network.name.clone(), network);
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
    let swept = tokio::task::spawn_blocking(move || sweeper.runtime.sweep(&BTreeSet::new(), |_| false)).await;
    for error in swept.unwrap_or_default().errors {
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
