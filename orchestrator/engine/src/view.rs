//! What queries answer: objects as they were at one moment, as plain data.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hoist_image::Digest;
use hoist_object::{
    Attachment, ContainerDoc, Health, HealthPlan, MountKind, NetworkDoc, ProbeRecord, StackDoc,
    StateDoc, VolumeDoc,
};
use hoist_spec::model::Service;

use crate::lower;
use crate::world::{Container, Phase, World};

/// One container.
#[derive(Debug, Clone)]
pub struct ContainerView {
    pub doc: Arc<ContainerDoc>,
    pub config: Arc<Service>,
    pub phase: Phase,
    pub state: StateDoc,
    pub pid: Option<i32>,
    /// Why its shim does not answer.
    pub unreachable: Option<String>,
    /// A process of it was killed for want of memory, in this run.
    pub oom: bool,
    pub health: Health,
    pub health_plan: Option<Arc<HealthPlan>>,
    /// What its healthcheck came to lately.
    pub probes: Vec<ProbeRecord>,
    pub failing_streak: u32,
    /// Id and gateway of the networks that it is attached to, by name.
    pub networks: BTreeMap<String, (String, IpAddr)>,
}

impl ContainerView {
    pub(crate) fn of(world: &World, container: &Container) -> Self {
        let names = container
            .doc
            .record
            .networks
            .iter()
            .map(|attachment| &attachment.network);
        let networks = names.filter_map(|name| {
            let network = world.networks.get(name)?;
            Some((name.clone(), (network.id.clone(), network.gateway.into())))
        });
        Self {
            doc: Arc::clone(&container.doc),
            config: Arc::clone(&container.config),
            phase: container.phase.clone(),
            state: container.state.clone(),
            pid: container.pid,
            unreachable: container.unreachable.clone(),
            oom: container.oom,
            health: container.health(),
            health_plan: container.health_plan.clone(),
            probes: container
                .health
                .iter()
                .flat_map(|health| health.log.iter().cloned())
                .collect(),
            failing_streak: container
                .health
                .as_ref()
                .map_or(0, |health| health.check.failing_streak),
            networks: networks.collect(),
        }
    }

    /// What runs in it; empty when neither stack nor image name a command.
    pub fn argv(&self) -> Vec<String> {
        lower::argv(&self.config, &self.doc.image).unwrap_or_default()
    }

    pub fn environment(&self, hostname: &str) -> Vec<String> {
        lower::environment(&self.config, &self.doc.image, hostname)
    }

    pub fn user(&self) -> String {
        lower::user(&self.config, &self.doc.image).unwrap_or_default()
    }

    pub fn working_dir(&self) -> String {
        lower::working_dir(&self.config, &self.doc.image)
    }

    /// What its size is measured by.
    pub fn id_and_layers(&self) -> (String, Vec<Digest>) {
        (self.doc.id.clone(), lower::layers(&self.doc))
    }

    /// It runs, or its restart policy is about to start it.
    pub fn is_needed(&self) -> bool {
        self.phase.is_up() || matches!(self.phase, Phase::Restarting { .. })
    }
}

/// One network, and who is attached to it.
#[derive(Debug, Clone)]
pub struct NetworkView {
    pub doc: NetworkDoc,
    /// Running containers: id, name and attachment.
    pub attached: Vec<(String, String, Attachment)>,
    /// A container, running or not, is to be attached to it.
    pub used: bool,
}

impl NetworkView {
    pub(crate) fn of(world: &World, network: &NetworkDoc) -> Self {
        let attachments = world.containers.values().filter_map(|container| {
            let attachment = container
                .doc
                .record
                .networks
                .iter()
                .find(|found| found.network == network.name)?;
            Some((container, attachment))
        });
        let (mut attached, mut used) = (Vec::new(), false);
        for (container, attachment) in attachments {
            used = true;
            if container.phase.is_up() {
                attached.push((
                    container.doc.id.clone(),
                    container.doc.record.name.clone(),
                    attachment.clone(),
                ));
            }
        }
        Self {
            doc: network.clone(),
            attached,
            used,
        }
    }
}

/// One volume.
#[derive(Debug, Clone)]
pub struct VolumeView {
    pub doc: VolumeDoc,
    /// Where its content is.
    pub folder: PathBuf,
    /// How many containers have it, running or not.
    pub users: usize,
}

impl VolumeView {
    pub(crate) fn of(world: &World, volume: &VolumeDoc, folder: PathBuf) -> Self {
        let users = world
            .containers
            .values()
            .filter(|container| has_volume(&container.doc, &volume.name))
            .count();
        Self {
            doc: volume.clone(),
            folder,
            users,
        }
    }
}

/// Whether a container has the volume.
pub(crate) fn has_volume(doc: &ContainerDoc, volume: &str) -> bool {
    let mounted =
        |kind: &MountKind| matches!(kind, MountKind::Volume { name, .. } if name == volume);
    doc.mounts.iter().any(|mount| mounted(&mount.kind))
        || doc.record.volumes.iter().any(|name| name == volume)
        || doc.anonymous.values().any(|name| name == volume)
}

/// One stack: what was applied last, and what there is of it.
#[derive(Debug, Clone)]
pub struct StackView {
    pub name: String,
    /// Empty when only its containers are known.
    pub applied: StackDoc,
    pub containers: Vec<ContainerView>,
    pub networks: Vec<NetworkView>,
    pub volumes: Vec<VolumeView>,
}
