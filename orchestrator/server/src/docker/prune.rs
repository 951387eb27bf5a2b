//! Removing what nothing uses, with docker's filters and answers.

use axum::Json;
use axum::extract::{Query, State};
use hoist_api::ImageDelete;
use hoist_engine::{Unused, moment, now};
use hoist_object::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::Filters;
use super::images::deleted;
use super::parameters::{Moot, Unsupported};
use crate::answer::{ApiError, ApiResult, App};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PruneQuery {
    filters: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct BuildQuery {
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
    fn parse(filters: Option<&str>, known: &[&str]) -> ApiResult<Self> {
        let filters = Filters::parse(filters, known)?;
        let until = match filters.get("until") {
            None => None,
            Some([text]) => Some(
                moment(text, now())
                    .ok_or_else(|| ApiError::bad(format!("until={text} is no time")))?,
            ),
            Some(_) => return Err(ApiError::bad("more than one until filter")),
        };
        Ok(Self { filters, until })
    }

    /// By `until`, `label` and `label!`.
    fn unused(self) -> Unused {
        let Self { filters, until } = self;
        Box::new(move |created, labels| {
            until.is_none_or(|until| created < until) && filters.labels(labels)
        })
    }
}

/// `POST /containers/prune`
pub(crate) async fn containers(
    State(engine): App,
    Query(query): Query<PruneQuery>,
) -> ApiResult<Json<Value>> {
    let wish = Wish::parse(query.filters.as_deref(), &["until", "label", "label!"])?;
    let pruned = engine.prune_containers(wish.unused()).await?;
    Ok(Json(
        json!({ "ContainersDeleted": pruned.removed, "SpaceReclaimed": pruned.bytes }),
    ))
}

/// `POST /images/prune`; `dangling=false`: images with names too.
pub(crate) async fn images(
    State(engine): App,
    Query(query): Query<PruneQuery>,
) -> ApiResult<Json<Value>> {
    let wish = Wish::parse(
        query.filters.as_deref(),
        &["dangling", "until", "label", "label!"],
    )?;
    let named_too = wish.filters.flag("dangling")? == Some(false);
    let pruned = engine.prune_images(named_too, wish.unused()).await?;
    let layers = pruned.layers.iter().map(|id| ImageDelete {
        untagged: None,
        deleted: Some(id.to_string()),
    });
    let gone: Vec<ImageDelete> = pruned
        .removed
        .iter()
        .flat_map(deleted)
        .chain(layers)
        .collect();
    Ok(Json(
        json!({ "ImagesDeleted": gone, "SpaceReclaimed": pruned.bytes }),
    ))
}

/// `POST /volumes/prune`; anonymous ones, with `all=true` named ones too.
pub(crate) async fn volumes(
    State(engine): App,
    Query(query): Query<PruneQuery>,
) -> ApiResult<Json<Value>> {
    let wish = Wish::parse(query.filters.as_deref(), &["all", "label", "label!"])?;
    let all = wish.filters.flag("all")? == Some(true);
    let pruned = engine.prune_volumes(all, wish.unused()).await?;
    Ok(Json(
        json!({ "VolumesDeleted": pruned.removed, "SpaceReclaimed": pruned.bytes }),
    ))
}

/// `POST /networks/prune`
pub(crate) async fn networks(
    State(engine): App,
    Query(query): Query<PruneQuery>,
) -> ApiResult<Json<Value>> {
    let wish = Wish::parse(query.filters.as_deref(), &["until", "label", "label!"])?;
    let pruned = engine.prune_networks(wish.unused()).await?;
    Ok(Json(json!({ "NetworksDeleted": pruned.removed })))
}

/// `POST /build/prune`: the build cache; with the filter `until`: what was not used since.
pub(crate) async fn build(
    State(engine): App,
    Query(query): Query<BuildQuery>,
) -> ApiResult<Json<Value>> {
    let wish = Wish::parse(query.filters.as_deref(), &["until"])?;
    let pruned = engine.prune_builds(wish.until).await?;
    Ok(Json(
        json!({ "CachesDeleted": pruned.removed, "SpaceReclaimed": pruned.bytes }),
    ))
}
