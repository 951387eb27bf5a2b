//! What a new engine finds: containers that run under their shims, containers that ended meanwhile, and leftovers.
//!
//! The engine before may have died at any instant. Everything is named from ids, so whatever has no record is removed,
//! and whatever has one is made to agree with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hoist_object::{ContainerDoc, StateDoc, Wanted};
use hoist_runtime::{Call, Shim, ShimError, ShimState};
use hoist_spec::model::Service;

use crate::contact::{self, Found, Trace};
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::lower;
use crate::pump;
use crate::shims;
use crate::store::kept;
use crate::world::{self, Container, End, Event, World, exit_doc};

/// Before the world runs: connects, reads records, sweeps. All shims are queried concurrently within one shared time
/// limit, so a hung shim delays no other.
pub(crate) fn adopt(engine: &Arc<Engine>, world: &mut World, strays: Vec<String>) {
    for id in strays {
        take_in(engine, world, &id);
    }
    let ask = |id: &String| (id.clone(), Call::begin(&engine.bundle(id)));
    let calls: Vec<_> = world.containers.keys().map(ask).collect();
    let deadline = Instant::now() + contact::FIRST_LOOK;
    let mut running = BTreeSet::new();
    for (id, call) in calls {
        let answer = call.and_then(|call| call.answer(deadline));
        if adopt_one(engine, world, &id, answer) {
            running.insert(id);
        }
    }
    sweep(engine, world, &mut running);
    restore_networks(engine, world, &running);
    serve_names(engine, world, &running);
    sweep_volatile(engine, world);
}

fn take_in(engine: &Arc<Engine>, world: &mut World, id: &str) {
    world
        .damaged
        .push(format!("container {id} runs, but its record was lost"));
    let container = stray(engine, id);
    pump::handle(engine, world, Event::Stray(Box::new(container)));
}

/// Running without a record. It is listed with what its bundle still tells, so that it can at least be stopped and
/// removed.
fn stray(engine: &Engine, id: &str) -> Container {
    let state = StateDoc {
        wanted: Wanted::Running,
        boot: engine.boot.clone(),
        started: Some(now()),
        ..StateDoc::default()
    };
    let kept = kept::container(&engine.bundle(id))
        .and_then(|doc| world::container(doc, state.clone()).ok());
    match kept {
        Some(container) => {
            tracing::warn!(
                container = id,
                "its record was lost; restored from the run folder"
            );
            engine.store.put_container(&container.doc);
            engine.store.put_state(id, &container.state);
            container
        }
        None => {
            tracing::error!(container = id, "it runs, but its record was lost");
            world::container_of(ContainerDoc::unknown(id), Service::default(), state)
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
            take_in(engine, world, &id);
        } else if !engine.runtime.has_processes(&id).unwrap_or(false) {
            // Its record says it is down; an unreadable bundle does not contradict that.
            continue;
        }
        unseen(engine, world, &id, "it was not expected to run".to_owned());
        running.insert(id);
    }
    crate::build::forget_steps(engine, steps);
}

type Answer = Result<(Shim, ShimState), ShimError>;

/// Answers whether it runs, or may run.
fn adopt_one(engine: &Arc<Engine>, world: &mut World, id: &str, answer: Answer) -> bool {
    let Some(container) = world.containers.get(id) else {
        return false;
    };
    // Its end, or that it never began, is on record.
    let down = container.state.exit.is_some() || container.state.started.is_none();
    match contact::judge(engine, id, answer) {
        Found::Running(shim, state) => {
            let (shim, check) = (Box::new(shim), shims::kept_health(engine, id));
            let (pid, paused) = (state.pid, state.paused);
            pump::handle(
                engine,
                world,
                Event::Adopted {
                    id: id.to_owned(),
                    shim,
                    pid,
                    paused,
                    check,
                },
            );
            true
        }
        Found::Unclear(reason) if down && !engine.runtime.has_processes(id).unwrap_or(false) => {
            tracing::warn!(
                container = id,
                reason,
                "cannot ask its shim; it is down by its record"
            );
            false
        }
        Found::Unclear(reason) => unseen(engine, world, id, reason),
        Found::Held(_) => unseen(
            engine,
            world,
            id,
            "it was set up for an engine that is no more".to_owned(),
        ),
        Found::Orphaned => unseen(engine, world, id, "its shim was killed".to_owned()),
        Found::Gone(trace) => {
            let end = match down {
                true => Ok(End::Unknown),
                false => end(engine, id, trace),
            };
            match end {
                Ok(end) => {
                    pump::handle(
                        engine,
                        world,
                        Event::FoundDown {
                            id: id.to_owned(),
                            end,
                        },
                    );
                    false
                }
                Err(reason) => unseen(engine, world, id, reason),
            }
        }
    }
}

/// It may run, and its shim does not answer.
fn unseen(engine: &Arc<Engine>, world: &mut World, id: &str, reason: String) -> bool {
    tracing::warn!(
        container = id,
        reason,
        "its shim cannot be reached; it is left running and tried again"
    );
    let (pid, check) = (
        engine.runtime.first_process(id),
        shims::kept_health(engine, id),
    );
    pump::handle(
        engine,
        world,
        Event::AdoptedUnseen {
            id: id.to_owned(),
            pid,
            check,
            reason,
        },
    );
    true
}

/// Nothing of it is left, and its end is not on record here: how it ended, or why it may run all the same.
fn end(engine: &Engine, id: &str, trace: Trace) -> Result<End, String> {
    if let Some(status) = contact::recorded(engine, id) {
        return Ok(End::Recorded(exit_doc(&status)));
    }
    if trace == Trace::Socket {
        return Ok(End::Unknown);
    }
    match engine.runtime.shim_processes(id).as_deref() {
        // The engine died between the start request and the exec.
        Ok([]) => Ok(End::NeverBegan),
        Ok(_) => Err("its shim is being started".to_owned()),
        Err(error) => Err(format!("looking for its shim: {error}")),
    }
}

/// Networks are the kernel's to forget at a reboot; others' leftovers are ours to remove.
fn restore_networks(engine: &Arc<Engine>, world: &mut World, running: &BTreeSet<String>) {
    find_lost_networks(engine, world, running);
    for network in world.networks.values() {
        // Also for networks of an engine that kept no copies.
        kept::keep_network(&engine.config.run_dir, network);
        let spec = lower::network_spec(network);
        let restore = move |engine: &Engine| {
            engine
                .net
                .create_network(&spec)
                .map_err(|error| chain(&error))
        };
        insist(
            engine,
            format!("cannot restore network {}", network.name),
            restore,
        );
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
        let (Some(pid), false) = (container.pid, home.is_empty()) else {
            continue;
        };
        let id = container.doc.id.clone();
        let serve = move |engine: &Engine| {
            let netns =
                File::open(format!("/proc/{pid}/ns/net")).map_err(|error| error.to_string())?;
            engine
                .names
                .serve(&engine.dns, &id, home.clone(), netns.as_fd())
                .map_err(|error| chain(&error))
        };
        let what = format!("cannot answer questions of {} for names", record.name);
        insist(engine, what, serve);
    }
}

/// Runs the action now; on failure, retries it a few times in the background.
fn insist(
    engine: &Arc<Engine>,
    what: String,
    attempt: impl Fn(&Engine) -> Result<(), String> + Send + Sync + 'static,
) {
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
fn find_lost_networks(engine: &Arc<Engine>, world: &mut World, running: &BTreeSet<String>) {
    let used: BTreeSet<&String> = running
        .iter()
        .filter_map(|id| world.containers.get(id))
        .flat_map(|container| {
            container
                .doc
                .record
                .networks
                .iter()
                .map(|attachment| &attachment.network)
        })
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
        let restored = format!(
            "the record of network {} was lost; restored from the run folder",
            network.name
        );
        tracing::warn!("{restored}");
        engine.store.put_network(&network);
        world.damaged.push(restored);
        pump::handle(engine, world, Event::NetworkRestored(Box::new(network)));
    }
}

fn sweep_volatile(engine: &Engine, world: &World) {
    let Ok(entries) = std::fs::read_dir(engine.volatile("")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_string_lossy()
            .split('-')
            .next()
            .unwrap_or_default()
            .to_owned();
        if !world.containers.contains_key(&owner) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
