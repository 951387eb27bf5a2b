//! The state, questions to it, and the one place where events arrive.

mod adoption;
mod execs;
mod health;
mod lives;
mod objects;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hoist_object::{ContainerDoc, NetworkDoc, Now, StackDoc, VolumeDoc};

use crate::container::Container;
use crate::effect::{Effect, Notice};
use crate::event::Event;
use crate::exec::Execs;
use crate::handles::Handles;
use crate::status::Phase;
use crate::timer::Timer;

#[derive(Debug)]
pub struct Supervisor<H: Handles> {
    /// Id of this boot of the machine.
    pub(crate) boot: String,
    pub containers: BTreeMap<String, Container<H>>,
    /// Ids of the containers by their names, which never change.
    names: HashMap<String, String>,
    /// By name.
    pub networks: BTreeMap<String, NetworkDoc>,
    pub volumes: BTreeMap<String, VolumeDoc>,
    pub stacks: BTreeMap<String, StackDoc>,
    pub(crate) execs: Execs<H>,
    pub(crate) unfinished: Unfinished,
}

/// What was found at the start, and is decided once all was looked at.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Ended while no engine looked.
    pub(crate) ended: Vec<String>,
    /// Their start was cut short, or their shim was killed with them: there is no record of an end.
    pub(crate) interrupted: Vec<String>,
    /// Were being stopped.
    pub(crate) stopping: Vec<(String, u64)>,
    /// Projects with containers that the machine took down.
    pub(crate) rebooted: BTreeSet<String>,
}

impl<H: Handles> Supervisor<H> {
    /// Knows nothing yet.
    pub fn new(boot: String) -> Self {
        Self {
            boot,
            containers: BTreeMap::new(),
            names: HashMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            stacks: BTreeMap::new(),
            execs: Execs::default(),
            unfinished: Unfinished::default(),
        }
    }

    /// One that is on record, before anything else is known of it.
    pub fn load(&mut self, container: Container<H>) {
        self.names
            .insert(container.doc.record.name.clone(), container.doc.id.clone());
        self.containers.insert(container.doc.id.clone(), container);
    }

    pub fn boot(&self) -> &str {
        &self.boot
    }

    pub fn by_name(&self, name: &str) -> Option<&Container<H>> {
        self.containers.get(self.names.get(name)?)
    }

    /// By id, unambiguous prefix of an id, or name.
    pub fn resolve(&self, name: &str) -> Option<&Container<H>> {
        let name = name.trim_start_matches('/');
        self.containers
            .get(name)
            .or_else(|| self.by_name(name))
            .or_else(|| {
                if name.is_empty() {
                    return None;
                }
                let mut matches = self
                    .containers
                    .values()
                    .filter(|container| container.doc.id.starts_with(name));
                matches.next().filter(|_| matches.next().is_none())
            })
    }

    pub fn network(&self, name: &str) -> Option<&NetworkDoc> {
        self.networks.get(name).or_else(|| {
            let mut matches = self
                .networks
                .values()
                .filter(|doc| !name.is_empty() && doc.id.starts_with(name));
            matches.next().filter(|_| matches.next().is_none())
        })
    }

    /// Options of its volumes that have some, by their names.
    pub fn driver_opts(&self, doc: &ContainerDoc) -> BTreeMap<String, BTreeMap<String, String>> {
        let volumes = doc.mounts.iter().filter_map(|mount| match &mount.kind {
            hoist_object::MountKind::Volume { name, .. } => self.volumes.get(name),
            _ => None,
        });
        let driven = volumes.filter(|volume| !volume.driver_opts.is_empty());
        driven
            .map(|volume| (volume.name.clone(), volume.driver_opts.clone()))
            .collect()
    }

    /// Does anything need an engine?
    pub fn supervises(&self) -> bool {
        self.containers.values().any(|container| {
            matches!(
                container.phase,
                Phase::Starting | Phase::Running | Phase::Paused | Phase::Restarting { .. }
            )
        })
    }

    /// The container, if it is still in this run.
    pub(crate) fn in_run(&mut self, id: &str, run: u64) -> Option<&mut Container<H>> {
        self.containers
            .get_mut(id)
            .filter(|container| container.run == run)
    }

    pub(crate) fn forget_name(&mut self, container: &Container<H>) {
        // Its successor may have the name already.
        let name = &container.doc.record.name;
        if self
            .names
            .get(name)
            .is_some_and(|holder| *holder == container.doc.id)
        {
            self.names.remove(name);
        }
    }

    /// Never waits and never fails. `now` is read once, by the caller.
    #[must_use]
    pub fn handle(&mut self, event: Event<H>, now: Now) -> Vec<Effect<H>> {
        let mut effects = Vec::new();
        self.dispatch(event, now, &mut effects);
        effects
    }

    fn dispatch(&mut self, event: Event<H>, now: Now, effects: &mut Vec<Effect<H>>) {
        match event {
            Event::StackApplied(stack) => drop(self.stacks.insert(stack.name.clone(), *stack)),
            Event::StackGone(name) => drop(self.stacks.remove(&name)),
            Event::NetworkMade(network) => self.network_made(*network, effects),
            Event::NetworkGone { name } => self.network_gone(&name, effects),
            Event::VolumeMade(volume) => self.volume_made(*volume, effects),
            Event::VolumeGone { name } => self.volume_gone(&name, effects),
            Event::ContainerMade(container) => self.container_made(*container, now, effects),
            Event::Rewired(doc) => self.rewired(*doc, effects),
            Event::ContainerGone { id } => self.container_gone(&id, effects),
            Event::StartWanted { id, why, reply } => {
                self.start_wanted(&id, why, reply, now, effects)
            }
            Event::Started {
                id,
                run,
                shim,
                pid,
                at,
            } => self.started(&id, run, shim, pid, at, now, effects),
            Event::StartFailed { id, run, exit } => self.start_failed(&id, run, exit, now, effects),
            Event::StopWanted { id, run, reply } => self.stop_wanted(&id, run, reply, effects),
            Event::Await {
                id,
                condition,
                reply,
            } => self.await_state(&id, condition, reply, effects),
            Event::Paused { id, paused } => self.paused(&id, paused, effects),
            Event::Signalled { id } => self.signalled(&id, now),
            Event::Announced { id, what } => self.announced(&id, what, effects),
            Event::FromShim { id, run, event } => {
                self.heard_from_shim(&id, run, event, now, effects)
            }
            Event::Found {
                id,
                run,
                shim,
                pid,
                paused,
            } => self.found(&id, run, shim, pid, paused, effects),
            Event::Unreachable { id, run, reason } => self.unreachable(&id, run, reason),
            Event::NeverRan { id, run } => self.never_ran(&id, run, effects),
            Event::Probed {
                id,
                run,
                probe,
                record,
            } => self.probed(&id, run, probe, record, now, effects),
            Event::Due(timer) => self.due(timer, now, effects),
            Event::ExecMade(exec) => self.exec_made(*exec, now, effects),
            Event::ExecStarted { id, handle } => self.exec_started(&id, handle, effects),
            Event::ExecEnded { id, code } => self.exec_ended(&id, code, effects),
            Event::ExecDelivered { id } => Self::exec_delivered(id, now, effects),
            Event::Adopted {
                id,
                shim,
                pid,
                paused,
                check,
            } => {
                self.adopted(&id, shim, pid, paused, check, now, effects);
            }
            Event::AdoptedUnseen {
                id,
                pid,
                check,
                reason,
            } => {
                self.adopted_unseen(&id, pid, check, reason, now, effects);
            }
            Event::FoundDown { id, end } => self.found_down(&id, end, now, effects),
            Event::Stray(container) => self.stray(*container, effects),
            Event::NetworkRestored(network) => {
                drop(self.networks.insert(network.name.clone(), *network))
            }
            Event::Resumed => self.resumed(now, effects),
        }
    }

    fn signalled(&mut self, id: &str, now: Now) {
        if let Some(container) = self.containers.get_mut(id) {
            container.signalled = Some(now.steady);
        }
    }

    fn announced(&self, id: &str, what: H::Said, effects: &mut Vec<Effect<H>>) {
        if let Some(container) = self.containers.get(id) {
            effects.push(Effect::Announce(Notice::Requested {
                doc: Arc::clone(&container.doc),
                what,
            }));
        }
    }

    fn stray(&mut self, container: Container<H>, effects: &mut Vec<Effect<H>>) {
        let id = container.doc.id.clone();
        self.load(container);
        self.publish(&id, effects);
    }

    fn due(&mut self, timer: Timer, now: Now, effects: &mut Vec<Effect<H>>) {
        match timer {
            Timer::Restart { id, run } => self.restart_due(&id, run, now, effects),
            Timer::Probe { id, run } => self.probe_due(&id, run, now, effects),
            Timer::Exec { id, why } => self.forget_exec(&id, why),
        }
    }

    pub(crate) fn publish(&mut self, id: &str, effects: &mut Vec<Effect<H>>) {
        if let Some(container) = self.containers.get_mut(id) {
            container.publish(effects);
        }
    }
}
