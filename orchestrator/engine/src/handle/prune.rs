//! Removing what nothing uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hoist_api::ErrorKind;
use hoist_image::{Collected, Digest, Removed, Scope};
use hoist_object::Timestamp;

use super::{Handle, Result};
use crate::actions::{self, StepError, blocking};
use crate::feed::{self, Pruned as Kind};
use crate::usage;
use crate::view::{ContainerView, has_volume};

/// Which of what is unused goes, by when it was made and its labels.
pub type Unused = Box<dyn Fn(Timestamp, &BTreeMap<String, String>) -> bool + Send + Sync>;

/// Ids or names of what went, and its bytes.
#[derive(Debug, Default)]
pub struct Pruned {
    pub removed: Vec<String>,
    pub bytes: u64,
}

/// What went with images.
#[derive(Debug, Default)]
pub struct PrunedImages {
    pub removed: Vec<Removed>,
    pub layers: Vec<Digest>,
    pub bytes: u64,
}

impl Handle {
    /// Containers that are down.
    pub async fn prune_containers(&self, unused: Unused) -> Result<Pruned> {
        let all = self.containers().await?;
        let stopped = all.iter().filter(|container| !container.is_needed());
        let chosen =
            stopped.filter(|container| unused(container.doc.created, &container.doc.labels));
        let mut pruned = Pruned::default();
        for id in chosen.map(|container| container.doc.id.clone()) {
            let upper = self.engine.store.layout.upper(&id);
            let size = blocking(move || Ok(usage::of_folder(&upper))).await?;
            // One that was started in between is left alone.
            let wanted = id.clone();
            let found = self
                .look(move |world| Some(ContainerView::of(world, world.containers.get(&wanted)?)));
            if found.await?.is_none_or(|container| container.is_needed()) {
                continue;
            }
            actions::remove(&self.engine, &id, &BTreeSet::new()).await?;
            pruned.bytes += size;
            pruned.removed.push(id);
        }
        self.durable().await?;
        feed::pruned(&self.engine, Kind::Containers, pruned.bytes);
        Ok(pruned)
    }

    /// `named`: images with names too.
    pub async fn prune_images(&self, named: bool, unused: Unused) -> Result<PrunedImages> {
        let used = self.image_users().await?;
        let layers = actions::layers_in_use(&self.engine).await?;
        let worker = Arc::clone(&self.engine);
        let pruned = blocking(move || {
            let images = &worker.images;
            let mut gone = Vec::new();
            for image in images.images() {
                let created = image
                    .created
                    .parse::<jiff::Timestamp>()
                    .map_or(0, |time| time.as_nanosecond());
                let created = Timestamp(i64::try_from(created).unwrap_or(0));
                let id = image.id.to_string();
                let is_unused = !used.contains_key(&id) && (named || image.references.is_empty());
                if !is_unused || !unused(created, &image.config.config.labels) {
                    continue;
                }
                // Gone or renamed in between: nothing of ours any more.
                let Ok(removed) = images.remove(&id, true, &BTreeSet::new()) else {
                    continue;
                };
                feed::image_removed(&worker, &id, &removed);
                gone.push(removed);
            }
            let collected = images.collect(&layers, Scope::default())?;
            let layers = collected.layers.to_vec();
            Ok(PrunedImages {
                removed: gone,
                layers,
                bytes: collected.bytes,
            })
        });
        let pruned = pruned.await?;
        feed::pruned(&self.engine, Kind::Images, pruned.bytes);
        Ok(pruned)
    }

    /// Anonymous volumes. `named`: those with names too.
    pub async fn prune_volumes(&self, named: bool, unused: Unused) -> Result<Pruned> {
        let chosen: Vec<String> = self
            .look(move |world| {
                let candidates = world
                    .volumes
                    .values()
                    .filter(|volume| named || volume.anonymous);
                let chosen = candidates.filter(|volume| {
                    unused(volume.created, &volume.labels)
                        && !world
                            .containers
                            .values()
                            .any(|container| has_volume(&container.doc, &volume.name))
                });
                chosen.map(|volume| volume.name.clone()).collect()
            })
            .await?;
        let mut pruned = Pruned::default();
        for name in chosen {
            let data = self.engine.store.layout.volume_data(&name);
            let size = blocking(move || Ok(usage::of_folder(&data))).await?;
            if self.unless_used(actions::remove_volume(&self.engine, &name).await)? {
                pruned.bytes += size;
                pruned.removed.push(name);
            }
        }
        self.durable().await?;
        feed::pruned(&self.engine, Kind::Volumes, pruned.bytes);
        Ok(pruned)
    }

    pub async fn prune_networks(&self, unused: Unused) -> Result<Pruned> {
        let all = self.networks().await?;
        let free = all
            .iter()
            .filter(|network| !network.doc.is_predefined() && !network.used);
        let chosen = free.filter(|network| unused(network.doc.created, &network.doc.labels));
        let mut pruned = Pruned::default();
        for name in chosen.map(|network| network.doc.name.clone()) {
            if self.unless_used(actions::remove_network(&self.engine, &name).await)? {
                pruned.removed.push(name);
            }
        }
        self.durable().await?;
        feed::pruned(&self.engine, Kind::Networks, 0);
        Ok(pruned)
    }

    /// `false`: a container has it since.
    fn unless_used(&self, removed: Result<()>) -> Result<bool> {
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The build cache. `until`: what was not used since; layers of steps, what builds downloaded, folders of cache
    /// mounts.
    pub async fn prune_builds(&self, until: Option<Timestamp>) -> Result<Pruned> {
        let since = |until: Timestamp| {
            u64::try_from(until.0)
                .map(std::time::Duration::from_nanos)
                .unwrap_or_default()
        };
        let before = until.map_or_else(std::time::SystemTime::now, |until| {
            std::time::UNIX_EPOCH + since(until)
        });
        let state_dir = self.engine.store.layout.root.join("build");
        let aside = blocking(move || {
            let whole = usage::of_folder(&state_dir);
            let removed = hoist_build::prune(&state_dir, before).map_err(|error| {
                StepError::engine(format!("pruning {}: {error}", state_dir.display()))
            })?;
            Ok((removed, whole.saturating_sub(usage::of_folder(&state_dir))))
        });
        let (removed, freed) = aside.await?;
        let layers = actions::layers_in_use(&self.engine).await?;
        let images = Arc::clone(&self.engine.images);
        let scope = Scope {
            cache: Some(before),
            ..Scope::default()
        };
        let collected: Collected = blocking(move || Ok(images.collect(&layers, scope)?)).await?;
        let layers = collected.layers.iter().map(ToString::to_string);
        let names = removed
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let pruned = Pruned {
            removed: layers.chain(names).collect(),
            bytes: collected.bytes + freed,
        };
        feed::pruned(&self.engine, Kind::Builder, pruned.bytes);
        Ok(pruned)
    }
}
