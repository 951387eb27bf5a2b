//! Volumes of the `local` driver with `driver_opts`.
//!
//! A host folder is bind-mounted. Any other file system is mounted detached, outside of all namespaces, and attached to
//! the container; it is unmounted when the container ends. Containers that run at the same time share one mount, since
//! each gets a copy of the first one's; so the mount also outlives the engine.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hoist_object::MountKind;
use hoist_runtime::{Tree, mount_of, open_mount};
use hoist_spec::local::LocalMount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use tokio::sync::OwnedMutexGuard;

use crate::actions::{StepError, blocking};
use crate::engine::Engine;
use crate::error::chain;
use crate::lower::{Exposed, Writable, volume_top};
use crate::store::Layout;
use crate::world::{StartTicket, World};

/// What the volumes of one container are, by name; those that are plain folders are not among them.
pub(crate) type Driven = BTreeMap<String, LocalMount>;

/// While it is held, no other container takes the same volumes: it would not yet see the mounts that it should share.
#[derive(Debug, Default)]
pub(crate) struct Held {
    _locks: Vec<OwnedMutexGuard<()>>,
}

/// The same check as where a file is read: the API is a second way in.
pub(crate) fn check(
    volume: &str,
    options: &BTreeMap<String, String>,
) -> Result<Option<LocalMount>, StepError> {
    LocalMount::of(options).map_err(|error| StepError::bad(format!("volume {volume}: {error}")))
}

pub(crate) fn driven(ticket: &StartTicket) -> Result<Driven, StepError> {
    of(&ticket.driver_opts)
}

fn of(driver_opts: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Driven, StepError> {
    let mut driven = Driven::new();
    for (volume, options) in driver_opts {
        driven.extend(check(volume, options)?.map(|mount| (volume.clone(), mount)));
    }
    Ok(driven)
}

pub(crate) async fn hold(engine: &Engine, driven: &Driven) -> Held {
    let mut locks = Vec::new();
    // In the order of their names, so that two containers cannot wait for each other.
    for (volume, _) in driven.iter().filter(|(_, mount)| !mount.is_bind()) {
        locks.push(engine.volumes.starting(volume).lock_owned().await);
    }
    Held { _locks: locks }
}

/// The mounts of a container's volumes: copies of what running containers have, or new ones.
pub(crate) async fn trees(engine: &Arc<Engine>, driven: &Driven) -> Result<Vec<Tree>, StepError> {
    let mut trees = Vec::new();
    for (volume, wanted) in driven.iter().filter(|(_, mount)| !mount.is_bind()) {
        let name = volume.clone();
        let users = engine.look(move |world| users(world, &name)).await?;
        let (name, wanted) = (volume.clone(), wanted.clone());
        let mount =
            blocking(move || shared(&users).map_or_else(|| fresh(&name, &wanted), Ok)).await?;
        trees.push(Tree {
            name: volume.clone(),
            mount,
        });
    }
    Ok(trees)
}

/// Processes that have the whole volume mounted, and where.
fn users(world: &World, volume: &str) -> Vec<(i32, String)> {
    let running = world
        .containers
        .values()
        .filter(|container| container.phase.has_processes());
    let places = running.filter_map(|container| {
        let place = container
            .doc
            .mounts
            .iter()
            .find(|mount| matches!(&mount.kind, MountKind::Volume { name, subpath: None, .. } if name == volume))?;
        Some((container.pid?, place.target.clone()))
    });
    places.collect()
}

/// A user that has just exited is skipped.
fn shared(users: &[(i32, String)]) -> Option<OwnedFd> {
    users
        .iter()
        .find_map(|(pid, target)| mount_of(*pid, target).ok().flatten())
}

fn fresh(volume: &str, wanted: &LocalMount) -> Result<OwnedFd, StepError> {
    let failed = |reason: String| StepError::engine(format!("volume {volume}: {reason}"));
    let mut options = wanted.options.clone();
    if wanted.kind.starts_with("nfs") || wanted.kind == "cifs" {
        address(wanted, &mut options).map_err(failed)?;
    }
    open_mount(&wanted.kind, &wanted.device, &options).map_err(|error| failed(chain(&error)))
}

/// The kernel takes numbers only. Without the option the server is in front of the colon of the device.
fn address(wanted: &LocalMount, options: &mut Vec<String>) -> Result<(), String> {
    let given = options
        .iter()
        .position(|option| option.starts_with("addr="));
    let host = match given {
        Some(index) => options[index]["addr=".len()..].to_owned(),
        None => match wanted
            .device
            .rsplit_once(":/")
            .filter(|(host, _)| !host.is_empty())
        {
            Some((host, _)) if wanted.kind != "cifs" => host.to_owned(),
            _ => return Ok(()),
        },
    };
    let bare = host.trim_matches(['[', ']']).to_owned();
    let found = (bare.as_str(), 0)
        .to_socket_addrs()
        .map_err(|error| format!("option addr={host}: {error}"))?;
    let address = found
        .map(|found| found.ip())
        .next()
        .ok_or_else(|| format!("option addr={host}: no address"))?;
    let option = format!("addr={address}");
    match given {
        Some(index) => options[index] = option,
        None => options.push(option),
    }
    Ok(())
}

/// Volumes as the engine itself reads and writes them: what is mounted for it is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    driven: Driven,
    trees: Vec<Tree>,
    writable: Vec<Writable>,
    layout: Layout,
}

/// Opens volumes with these options; plain ones need not be named.
pub(crate) async fn open(
    engine: &Arc<Engine>,
    driver_opts: BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Opened, StepError> {
    let driven = of(&driver_opts)?;
    // A container that is starting has its mounts first.
    let held = hold(engine, &driven).await;
    let trees = trees(engine, &driven).await?;
    drop(held);
    let writable = engine.look(|world| world.writable()).await?;
    Ok(Opened {
        driven,
        trees,
        writable,
        layout: engine.store.layout.clone(),
    })
}

impl Opened {
    pub(crate) fn options(&self, volume: &str) -> Option<&LocalMount> {
        self.driven.get(volume)
    }

    /// The volume's folder, to be read.
    pub(crate) fn root(&self, volume: &str) -> Result<OwnedFd, StepError> {
        let failed = |error: &dyn std::error::Error| {
            StepError::engine(format!("volume {volume}: {}", chain(error)))
        };
        match self.driven.get(volume) {
            Some(local) => volume_top(volume, local, &self.exposed(), &self.trees)
                .map_err(|error| failed(&error)),
            None => std::fs::File::open(self.layout.volume_data(volume))
                .map(OwnedFd::from)
                .map_err(|e| failed(&e)),
        }
    }

    pub(crate) fn exposed(&self) -> Exposed<'_> {
        Exposed::new(&self.writable, &self.layout)
    }

    /// Mounts every volume with options on the folder that stands for it, in the caller's own mount namespace.
    pub(crate) fn mount(&self) -> std::io::Result<()> {
        for (volume, local) in &self.driven {
            let place = self.layout.volume_data(volume);
            let mount = match self.trees.iter().find(|tree| tree.name == *volume) {
                Some(tree) => tree.mount.try_clone()?,
                None => {
                    let device = self
                        .exposed()
                        .split(std::path::Path::new(&local.device))?
                        .find()?;
                    let flags = OpenTreeFlags::OPEN_TREE_CLONE
                        | OpenTreeFlags::OPEN_TREE_CLOEXEC
                        | OpenTreeFlags::AT_EMPTY_PATH
                        | OpenTreeFlags::AT_RECURSIVE;
                    open_tree(device, "", flags)?
                }
            };
            move_mount(
                mount,
                "",
                CWD,
                &place,
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
            )?;
        }
        Ok(())
    }
}

/// The folder that a tree begins with, to be read.
pub(crate) fn top(tree: impl AsFd) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        tree,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, device: &str, options: &[&str]) -> LocalMount {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        LocalMount {
            kind: kind.to_owned(),
            device: device.to_owned(),
            options,
        }
    }

    #[test]
    fn the_server_of_a_share_becomes_a_number() {
        let of = |wanted: &LocalMount| {
            let mut options = wanted.options.clone();
            address(wanted, &mut options).map(|()| options)
        };
        assert_eq!(
            of(&mount("nfs", ":/data", &["rw", "addr=localhost"])).unwrap(),
            ["rw", "addr=127.0.0.1"]
        );
        assert_eq!(
            of(&mount("nfs4", "10.1.2.3:/data", &[])).unwrap(),
            ["addr=10.1.2.3"]
        );
        assert_eq!(
            of(&mount("cifs", "//host/share", &["vers=3"])).unwrap(),
            ["vers=3"]
        );
        let error = of(&mount("nfs", ":/data", &["addr=no.such.host.invalid"])).unwrap_err();
        assert!(
            error.starts_with("option addr=no.such.host.invalid: "),
            "{error}"
        );
    }
}
