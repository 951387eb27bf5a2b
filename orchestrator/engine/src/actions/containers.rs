//! Creating, stopping, signalling and removing containers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hoist_object::{ContainerDoc, StateDoc, VolumeDoc, signal};
use hoist_runtime::{Shim, ShimError};
use hoist_scheduler::{ContainerSpec, ImageName};

use super::launch::start;
use super::networks::remove_volume;
use super::{StepError, blocking};
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::feed::OfContainer;
use crate::lower::{self, Material};
use crate::store::make_folder;
use crate::world::{Condition, Event, Phase, ShimEvent, StartWhy, StopAnswer, container_of};

/// What creation needs beside the spec.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) stack: hoist_spec::model::Stack,
    pub(crate) variables: std::collections::BTreeMap<String, String>,
    pub(crate) project_dir: PathBuf,
    /// `run --rm`.
    pub(crate) remove: bool,
    /// `run` with an attached client.
    pub(crate) attach: bool,
    /// `build --debug`.
    pub(crate) shell: Option<Arc<crate::build::ShellOffer>>,
}

pub(crate) async fn create(
    engine: &Arc<Engine>,
    spec: &ContainerSpec,
    context: &Context,
) -> Result<(), StepError> {
    let (name, hash) = (spec.record.name.clone(), spec.record.config_hash.clone());
    let present = engine.look(move |world| {
        world
            .by_name(&name)
            .map(|container| container.doc.record.config_hash == hash)
    });
    match present.await? {
        Some(true) => return Ok(()),
        Some(false) => {
            return Err(StepError::conflict(format!(
                "container name {:?} is in use",
                spec.record.name
            )));
        }
        None => {}
    }
    let image = match &spec.image {
        hoist_scheduler::ImageSource::Stored { id } => engine.images.resolve(id),
        hoist_scheduler::ImageSource::Fetched => {
            let name = ImageName::new(&spec.record.image, spec.service.platform.as_deref());
            super::stored_image(engine, &name)
        }
    };
    let image = image
        .ok_or_else(|| StepError::not_found(format!("no such image: {}", spec.record.image)))?;
    let volumes_from = volumes_from(engine, spec).await?;
    let material = Material {
        image: &image,
        stack: &context.stack,
        variables: &context.variables,
        now: now(),
        remove: context.remove && spec.record.oneoff,
        attach: context.attach && spec.record.oneoff,
        volumes_from,
    };
    let made = lower::document(spec, &material)?;
    keep_volatile(engine, &made.volatile)?;
    let volumes: Vec<VolumeDoc> = made
        .new_volumes
        .iter()
        .map(|name| VolumeDoc {
            name: name.clone(),
            created: now(),
            project: spec.record.project.clone(),
            anonymous: true,
            ..VolumeDoc::default()
        })
        .collect();
    let layout = &engine.store.layout;
    let records = volumes
        .iter()
        .flat_map(|volume| layout.volume_records(&volume.name));
    let new = records.chain([layout.container(&made.doc.id)]).collect();
    volumes
        .iter()
        .for_each(|volume| engine.store.put_volume(volume));
    engine.store.put_container(&made.doc);
    engine.store.created(new).await?;
    for volume in volumes {
        engine.tell(Event::VolumeMade(Box::new(volume)));
    }
    let container = container_of(made.doc, (*spec.service).clone(), StateDoc::default());
    engine.tell(Event::ContainerMade(Box::new(container)));
    Ok(())
}

async fn volumes_from(
    engine: &Arc<Engine>,
    spec: &ContainerSpec,
) -> Result<Vec<(Arc<ContainerDoc>, bool)>, StepError> {
    let mut sources = Vec::new();
    for source in &spec.volumes_from {
        let name = source.container.clone();
        let doc = engine
            .look(move |world| {
                world
                    .by_name(&name)
                    .map(|container| Arc::clone(&container.doc))
            })
            .await?;
        let missing =
            || StepError::not_found(format!("container {} does not exist", source.container));
        sources.push((doc.ok_or_else(missing)?, source.read_only));
    }
    Ok(sources)
}

/// Secrets from variables: in the run directory, which is in memory, readable for us alone.
fn keep_volatile(engine: &Engine, contents: &[(String, String)]) -> Result<(), StepError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if contents.is_empty() {
        return Ok(());
    }
    let write = || -> std::io::Result<()> {
        make_folder(&engine.volatile(""))?;
        for (name, value) in contents {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(engine.volatile(name))?;
            file.write_all(value.as_bytes())?;
        }
        Ok(())
    };
    write().map_err(|error| {
        StepError::engine(format!("keeping secrets in the run directory: {error}"))
    })
}

/// A run that a stop is for.
struct Stoppable {
    run: u64,
    paused: bool,
}

/// Says what there is to stop, once a start that is under way is over.
async fn stoppable(
    engine: &Arc<Engine>,
    id: &str,
    run: Option<u64>,
) -> Result<Option<Stoppable>, StepError> {
    let answer = engine
        .ask(|reply| Event::StopWanted {
            id: id.to_owned(),
            run,
            reply,
        })
        .await?;
    let StopAnswer::Running { run, paused } = answer else {
        return Ok(None);
    };
    // The stop request is stored before it takes effect: the next engine must know why the container ended. The
    // container is stopped even if the write fails.
    if let Err(error) = engine
        .store
        .written(vec![engine.store.layout.container(id)])
        .await
    {
        tracing::warn!(
            container = id,
            error = chain(&error),
            "an engine after this one may start it again"
        );
    }
    Ok(Some(Stoppable { run, paused }))
}

/// Asks the shim on a connection of its own: an answer that takes its time must not hold up the events, and the task
/// that reads them must not miss one.
async fn shim_call<F>(engine: &Arc<Engine>, id: &str, call: F) -> Result<(), CallError>
where
    F: FnOnce(&Shim) -> Result<(), ShimError> + Send + 'static,
{
    let (caller, id) = (Arc::clone(engine), id.to_owned());
    let called = tokio::task::spawn_blocking(move || {
        match Shim::connect(&caller.bundle(&id)).and_then(|shim| call(&shim)) {
            // It has exited; the world learns that from the shim's last message.
            Err(error)
                if error.is_absent() && matches!(caller.runtime.has_processes(&id), Ok(false)) =>
            {
                Ok(())
            }
            Err(error @ ShimError::Refused { .. }) => Err(CallError::Refused(error)),
            Err(error) => Err(CallError::Silent(error)),
            Ok(()) => Ok(()),
        }
    });
    called
        .await
        .map_err(|error| CallError::Cut(error.to_string()))?
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Refused(ShimError),
    #[error("its shim does not answer")]
    Silent(#[source] ShimError),
    #[error("a step was cut short: {0}")]
    Cut(String),
}

/// Only a process stuck in the kernel survives SIGKILL for so long.
const AFTER_KILL: Duration = Duration::from_secs(30);

/// Kills all its processes, with or without its shim.
async fn kill_all(engine: &Arc<Engine>, id: &str, run: u64) -> Result<(), StepError> {
    match shim_call(engine, id, Shim::kill_all).await {
        Ok(()) => {}
        Err(CallError::Refused(error)) => {
            tracing::warn!(container = id, error = chain(&error), "cannot kill it")
        }
        Err(error) => force(engine, id, &error).await?,
    }
    if ended(engine, id, run, AFTER_KILL).await {
        return Ok(());
    }
    Err(StepError::engine("the process did not exit after SIGKILL"))
}

/// Kills a container whose shim does not answer, and the shim with it: the world learns of it by the closed connection.
async fn force(engine: &Arc<Engine>, id: &str, error: &CallError) -> Result<(), StepError> {
    tracing::warn!(
        container = id,
        error = chain(error),
        "killing its processes without its shim"
    );
    let (killer, name) = (Arc::clone(engine), id.to_owned());
    let killed = blocking(move || {
        let killed = killer.runtime.kill_with_shim(&name);
        killed.map_err(|error| StepError::engine(format!("killing its processes: {error}")))
    });
    killed.await?;
    let name = id.to_owned();
    let run = engine
        .look(move |world| world.containers.get(&name).map(|container| container.run))
        .await?;
    if let Some(run) = run {
        let id = id.to_owned();
        engine.tell(Event::FromShim {
            id,
            run,
            event: ShimEvent::Closed,
        });
    }
    Ok(())
}

/// Asks it to end, waits, then kills it.
pub(crate) async fn stop(
    engine: &Arc<Engine>,
    id: &str,
    signal: &str,
    grace: Duration,
) -> Result<Stopped, StepError> {
    stop_run(engine, id, None, signal, grace).await
}

/// What it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The signal, if it was up at all.
    Asked,
    /// The grace period went by.
    Killed,
}

/// Finishes a stop that an engine before this one had begun; a run that somebody started since is left alone.
pub(crate) async fn finish_stop(engine: &Arc<Engine>, id: &str, run: u64) -> Result<(), StepError> {
    let (signal, grace) = stop_terms(engine, id).await?;
    stop_run(engine, id, Some(run), &signal, grace)
        .await
        .map(drop)
}

async fn stop_run(
    engine: &Arc<Engine>,
    id: &str,
    run: Option<u64>,
    signal: &str,
    grace: Duration,
) -> Result<Stopped, StepError> {
    let number = signal::number(signal)
        .ok_or_else(|| StepError::bad(format!("unknown signal {signal:?}")))?;
    let Some(Stoppable { run, paused }) = stoppable(engine, id, run).await? else {
        return Ok(Stopped::Asked);
    };
    let mut stopped = Stopped::Asked;
    if paused {
        // A frozen process that cannot be thawed is killed below.
        if shim_call(engine, id, Shim::resume).await.is_ok() {
            engine.tell(Event::Paused {
                id: id.to_owned(),
                paused: false,
            });
        }
    }
    announce(engine, id, OfContainer::Kill { signal: number });
    let asked = shim_call(engine, id, move |shim| shim.kill(number)).await;
    if let Err(error @ CallError::Refused(_)) = asked {
        return Err(error.into());
    }
    // Without an answer, waiting out the grace period is pointless.
    if asked.is_err() || !ended(engine, id, run, grace).await {
        announce(
            engine,
            id,
            OfContainer::Kill {
                signal: signal::KILL,
            },
        );
        kill_all(engine, id, run).await?;
        stopped = Stopped::Killed;
    }
    announce(engine, id, OfContainer::Stop);
    Ok(stopped)
}

pub(crate) fn announce(engine: &Engine, id: &str, what: OfContainer) {
    engine.tell(Event::Announced {
        id: id.to_owned(),
        what,
    });
}

async fn ended(engine: &Engine, id: &str, run: u64, within: Duration) -> bool {
    tokio::time::timeout(within, engine.wait(id, Condition::Down { run }))
        .await
        .is_ok()
}

/// Sends a signal. Only one that ends it by request keeps its restart policy quiet.
pub(crate) async fn kill(engine: &Arc<Engine>, id: &str, signal: &str) -> Result<(), StepError> {
    let number = signal::number(signal)
        .ok_or_else(|| StepError::bad(format!("unknown signal {signal:?}")))?;
    if number == signal::KILL {
        engine.tell(Event::Signalled { id: id.to_owned() });
        let Some(Stoppable { run, .. }) = stoppable(engine, id, None).await? else {
            return not_running(id);
        };
        announce(engine, id, OfContainer::Kill { signal: number });
        return kill_all(engine, id, run).await;
    }
    let name = id.to_owned();
    let running = engine.look(move |world| {
        world
            .containers
            .get(&name)
            .is_some_and(|found| found.phase.has_processes())
    });
    if !running.await? {
        return not_running(id);
    }
    engine.tell(Event::Signalled { id: id.to_owned() });
    announce(engine, id, OfContainer::Kill { signal: number });
    Ok(shim_call(engine, id, move |shim| shim.kill(number)).await?)
}

fn not_running(id: &str) -> Result<(), StepError> {
    Err(StepError::conflict(format!(
        "container {id} is not running"
    )))
}

pub(crate) async fn pause(engine: &Arc<Engine>, id: &str) -> Result<(), StepError> {
    set_paused(engine, id, true).await
}

pub(crate) async fn unpause(engine: &Arc<Engine>, id: &str) -> Result<(), StepError> {
    set_paused(engine, id, false).await
}

async fn set_paused(engine: &Arc<Engine>, id: &str, paused: bool) -> Result<(), StepError> {
    let name = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&name)?;
        container
            .phase
            .has_processes()
            .then_some(container.phase == Phase::Paused)
    });
    let Some(is_paused) = found.await? else {
        return not_running(id);
    };
    if is_paused != paused {
        shim_call(engine, id, if paused { Shim::pause } else { Shim::resume }).await?;
        engine.tell(Event::Paused {
            id: id.to_owned(),
            paused,
        });
    }
    Ok(())
}

/// Stop and start, in one container's own terms unless others are given.
pub(crate) async fn restart(
    engine: &Arc<Engine>,
    id: &str,
    signal: Option<&str>,
    grace: Option<Duration>,
) -> Result<(), StepError> {
    let (own_signal, own) = stop_terms(engine, id).await?;
    stop(
        engine,
        id,
        signal.unwrap_or(&own_signal),
        grace.unwrap_or(own),
    )
    .await?;
    start(engine, id, StartWhy::Request).await?;
    announce(engine, id, OfContainer::Restart);
    Ok(())
}

/// A container's own stop signal and grace period.
pub(crate) async fn stop_terms(
    engine: &Arc<Engine>,
    id: &str,
) -> Result<(String, Duration), StepError> {
    let name = id.to_owned();
    let terms = engine.look(move |world| {
        let container = world.containers.get(&name)?;
        let (record, image) = (&container.doc.record, &container.doc.image);
        let signal = record
            .stop_signal
            .clone()
            .or_else(|| image.stop_signal.clone());
        Some((
            signal.unwrap_or_else(|| "SIGTERM".to_owned()),
            record.stop_grace,
        ))
    });
    terms
        .await?
        .ok_or_else(|| StepError::not_found(format!("no such container: {id}")))
}

/// With the named anonymous volumes. A running container is killed first.
pub(crate) async fn remove(
    engine: &Arc<Engine>,
    id: &str,
    volumes: &BTreeSet<String>,
) -> Result<(), StepError> {
    if let Some(Stoppable { run, .. }) = stoppable(engine, id, None).await? {
        kill_all(engine, id, run).await?;
    }
    let name = id.to_owned();
    let doc = engine.look(move |world| {
        world
            .containers
            .get(&name)
            .map(|container| Arc::clone(&container.doc))
    });
    let Some(doc) = doc.await? else { return Ok(()) };
    engine.tell(Event::ContainerGone { id: id.to_owned() });
    engine.store.delete(engine.store.layout.container(id));
    engine.store.delete(engine.bundle(id));
    for file in &doc.files {
        if let hoist_object::FileContent::Volatile { name, .. } = &file.content {
            engine.store.delete(engine.volatile(name));
        }
    }
    for volume in volumes {
        remove_volume(engine, volume).await?;
    }
    engine.wiring.settled().await;
    engine
        .store
        .written(vec![engine.store.layout.container(id), engine.bundle(id)])
        .await?;
    Ok(())
}
