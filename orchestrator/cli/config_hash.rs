//! Owns the configuration hashes of a stack's services, as the planner computes them: it is asked what it would create
//! on an empty host, so that there is no second place that knows what a hash is made of.

use std::collections::{BTreeMap, BTreeSet};

use hoist_object::Timestamp;
use hoist_scheduler::{Action, Create, Desired, Image, Observed, Request, Verb};
use hoist_spec::Loaded;
use hoist_spec::model::{FileObject, FileSource};
use sha2::{Digest, Sha256};

use crate::error::{Failure, Result};

pub(crate) fn of(loaded: &Loaded) -> Result<BTreeMap<String, String>> {
    let mut stack = loaded.stack.clone();
    for service in stack.services.values_mut() {
        // Not part of the hash, and one container of each is enough to ask for.
        service.replicas = 1;
    }
    let services: BTreeSet<String> = stack.services.keys().cloned().collect();
    let desired = Desired {
        secrets: contents(loaded, &stack.secrets)?,
        configs: contents(loaded, &stack.configs)?,
        working_dir: loaded.project_dir.clone(),
        files: loaded.files.clone(),
        stack,
    };
    let images = desired
        .images()
        .into_iter()
        .map(|name| (name, Image::default()))
        .collect();
    let empty = Observed {
        project: desired.stack.name.clone(),
        images,
        ..Observed::default()
    };
    let request = Request::new(
        Timestamp::default(),
        Verb::Create(Create {
            services,
            ..Create::default()
        }),
    );
    let plan = hoist_scheduler::plan(&desired, &empty, &request, Timestamp::default());
    let created = plan.steps.into_iter().filter_map(|step| match step.action {
        Action::CreateContainer(spec) => Some((spec.record.service, spec.record.config_hash)),
        _ => None,
    });
    Ok(created.collect())
}

/// SHA-256 of each secret's or config's content.
fn contents(
    loaded: &Loaded,
    objects: &BTreeMap<String, FileObject>,
) -> Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    for (key, object) in objects {
        let content = match &object.source {
            FileSource::File(path) => std::fs::read(path).map_err(|error| {
                Failure::from(
                    anyhow::Error::new(error)
                        .context(format!("cannot read {} of `{key}`", path.display())),
                )
            })?,
            FileSource::Environment(name) => loaded
                .variables
                .get(name)
                .cloned()
                .unwrap_or_default()
                .into_bytes(),
            FileSource::Content(text) => text.clone().into_bytes(),
            FileSource::External => continue,
        };
        digests.insert(key.clone(), hex::encode(Sha256::digest(&content)));
    }
    Ok(digests)
}
