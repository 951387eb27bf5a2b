//! Owns what a stack becomes when it goes to another machine: images in place of builds, files that travel along in place
//! of paths and variables, paths below the project's folder relative to the new one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoist_scheduler::image_reference;
use hoist_spec::model::{FileSource, MountSource, Service, Stack};

use crate::error::{Failure, Result};

/// A stack for another machine.
#[derive(Debug)]
pub(crate) struct Portable {
    pub(crate) stack: Stack,
    /// Files that go beside the stack file.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) images: Vec<String>,
    /// Real names of the stack's own volumes.
    pub(crate) volumes: Vec<String>,
    /// What does not travel.
    pub(crate) left: Vec<String>,
}

/// `variables`: values of secrets and configs from the environment, where they are known.
pub(crate) fn of(
    mut stack: Stack,
    project_dir: &Path,
    variables: &BTreeMap<String, String>,
    with_secrets: bool,
) -> Result<Portable> {
    if !stack.secrets.is_empty() && !with_secrets {
        let names: Vec<&str> = stack.secrets.keys().map(String::as_str).collect();
        return Err(Failure::user(format!(
            "the stack has secrets ({}), which a bundle holds readably",
            names.join(", ")
        ))
        .hint("--with-secrets puts them in; keep the bundle as safe as they are"));
    }
    let (mut files, mut left) = (BTreeMap::new(), Vec::new());
    for (folder, objects) in [
        ("secrets", &mut stack.secrets),
        ("configs", &mut stack.configs),
    ] {
        for (key, object) in objects {
            if object.source == FileSource::External {
                left.push(format!("{folder} entry {key} is external"));
            } else if let Some(content) = content(folder, key, &object.source, variables)? {
                let name = format!("{folder}/{key}");
                object.source = FileSource::File(PathBuf::from(format!("./{name}")));
                files.insert(name, content);
            }
        }
    }
    let mut images: Vec<String> = Vec::new();
    let project = stack.name.clone();
    for (key, service) in &mut stack.services {
        let reference = image_reference(&project, key, service);
        service.image = Some(reference.clone());
        service.build = None;
        // What is in the bundle is what runs; nobody is asked for something newer.
        service.pull_policy = None;
        images.push(reference);
        relocate_binds(key, service, project_dir, &mut left);
    }
    images.sort();
    images.dedup();
    let external = stack.volumes.values().filter(|volume| volume.external);
    left.extend(external.map(|volume| format!("volume {} is external", volume.name)));
    let volumes = stack
        .volumes
        .values()
        .filter(|volume| !volume.external)
        .map(|volume| volume.name.clone())
        .collect();
    Ok(Portable {
        stack,
        files,
        images,
        volumes,
        left,
    })
}

/// What a secret or config holds; `None`: the stack file has it.
fn content(
    folder: &str,
    key: &str,
    source: &FileSource,
    variables: &BTreeMap<String, String>,
) -> Result<Option<Vec<u8>>> {
    match source {
        FileSource::Content(_) | FileSource::External => Ok(None),
        FileSource::File(path) => std::fs::read(path).map(Some).map_err(|error| {
            let context = format!("cannot read {} of {folder} entry {key}", path.display());
            Failure::from(anyhow::Error::new(error).context(context))
        }),
        FileSource::Environment(name) => match variables.get(name) {
            Some(value) => Ok(Some(value.clone().into_bytes())),
            None => Err(Failure::user(format!(
                "{folder} entry {key}: variable {name} is not set"
            ))),
        },
    }
}

/// Paths in the project's folder become relative to it; `left` tells what the bundle does not hold.
fn relocate_binds(key: &str, service: &mut Service, project_dir: &Path, left: &mut Vec<String>) {
    for mount in &mut service.mounts {
        let MountSource::Bind { path, .. } = &mut mount.source else {
            continue;
        };
        left.push(format!(
            "service {key}: the host's {} is mounted at {}",
            path.display(),
            mount.target
        ));
        if let Ok(inside) = path.strip_prefix(project_dir) {
            *path = Path::new(".").join(inside);
        }
    }
}
