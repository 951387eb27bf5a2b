//! All mutable state, owned by one task that receives one closed [`Event`] enum.
//!
//! Handling an event never waits: slow work runs in tasks of its own and comes back as an event. An event is a fact or
//! a wish about one object; what it leads to is decided from the state, not from the event's content.

mod container;
mod execs;
mod supervise;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hoist_object::{ContainerDoc, ExitDoc, MountKind, NetworkDoc, StackDoc, Timestamp, VolumeDoc};
use hoist_runtime::Shim;
use hoist_spec::local::LocalMount;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use container::{Container, HealthRun, Phase, Status, Summary};
use execs::{Execs, Forget};
pub(crate) use supervise::exit_doc;

use crate::engine::{Engine, now, steady};
use crate::exec::ExecEntry;
use crate::feed::{self, OfContainer, OfNetwork, OfVolume};
use crate::lower::{Peer, Writable};
use crate::observe::Claims;
use crate::probe::HealthLog;
use crate::store::Loaded;

type Look = Box<dyn FnOnce(&World) + Send>;

pub(crate) enum Event {
    /// Somebody wants to know something.
    Look(Look),
    StackApplied(Box<StackDoc>),
    StackGone(String),
    NetworkMade(Box<NetworkDoc>),
    NetworkGone {
        name: String,
    },
    VolumeMade(Box<VolumeDoc>),
    VolumeGone {
        name: String,
    },
    ContainerMade(Box<Container>),
    /// It has joined or left a network.
    Rewired(Box<ContainerDoc>),
    ContainerGone {
        id: String,
    },
    /// What a running plan will create, so that plans of other projects keep clear of it.
    Claimed {
        project: String,
        claims: Claims,
    },
    /// Somebody wants to start a container.
    StartWanted {
        id: String,
        why: StartWhy,
        reply: oneshot::Sender<StartAnswer>,
    },
    Started {
        id: String,
        run: u64,
        shim: Box<Shim>,
        pid: i32,
        at: Timestamp,
    },
    StartFailed {
        id: String,
        run: u64,
        exit: ExitDoc,
    },
    /// Somebody wants it to be down and to stay down.
    StopWanted {
        id: String,
        /// Only if it is still this run: for a stop that is finished on behalf of somebody else.
        run: Option<u64>,
        reply: oneshot::Sender<StopAnswer>,
    },
    Paused {
        id: String,
        paused: bool,
    },
    /// `kill` is sending a signal.
    Signalled {
        id: String,
    },
    /// Subscribers should know; nothing here changes by it.
    Announced {
        id: String,
        what: OfContainer,
    },
    FromShim {
        id: String,
        run: u64,
        event: hoist_runtime::Event,
    },
    /// The shim that was sought answers.
    Found {
        id: String,
        run: u64,
        shim: Box<Shim>,
        state: Box<hoist_runtime::ShimState>,
    },
    /// The shim that is sought does not answer.
    Unreachable {
        id: String,
        run: u64,
        reason: String,
    },
    /// It was set up, and its engine died before its program ran.
    NeverRan {
        id: String,
        run: u64,
    },
    Probed {
        id: String,
        run: u64,
        probe: hoist_object::Probe,
        entry: HealthLog,
    },
    /// It was found to have ended while no engine looked.
    Reviewed {
        id: String,
    },
    /// A timer of a container has run out.
    RestartDue {
        id: String,
        run: u64,
    },
    ProbeDue {
        id: String,
        run: u64,
    },
    ExecMade(Box<ExecEntry>),
    /// It will not be requested again.
    ExecForgotten {
        id: String,
        why: Forget,
    },
    ExecStarted {
        id: String,
        handle: Arc<hoist_runtime::ExecHandle>,
    },
    ExecEnded {
        id: String,
        code: i32,
    },
    /// Its client has all of its output, however long that took, and asks for the code next.
    ExecDelivered {
        id: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartWhy {
    /// A request: clears the restart history.
    Request,
    /// The restart policy; the history is what the decision said.
    Policy,
}

pub(crate) enum StartAnswer {
    /// Go ahead; report with `Started` or `StartFailed` under this number.
    Go(Box<StartTicket>),
    /// It runs already.
    Running,
    /// Somebody else is starting it.
    Busy(watch::Receiver<Status>),
    Gone,
}

/// Everything that a start needs to know of the world.
pub(crate) struct StartTicket {
    pub(crate) run: u64,
    pub(crate) container: Summary,
    /// Never started before.
    pub(crate) first: bool,
    /// By name, for those that it attaches to.
    pub(crate) networks: BTreeMap<String, NetworkDoc>,
    /// Each container whose namespaces it shares, by name; absent: not running.
    pub(crate) peers: BTreeMap<String, Peer>,
    /// Of its volumes that have some.
    pub(crate) driver_opts: BTreeMap<String, BTreeMap<String, String>>,
    /// Folders of the host that containers can write; only looked up for one that has something of the host.
    pub(crate) writable: Vec<Writable>,
}

pub(crate) enum StopAnswer {
    Stop { status: watch::Receiver<Status> },
    Gone,
}

pub(crate) struct World {
    engine: Arc<Engine>,
    pub(crate) containers: BTreeMap<String, Container>,
    /// Ids of the containers by their names, which never change.
    names: HashMap<String, String>,
    /// By name.
    pub(crate) networks: BTreeMap<String, NetworkDoc>,
    pub(crate) volumes: BTreeMap<String, VolumeDoc>,
    pub(crate) stacks: BTreeMap<String, StackDoc>,
    pub(crate) claims: BTreeMap<String, Claims>,
    pub(crate) execs: Execs,
    /// Reports of damaged state files.
    pub(crate) damaged: Vec<String>,
    /// Tells whoever follows a stack's logs that a container has come or begun to run.
    pub(crate) changes: watch::Sender<u64>,
}

impl World {
    /// The world as the store knows it: nothing runs yet.
    pub(crate) fn new(engine: Arc<Engine>, loaded: Loaded) -> Self {
        let by_name = |networks: Vec<NetworkDoc>| networks.into_iter().map(|doc| (doc.name.clone(), doc)).collect();
        let mut damaged = loaded.damaged;
        let mut containers = BTreeMap::new();
        for (doc, state) in loaded.containers {
            let id = doc.id.clone();
            match Container::new(doc, state) {
                Ok(container) => drop(containers.insert(id, container)),
                Err(error) => damaged.push(format!("container {id} cannot be used: {error}")),
            }
        }
        let name = |container: &Container| (container.doc.record.name.clone(), container.doc.id.clone());
        Self {
            engine,
            names: containers.values().map(name).collect(),
            containers,
            networks: by_name(loaded.networks),
            volumes: loaded.volumes.into_iter().map(|doc| (doc.name.clone(), doc)).collect(),
            stacks: loaded.stacks.into_iter().map(|doc| (doc.name.clone(), doc)).collect(),
            claims: BTreeMap::new(),
            execs: Execs::default(),
            damaged,
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = inbox.recv().await {
            self.handle(event);
        }
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Container> {
        self.containers.get(self.names.get(name)?)
    }

    /// By id, unambiguous prefix of an id, or name.
    pub(crate) fn resolve(&self, name: &str) -> Option<&Container> {
        let name = name.trim_start_matches('/');
        self.containers.get(name).or_else(|| self.by_name(name)).or_else(|| {
            if name.is_empty() {
                return None;
            }
            let mut matches = self.containers.values().filter(|container| container.doc.id.starts_with(name));
            matches.next().filter(|_| matches.next().is_none())
        })
    }

    pub(crate) fn network(&self, name: &str) -> Option<&NetworkDoc> {
        self.networks.get(name).or_else(|| {
            let mut matches = self.networks.values().filter(|doc| !name.is_empty() && doc.id.starts_with(name));
            matches.next().filter(|_| matches.next().is_none())
        })
    }

    pub(crate) fn boot(&self) -> &str {
        &self.engine.boot
    }

    /// Does anything need an engine?
    pub(crate) fn supervises(&self) -> bool {
        self.containers.values().any(|container| {
            matches!(container.phase, Phase::Starting | Phase::Running | Phase::Paused | Phase::Restarting { .. })
        })
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Look(look) => look(self),
            Event::StackApplied(stack) => drop(self.stacks.insert(stack.name.clone(), *stack)),
            Event::StackGone(name) => drop(self.stacks.remove(&name)),
            Event::NetworkMade(network) => self.network_made(*network),
            Event::NetworkGone { name } => self.network_gone(&name),
            Event::VolumeMade(volume) => self.volume_made(*volume),
            Event::VolumeGone { name } => {
                self.volumes.remove(&name);
                feed::volume(&self.engine, &name, OfVolume::Destroy);
            }
            Event::ContainerMade(container) => self.container_made(*container),
            Event::Rewired(doc) => self.rewired(*doc),
            Event::ContainerGone { id } => self.container_gone(&id),
            Event::Claimed { project, claims } => {
                if claims.is_empty() {
                    self.claims.remove(&project);
                    self.changed();
                } else {
                    self.claims.insert(project, claims);
                }
            }
            Event::StartWanted { id, why, reply } => drop(reply.send(self.start_wanted(&id, why))),
            Event::Started { id, run, shim, pid, at } => self.started(&id, run, *shim, pid, at),
            Event::StartFailed { id, run, exit } => self.start_failed(&id, run, exit),
            Event::StopWanted { id, run, reply } => drop(reply.send(self.stop_wanted(&id, run))),
            Event::Paused { id, paused } => self.paused(&id, paused),
            Event::Signalled { id } => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.signalled = Some(steady());
                }
            }
            Event::Announced { id, what } => {
                if let Some(container) = self.containers.get(&id) {
                    feed::container(&self.engine, container, &what);
                }
            }
            Event::FromShim { id, run, event } => self.heard_from_shim(&id, run, event),
            Event::Found { id, run, shim, state } => self.found(&id, run, *shim, &state),
            Event::Unreachable { id, run, reason } => self.unreachable(&id, run, reason),
            Event::NeverRan { id, run } => self.never_ran(&id, run),
            Event::Probed { id, run, probe, entry } => self.probed(&id, run, probe, entry),
            Event::Reviewed { id } => self.review(&id),
            Event::RestartDue { id, run } => self.restart_due(&id, run),
            Event::ProbeDue { id, run } => self.probe_due(&id, run),
            Event::ExecMade(exec) => {
                let id = exec.id.clone();
                execs::forget_later(&self.engine, &id, Forget::Unstarted);
                self.execs.made(*exec);
                self.announce_exec(&id);
            }
            Event::ExecForgotten { id, why } => self.execs.forget(&id, why),
            Event::ExecStarted { id, handle } => {
                self.execs.started(&id, handle);
                self.announce_exec(&id);
            }
            Event::ExecEnded { id, code } => {
                self.execs.ended(&id, code);
                self.announce_exec(&id);
            }
            Event::ExecDelivered { id } => execs::forget_later(&self.engine, &id, Forget::Ended),
        }
    }

    /// Its state, in docker's terms.
    fn announce_exec(&self, id: &str) {
        let Some(exec) = self.execs.get(id) else { return };
        let Some(container) = self.containers.get(&exec.container) else { return };
        let (exec_id, command) = (id.to_owned(), exec.config.cmd.clone());
        let what = match (exec.started, exec.code) {
            (false, _) => OfContainer::ExecCreate { exec: exec_id, command },
            (true, None) => OfContainer::ExecStart { exec: exec_id, command },
            (true, Some(code)) => OfContainer::ExecDie { exec: exec_id, code },
        };
        feed::container(&self.engine, container, &what);
    }

    fn network_made(&mut self, network: NetworkDoc) {
        feed::network(&self.engine, &network, OfNetwork::Create);
        self.networks.insert(network.name.clone(), network);
        self.engine.wiring.want();
    }

    fn network_gone(&mut self, name: &str) {
        if let Some(network) = self.networks.remove(name) {
            feed::network(&self.engine, &network, OfNetwork::Destroy);
            self.engine.wiring.want();
        }
    }

    fn volume_made(&mut self, volume: VolumeDoc) {
        feed::volume(&self.engine, &volume.name, OfVolume::Create);
        self.volumes.insert(volume.name.clone(), volume);
    }

    /// One that was found to run without a record.
    pub(crate) fn take_in(&mut self, container: Container) {
        let id = container.doc.id.clone();
        self.damaged.push(format!("container {id} runs, but its record was lost"));
        self.names.insert(container.doc.record.name.clone(), id.clone());
        self.containers.insert(id, container);
    }

    fn container_made(&mut self, mut container: Container) {
        container.made = Some(steady());
        feed::container(&self.engine, &container, &OfContainer::Create);
        self.names.insert(container.doc.record.name.clone(), container.doc.id.clone());
        self.containers.insert(container.doc.id.clone(), container);
        self.changed();
    }

    fn rewired(&mut self, doc: ContainerDoc) {
        let Some(container) = self.containers.get_mut(&doc.id) else { return };
        let names = |doc: &ContainerDoc| -> Vec<String> {
            doc.record.networks.iter().map(|attachment| attachment.network.clone()).collect()
        };
        let (before, after) = (names(&container.doc), names(&doc));
        let changed = |from: &[String], to: &[String]| from.iter().find(|name| !to.contains(name)).cloned();
        let (joined, left) = (changed(&after, &before), changed(&before, &after));
        container.doc = Arc::new(doc);
        let id = container.doc.id.as_str();
        for (name, what) in [(joined, OfNetwork::Connect(id)), (left, OfNetwork::Disconnect(id))] {
            if let Some(network) = name.and_then(|name| self.networks.get(&name)) {
                feed::network(&self.engine, network, what);
            }
        }
        self.engine.wiring.want();
        self.changed();
    }

    fn container_gone(&mut self, id: &str) {
        let Some(mut container) = self.containers.remove(id) else { return };
        // Its successor may have the name already.
        let name = &container.doc.record.name;
        if self.names.get(name).is_some_and(|holder| holder == id) {
            self.names.remove(name);
        }
        container.phase = Phase::Removed;
        container.publish();
        feed::container(&self.engine, &container, &OfContainer::Destroy);
        self.execs.container_gone(id);
        self.engine.wiring.want();
        self.changed();
        self.engine.activity.touch();
    }

    fn start_wanted(&mut self, id: &str, why: StartWhy) -> StartAnswer {
        let Some(container) = self.containers.get(id) else { return StartAnswer::Gone };
        match &container.phase {
            Phase::Running | Phase::Paused => return StartAnswer::Running,
            Phase::Starting => return StartAnswer::Busy(container.status.subscribe()),
            Phase::Created | Phase::Restarting { .. } | Phase::Exited(_) => {}
            Phase::Removed => return StartAnswer::Gone,
        }
        let record = &container.doc.record;
        let networks = record
            .networks
            .iter()
            .filter_map(|attachment| self.networks.get(&attachment.network))
            .map(|network| (network.name.clone(), network.clone()))
            .collect();
        let peers = record
            .sharing
            .iter()
            .filter_map(|sharing| {
                let peer = self.resolve(sharing.container())?;
                peer.pid.map(|pid| (sharing.container().to_owned(), Peer { id: peer.doc.id.clone(), pid }))
            })
            .collect();
        let boot = self.engine.boot.clone();
        let container = self.containers.get_mut(id).expect("looked up above");
        let first = container.state.started.is_none();
        container.begin_start(why, boot, now());
        self.engine.store.put_state(id, &container.state);
        let (run, container) = (container.run, container.summary());
        let reads_host = !container.doc.mounts.is_empty() || !container.doc.files.is_empty();
        let writable = if reads_host { self.writable() } else { Vec::new() };
        let driver_opts = self.driver_opts(&container.doc);
        let ticket = StartTicket { run, container, first, networks, peers, driver_opts, writable };
        self.engine.wiring.want();
        StartAnswer::Go(Box::new(ticket))
    }

    /// The options of a container's volumes, of those that have some.
    pub(crate) fn driver_opts(&self, doc: &ContainerDoc) -> BTreeMap<String, BTreeMap<String, String>> {
        let volumes = doc.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, .. } => self.volumes.get(name),
            _ => None,
        });
        let driven = volumes.filter(|volume| !volume.driver_opts.is_empty());
        driven.map(|volume| (volume.name.clone(), volume.driver_opts.clone())).collect()
    }

    /// What containers, running or not, have of the host with the right to write.
    pub(crate) fn writable(&self) -> Vec<Writable> {
        let of = |container: &Container| {
            let by = &container.doc.record.name;
            let own = container.doc.binds().filter(|(_, read_only)| !read_only).map(|(path, _)| path.to_owned());
            // Volumes that are folders of the host.
            let driven = self.driver_opts(&container.doc);
            let devices = driven.values().filter_map(|options| LocalMount::of(options).ok()?);
            let devices = devices.filter(LocalMount::is_bind).map(|local| local.device.into());
            own.chain(devices).map(|path| Writable { path, by: by.clone() }).collect::<Vec<_>>()
        };
        self.containers.values().flat_map(of).collect()
    }

    fn stop_wanted(&mut self, id: &str, run: Option<u64>) -> StopAnswer {
        let Some(container) = self.containers.get_mut(id) else { return StopAnswer::Gone };
        if run.is_some_and(|run| run != container.run) {
            return StopAnswer::Gone;
        }
        if container.stop_requested() {
            self.engine.store.put_state(id, &container.state);
        }
        StopAnswer::Stop { status: container.status.subscribe() }
    }

    fn paused(&mut self, id: &str, paused: bool) {
        let Some(container) = self.containers.get_mut(id) else { return };
        match (&container.phase, paused) {
            (Phase::Running, true) => container.phase = Phase::Paused,
            (Phase::Paused, false) => container.phase = Phase::Running,
            _ => return,
        }
        container.publish();
        let what = if paused { OfContainer::Pause } else { OfContainer::Unpause };
        feed::container(&self.engine, container, &what);
        if !paused {
            self.schedule_probe(id);
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("containers", &self.containers.len()).finish_non_exhaustive()
    }
}
