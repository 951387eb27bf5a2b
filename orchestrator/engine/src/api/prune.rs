//! Removing what nothing uses, with docker's filters and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use hoist_api::{ErrorKind, ImageDelete};
use hoist_image::{Digest, Scope};
use hoist_object::{ContainerDoc, MountKind, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::filters::Filters;
use super::parameters::{Moot, Unsupported};
use super::{ApiError, ApiResult, App};
use crate::actions::{self, StepError, blocking};
use crate::engine::{Engine, now};
use crate::feed::{self, Pruned};
use crate::logs::moment;
use crate::usage;
use crate::world::World;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PruneQuery {
    filters: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct BuildQuery {
    filters: Option<String>,
    /// Nothing but what images and containers need is kept either way.
    #[serde(rename = "all")]
    _all: Moot,
    #[serde(rename = "keep-storage")]
    _keep: Unsupported,
    #[serde(rename = "reserved-space")]
    _reserved: Unsupported,
    #[serde(rename = "max-used-space")]
    _most: Unsupported,
    #[serde(rename = "min-free-space")]
    _free: Unsupported,
}

/// What is to be removed, of what could be.
struct Wish {
    filters: Filters,
    until: Option<Timestamp>,
}

impl Wish {
    fn parse(query: &PruneQuery, known: &[&str]) -> ApiResult<Self> {
        let filters = Filters::parse(query.filters.as_deref(), known)?;
        let until = match filters.get("until") {
            None => None,
            Some([text]) => Some(moment(text, now()).ok_or_else(|| ApiError::bad(format!("until={text} is no time")))?),
            Some(_) => return Err(ApiError::bad("more than one until filter")),
        };
        Ok(Self { filters, until })
    }

    /// `until`, `label` and `label!`.
    fn takes(&self, created: Timestamp, labels: &BTreeMap<String, String>) -> bool {
        self.until.is_none_or(|until| created < until) && self.filters.labels(labels)
    }
}

/// `POST /containers/prune`
pub(super) async fn containers(State(engine): App, Query(query): Query<PruneQuery>) -> ApiResult<Response> {
    let wish = Wish::parse(&query, &["until", "label", "label!"])?;
    let chosen: Vec<String> = engine
        .look(move |world| {
            let stopped = world.containers.values().filter(|container| !world_needs(container));
            let chosen = stopped.filter(|container| wish.takes(container.doc.created, &container.doc.labels));
            chosen.map(|container| container.doc.id.clone()).collect()
        })
        .await?;
    let (mut removed, mut reclaimed) = (Vec::new(), 0);
    for id in chosen {
        let upper = engine.store.layout.upper(&id);
        let size = blocking(move || Ok(usage::of_folder(&upper))).await?;
        // One that was started in between is left alone.
        let wanted = id.clone();
        if engine.look(move |world| world.containers.get(&wanted).is_none_or(world_needs)).await? {
            continue;
        }
        actions::remove(&engine, &id, &BTreeSet::new()).await?;
        reclaimed += size;
        removed.push(id);
    }
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    feed::pruned(&engine, Pruned::Containers, reclaimed);
    Ok(Json(json!({ "ContainersDeleted": removed, "SpaceReclaimed": reclaimed })).into_response())
}

fn world_needs(container: &crate::world::Container) -> bool {
    container.phase.is_up() || matches!(container.phase, crate::world::Phase::Restarting { .. })
}

/// `POST /images/prune`; `dangling=false`: images with names too.
pub(super) async fn images(State(engine): App, Query(query): Query<PruneQuery>) -> ApiResult<Response> {
    let wish = Wish::parse(&query, &["dangling", "until", "label", "label!"])?;
    let named_too = wish.filters.flag("dangling")? == Some(false);
    let used: BTreeSet<String> = engine
        .look(|world| world.containers.values().map(|container| container.doc.image_id.clone()).collect())
        .await?;
    let layers = actions::layers_in_use(&engine).await?;
    let worker = Arc::clone(&engine);
    let (deleted, reclaimed) = blocking(move || {
        let images = &worker.images;
        let mut deleted = Vec::new();
        for image in images.images() {
            let created = image.created.parse::<jiff::Timestamp>().map_or(0, |time| time.as_nanosecond());
            let created = Timestamp(i64::try_from(created).unwrap_or(0));
            let unused = !used.contains(&image.id.to_string()) && (named_too || image.references.is_empty());
            if !unused || !wish.takes(created, &image.config.config.labels) {
                continue;
            }
            // Gone or renamed in between: nothing of ours any more.
            let Ok(removed) = images.remove(&image.id.to_string(), true, &BTreeSet::new()) else { continue };
            feed::image_removed(&worker, &image.id.to_string(), &removed);
            deleted.extend(
                removed.untagged.iter().map(|name| ImageDelete { untagged: Some(name.short()), deleted: None }),
            );
            deleted
                .extend(removed.deleted.iter().map(|id| ImageDelete { untagged: None, deleted: Some(id.to_string()) }));
        }
        let collected = images.collect(&layers, Scope::default())?;
        let gone = |id: &Digest| ImageDelete { untagged: None, deleted: Some(id.to_string()) };
        deleted.extend(collected.layers.iter().map(gone));
        Ok((deleted, collected.bytes))
    })
    .await?;
    feed::pruned(&engine, Pruned::Images, reclaimed);
    Ok(Json(json!({ "ImagesDeleted": deleted, "SpaceReclaimed": reclaimed })).into_response())
}

/// Whether a container has the volume.
pub(super) fn has_volume(doc: &ContainerDoc, volume: &str) -> bool {
    let mounted = |kind: &MountKind| matches!(kind, MountKind::Volume { name, .. } if name == volume);
    doc.mounts.iter().any(|mount| mounted(&mount.kind))
        || doc.record.volumes.iter().any(|name| name == volume)
        || doc.anonymous.values().any(|name| name == volume)
}

fn unused_volumes(world: &World, wish: &Wish, all: bool) -> Vec<String> {
    let candidates = world.volumes.values().filter(|volume| all || volume.anonymous);
    let chosen = candidates.filter(|volume| {
        wish.takes(volume.created, &volume.labels)
            && !world.containers.values().any(|container| has_volume(&container.doc, &volume.name))
    });
    chosen.map(|volume| volume.name.clone()).collect()
}

/// `POST /volumes/prune`; anonymous ones, with `all=true` named ones too.
pub(super) async fn volumes(State(engine): App, Query(query): Query<PruneQuery>) -> ApiResult<Response> {
    let wish = Wish::parse(&query, &["all", "label", "label!"])?;
    let all = wish.filters.flag("all")? == Some(true);
    let chosen = engine.look(move |world| unused_volumes(world, &wish, all)).await?;
    let (mut removed, mut reclaimed) = (Vec::new(), 0);
    for name in chosen {
        let data = engine.store.layout.volume_data(&name);
        let size = blocking(move || Ok(usage::of_folder(&data))).await?;
        match actions::remove_volume(&engine, &name).await {
            Ok(()) => {
                reclaimed += size;
                removed.push(name);
            }
            // A container has it since.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    feed::pruned(&engine, Pruned::Volumes, reclaimed);
    Ok(Json(json!({ "VolumesDeleted": removed, "SpaceReclaimed": reclaimed })).into_response())
}

/// `POST /networks/prune`
pub(super) async fn networks(State(engine): App, Query(query): Query<PruneQuery>) -> ApiResult<Response> {
    let wish = Wish::parse(&query, &["until", "label", "label!"])?;
    let chosen: Vec<String> = engine
        .look(move |world| {
            let used = |name: &str| {
                let mut records = world.containers.values().flat_map(|container| &container.doc.record.networks);
                records.any(|attachment| attachment.network == name)
            };
            let unused = world.networks.values().filter(|network| !network.is_predefined() && !used(&network.name));
            let chosen = unused.filter(|network| wish.takes(network.created, &network.labels));
            chosen.map(|network| network.name.clone()).collect()
        })
        .await?;
    let mut removed = Vec::new();
    for name in chosen {
        match actions::remove_network(&engine, &name).await {
            Ok(()) => removed.push(name),
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    feed::pruned(&engine, Pruned::Networks, 0);
    Ok(Json(json!({ "NetworksDeleted": removed })).into_response())
}

/// `POST /build/prune`: the build cache.
/// With the filter `until`: what was not used since. Layers of steps, what builds downloaded, folders of cache mounts.
pub(super) async fn build(State(engine): App, Query(query): Query<BuildQuery>) -> ApiResult<Response> {
    let wish = Wish::parse(&PruneQuery { filters: query.filters }, &["until"])?;
    let now = std::time::SystemTime::now();
    let since = |until: Timestamp| u64::try_from(until.0).map(std::time::Duration::from_nanos).unwrap_or_default();
    let before = wish.until.map_or(now, |until| std::time::UNIX_EPOCH + since(until));
    let scope = Scope { cache: Some(before), ..Scope::default() };
    let state_dir = engine.store.layout.root.join("build");
    let aside = blocking(move || {
        let whole = usage::of_folder(&state_dir);
        let removed = hoist_build::prune(&state_dir, before)
            .map_err(|error| StepError::engine(format!("pruning {}: {error}", state_dir.display())))?;
        Ok((removed, whole.saturating_sub(usage::of_folder(&state_dir))))
    });
    let (removed, freed) = aside.await?;
    let collected = collect(&engine, scope).await?;
    let layers = collected.layers.iter().map(ToString::to_string);
    let names = removed.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let deleted: Vec<String> = layers.chain(names).collect();
    let reclaimed = collected.bytes + freed;
    feed::pruned(&engine, Pruned::Builder, reclaimed);
    Ok(Json(json!({ "CachesDeleted": deleted, "SpaceReclaimed": reclaimed })).into_response())
}

async fn collect(engine: &Arc<Engine>, scope: Scope) -> ApiResult<hoist_image::Collected> {
    let layers = actions::layers_in_use(engine).await?;
    let images = Arc::clone(&engine.images);
    Ok(blocking(move || Ok(images.collect(&layers, scope)?)).await?)
}
