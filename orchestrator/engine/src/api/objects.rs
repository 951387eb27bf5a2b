//! Networks and volumes.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use hoist_api::{ErrorKind, NetworkInspect, VolumeCreate, VolumeInspect, VolumeList};
use hoist_object::VolumeDoc;
use hoist_scheduler::volume_hash;
use hoist_spec::model::Volume;
use serde::Deserialize;

use super::filters::Filters;
use super::parameters::{Moot, flag};
use super::prune::has_volume;
use super::{ApiError, ApiResult, App, convert};
use crate::actions::{self, StepError};
use crate::engine::{new_id, now};
use crate::volumes;

const OF_NETWORKS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
const OF_VOLUMES: [&str; 4] = ["dangling", "driver", "label", "name"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    filters: Option<String>,
}

pub(super) async fn networks(
    State(engine): App,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Vec<NetworkInspect>>> {
    let filters = Filters::parse(query.filters.as_deref(), &OF_NETWORKS)?;
    filters.one_of("type", &["builtin", "custom"])?;
    let dangling = filters.flag("dangling")?;
    let (names, ids) = (filters.patterns("name")?, filters.patterns("id")?);
    let listed = engine.look(move |world| {
        let used: BTreeSet<&String> = world
            .containers
            .values()
            .flat_map(|container| &container.doc.record.networks)
            .map(|attachment| &attachment.network)
            .collect();
        let made = world.networks.values().map(|network| convert::network(world, network));
        let wanted = made.chain(convert::nominal(world)).filter(|network| {
            let predefined = convert::is_predefined(&network.name);
            let unused = !predefined && !used.contains(&network.name);
            filters.labels(&network.labels)
                && names.fit(&network.name)
                && ids.fit(&network.id)
                && filters.any("driver", |driver| driver == network.driver)
                && filters.any("scope", |scope| scope == network.scope)
                && filters.any("type", |kind| (kind == "builtin") == predefined)
                && dangling.is_none_or(|wanted| wanted == unused)
        });
        wanted.collect()
    });
    Ok(Json(listed.await?))
}

/// About a name that no network of the engine has.
pub(super) fn no_network(name: &str) -> ApiError {
    if convert::is_predefined(name) {
        let text = format!("{name} is a pre-defined network: containers are on it by their network_mode alone");
        return ApiError::new(StatusCode::FORBIDDEN, text);
    }
    missing_network(name)
}

fn missing_network(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("network {name} not found"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkQuery {
    scope: String,
    /// It is about services of a swarm.
    #[serde(rename = "verbose")]
    _verbose: Moot,
}

pub(super) async fn network(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<NetworkQuery>,
) -> ApiResult<Json<NetworkInspect>> {
    let wanted = name.clone();
    let found = engine.look(move |world| convert::find_network(world, &wanted)).await?;
    let found = found.filter(|network| query.scope.is_empty() || query.scope == network.scope);
    let mut network = found.ok_or_else(|| missing_network(&name))?;
    // Rules of ours that stand in other people's tables for the sake of all networks.
    let accepts = engine.net.foreign_accepts().into_iter();
    let accepts: Vec<_> = accepts.map(|accept| format!("{} {} ({})", accept.table, accept.chain, accept.why)).collect();
    if !accepts.is_empty() {
        network.options.insert("io.hoist.accepted-in".to_owned(), accepts.join(", "));
    }
    Ok(Json(network))
}

pub(super) async fn remove_network(State(engine): App, Path(name): Path<String>) -> ApiResult<StatusCode> {
    let wanted = name.clone();
    let real = engine.look(move |world| world.network(&wanted).map(|network| network.name.clone()));
    let real = real.await?;
    if let Some(name) = real.iter().chain([&name]).find(|name| convert::is_predefined(name)) {
        let text = format!("{name} is a pre-defined network and cannot be removed");
        return Err(ApiError::new(StatusCode::FORBIDDEN, text));
    }
    let real = real.ok_or_else(|| no_network(&name))?;
    actions::remove_network(&engine, &real).await.map_err(|error| match error.kind {
        // Docker's status for one that is in use.
        ErrorKind::Conflict => ApiError::new(StatusCode::FORBIDDEN, error.message),
        _ => error.into(),
    })?;
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn volumes(State(engine): App, Query(query): Query<ListQuery>) -> ApiResult<Json<VolumeList>> {
    let filters = Filters::parse(query.filters.as_deref(), &OF_VOLUMES)?;
    let (dangling, names) = (filters.flag("dangling")?, filters.patterns("name")?);
    let layout = engine.store.layout.clone();
    let listed = engine.look(move |world| {
        let used = |name: &str| world.containers.values().any(|container| has_volume(&container.doc, name));
        let wanted = world.volumes.values().filter(|volume| {
            filters.labels(&volume.labels)
                && names.fit(&volume.name)
                && filters.any("driver", |driver| driver == "local")
                && dangling.is_none_or(|wanted| wanted != used(&volume.name))
        });
        wanted.map(|volume| convert::volume(&layout, volume)).collect()
    });
    Ok(Json(VolumeList { volumes: listed.await?, warnings: Vec::new() }))
}

pub(super) fn no_volume(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("get {name}: no such volume"))
}

pub(super) async fn volume(State(engine): App, Path(name): Path<String>) -> ApiResult<Json<VolumeInspect>> {
    let (wanted, layout) = (name.clone(), engine.store.layout.clone());
    let found = engine.look(move |world| Some(convert::volume(&layout, world.volumes.get(&wanted)?)));
    found.await?.map(Json).ok_or_else(|| no_volume(&name))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RemoveQuery {
    force: Option<String>,
}

pub(super) async fn remove_volume(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<StatusCode> {
    let wanted = name.clone();
    let known = engine.look(move |world| world.volumes.contains_key(&wanted)).await?;
    if !known && !flag(query.force.as_deref()) {
        return Err(no_volume(&name));
    }
    actions::remove_volume(&engine, &name).await?;
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /volumes/create`. One that is there already is answered as it is, as docker does.
pub(super) async fn create_volume(
    State(engine): App,
    body: axum::body::Bytes,
) -> ApiResult<(StatusCode, Json<VolumeInspect>)> {
    let wanted: VolumeCreate =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?;
    if !matches!(wanted.driver.as_str(), "" | "local") {
        let message = format!("volume driver {:?} not found: hoist has the driver \"local\" only", wanted.driver);
        return Err(ApiError::new(StatusCode::NOT_FOUND, message));
    }
    let anonymous = wanted.name.is_empty();
    let name = if anonymous { new_id() } else { wanted.name };
    volumes::check_name(&name).map_err(|error| ApiError::bad(error.to_string()))?;
    let driver_opts = wanted.driver_opts.unwrap_or_default();
    let options = driver_opts.clone();
    let volume = VolumeDoc {
        config_hash: volume_hash(&Volume { driver_opts: options, ..Volume::default() }),
        name: name.clone(),
        created: now(),
        anonymous,
        driver_opts,
        labels: wanted.labels.unwrap_or_default(),
        ..VolumeDoc::default()
    };
    let known = {
        let name = name.clone();
        engine.look(move |world| world.volumes.get(&name).map(|volume| volume.driver_opts.clone())).await?
    };
    match known {
        Some(options) if !volume.driver_opts.is_empty() && options != volume.driver_opts => {
            return Err(ApiError::new(StatusCode::CONFLICT, format!("volume {name} exists with other options")));
        }
        Some(_) => {}
        None => actions::make_volume(&engine, volume).await?,
    }
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    let layout = engine.store.layout.clone();
    let wanted = name.clone();
    let found = engine.look(move |world| Some(convert::volume(&layout, world.volumes.get(&wanted)?)));
    Ok((StatusCode::CREATED, Json(found.await?.ok_or_else(|| no_volume(&name))?)))
}
