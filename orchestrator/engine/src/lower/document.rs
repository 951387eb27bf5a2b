//! A container document from a container spec: the choices that the plan leaves are made here (ids of the container and
//! of its anonymous volumes).

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_image::Image;
use hoist_object::{ContainerDoc, FileContent, FileDoc, MountDoc, MountKind, Timestamp};
use hoist_scheduler::{AnonymousVolume, ContainerSpec, MountPoint, MountSource};
use hoist_spec::canonical;
use hoist_spec::model::{FileMount, FileObject, FileSource, Service, Stack};

use super::{LowerError, process};
use crate::engine::new_id;

/// What a document is made from, beside the spec.
#[derive(Debug)]
pub(crate) struct Material<'a> {
    pub(crate) image: &'a Image,
    pub(crate) stack: &'a Stack,
    /// Values of the variables that `environment:` secrets name.
    pub(crate) variables: &'a BTreeMap<String, String>,
    pub(crate) now: Timestamp,
    pub(crate) remove: bool,
    pub(crate) attach: bool,
    /// Containers whose volumes it has, too, and whether only for reading.
    pub(crate) volumes_from: Vec<(Arc<ContainerDoc>, bool)>,
}

/// The document, the new anonymous volumes (target → name), and the contents that only live in memory (name → value).
pub(crate) struct Made {
    pub(crate) doc: ContainerDoc,
    pub(crate) new_volumes: Vec<String>,
    pub(crate) volatile: Vec<(String, String)>,
}

pub(crate) fn document(spec: &ContainerSpec, material: &Material<'_>) -> Result<Made, LowerError> {
    let service = &*spec.service;
    let image = material.image;
    // What can be refused is refused before anything exists.
    let defaults = super::image::defaults(&image.config.config);
    process::argv(service, &defaults)?;
    process::capabilities(service)?;
    process::seccomp(service)?;
    super::log(service, Default::default())?;
    let id = new_id();
    let mut mounts = Mounts::default();
    for mount in &spec.mounts {
        mounts.specified(mount);
    }
    for (source, read_only) in &material.volumes_from {
        mounts.taken(source, *read_only);
    }
    for target in &defaults.volumes {
        mounts.of_image(clean(target), &spec.carried);
    }
    let mut record = spec.record.clone();
    record.volumes.extend(mounts.named());
    let (files, volatile) = files(&id, service, material)?;
    let doc = ContainerDoc {
        id,
        created: material.now,
        image_id: image.id.to_string(),
        layers: image.layers.iter().map(ToString::to_string).collect(),
        labels: labels(&defaults.labels, &spec.labels),
        image: defaults,
        record,
        service: alone(&spec.record.service, service),
        mounts: mounts.docs,
        anonymous: mounts.anonymous,
        files,
        remove: material.remove,
        attach: material.attach,
    };
    Ok(Made {
        doc,
        new_volumes: mounts.new_volumes,
        volatile,
    })
}

/// What a container has mounted, in the order in which it was asked for.
#[derive(Default)]
struct Mounts {
    docs: Vec<MountDoc>,
    /// Target → volume.
    anonymous: BTreeMap<String, String>,
    new_volumes: Vec<String>,
}

impl Mounts {
    /// One that the file or the caller asks for.
    fn specified(&mut self, mount: &MountPoint) {
        let kind = match &mount.source {
            MountSource::Named {
                volume,
                nocopy,
                subpath,
            } => MountKind::Volume {
                name: volume.clone(),
                nocopy: *nocopy,
                subpath: subpath.clone(),
            },
            MountSource::Anonymous { volume, nocopy } => {
                let name = match volume {
                    AnonymousVolume::Carried { volume } => volume.clone(),
                    AnonymousVolume::New => fresh(&mut self.new_volumes),
                };
                self.anonymous.insert(mount.target.clone(), name.clone());
                MountKind::Volume {
                    name,
                    nocopy: *nocopy,
                    subpath: None,
                }
            }
            MountSource::Bind {
                path,
                create_host_path,
                propagation,
                ..
            } => MountKind::Bind {
                path: path.clone(),
                create_host_path: *create_host_path,
                propagation: propagation.clone(),
            },
            MountSource::Tmpfs {
                size,
                mode,
                uid,
                gid,
                options,
            } => MountKind::Tmpfs {
                size: *size,
                mode: *mode,
                uid: *uid,
                gid: *gid,
                options: options.clone(),
            },
        };
        self.docs.push(MountDoc {
            target: mount.target.clone(),
            read_only: mount.read_only,
            kind,
        });
    }

    /// The volumes and binds of another container, where nothing of its own is. That container's anonymous volumes count
    /// as named ones: they are that container's.
    fn taken(&mut self, source: &ContainerDoc, read_only: bool) {
        for mount in &source.mounts {
            if !matches!(mount.kind, MountKind::Tmpfs { .. }) && !self.covers(&mount.target) {
                self.docs.push(MountDoc {
                    read_only: mount.read_only || read_only,
                    ..mount.clone()
                });
            }
        }
    }

    /// A volume that the image declares: the one that the container before it had there, else a new one.
    fn of_image(&mut self, target: String, carried: &BTreeMap<String, String>) {
        if self.covers(&target) {
            return;
        }
        let name = carried
            .get(&target)
            .cloned()
            .unwrap_or_else(|| fresh(&mut self.new_volumes));
        self.anonymous.insert(target.clone(), name.clone());
        self.docs.push(MountDoc {
            target,
            read_only: false,
            kind: MountKind::Volume {
                name,
                nocopy: false,
                subpath: None,
            },
        });
    }

    fn covers(&self, target: &str) -> bool {
        self.docs.iter().any(|mount| mount.target == target)
    }

    /// Volumes that have a name of the user's or belong to another container.
    fn named(&self) -> impl Iterator<Item = String> {
        self.docs.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, .. } if !self.anonymous.contains_key(&mount.target) => {
                Some(name.clone())
            }
            _ => None,
        })
    }
}

/// The image's own labels, and over them the service's. An image has no say in names that stand for membership.
fn labels(
    image: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let reserved = |name: &str| {
        ["com.docker.compose.", "io.hoist."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let of_image = image.iter().filter(|(name, _)| !reserved(name));
    of_image
        .chain(own)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn fresh(new_volumes: &mut Vec<String>) -> String {
    let name = new_id();
    new_volumes.push(name.clone());
    name
}

/// Absolute, without double or trailing slashes.
fn clean(target: &str) -> String {
    let parts: Vec<&str> = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// The canonical form of a stack that has only this service.
fn alone(name: &str, service: &Service) -> serde_json::Value {
    let services = BTreeMap::from([(name.to_owned(), service.clone())]);
    canonical::to_json(&Stack {
        name: "one".to_owned(),
        services,
        ..Stack::default()
    })
}

type Files = (Vec<FileDoc>, Vec<(String, String)>);

fn files(id: &str, service: &Service, material: &Material<'_>) -> Result<Files, LowerError> {
    let mut files = Vec::new();
    let mut volatile = Vec::new();
    let secrets = service
        .secrets
        .iter()
        .map(|mount| ("secret", mount, material.stack.secrets.get(&mount.source)));
    let configs = service
        .configs
        .iter()
        .map(|mount| ("config", mount, material.stack.configs.get(&mount.source)));
    for (index, (kind, mount, object)) in secrets.chain(configs).enumerate() {
        let label = format!("{kind} {:?}", mount.source);
        let Some(object) = object else {
            return Err(LowerError::Undefined { label });
        };
        let name = format!("{id}-{index}");
        let (content, value) = content(object, &label, name, material.variables)?;
        volatile.extend(value);
        files.push(file(label, mount, content));
    }
    Ok((files, volatile))
}

fn file(label: String, mount: &FileMount, content: FileContent) -> FileDoc {
    FileDoc {
        label,
        target: mount.target.clone(),
        uid: mount.uid.unwrap_or(0),
        gid: mount.gid.unwrap_or(0),
        mode: mount.mode.unwrap_or(0o444),
        content,
    }
}

fn content(
    object: &FileObject,
    label: &str,
    name: String,
    variables: &BTreeMap<String, String>,
) -> Result<(FileContent, Option<(String, String)>), LowerError> {
    match &object.source {
        FileSource::File(path) => Ok((FileContent::Path(path.clone()), None)),
        FileSource::Content(text) => Ok((FileContent::Text(text.clone()), None)),
        FileSource::Environment(variable) => {
            let value = variables.get(variable).cloned();
            let value = value.ok_or_else(|| LowerError::Unset {
                label: label.to_owned(),
                variable: variable.clone(),
            })?;
            Ok((
                FileContent::Volatile {
                    name: name.clone(),
                    variable: variable.clone(),
                },
                Some((name, value)),
            ))
        }
        FileSource::External => Err(LowerError::External {
            label: label.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_the_image_are_cleaned() {
        assert_eq!(clean("/var//lib/db/"), "/var/lib/db");
        assert_eq!(clean("data"), "/data");
    }

    #[test]
    fn an_image_has_no_say_in_reserved_labels() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let image = map(&[
            ("com.docker.compose.project", "other"),
            ("io.hoist.x", "1"),
            ("a", "image"),
            ("b", "image"),
        ]);
        let own = map(&[("com.docker.compose.service", "web"), ("b", "own")]);
        let expected = map(&[
            ("com.docker.compose.service", "web"),
            ("a", "image"),
            ("b", "own"),
        ]);
        assert_eq!(labels(&image, &own), expected);
    }

    #[test]
    fn variable_content_is_never_part_of_the_document() {
        let object = FileObject {
            name: "key".into(),
            source: FileSource::Environment("API_KEY".into()),
            labels: BTreeMap::new(),
        };
        let variables = BTreeMap::from([("API_KEY".to_owned(), "hunter2".to_owned())]);
        let (content, value) = content(&object, "secret \"key\"", "n".into(), &variables).unwrap();
        assert!(!serde_json::to_string(&content).unwrap().contains("hunter2"));
        assert_eq!(value.unwrap().1, "hunter2");
    }
}
