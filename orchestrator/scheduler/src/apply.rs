//! Owns the meaning of every action on plain data: what will be observed once it has been carried out well. Properties
//! of plans are tested with it, so nothing here may know what a plan wants.
//!
//! Ids that the engine would draw are derived from names; a pull brings an image under an id made from its reference.

use std::collections::{BTreeMap, BTreeSet};

use hoist_object::Health;

use crate::action::{
    Action, AnonymousVolume, ContainerSpec, ImageSource, MountSource, NetworkSpec, Readiness,
    VolumeSpec,
};
use crate::names::ImageName;
use crate::observed::{Container, Image, Network, Observed, State, Volume};
use crate::planner::ends_container;

impl Observed {
    /// Unknown objects are ignored: an action may find its object gone.
    pub fn apply(&mut self, action: &Action) {
        match action {
            Action::PullImage {
                reference,
                platform,
            }
            | Action::BuildImage {
                reference,
                platform,
                ..
            } => {
                self.fetch(ImageName::new(reference, Some(platform)));
            }
            Action::RemoveImage { reference } => {
                self.images.retain(|name, _| name.reference != *reference)
            }
            Action::CreateNetwork(spec) => {
                self.networks.insert(spec.name.clone(), network(spec));
            }
            Action::RemoveNetwork { network } => {
                self.networks.remove(network);
            }
            Action::CreateVolume(spec) => {
                self.volumes.insert(spec.name.clone(), volume(spec));
            }
            Action::RemoveVolume { volume } => {
                self.volumes.remove(volume);
            }
            Action::CreateContainer(spec) => self.create(spec),
            Action::RemoveContainer { container, volumes } => {
                self.containers.remove(container);
                self.volumes.retain(|name, _| !volumes.contains(name));
            }
            Action::StartContainer { container } => self.start(container),
            Action::StopContainer { container, .. } => self.end(container, 0, true),
            Action::KillContainer { container, signal } => self.kill(container, signal),
            Action::PauseContainer { container } => self.set_state(container, State::Paused),
            Action::UnpauseContainer { container } => {
                let health = self.first_health(container);
                self.set_state(container, State::Running { health });
            }
            Action::Await {
                containers, until, ..
            } => self.reach(containers, *until),
        }
    }

    fn fetch(&mut self, name: ImageName) {
        let at = self.at;
        let id = format!("sha256:{}{}", name.reference, name.platform);
        let image = self.images.entry(name).or_insert_with(|| Image {
            id,
            has_healthcheck: false,
            ..Image::default()
        });
        image.refreshed = Some(at);
    }

    fn create(&mut self, spec: &ContainerSpec) {
        let record = &spec.record;
        let image = self.images.get(&ImageName::new(
            &record.image,
            spec.service.platform.as_deref(),
        ));
        let image_id = match &spec.image {
            ImageSource::Stored { id } => id.clone(),
            ImageSource::Fetched => image.map(|image| image.id.clone()).unwrap_or_default(),
        };
        let mut anonymous = spec.carried.clone();
        for mount in &spec.mounts {
            if let MountSource::Anonymous { volume, .. } = &mount.source {
                let name = match volume {
                    AnonymousVolume::New => format!(
                        "anonymous-{}{}",
                        record.name,
                        mount.target.replace('/', "-")
                    ),
                    AnonymousVolume::Carried { volume } => volume.clone(),
                };
                anonymous.insert(mount.target.clone(), name);
            }
        }
        for target in image.into_iter().flat_map(|image| &image.volumes) {
            let covered = spec.mounts.iter().any(|mount| mount.target == *target);
            if !covered {
                let name = || format!("anonymous-{}{}", record.name, target.replace('/', "-"));
                anonymous.entry(target.clone()).or_insert_with(name);
            }
        }
        for name in anonymous.values() {
            self.volumes.entry(name.clone()).or_insert_with(|| Volume {
                name: name.clone(),
                project: record.project.clone(),
                key: String::new(),
                config_hash: String::new(),
                foreign_users: BTreeSet::new(),
            });
        }
        let container = Container {
            id: format!("id-{}", record.name),
            image_id,
            created: self.at,
            started: None,
            state: State::Created,
            stopped_by_request: false,
            lost_in_reboot: false,
            signalled: None,
            history: hoist_object::History::default(),
            anonymous,
            record: record.clone(),
        };
        self.containers.insert(record.name.clone(), container);
    }

    fn start(&mut self, name: &str) {
        let (at, health) = (self.at, self.first_health(name));
        if let Some(container) = self.containers.get_mut(name) {
            container.state = State::Running { health };
            container.started = Some(at);
            container.stopped_by_request = false;
            container.lost_in_reboot = false;
        }
    }

    fn first_health(&self, name: &str) -> Health {
        let has_check = self.containers.get(name).is_some_and(|container| {
            let own = self
                .images
                .values()
                .find(|image| image.id == container.image_id);
            let image = own.or_else(|| self.images.get(&container.record.image.as_str().into()));
            container
                .record
                .healthcheck
                .unwrap_or_else(|| image.is_some_and(|image| image.has_healthcheck))
        });
        if has_check {
            Health::Starting
        } else {
            Health::None
        }
    }

    fn kill(&mut self, name: &str, signal: &str) {
        let at = self.at;
        let ends = self
            .containers
            .get(name)
            .is_some_and(|container| ends_container(self, container, signal));
        if let Some(container) = self.containers.get_mut(name) {
            container.signalled = Some(at);
        }
        if ends {
            self.end(name, 137, true);
        }
    }

    fn end(&mut self, name: &str, code: i32, by_request: bool) {
        let at = self.at;
        if let Some(container) = self.containers.get_mut(name) {
            container.state = State::Exited { code, at };
            container.stopped_by_request |= by_request;
        }
    }

    fn set_state(&mut self, name: &str, state: State) {
        if let Some(container) = self.containers.get_mut(name) {
            container.state = state;
        }
    }

    fn reach(&mut self, containers: &BTreeSet<String>, until: Readiness) {
        for name in containers {
            let state = self.containers.get(name).map(|container| container.state);
            match (until, state) {
                (Readiness::Completed, Some(State::Running { .. })) => self.end(name, 0, false),
                (
                    Readiness::Healthy | Readiness::Ready,
                    Some(State::Running {
                        health: Health::Starting | Health::Unhealthy,
                    }),
                ) => {
                    self.set_state(
                        name,
                        State::Running {
                            health: Health::Healthy,
                        },
                    );
                }
                _ => {}
            }
        }
    }
}

fn network(spec: &NetworkSpec) -> Network {
    Network {
        id: format!("id-{}", spec.name),
        name: spec.name.clone(),
        project: spec.project.clone(),
        key: spec.key.clone(),
        config_hash: spec.config_hash.clone(),
        subnet: spec.subnet,
        gateway: spec.gateway,
        range: spec.range,
        internal: spec.internal,
        foreign: BTreeMap::new(),
        reserved: spec.reserved.clone(),
    }
}

fn volume(spec: &VolumeSpec) -> Volume {
    Volume {
        name: spec.name.clone(),
        project: spec.project.clone(),
        key: spec.key.clone(),
        config_hash: spec.config_hash.clone(),
        foreign_users: BTreeSet::new(),
    }
}
