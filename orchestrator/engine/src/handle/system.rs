//! The engine itself: what it is, what happens in it, and how much it stores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hoist_image::{CheckOptions, CheckReport, Digest};
use hoist_object::Timestamp;
use tokio::sync::broadcast;

use super::{Handle, Result, Sizes};
use crate::actions::{StepError, blocking};
use crate::feed::Happening;
use crate::lower;
use crate::usage;
use crate::view::{ContainerView, VolumeView};
use crate::world::{Phase, World};

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What tells its kernel objects from those of others; empty for the default data root.
    pub instance: String,
    pub data_root: PathBuf,
    pub containers: usize,
    pub running: usize,
    pub paused: usize,
    pub images: usize,
    /// Damaged records and images, and rules in tables of others.
    pub warnings: Vec<String>,
}

/// How much is stored.
#[derive(Debug)]
pub struct DiskUse {
    pub containers: Vec<(ContainerView, Sizes)>,
    pub volumes: Vec<(VolumeView, u64)>,
    /// Bytes of layers, and of those that only the build cache needs.
    pub layers: u64,
    pub cached: u64,
}

/// Layers of the containers that fit.
fn layers(world: &World, fits: impl Fn(&Phase) -> bool) -> BTreeSet<Digest> {
    let containers = world
        .containers
        .values()
        .filter(|container| fits(&container.phase));
    containers
        .flat_map(|container| lower::layers(&container.doc))
        .collect()
}

impl Handle {
    pub async fn facts(&self) -> Result<Facts> {
        let counts = self.look(|world| {
            let count = |phase: Phase| {
                world
                    .containers
                    .values()
                    .filter(|found| found.phase == phase)
                    .count()
            };
            (
                count(Phase::Running),
                count(Phase::Paused),
                world.containers.len(),
                world.damaged.clone(),
            )
        });
        let (running, paused, containers, mut warnings) = counts.await?;
        let engine = &self.engine;
        let damage = engine.images.damage().into_iter();
        warnings.extend(damage.map(|damage| format!("{}: {}", damage.object, damage.reason)));
        let foreign = engine.net.foreign_accepts().into_iter();
        warnings.extend(foreign.map(|accept| {
            format!(
                "rule added to {} {}: {}",
                accept.table, accept.chain, accept.why
            )
        }));
        let images = engine.images.images().len();
        let (instance, data_root) = (engine.config.instance(), self.data_root());
        Ok(Facts {
            instance,
            data_root,
            containers,
            running,
            paused,
            images,
            warnings,
        })
    }

    pub fn data_root(&self) -> PathBuf {
        self.engine.config.data_root.clone()
    }

    /// Where a container's log is.
    pub fn log_file(&self, id: &str) -> PathBuf {
        self.engine.store.layout.log(id)
    }

    /// Where files of a running container are that the engine made.
    pub fn run_folder(&self, id: &str) -> PathBuf {
        self.engine.bundle(id)
    }

    /// Where a volume's content is.
    pub fn volume_folder(&self, name: &str) -> PathBuf {
        self.engine.store.layout.volume_data(name)
    }

    /// What happened since then, as far as it is remembered, and what happens from now on.
    pub fn events(
        &self,
        since: Timestamp,
    ) -> (Vec<Arc<Happening>>, broadcast::Receiver<Arc<Happening>>) {
        self.engine.feed.since(since)
    }

    /// Whether the image store is sound. `repair`: restores or drops what is not; `quick`: reads no content.
    pub async fn check_store(&self, repair: bool, quick: bool) -> Result<CheckReport> {
        let (in_use, mounted) = self
            .look(|world| (layers(world, |_| true), layers(world, Phase::is_up)))
            .await?;
        let options = CheckOptions {
            repair,
            quick,
            in_use,
            mounted,
        };
        let images = Arc::clone(&self.engine.images);
        blocking(move || images.check(&options).map_err(StepError::from)).await
    }

    /// Of containers and volumes only if they are asked for: both take a walk over their files.
    pub async fn disk_use(&self, containers: bool, volumes: bool) -> Result<DiskUse> {
        let containers = if containers {
            self.containers().await?
        } else {
            Vec::new()
        };
        let layers = containers.iter().map(ContainerView::id_and_layers);
        let sizes = self.container_sizes(layers.collect()).await?;
        let volumes = if volumes {
            self.volumes().await?
        } else {
            Vec::new()
        };
        let measured = blocking(move || {
            let size = |volume: VolumeView| {
                let size = usage::of_folder(&volume.folder);
                (volume, size)
            };
            Ok(volumes.into_iter().map(size).collect())
        });
        let known: BTreeMap<Digest, (u64, bool)> = self.layer_sizes();
        let of = |of_cache: bool| {
            known
                .values()
                .filter(|(_, cache)| *cache == of_cache)
                .map(|(size, _)| size)
                .sum()
        };
        Ok(DiskUse {
            containers: containers.into_iter().zip(sizes).collect(),
            volumes: measured.await?,
            layers: of(false),
            cached: of(true),
        })
    }
}
