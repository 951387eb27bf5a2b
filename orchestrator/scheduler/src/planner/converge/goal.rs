//! Owns what the converging verbs have in common, as one set of options, and the one-off container of `run`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hoist_object::Transport;
use hoist_spec::model::{self, Mount, MountSource, Protocol, Service};

use crate::names::oneoff_name;
use crate::plan::Reason;
use crate::planner::Context;
use crate::planner::draft::Draft;
use crate::planner::images::Fetching;
use crate::planner::subject::{Fate, Subject};
use crate::problem::{Note, Problem};
use crate::request::{Create, Run, RunPort, RunVolume, Scale, Services, Up};

#[derive(Debug, Clone, Default)]
pub(crate) struct Goal<'a> {
    services: Services,
    pub(crate) no_deps: bool,
    force: bool,
    force_deps: bool,
    pub(crate) no_recreate: bool,
    pub(crate) start: bool,
    pub(crate) remove_orphans: bool,
    renew: bool,
    scale: BTreeMap<String, u32>,
    pub(crate) fetching: Fetching,
    pub(crate) timeout: Option<Duration>,
    pub(crate) wait: bool,
    run: Option<&'a Run>,
}

impl<'a> Goal<'a> {
    pub(crate) fn up(up: &Up) -> Self {
        Self {
            services: up.services.clone(),
            no_deps: up.no_deps,
            force: up.force_recreate,
            force_deps: up.always_recreate_deps,
            no_recreate: up.no_recreate,
            start: !up.no_start,
            remove_orphans: up.remove_orphans,
            renew: up.renew_anon_volumes,
            scale: up.scale.clone(),
            fetching: Fetching {
                build: up.build,
                no_build: up.no_build,
                pull: up.pull,
            },
            timeout: up.timeout,
            wait: up.wait,
            run: None,
        }
    }

    pub(crate) fn create(create: &Create) -> Self {
        Self {
            services: create.services.clone(),
            force: create.force_recreate,
            no_recreate: create.no_recreate,
            remove_orphans: create.remove_orphans,
            scale: create.scale.clone(),
            fetching: Fetching {
                build: create.build,
                no_build: create.no_build,
                pull: create.pull,
            },
            ..Self::default()
        }
    }

    /// Changes how many there are and nothing else.
    pub(crate) fn scale(scale: &Scale) -> Self {
        Self {
            services: scale.scale.keys().cloned().collect(),
            no_deps: scale.no_deps,
            no_recreate: true,
            start: true,
            scale: scale.scale.clone(),
            ..Self::default()
        }
    }

    /// A one-off must not replace what runs.
    pub(crate) fn run(run: &'a Run) -> Self {
        Self {
            services: Services::from([run.service.clone()]),
            no_deps: run.no_deps,
            no_recreate: true,
            start: true,
            remove_orphans: run.remove_orphans,
            fetching: Fetching {
                build: run.build,
                no_build: false,
                pull: run.pull,
            },
            run: Some(run),
            ..Self::default()
        }
    }

    /// Services whose containers are to be as desired.
    pub(crate) fn scope(&mut self, context: Context<'_>, draft: &mut Draft) -> BTreeSet<String> {
        let known = &context.desired.stack.services;
        if self.services.is_empty() {
            self.services = known.keys().cloned().collect();
        }
        for service in self
            .services
            .iter()
            .chain(self.scale.keys())
            .filter(|service| !known.contains_key(*service))
        {
            draft.problem(Problem::UnknownService {
                service: service.clone(),
            });
        }
        self.services.retain(|service| known.contains_key(service));
        let mut scope = if self.no_deps {
            self.services.clone()
        } else {
            context.graph.closure(&self.services)
        };
        if let Some(run) = self.run {
            scope.remove(&run.service);
            self.services.clear();
        }
        for service in &scope {
            let dependencies = context.graph.direct(service);
            for (dependency, _) in
                dependencies.filter(|(name, edge)| !edge.required && !known.contains_key(*name))
            {
                let (service, dependency) = (service.clone(), dependency.clone());
                draft.note(Note::OptionalDependencyMissing {
                    service,
                    dependency,
                });
            }
        }
        scope.retain(|service| known.contains_key(service));
        scope
    }

    pub(crate) fn replicas(&self, key: &str, service: &Service) -> u32 {
        self.scale.get(key).copied().unwrap_or(service.replicas)
    }

    /// Replace its containers even if nothing has changed.
    pub(crate) fn forces(&self, key: &str) -> bool {
        if self.services.contains(key) {
            self.force || self.renew
        } else {
            self.force_deps
        }
    }

    /// New containers do not take over anonymous volumes.
    pub(crate) fn renews(&self, key: &str) -> bool {
        self.renew && self.services.contains(key)
    }

    pub(crate) fn use_aliases(&self) -> bool {
        self.run.is_some_and(|run| run.use_aliases)
    }

    pub(crate) fn oneoff(&self, context: Context<'_>, draft: &mut Draft) -> Option<Oneoff> {
        let run = self.run?;
        let Some(service) = context.desired.stack.services.get(&run.service) else {
            draft.problem(Problem::UnknownService {
                service: run.service.clone(),
            });
            return None;
        };
        let derived = || oneoff_name(&context.desired.stack.name, &run.service, &run.suffix);
        let name = run.name.clone().unwrap_or_else(derived);
        let held = context.observed.containers.get(&name);
        if held.is_some_and(|container| {
            !container.record.oneoff || container.created < context.request.at
        }) {
            let (service, project) = (run.service.clone(), context.desired.stack.name.clone());
            draft.problem(Problem::NameTaken {
                service,
                name,
                project,
            });
            return None;
        }
        Some(Oneoff {
            key: run.service.clone(),
            name,
            service: overridden(context, service, run),
        })
    }
}

/// The container of `hoist run`.
#[derive(Debug)]
pub(crate) struct Oneoff {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) service: Service,
}

impl Oneoff {
    pub(crate) fn subject(&self) -> Subject<'static> {
        Subject {
            name: self.name.clone(),
            service: self.key.clone(),
            number: 0,
            oneoff: true,
            observed: None,
            fate: Fate::Create {
                start: true,
                why: Reason::Requested,
            },
        }
    }
}

fn overridden(context: Context<'_>, service: &Service, run: &Run) -> Service {
    let mut service = service.clone();
    service.container_name = None;
    service.restart = None;
    service.deploy_restart = None;
    service.replicas = 1;
    service.tty = run.tty;
    service.stdin_open = run.stdin_open;
    if let Some(entrypoint) = &run.entrypoint {
        service.entrypoint = Some(entrypoint.clone());
        // The service's command belongs to the entrypoint that it was written for.
        service.command = None;
    }
    if let Some(command) = &run.command {
        service.command = Some(command.clone());
    }
    service.user = run.user.clone().or(service.user);
    service.working_dir = run.working_dir.clone().or(service.working_dir);
    service.environment.extend(run.environment.clone());
    service.labels.extend(run.labels.clone());
    service.cap_add.extend(run.cap_add.iter().cloned());
    service.cap_drop.extend(run.cap_drop.iter().cloned());
    if !run.service_ports {
        service.ports.clear();
    }
    service.ports.extend(run.publish.iter().map(port));
    for attachment in service.networks.values_mut() {
        // Fixed addresses are the service's own containers'.
        attachment.ipv4_address = None;
        attachment.ipv6_address = None;
        attachment.mac_address = None;
        if !run.use_aliases {
            attachment.aliases.clear();
        }
    }
    for volume in &run.volumes {
        service.mounts.retain(|mount| mount.target != volume.target);
        service.mounts.push(mount(context, volume));
    }
    service
}

fn port(port: &RunPort) -> model::Port {
    model::Port {
        target: port.target,
        published: port.published.map(|published| (published, published)),
        host_ip: port.host_ip,
        protocol: match port.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        },
        mode: "ingress".to_owned(),
        name: None,
        app_protocol: None,
    }
}

fn mount(context: Context<'_>, volume: &RunVolume) -> Mount {
    let source = if volume.source.is_empty() {
        MountSource::Volume {
            name: None,
            nocopy: false,
            subpath: None,
        }
    } else if volume.source.starts_with('/') {
        let path = volume.source.clone().into();
        MountSource::Bind {
            path,
            create_host_path: true,
            propagation: None,
            selinux: None,
        }
    } else {
        // A key of the stack, or a real name.
        let key = context
            .desired
            .stack
            .volumes
            .iter()
            .find(|(_, known)| known.name == volume.source);
        let name = key.map_or_else(|| volume.source.clone(), |(key, _)| key.clone());
        MountSource::Volume {
            name: Some(name),
            nocopy: false,
            subpath: None,
        }
    };
    Mount {
        target: volume.target.clone(),
        read_only: volume.read_only,
        source,
        consistency: None,
    }
}
