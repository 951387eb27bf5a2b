//! Owns the conversion of a desired service into one container, wholly decided.

use std::collections::{BTreeMap, BTreeSet};

use hoist_object::{Attachment, DependencyCondition, Published, Record, Sharing};
use hoist_spec::model::{self, HealthTest, NamespaceMode, NetworkMode, Service};

use crate::action::{
    AnonymousVolume, ContainerSpec, ImageSource, MountPoint, MountSource, VolumesFrom,
};
use crate::desired::Desired;
use crate::digest;
use crate::graph;
use crate::names::image_reference;
use crate::planner::Context;
use crate::planner::assemble::STOP_GRACE;
use crate::planner::draft::Draft;
use crate::planner::subject::{Fate, Subject, Subjects};
use crate::problem::Problem;
use crate::restart;

/// What was decided elsewhere about a container to be made.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) service: &'a Service,
    pub(crate) image: ImageSource,
    pub(crate) networks: Vec<Attachment>,
    pub(crate) ports: Vec<Published>,
    pub(crate) sharing: Vec<Sharing>,
    pub(crate) volumes_from: Vec<VolumesFrom>,
    /// Anonymous volumes to take over, by target.
    pub(crate) inherited: BTreeMap<String, String>,
}

pub(crate) fn container(parts: Parts<'_>) -> ContainerSpec {
    let fields = digest::fields(parts.desired, parts.service);
    let config_hash = digest::config_hash(&fields);
    let project = &parts.desired.stack.name;
    let mounts: Vec<MountPoint> = parts
        .service
        .mounts
        .iter()
        .map(|mount| mount_point(parts.desired, mount, &parts.inherited))
        .collect();
    let volumes = mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Named { volume, .. } => Some(volume.clone()),
        _ => None,
    });
    let volumes: BTreeSet<String> = volumes.collect();
    let carried = parts
        .inherited
        .into_iter()
        .filter(|(target, _)| !mounts.iter().any(|mount| mount.target == *target));
    let record = Record {
        project: project.clone(),
        name: parts.subject.name.clone(),
        service: parts.subject.service.clone(),
        number: parts.subject.number,
        oneoff: parts.subject.oneoff,
        config_hash,
        fields,
        image: image_reference(project, &parts.subject.service, parts.service),
        networks: parts.networks,
        ports: parts.ports,
        volumes,
        sharing: parts.sharing,
        depends_on: graph::dependencies(parts.service),
        restart: restart::policy(parts.service),
        stop_signal: parts.service.stop_signal.clone(),
        stop_grace: parts.service.stop_grace_period.unwrap_or(STOP_GRACE),
        healthcheck: has_healthcheck(parts.service),
        working_dir: parts.desired.working_dir.display().to_string(),
        files: parts
            .desired
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
    };
    ContainerSpec {
        labels: labels(&record, parts.service),
        record,
        image: parts.image,
        service: Box::new(as_written(parts.service)),
        carried: carried.collect(),
        mounts,
        volumes_from: parts.volumes_from,
    }
}

/// Without the networks that its mode stands for.
fn as_written(service: &Service) -> Service {
    let mut service = service.clone();
    if service.network_mode.is_some() {
        service.networks.clear();
    }
    service
}

/// What the stack says about having a healthcheck; `None`: the image decides.
pub(crate) fn has_healthcheck(service: &Service) -> Option<bool> {
    match service.healthcheck.as_ref()?.test {
        HealthTest::Inherit => None,
        HealthTest::Disabled => Some(false),
        HealthTest::Exec(_) | HealthTest::Shell(_) => Some(true),
    }
}

fn mount_point(
    desired: &Desired,
    mount: &model::Mount,
    inherited: &BTreeMap<String, String>,
) -> MountPoint {
    let source = match mount.source.clone() {
        model::MountSource::Volume {
            name: Some(key),
            nocopy,
            subpath,
        } => {
            let volume = desired
                .stack
                .volumes
                .get(&key)
                .map_or(key, |volume| volume.name.clone());
            MountSource::Named {
                volume,
                nocopy,
                subpath,
            }
        }
        model::MountSource::Volume {
            name: None, nocopy, ..
        } => {
            let volume = inherited
                .get(&mount.target)
                .map_or(AnonymousVolume::New, |volume| AnonymousVolume::Carried {
                    volume: volume.clone(),
                });
            MountSource::Anonymous { volume, nocopy }
        }
        model::MountSource::Bind {
            path,
            create_host_path,
            propagation,
            selinux,
        } => MountSource::Bind {
            path,
            create_host_path,
            propagation,
            selinux,
        },
        model::MountSource::Tmpfs {
            size,
            mode,
            uid,
            gid,
            options,
        } => MountSource::Tmpfs {
            size,
            mode,
            uid,
            gid,
            options,
        },
    };
    MountPoint {
        target: mount.target.clone(),
        read_only: mount.read_only,
        source,
    }
}

fn compose_name(condition: DependencyCondition) -> &'static str {
    match condition {
        DependencyCondition::Started => "service_started",
        DependencyCondition::Healthy => "service_healthy",
        DependencyCondition::CompletedSuccessfully => "service_completed_successfully",
    }
}

fn labels(record: &Record, service: &Service) -> BTreeMap<String, String> {
    let depends_on: Vec<String> = record
        .depends_on
        .iter()
        .map(|(name, dependency)| {
            format!(
                "{name}:{}:{}",
                compose_name(dependency.condition),
                dependency.restart
            )
        })
        .collect();
    let own = [
        ("project", record.project.clone()),
        ("service", record.service.clone()),
        ("container-number", record.number.max(1).to_string()),
        (
            "oneoff",
            if record.oneoff { "True" } else { "False" }.to_owned(),
        ),
        ("config-hash", record.config_hash.clone()),
        ("depends_on", depends_on.join(",")),
        ("project.working_dir", record.working_dir.clone()),
        ("project.config_files", record.files.join(",")),
    ];
    let own = own
        .into_iter()
        .map(|(key, value)| (format!("com.docker.compose.{key}"), value));
    service.labels.clone().into_iter().chain(own).collect()
}

/// The containers whose namespaces it lives in.
pub(crate) fn sharing(
    context: Context<'_>,
    draft: &mut Draft,
    subjects: &Subjects<'_>,
    key: &str,
    service: &Service,
) -> Vec<Sharing> {
    let mut resolve = |owner: Owner<'_>| {
        let found = owner.find(context, subjects);
        if found.is_none() {
            draft.problem(Problem::NamespaceOwnerMissing {
                service: key.to_owned(),
                owner: owner.name().to_owned(),
            });
        }
        found
    };
    let network = match &service.network_mode {
        Some(NetworkMode::Service(name)) => resolve(Owner::Service(name)),
        Some(NetworkMode::Container(name)) => resolve(Owner::Container(name)),
        Some(NetworkMode::None | NetworkMode::Host | NetworkMode::Network(_)) | None => None,
    };
    let mut other = |mode: &Option<NamespaceMode>| match mode {
        Some(NamespaceMode::Service(name)) => resolve(Owner::Service(name)),
        Some(NamespaceMode::Container(name)) => resolve(Owner::Container(name)),
        _ => None,
    };
    let (pid, ipc, uts) = (
        other(&service.pid),
        other(&service.ipc),
        other(&service.uts),
    );
    [
        network.map(Sharing::Network),
        pid.map(Sharing::Pid),
        ipc.map(Sharing::Ipc),
        uts.map(Sharing::Uts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The containers whose volumes it has.
pub(crate) fn volumes_from(
    context: Context<'_>,
    draft: &mut Draft,
    subjects: &Subjects<'_>,
    key: &str,
    service: &Service,
) -> Vec<VolumesFrom> {
    let mut sources = Vec::new();
    for source in service
        .volumes_from
        .iter()
        .filter_map(|text| model::VolumesFrom::parse(text))
    {
        let owner = if source.container {
            Owner::Container(&source.name)
        } else {
            Owner::Service(&source.name)
        };
        match owner.find(context, subjects) {
            Some(container) => sources.push(VolumesFrom {
                container,
                read_only: source.read_only,
            }),
            None => draft.problem(Problem::VolumesOwnerMissing {
                service: key.to_owned(),
                owner: source.name.clone(),
            }),
        }
    }
    sources
}

#[derive(Clone, Copy)]
enum Owner<'a> {
    /// Its first replica.
    Service(&'a str),
    Container(&'a str),
}

impl<'a> Owner<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::Service(name) | Self::Container(name) => name,
        }
    }

    fn find(self, context: Context<'_>, subjects: &Subjects<'_>) -> Option<String> {
        match self {
            Self::Service(service) => {
                let members = subjects.values().filter(|subject| {
                    subject.service == service
                        && !subject.oneoff
                        && !matches!(subject.fate, Fate::Remove { .. })
                });
                members
                    .min_by_key(|subject| subject.number)
                    .map(|subject| subject.name.clone())
            }
            Self::Container(name) => {
                let exists = context.observed.foreign_containers.contains_key(name)
                    || context.observed.containers.contains_key(name)
                    || subjects.contains_key(name);
                exists.then(|| name.to_owned())
            }
        }
    }
}
