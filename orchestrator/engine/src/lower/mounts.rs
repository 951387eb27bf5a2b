//! Volumes, binds, tmpfs, shared memory and the files of /etc as mounts of the spec.

use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use hoist_object::{ContainerDoc, MountDoc, MountKind};
use hoist_runtime::{TREE, Tree};
use hoist_spec::local::LocalMount;
use hoist_spec::model::{NamespaceMode, Service};
use oci_spec::runtime::{Mount, MountBuilder, RootBuilder, Spec};

use super::sources::Source;
use super::{Exposed, LowerError, Network, StartFacts};
use crate::driver;

pub(super) fn apply(
    spec: &mut Spec,
    doc: &ContainerDoc,
    service: &Service,
    network: &Network,
    facts: &StartFacts<'_>,
) -> Result<(), LowerError> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    shared_memory(&mut mounts, service);
    mounts.retain(|default| !replaced(default.destination(), doc));
    let mut own = etc(doc, network, facts);
    for mount in &doc.mounts {
        own.push(lowered(mount, facts)?);
    }
    for (source, mount) in super::files::folders(&doc.files, facts.exposed)? {
        own.push(bound(&source, &mount, "rprivate", &source.root)?);
    }
    // A mount on a folder must precede the mounts below it, regardless of their origin.
    own.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(own);
    spec.set_mounts(Some(mounts));
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(service.read_only)
        .build();
    spec.set_root(root.ok());
    Ok(())
}

/// A mount of the stack stands in for the default one at its place (tmpfs on /dev/shm, …), and a /dev of its own for all
/// of the default one.
fn replaced(default: &Path, doc: &ContainerDoc) -> bool {
    doc.mounts.iter().any(|mount| {
        let target = Path::new(&mount.target);
        default == target || target == Path::new("/dev") && default.starts_with(target)
    })
}

/// The engine's files, where the stack has nothing at their place.
fn etc(doc: &ContainerDoc, network: &Network, facts: &StartFacts<'_>) -> Vec<Mount> {
    // A container in another container's network namespace sees that one's names.
    let folder = facts.layout.etc(match network {
        Network::Of(peer) => &peer.id,
        _ => &doc.id,
    });
    [
        ("hosts", "/etc/hosts"),
        ("hostname", "/etc/hostname"),
        ("resolv.conf", "/etc/resolv.conf"),
    ]
    .into_iter()
    .filter(|(_, target)| !doc.mounts.iter().any(|mount| mount.target == *target))
    .map(|(name, target)| bind(&folder.join(name), target, false, "rprivate"))
    .collect()
}

/// Mounts of volumes with the folder that each shows: those that are filled from the image when they are new.
pub(crate) fn volume_mounts(doc: &ContainerDoc) -> impl Iterator<Item = (&str, &str, bool)> {
    doc.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume {
            name,
            nocopy,
            subpath,
        } => Some((
            name.as_str(),
            mount.target.as_str(),
            !nocopy && subpath.is_none(),
        )),
        _ => None,
    })
}

fn shared_memory(mounts: &mut Vec<Mount>, service: &Service) {
    let shm = Path::new("/dev/shm");
    match service.ipc {
        Some(NamespaceMode::Host) => {
            mounts.retain(|mount| mount.destination().as_path() != shm);
            mounts.push(bind(shm, "/dev/shm", false, "rprivate"));
        }
        // That of the container whose ipc namespace it joins, and nothing of its own, comes with the namespace.
        Some(NamespaceMode::Service(_) | NamespaceMode::Container(_) | NamespaceMode::None) => {
            mounts.retain(|mount| mount.destination().as_path() != shm)
        }
        _ => {}
    }
    let Some(size) = service.shm_size.filter(|size| *size > 0) else {
        return;
    };
    if let Some(mount) = mounts
        .iter_mut()
        .find(|mount| mount.destination().as_path() == shm)
    {
        let mut options = mount.options().clone().unwrap_or_default();
        options.retain(|option| !option.starts_with("size="));
        options.push(format!("size={size}"));
        mount.set_options(Some(options));
    }
}

fn mount(kind: &str, source: &Path, target: &str, options: Vec<String>) -> Mount {
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .expect("a mount with all its fields can be built")
}

fn bind(source: &Path, target: &str, read_only: bool, propagation: &str) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    mount(
        "bind",
        source,
        target,
        ["rbind", access, propagation].map(str::to_owned).to_vec(),
    )
}

fn lowered(mount_doc: &MountDoc, facts: &StartFacts<'_>) -> Result<Mount, LowerError> {
    let target = mount_doc.target.as_str();
    match &mount_doc.kind {
        MountKind::Volume { name, subpath, .. } => {
            volume(name, subpath.as_deref(), mount_doc, facts)
        }
        MountKind::Bind {
            path,
            create_host_path,
            propagation,
        } => {
            let failed = |source| LowerError::FindBindSource {
                path: path.clone(),
                source,
            };
            let source = facts.exposed.split(path).map_err(failed)?;
            source.check(path)?;
            ensure_source(path, &source, *create_host_path)?;
            Ok(bound(
                &source,
                mount_doc,
                propagation.as_deref().unwrap_or("rprivate"),
                path,
            )?)
        }
        MountKind::Tmpfs {
            size,
            mode,
            uid,
            gid,
            options: more,
        } => {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()];
            options.extend(
                size.filter(|size| *size > 0)
                    .map(|size| format!("size={size}")),
            );
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            options.extend(uid.map(|uid| format!("uid={uid}")));
            options.extend(gid.map(|gid| format!("gid={gid}")));
            options.extend(more.iter().cloned());
            if mount_doc.read_only {
                options.push("ro".to_owned());
            }
            Ok(mount("tmpfs", Path::new("tmpfs"), target, options))
        }
    }
}

/// A volume: its folder, the folder of the host in its place, or the mount that was made for it.
fn volume(
    name: &str,
    subpath: Option<&str>,
    mount_doc: &MountDoc,
    facts: &StartFacts<'_>,
) -> Result<Mount, LowerError> {
    let part = subpath.map(|subpath| part(name, subpath)).transpose()?;
    let local = facts.driven.get(name);
    let read_only = mount_doc.read_only || local.is_some_and(LocalMount::is_read_only);
    let words = |options: &[String]| {
        // How it is bound, and whether for reading, is said already.
        let known = ["bind", "rbind", "ro", "rw", "defaults"];
        options
            .iter()
            .filter(|option| !known.contains(&option.as_str()))
            .cloned()
            .collect::<Vec<_>>()
    };
    match local {
        Some(local) if !local.is_bind() => {
            let access = if read_only { "ro" } else { "rw" };
            let below = part.map(|part| format!("X-mount.subdir={part}"));
            let options = [access.to_owned()].into_iter().chain(below).collect();
            Ok(mount(TREE, Path::new(name), &mount_doc.target, options))
        }
        Some(local) => {
            let device = Path::new(&local.device);
            let failed = |source| LowerError::VolumeDevice {
                volume: name.to_owned(),
                device: device.into(),
                source,
            };
            let source = facts.exposed.split(device).map_err(failed)?;
            source.check(device)?;
            source.find().map_err(failed)?;
            let source = source.part(part.map(Path::new));
            let mut mount = bound(&source, mount_doc, "rprivate", device)?;
            let mut options = mount.options().clone().unwrap_or_default();
            if !local.options.iter().any(|option| option == "rbind") {
                options.retain(|option| option != "rbind");
                options.push("bind".to_owned());
            }
            if read_only {
                options.push("ro".to_owned());
            }
            options.extend(words(&local.options));
            mount.set_options(Some(options));
            Ok(mount)
        }
        None => {
            let data = facts.layout.volume_data(name);
            let Some(part) = part else {
                return Ok(bind(&data, &mount_doc.target, read_only, "rprivate"));
            };
            let source = Source::of_volume(data, Path::new(part));
            let missing = |_| LowerError::Subpath {
                volume: name.to_owned(),
                subpath: part.to_owned(),
            };
            source.find().map_err(missing)?;
            bound(&source, mount_doc, "rprivate", Path::new(part))
        }
    }
}

/// The folder that a volume with options begins with.
pub(crate) fn volume_top(
    volume: &str,
    local: &LocalMount,
    exposed: &Exposed<'_>,
    trees: &[Tree],
) -> Result<OwnedFd, LowerError> {
    let device = Path::new(&local.device);
    let failed = |source| LowerError::VolumeDevice {
        volume: volume.to_owned(),
        device: device.into(),
        source,
    };
    match trees.iter().find(|tree| tree.name == volume) {
        Some(tree) => driver::top(&tree.mount),
        None => exposed
            .split(device)
            .and_then(|source| driver::top(source.find()?)),
    }
    .map_err(failed)
}

/// A path that stays inside by its text; links in it are followed as if the volume were all that there is.
fn part<'a>(volume: &str, subpath: &'a str) -> Result<&'a str, LowerError> {
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(subpath).components().all(plain) {
        return Ok(subpath);
    }
    Err(LowerError::Subpath {
        volume: volume.to_owned(),
        subpath: subpath.to_owned(),
    })
}

fn bound(
    source: &Source,
    mount_doc: &MountDoc,
    propagation: &str,
    written: &Path,
) -> Result<Mount, LowerError> {
    let mut mount = bind(
        &source.root,
        &mount_doc.target,
        mount_doc.read_only,
        propagation,
    );
    if let Some(below) = &source.below {
        let below = below
            .to_str()
            .ok_or_else(|| LowerError::NotText(written.to_owned()))?;
        let mut options = mount.options().clone().unwrap_or_default();
        options.push(format!("X-mount.subdir={below}"));
        mount.set_options(Some(options));
    }
    Ok(mount)
}

fn ensure_source(written: &Path, source: &Source, create: bool) -> Result<(), LowerError> {
    match source.find() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => source
            .make()
            .map_err(|source| LowerError::CreateBindSource {
                path: written.to_owned(),
                source,
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(LowerError::BindSource(written.to_owned()))
        }
        Err(source) => Err(LowerError::FindBindSource {
            path: written.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::Exposed;
    use crate::store::Layout;

    fn plain(path: &Path) -> Source {
        Exposed::new(
            &[],
            &Layout {
                root: "/nonexistent".into(),
            },
        )
        .split(path)
        .unwrap()
    }

    #[test]
    fn missing_bind_source_is_created_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a/b");
        assert!(matches!(
            ensure_source(&missing, &plain(&missing), false),
            Err(LowerError::BindSource(_))
        ));
        ensure_source(&missing, &plain(&missing), true).unwrap();
        assert!(missing.is_dir());
    }

    #[test]
    fn subpath_cannot_leave_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink("/sub", folder.path().join("in")).unwrap();
        let find = |subpath| {
            Source::of_volume(folder.path().to_owned(), Path::new(part("v", subpath)?))
                .find()
                .map_err(|_| LowerError::NoCommand)
        };
        for inside in ["sub", "in", "./sub"] {
            find(inside).unwrap();
        }
        for outside in ["../x", "/sub", "out/etc", "missing"] {
            assert!(find(outside).is_err(), "{outside}");
        }
    }
}
