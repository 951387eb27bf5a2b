//! Owns which named volumes must be there. A volume holds data, so a changed one is never made anew.

use std::collections::{BTreeMap, BTreeSet};

use hoist_spec::model::{self, MountSource, Service};

use crate::action::VolumeSpec;
use crate::digest::volume_hash;
use crate::labels;
use crate::plan::Reason;
use crate::planner::Context;
use crate::planner::draft::Draft;
use crate::problem::{Note, Problem};

/// Keys of the volumes that a service mounts.
pub(crate) fn keys(service: &Service) -> impl Iterator<Item = &String> {
    service
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Volume {
                name: Some(key), ..
            } => Some(key),
            _ => None,
        })
}

/// A volume as a project's stack declares it.
pub fn volume_spec(project: &str, key: &str, volume: &model::Volume) -> VolumeSpec {
    VolumeSpec {
        name: volume.name.clone(),
        project: project.to_owned(),
        key: key.to_owned(),
        config_hash: volume_hash(volume),
        driver_opts: volume.driver_opts.clone(),
        labels: labels::volume(project, key, volume),
    }
}

/// Volumes that must be made for these services.
pub(crate) fn decide(
    context: Context<'_>,
    draft: &mut Draft,
    keys: &BTreeSet<&String>,
) -> Vec<(VolumeSpec, Reason)> {
    let mut missing = Vec::new();
    for key in keys {
        let Some(volume) = context.desired.stack.volumes.get(*key) else {
            // `run -v name:/path`: a real name, and nobody's volume.
            if !context.observed.volumes.contains_key(*key) {
                missing.push((VolumeSpec::unowned(key), Reason::Missing));
            }
            continue;
        };
        let spec = volume_spec(&context.desired.stack.name, key, volume);
        match context.observed.volumes.get(&volume.name) {
            None if volume.external => draft.problem(Problem::ExternalVolumeMissing {
                volume: volume.name.clone(),
            }),
            None => missing.push((spec, Reason::Missing)),
            Some(_) if volume.external => {}
            Some(existing)
                if !existing.project.is_empty()
                    && existing.project != context.desired.stack.name =>
            {
                let (volume, project) = (volume.name.clone(), existing.project.clone());
                draft.note(Note::VolumeOwned { volume, project });
            }
            Some(existing) if existing.config_hash != spec.config_hash => {
                draft.note(Note::VolumeKept {
                    volume: volume.name.clone(),
                });
            }
            Some(_) => {}
        }
    }
    missing
}

impl VolumeSpec {
    fn unowned(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            project: String::new(),
            key: String::new(),
            config_hash: volume_hash(&model::Volume::default()),
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}
