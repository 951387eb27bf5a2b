//! The stored data as a whole: whether it is sound, and how much there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use hoist_api::{
    CheckReport, CheckRequest, ContainerSummary, ContainerUsage, DiskUsage, ImageSummary, Outcome, Problem, UsageData,
    VolumeInspect, VolumeUsage,
};
use hoist_image::{CheckOptions, Digest, Store};
use serde::Deserialize;
use serde_json::Value;

use super::parameters::Moot;
use super::{ApiError, ApiResult, App, convert};
use crate::actions::{StepError, blocking};
use crate::lower;
use crate::usage;
use crate::world::World;

/// Layers of the containers that fit.
fn layers(world: &World, fits: impl Fn(&crate::world::Phase) -> bool) -> BTreeSet<Digest> {
    let containers = world.containers.values().filter(|container| fits(&container.phase));
    containers.flat_map(|container| lower::layers(&container.doc)).collect()
}

/// `POST /hoist/v1/system/check`
pub(super) async fn check(State(engine): App, Json(request): Json<CheckRequest>) -> ApiResult<Json<CheckReport>> {
    let (in_use, mounted) =
        engine.look(|world| (layers(world, |_| true), layers(world, crate::world::Phase::is_up))).await?;
    let options = CheckOptions { repair: request.repair, quick: request.quick, in_use, mounted };
    let images = Arc::clone(&engine.images);
    let report = blocking(move || images.check(&options).map_err(StepError::from)).await?;
    Ok(Json(wire(report)))
}

fn wire(report: hoist_image::CheckReport) -> CheckReport {
    let problem = |problem: hoist_image::Problem| Problem {
        object: problem.object,
        reason: problem.reason,
        outcome: match problem.outcome {
            hoist_image::Outcome::Found => Outcome::Found,
            hoist_image::Outcome::Restored => Outcome::Restored,
            hoist_image::Outcome::Dropped => Outcome::Dropped,
        },
    };
    CheckReport {
        images: report.images,
        layers: report.layers,
        blobs: report.blobs,
        bytes: report.bytes,
        problems: report.problems.into_iter().map(problem).collect(),
    }
}

/// `type`, which may stand several times, is read as pairs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageQuery {
    /// Everything is told.
    #[serde(rename = "verbose")]
    _verbose: Moot,
}

const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// Which kinds are asked for; all, when none is named.
fn kinds(pairs: &[(String, String)]) -> ApiResult<BTreeSet<&str>> {
    let named: BTreeSet<&str> =
        pairs.iter().filter(|(key, _)| key == "type").map(|(_, value)| value.as_str()).collect();
    match named.iter().find(|kind| !KINDS.contains(kind)) {
        Some(kind) => Err(ApiError::bad(format!("unknown object type: {kind}; known here are {}", KINDS.join(", ")))),
        None if named.is_empty() => Ok(KINDS.into()),
        None => Ok(named),
    }
}

/// `GET /system/df`; kinds that are not asked for are null, as docker has it.
pub(super) async fn usage(
    State(engine): App,
    Query(pairs): Query<Vec<(String, String)>>,
    Query(_): Query<UsageQuery>,
) -> ApiResult<Json<Value>> {
    let kinds = kinds(&pairs)?;
    let (with_containers, with_volumes) = (kinds.contains("container"), kinds.contains("volume"));
    let (with_images, with_cache) = (kinds.contains("image"), kinds.contains("build-cache"));
    let layout = engine.store.layout.clone();
    let (containers, volumes) = engine
        .look(move |world| {
            let containers: Vec<_> = world
                .containers
                .values()
                .filter(|_| with_containers)
                .map(|container| (convert::summary(world, &layout, container), lower::layers(&container.doc)))
                .collect();
            let references = |name: &str| {
                world.containers.values().filter(|container| super::prune::has_volume(&container.doc, name)).count()
            };
            let volumes: Vec<_> = world
                .volumes
                .values()
                .filter(|_| with_volumes)
                .map(|volume| (convert::volume(&layout, volume), references(&volume.name)))
                .collect();
            (containers, volumes)
        })
        .await?;
    let images = match with_images {
        true => super::image_list::list(State(Arc::clone(&engine)), Query(Default::default())).await?.0,
        false => Vec::new(),
    };
    let (store, layout) = (Arc::clone(&engine.images), engine.store.layout.clone());
    let usage = blocking(move || {
        let sizes = store.layer_sizes();
        let size = |layer: &Digest| sizes.get(layer).map_or(0, |(size, _)| *size);
        let container = |(summary, layers): (ContainerSummary, Vec<Digest>)| {
            let own = usage::of_folder(&layout.upper(&summary.id));
            ContainerUsage { size_rw: own, size_root_fs: own + layers.iter().map(size).sum::<u64>(), summary }
        };
        let volume = |(inspect, references): (VolumeInspect, usize)| {
            let size = usage::of_folder(&layout.volume_data(&inspect.name));
            VolumeUsage { usage_data: UsageData { size, ref_count: references }, inspect }
        };
        let of_layers =
            |of_cache: bool| sizes.values().filter(|(_, cache)| *cache == of_cache).map(|(size, _)| size).sum::<u64>();
        Ok(DiskUsage {
            layers_size: if with_images { of_layers(false) } else { 0 },
            images: with_shares(&store, images),
            containers: containers.into_iter().map(container).collect(),
            volumes: volumes.into_iter().map(volume).collect(),
            build_cache: Vec::new(),
            build_cache_size: if with_cache { of_layers(true) } else { 0 },
        })
    });
    let mut answer = serde_json::to_value(usage.await?)
        .map_err(|error| StepError::engine(format!("writing the answer: {error}")))?;
    let lists = [
        ("Images", with_images),
        ("Containers", with_containers),
        ("Volumes", with_volumes),
        ("BuildCache", with_cache),
    ];
    for (list, _) in lists.into_iter().filter(|(_, wanted)| !wanted) {
        answer[list] = Value::Null;
    }
    Ok(Json(answer))
}

/// How much of each image is in others too.
pub(super) fn with_shares(store: &Store, mut images: Vec<ImageSummary>) -> Vec<ImageSummary> {
    let sizes = store.layer_sizes();
    let size = |layer: &Digest| sizes.get(layer).map_or(0, |(size, _)| *size);
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    let known = store.images();
    for image in &known {
        let layers: BTreeSet<Digest> = image.layers.iter().copied().collect();
        layers.into_iter().for_each(|layer| *users.entry(layer).or_default() += 1);
    }
    for summary in &mut images {
        let Some(image) = known.iter().find(|image| image.id.to_string() == summary.id) else { continue };
        let shared = image.layers.iter().filter(|layer| users.get(layer).is_some_and(|users| *users > 1));
        summary.shared_size = i64::try_from(shared.map(&size).sum::<u64>()).unwrap_or(i64::MAX);
    }
    images
}
