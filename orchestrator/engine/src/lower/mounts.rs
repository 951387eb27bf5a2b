//! Volumes, binds, tmpfs, shared memory and the files of /etc as mounts of the spec.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use hoist_spec::model::{NamespaceMode, Service};
use oci_spec::runtime::{Mount, MountBuilder, RootBuilder, Spec};

use super::{LowerError, Network, StartFacts};
use crate::store::{ContainerDoc, Layout, MountDoc, MountKind};

pub(super) fn apply(
    spec: &mut Spec,
    doc: &ContainerDoc,
    service: &Service,
    network: &Network,
    facts: &StartFacts<'_>,
) -> Result<(), LowerError> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    shared_memory(&mut mounts, service);
    let covered = |target: &str| doc.mounts.iter().any(|mount| mount.target == target);
    for (name, target) in [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")]
    {
        if covered(target) {
            continue;
        }
        // Whoever lives in another container's network sees its names.
        let bundle = match network {
            Network::Of(peer) => facts.bundle.with_file_name(&peer.id),
            _ => facts.bundle.to_owned(),
        };
        mounts.push(bind(&bundle.join(name), target, false, "rprivate"));
    }
    let mut own: Vec<&MountDoc> = doc.mounts.iter().collect();
    // A mount on a folder must come before the mounts below it.
    own.sort_by_key(|mount| mount.target.matches('/').count());
    for mount in own {
        // A mount of the stack replaces the default one at the same place (tmpfs on /dev/shm, …).
        mounts.retain(|present| present.destination().as_path() != Path::new(&mount.target));
        mounts.push(lowered(mount, facts.layout)?);
    }
    spec.set_mounts(Some(mounts));
    let root = RootBuilder::default().path("rootfs").readonly(service.read_only).build();
    spec.set_root(root.ok());
    Ok(())
}

/// Mounts of volumes with the folder that each shows: those that are filled from the image when they are new.
pub(crate) fn volume_mounts(doc: &ContainerDoc) -> impl Iterator<Item = (&str, &str, bool)> {
    doc.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { name, nocopy, subpath } => {
            Some((name.as_str(), mount.target.as_str(), !nocopy && subpath.is_none()))
        }
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
    let Some(size) = service.shm_size else { return };
    if let Some(mount) = mounts.iter_mut().find(|mount| mount.destination().as_path() == shm) {
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
    mount("bind", source, target, ["rbind", access, propagation].map(str::to_owned).to_vec())
}

fn lowered(mount_doc: &MountDoc, layout: &Layout) -> Result<Mount, LowerError> {
    let target = mount_doc.target.as_str();
    match &mount_doc.kind {
        MountKind::Volume { name, subpath, .. } => {
            let data = layout.volume_data(name);
            let source = match subpath {
                None => data,
                Some(subpath) => inside(&data, name, subpath)?,
            };
            Ok(bind(&source, target, mount_doc.read_only, "rprivate"))
        }
        MountKind::Bind { path, create_host_path, propagation } => {
            ensure_source(path, *create_host_path)?;
            Ok(bind(path, target, mount_doc.read_only, propagation.as_deref().unwrap_or("rprivate")))
        }
        MountKind::Tmpfs { size, mode, uid, gid } => {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()];
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            options.extend(uid.map(|uid| format!("uid={uid}")));
            options.extend(gid.map(|gid| format!("gid={gid}")));
            if mount_doc.read_only {
                options.push("ro".to_owned());
            }
            Ok(mount("tmpfs", Path::new("tmpfs"), target, options))
        }
    }
}

/// A folder of a volume; its parts must be plain names and no symlinks, or they could lead out.
fn inside(data: &Path, volume: &str, subpath: &str) -> Result<PathBuf, LowerError> {
    let refused = || LowerError::Subpath { volume: volume.to_owned(), subpath: subpath.to_owned() };
    let mut path = data.to_owned();
    for part in Path::new(subpath).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => continue,
            _ => return Err(refused()),
        }
        let metadata = path.symlink_metadata().map_err(|_| refused())?;
        if metadata.file_type().is_symlink() {
            return Err(refused());
        }
    }
    Ok(path)
}

fn ensure_source(path: &Path, create: bool) -> Result<(), LowerError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(|source| LowerError::CreateBindSource { path: path.to_owned(), source }),
        Err(_) => Err(LowerError::BindSource(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_bind_source_is_created_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a/b");
        assert!(matches!(ensure_source(&missing, false), Err(LowerError::BindSource(_))));
        ensure_source(&missing, true).unwrap();
        assert!(missing.is_dir());
    }

    #[test]
    fn subpath_cannot_leave_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        assert!(inside(folder.path(), "v", "sub").is_ok());
        assert!(inside(folder.path(), "v", "../x").is_err());
        assert!(inside(folder.path(), "v", "out/etc").is_err());
    }
}
