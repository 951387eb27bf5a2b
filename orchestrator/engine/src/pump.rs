//! The task that owns the world: it takes one message at a time, and carries out each effect in one function.
//!
//! Handling a message never waits: slow work runs in tasks of its own and comes back as an event.

use std::sync::Arc;
use std::time::Duration;

use hoist_object::{Now, Timestamp};
use tokio::sync::mpsc;

use crate::engine::{Engine, now, steady};
use crate::world::{Effect, Event, Message, Timer, World};
use crate::{actions, contact, execute, feed, logging, probe, shims};

pub(crate) async fn run(
    engine: Arc<Engine>,
    mut world: World,
    mut inbox: mpsc::UnboundedReceiver<Message>,
) {
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Event(event) => handle(&engine, &mut world, event),
            Message::Look(look) => look(&world),
            Message::Claimed { project, claims } => world.claimed(project, claims),
        }
    }
}

/// Also before the task runs: for what an engine finds at its start.
pub(crate) fn handle(engine: &Arc<Engine>, world: &mut World, event: Event) {
    for effect in world.supervisor.handle(
        event,
        Now {
            steady: steady(),
            wall: now(),
        },
    ) {
        perform(engine, world, effect);
    }
}

fn perform(engine: &Arc<Engine>, world: &mut World, effect: Effect) {
    // Tasks that an effect starts keep it.
    let _span = container_of(&effect).and_then(|id| {
        let name = &world.containers.get(id)?.doc.record.name;
        Some(logging::container(id, name).entered())
    });
    match effect {
        Effect::PutState { id, state } => engine.store.put_state(&id, &state),
        Effect::Publish { id, status } => world.published(id, status),
        Effect::Forget { id } => world.forget(&id),
        Effect::Changed => world.changed(),
        Effect::Wire => engine.wiring.want(),
        Effect::Touch => engine.activity.touch(),
        Effect::Announce(notice) => feed::notice(engine, notice),
        Effect::Follow { id, run, shim } => shims::follow(engine, &id, run, *shim),
        // Its answer may take a while.
        Effect::ShutDown { shim } => {
            drop(tokio::task::spawn_blocking(move || drop(shim.shutdown())))
        }
        Effect::Seek { id, run } => contact::seek(engine, &id, run),
        Effect::Start { id } => actions::start_later(engine, &id),
        Effect::FinishStop { id, run } => actions::finish_stop_later(engine, &id, run),
        Effect::Remove { id, volumes } => actions::remove_later(engine, &id, volumes),
        Effect::Supervise { projects } => supervise(engine, projects),
        Effect::Probe {
            run,
            pid,
            container,
            plan,
        } => probe::spawn(engine, run, pid, container, plan),
        Effect::KeepHealth { id, check } => shims::keep_health(engine, &id, &check),
        Effect::Wake { at, timer } => wake(engine, at, timer),
        // A request that is gone needs no answer.
        Effect::AnswerStart { reply, answer } => drop(reply.send(answer)),
        Effect::AnswerStop { reply, answer } => drop(reply.send(answer)),
        Effect::AnswerWait { reply, outcome } => drop(reply.send(outcome)),
    }
}

/// The container that the work of an effect is about.
fn container_of(effect: &Effect) -> Option<&str> {
    match effect {
        Effect::Follow { id, .. }
        | Effect::Seek { id, .. }
        | Effect::Start { id }
        | Effect::FinishStop { id, .. }
        | Effect::Remove { id, .. }
        | Effect::KeepHealth { id, .. } => Some(id),
        Effect::Probe { container, .. } => Some(&container.doc.id),
        _ => None,
    }
}

fn supervise(engine: &Arc<Engine>, projects: Vec<String>) {
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        for project in projects {
            execute::supervise(&engine, &project).await;
        }
    });
}

/// `at` by the steady clock.
fn wake(engine: &Arc<Engine>, at: Timestamp, timer: Timer) {
    let wait: Duration = at.since(steady());
    if wait.is_zero() {
        return engine.tell(Event::Due(timer));
    }
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        engine.tell(Event::Due(timer));
    });
}
