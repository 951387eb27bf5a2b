//! The supervisor with the engine's types in it, and what only requests know: claims of running plans, followers of
//! containers, reports of damaged files. One task owns it; see [`crate::pump`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hoist_object::{ContainerDoc, ExitDoc, StateDoc};
use hoist_runtime::{ExecHandle, ExitStatus, Shim};
use hoist_spec::canonical;
use hoist_spec::local::LocalMount;
use hoist_spec::model::Service;
use hoist_supervisor::{Handles, Supervisor};
use tokio::sync::{oneshot, watch};

pub(crate) use hoist_supervisor::{
    Condition, End, Outcome, Peer, Phase, ShimEvent, StartWhy, Status, StopAnswer, Subject, Timer,
    Unready,
};

use crate::exec::ExecConfig;
use crate::feed::OfContainer;
use crate::lower::{self, Writable};
use crate::observe::Claims;
use crate::store::Loaded;

/// What passes through the supervisor unread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Real {}

impl Handles for Real {
    type Shim = Box<Shim>;
    type Exec = Arc<ExecHandle>;
    type Terms = ExecConfig;
    type Config = Service;
    type Said = OfContainer;
    type StartReply = oneshot::Sender<StartAnswer>;
    type StopReply = oneshot::Sender<StopAnswer>;
    type WaitReply = oneshot::Sender<Outcome>;

    fn is_abandoned(wait: &Self::WaitReply) -> bool {
        wait.is_closed()
    }
}

pub(crate) type Event = hoist_supervisor::Event<Real>;
pub(crate) type Effect = hoist_supervisor::Effect<Real>;
pub(crate) type Container = hoist_supervisor::Container<Real>;
pub(crate) type Summary = hoist_supervisor::Summary<Real>;
pub(crate) type StartAnswer = hoist_supervisor::StartAnswer<Real>;
pub(crate) type StartTicket = hoist_supervisor::StartTicket<Real>;
pub(crate) type Notice = hoist_supervisor::Notice<Real>;
pub(crate) type Exec = hoist_supervisor::Exec<Real>;

type Look = Box<dyn FnOnce(&World) + Send>;

pub(crate) enum Message {
    Event(Event),
    /// A request wants to know something.
    Look(Look),
    /// What a running plan will create; nothing: it has ended.
    Claimed {
        project: String,
        claims: Claims,
    },
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) supervisor: Supervisor<Real>,
    /// What running plans will create, so that plans of other projects keep clear of it.
    pub(crate) claims: BTreeMap<String, Claims>,
    /// Reports of damaged state files.
    pub(crate) damaged: Vec<String>,
    /// Tells followers of a stack's logs that a container has come or begun to run.
    pub(crate) changes: watch::Sender<u64>,
    /// The states of each container, for its followers.
    statuses: HashMap<String, watch::Sender<Status>>,
}

impl std::ops::Deref for World {
    type Target = Supervisor<Real>;

    fn deref(&self) -> &Self::Target {
        &self.supervisor
    }
}

impl World {
    /// The world as the store knows it: nothing runs yet.
    pub(crate) fn new(boot: String, loaded: Loaded) -> Self {
        let mut damaged = loaded.damaged;
        let mut supervisor = Supervisor::new(boot);
        let mut statuses = HashMap::new();
        for (doc, state) in loaded.containers {
            let id = doc.id.clone();
            match container(doc, state) {
                Ok(container) => {
                    statuses.insert(id, watch::Sender::new(container.status()));
                    supervisor.load(container);
                }
                Err(error) => damaged.push(format!("container {id} cannot be used: {error}")),
            }
        }
        supervisor.networks.extend(
            loaded
                .networks
                .into_iter()
                .map(|doc| (doc.name.clone(), doc)),
        );
        supervisor.volumes.extend(
            loaded
                .volumes
                .into_iter()
                .map(|doc| (doc.name.clone(), doc)),
        );
        supervisor
            .stacks
            .extend(loaded.stacks.into_iter().map(|doc| (doc.name.clone(), doc)));
        Self {
            supervisor,
            claims: BTreeMap::new(),
            damaged,
            changes: watch::Sender::new(0),
            statuses,
        }
    }

    /// The states of a container from now on; the last one is `Removed`.
    pub(crate) fn follow(&self, id: &str) -> Option<watch::Receiver<Status>> {
        Some(self.statuses.get(id)?.subscribe())
    }

    pub(crate) fn published(&mut self, id: String, status: Status) {
        self.statuses
            .entry(id)
            .or_insert_with(|| watch::Sender::new(status.clone()))
            .send_replace(status);
    }

    pub(crate) fn forget(&mut self, id: &str) {
        self.statuses.remove(id);
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn claimed(&mut self, project: String, claims: Claims) {
        if claims.is_empty() {
            self.claims.remove(&project);
            self.changed();
        } else {
            self.claims.insert(project, claims);
        }
    }

    /// What containers, running or not, have of the host with the right to write.
    pub(crate) fn writable(&self) -> Vec<Writable> {
        let of = |container: &Container| {
            let by = &container.doc.record.name;
            let own = container
                .doc
                .binds()
                .filter(|(_, read_only)| !read_only)
                .map(|(path, _)| path.to_owned());
            // Volumes that are folders of the host.
            let driven = self.driver_opts(&container.doc);
            let devices = driven
                .values()
                .filter_map(|options| LocalMount::of(options).ok()?);
            let devices = devices
                .filter(LocalMount::is_bind)
                .map(|local| local.device.into());
            own.chain(devices)
                .map(|path| Writable {
                    path,
                    by: by.clone(),
                })
                .collect::<Vec<_>>()
        };
        self.containers.values().flat_map(of).collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("its stored service is not a canonical stack: {0}")]
    Service(String),
    #[error("its stored stack has no service")]
    NoService,
}

/// From its documents.
pub(crate) fn container(doc: ContainerDoc, state: StateDoc) -> Result<Container, ContainerError> {
    let stack = canonical::from_json(&doc.service).map_err(|diagnostics| {
        ContainerError::Service(
            diagnostics
                .first()
                .map(|first| format!("{first:?}"))
                .unwrap_or_default(),
        )
    })?;
    let service = stack
        .services
        .into_values()
        .next()
        .ok_or(ContainerError::NoService)?;
    Ok(container_of(doc, service, state))
}

pub(crate) fn container_of(doc: ContainerDoc, service: Service, state: StateDoc) -> Container {
    let plan = lower::health_plan(&service, &doc.image);
    Container::new(doc, service, plan, state)
}

/// How a container ended, as its shim says it.
pub(crate) fn exit_doc(status: &ExitStatus) -> ExitDoc {
    let at = hoist_object::Timestamp(i64::try_from(status.at.as_nanosecond()).unwrap_or(i64::MAX));
    let ended = status.steady.map(hoist_object::Timestamp);
    ExitDoc {
        code: status.code,
        at,
        ended,
        oom: status.oom,
        error: String::new(),
    }
}
