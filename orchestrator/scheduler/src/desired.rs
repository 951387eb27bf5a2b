//! Owns the desired side of a comparison: the canonical stack and the facts about its files that a hash needs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hoist_object::PREDEFINED_NETWORK;
use hoist_spec::model::{Attachment, Network, NetworkMode, Service, Stack};

use crate::names::ImageName;

/// What should be. For a project without files at hand (`hoist -p name down`) use [`Desired::unknown`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    pub stack: Stack,
    /// SHA-256 (hex) of each secret's content by key, so that changed content replaces the containers that mount it.
    pub secrets: BTreeMap<String, String>,
    /// The same for configs.
    pub configs: BTreeMap<String, String>,
    /// Project directory; part of what tells two projects of one name apart.
    pub working_dir: PathBuf,
    /// The stack's files, for display.
    pub files: Vec<PathBuf>,
}

impl Desired {
    /// The empty stack of that name, for verbs that work on what exists without its file.
    pub fn unknown(project: impl Into<String>) -> Self {
        Self {
            stack: Stack {
                name: project.into(),
                ..Stack::default()
            },
            ..Self::default()
        }
    }

    /// With each mode that names a network as a place on that network, under a key that no file can have.
    pub(crate) fn with_modes(&self) -> Cow<'_, Self> {
        let named = |service: &Service| match &service.network_mode {
            Some(NetworkMode::Network(name)) => Some(name.clone()),
            _ => None,
        };
        let mut desired = Cow::Borrowed(self);
        for (key, name) in self
            .stack
            .services
            .iter()
            .filter_map(|(key, service)| Some((key, named(service)?)))
        {
            let stack = &mut desired.to_mut().stack;
            let name = if name == "default" {
                PREDEFINED_NETWORK.to_owned()
            } else {
                name
            };
            let place = format!("network_mode: {name}");
            if let Some(service) = stack.services.get_mut(key) {
                service
                    .networks
                    .insert(place.clone(), Attachment::default());
            }
            stack.networks.insert(
                place,
                Network {
                    name,
                    external: true,
                    ..Network::default()
                },
            );
        }
        desired
    }

    /// Every image that the observer should look up: keys of [`crate::Observed::images`].
    pub fn images(&self) -> BTreeSet<ImageName> {
        let services = self.stack.services.iter();
        services
            .map(|(key, service)| ImageName::of(&self.stack.name, key, service))
            .collect()
    }

    /// True when no file was loaded: every container of the project is then meant, and none is an orphan.
    pub(crate) fn is_unknown(&self) -> bool {
        self.stack.services.is_empty() && self.stack.inactive.is_empty()
    }
}
