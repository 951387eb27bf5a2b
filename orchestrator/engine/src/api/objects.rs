//! Networks and volumes.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::containers::flag;
use super::system::Filters;
use super::types::{NetworkInspect, VolumeInspect, VolumeList};
use super::{ApiError, ApiResult, App, convert};
use crate::actions::{self, StepError};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    filters: Option<String>,
}

pub(super) async fn networks(
    State(engine): App,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Vec<NetworkInspect>>> {
    let filters = Filters::parse(query.filters.as_deref())?;
    let listed = engine.look(move |world| {
        let wanted = world.networks.values().filter(|network| {
            filters.labels(&network.labels)
                && filters.any("name", |name| network.name.contains(name))
                && filters.any("id", |id| network.id.starts_with(id))
        });
        wanted.map(|network| convert::network(world, network)).collect()
    });
    Ok(Json(listed.await?))
}

fn no_network(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("network {name} not found"))
}

pub(super) async fn network(State(engine): App, Path(name): Path<String>) -> ApiResult<Json<NetworkInspect>> {
    let wanted = name.clone();
    let found = engine.look(move |world| Some(convert::network(world, world.network(&wanted)?)));
    let mut network = found.await?.ok_or_else(|| no_network(&name))?;
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
    let real = real.await?.ok_or_else(|| no_network(&name))?;
    actions::remove_network(&engine, &real).await?;
    engine.store.durable().await.map_err(StepError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn volumes(State(engine): App, Query(query): Query<ListQuery>) -> ApiResult<Json<VolumeList>> {
    let filters = Filters::parse(query.filters.as_deref())?;
    let layout = engine.store.layout.clone();
    let listed = engine.look(move |world| {
        let wanted = world
            .volumes
            .values()
            .filter(|volume| filters.labels(&volume.labels) && filters.any("name", |name| volume.name.contains(name)));
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
    engine.store.durable().await.map_err(StepError::from)?;
    Ok(StatusCode::NO_CONTENT)
}
