//! Containers: inspecting, and the verbs on one of them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use hoist_api::{ContainerInspect, TopResponse, WaitError, WaitResponse};
use hoist_engine::Until;
use serde::Deserialize;

use super::convert;
use super::parameters::Unsupported;
use crate::answer::{ApiError, ApiResult, App, flag};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InspectQuery {
    size: Option<String>,
}

pub(crate) async fn inspect(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<InspectQuery>,
) -> ApiResult<Json<ContainerInspect>> {
    let container = engine.container(&name).await?;
    let mut found = convert::inspect(&engine, &container);
    if flag(query.size.as_deref()) {
        let sizes = engine
            .container_sizes(vec![container.id_and_layers()])
            .await?;
        if let Some(sizes) = sizes.first() {
            (found.size_rw, found.size_root_fs) = (Some(sizes.own), Some(sizes.all));
        }
    }
    Ok(Json(found))
}

/// 304 where there was nothing to do, as docker answers.
fn changed(changed: bool) -> StatusCode {
    if changed {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_MODIFIED
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StartQuery {
    #[serde(rename = "detachKeys")]
    _detach_keys: Unsupported,
}

pub(crate) async fn start(
    State(engine): App,
    Path(name): Path<String>,
    Query(_): Query<StartQuery>,
) -> ApiResult<StatusCode> {
    Ok(changed(engine.start(&name).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StopQuery {
    t: Option<i64>,
    signal: Option<String>,
}

impl StopQuery {
    /// -1 waits for ever.
    fn grace(&self) -> Option<Duration> {
        self.t.map(|seconds| {
            u64::try_from(seconds).map_or(
                Duration::from_secs(u64::from(u32::MAX)),
                Duration::from_secs,
            )
        })
    }
}

pub(crate) async fn stop(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> ApiResult<StatusCode> {
    Ok(changed(
        engine
            .stop(&name, query.signal.as_deref(), query.grace())
            .await?,
    ))
}

pub(crate) async fn restart(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> ApiResult<StatusCode> {
    engine
        .restart(&name, query.signal.as_deref(), query.grace())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn kill(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> ApiResult<StatusCode> {
    engine.kill(&name, query.signal.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn pause(State(engine): App, Path(name): Path<String>) -> ApiResult<StatusCode> {
    engine.pause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn unpause(State(engine): App, Path(name): Path<String>) -> ApiResult<StatusCode> {
    engine.unpause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RemoveQuery {
    force: Option<String>,
    v: Option<String>,
    link: Option<String>,
}

pub(crate) async fn remove(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<StatusCode> {
    if flag(query.link.as_deref()) {
        return Err(ApiError::bad(
            "there are no links between containers here that could be removed",
        ));
    }
    engine
        .remove_container(
            &name,
            flag(query.force.as_deref()),
            flag(query.v.as_deref()),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WaitQuery {
    condition: Option<String>,
}

pub(crate) async fn wait(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<WaitQuery>,
) -> ApiResult<Json<WaitResponse>> {
    let until = match query.condition.as_deref().unwrap_or_default() {
        "" | "not-running" => Until::NotRunning,
        "next-exit" => Until::NextExit,
        "removed" => Until::Removed,
        other => return Err(ApiError::bad(format!("invalid condition: {other:?}"))),
    };
    let exit = engine.wait(&name, until).await?;
    let error = (!exit.error.is_empty()).then(|| WaitError {
        message: exit.error.clone(),
    });
    Ok(Json(WaitResponse {
        status_code: i64::from(exit.code),
        error,
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResizeQuery {
    h: Option<String>,
    w: Option<String>,
}

impl ResizeQuery {
    /// Rows and columns.
    pub(crate) fn size(&self) -> ApiResult<(u16, u16)> {
        let side = |text: &Option<String>, what: &str| {
            let text = text.as_deref().unwrap_or_default();
            text.parse()
                .map_err(|_| ApiError::bad(format!("invalid resize {what}: {text:?}")))
        };
        Ok((side(&self.h, "height")?, side(&self.w, "width")?))
    }
}

pub(crate) async fn resize(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    let (rows, columns) = query.size()?;
    engine.resize(&name, rows, columns).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TopQuery {
    /// Options of ps.
    ps_args: String,
}

pub(crate) async fn top(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<TopQuery>,
) -> ApiResult<Json<TopResponse>> {
    let listed = engine.processes(&name, &query.ps_args).await?;
    Ok(Json(TopResponse {
        titles: listed.titles,
        processes: listed.rows,
    }))
}
