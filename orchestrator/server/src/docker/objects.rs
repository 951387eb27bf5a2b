//! Networks and volumes.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use hoist_api::{NetworkInspect, VolumeCreate, VolumeInspect, VolumeList};
use serde::Deserialize;

use super::convert;
use super::filters::Filters;
use super::parameters::Moot;
use crate::answer::{ApiError, ApiResult, App, decode, flag};

const OF_NETWORKS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
const OF_VOLUMES: [&str; 4] = ["dangling", "driver", "label", "name"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListQuery {
    filters: Option<String>,
}

pub(crate) async fn networks(
    State(engine): App,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Vec<NetworkInspect>>> {
    let filters = Filters::parse(query.filters.as_deref(), &OF_NETWORKS)?;
    filters.one_of("type", &["builtin", "custom"])?;
    let dangling = filters.flag("dangling")?;
    let (names, ids) = (filters.patterns("name")?, filters.patterns("id")?);
    let known = engine.networks().await?;
    let used = |name: &str| {
        known
            .iter()
            .any(|network| network.doc.name == name && network.used)
    };
    let wanted = known
        .iter()
        .map(convert::network)
        .chain(convert::nominal(&known))
        .filter(|network| {
            let predefined = convert::is_predefined(&network.name);
            let unused = !predefined && !used(&network.name);
            filters.labels(&network.labels)
                && names.fit(&network.name)
                && ids.fit(&network.id)
                && filters.any("driver", |driver| driver == network.driver)
                && filters.any("scope", |scope| scope == network.scope)
                && filters.any("type", |kind| (kind == "builtin") == predefined)
                && dangling.is_none_or(|wanted| wanted == unused)
        });
    Ok(Json(wanted.collect()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkQuery {
    scope: String,
    /// It is about services of a swarm.
    #[serde(rename = "verbose")]
    _verbose: Moot,
}

pub(crate) async fn network(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<NetworkQuery>,
) -> ApiResult<Json<NetworkInspect>> {
    let found = match engine.network(&name).await? {
        Some(found) => Some(convert::network(&found)),
        None => {
            // By its name, or by the beginning of its id.
            let known = engine.networks().await?;
            let by_id = |found: &NetworkInspect| !name.is_empty() && found.id.starts_with(&name);
            convert::nominal(&known)
                .find(|found| found.name == name)
                .or_else(|| convert::nominal(&known).find(by_id))
        }
    };
    let found = found.filter(|network| query.scope.is_empty() || query.scope == network.scope);
    let mut network =
        found.ok_or_else(|| ApiError::not_found(format!("network {name} not found")))?;
    let rules = engine.foreign_rules();
    if !rules.is_empty() {
        network
            .options
            .insert("io.hoist.accepted-in".to_owned(), rules.join(", "));
    }
    Ok(Json(network))
}

pub(crate) async fn remove_network(
    State(engine): App,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    engine.remove_network(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn volumes(
    State(engine): App,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<VolumeList>> {
    let filters = Filters::parse(query.filters.as_deref(), &OF_VOLUMES)?;
    let (dangling, names) = (filters.flag("dangling")?, filters.patterns("name")?);
    let all = engine.volumes().await?;
    let wanted = all.iter().filter(|volume| {
        filters.labels(&volume.doc.labels)
            && names.fit(&volume.doc.name)
            && filters.any("driver", |driver| driver == "local")
            && dangling.is_none_or(|wanted| wanted == (volume.users == 0))
    });
    Ok(Json(VolumeList {
        volumes: wanted.map(convert::volume).collect(),
        warnings: Vec::new(),
    }))
}

pub(crate) async fn volume(
    State(engine): App,
    Path(name): Path<String>,
) -> ApiResult<Json<VolumeInspect>> {
    Ok(Json(convert::volume(&engine.volume(&name).await?)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RemoveQuery {
    force: Option<String>,
}

pub(crate) async fn remove_volume(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<StatusCode> {
    engine
        .remove_volume(&name, flag(query.force.as_deref()))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /volumes/create`. One that is there already is answered as it is, as docker does.
pub(crate) async fn create_volume(
    State(engine): App,
    body: Bytes,
) -> ApiResult<(StatusCode, Json<VolumeInspect>)> {
    let wanted: VolumeCreate = decode(&body)?;
    if !matches!(wanted.driver.as_str(), "" | "local") {
        let message = format!(
            "volume driver {:?} not found: hoist has the driver \"local\" only",
            wanted.driver
        );
        return Err(ApiError::not_found(message));
    }
    let (options, labels) = (
        wanted.driver_opts.unwrap_or_default(),
        wanted.labels.unwrap_or_default(),
    );
    let volume = engine.create_volume(wanted.name, options, labels).await?;
    Ok((StatusCode::CREATED, Json(convert::volume(&volume))))
}
