//! Containers: listing, inspecting, and the verbs on one of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use hoist_api::{ContainerInspect, TopResponse, WaitError, WaitResponse};
use hoist_object::signal;
use hoist_runtime::Shim;
use serde::Deserialize;

use super::container_list::sizes;
use super::parameters::{Unsupported, flag};
use super::{ApiError, ApiResult, App, convert};
use crate::actions::{self, StepError, blocking};
use crate::engine::Engine;
use crate::feed::OfContainer;
use crate::lower;
use crate::processes;
use crate::world::{Condition, Outcome, Phase, StartWhy};

/// The id that a client means.
pub(super) async fn resolve(engine: &Arc<Engine>, name: &str) -> ApiResult<String> {
    let wanted = name.to_owned();
    let id = engine.look(move |world| world.resolve(&wanted).map(|container| container.doc.id.clone()));
    id.await?.ok_or_else(|| ApiError::no_container(name))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InspectQuery {
    size: Option<String>,
}

pub(super) async fn inspect(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<InspectQuery>,
) -> ApiResult<Json<ContainerInspect>> {
    let (wanted, known) = (name.clone(), Arc::clone(&engine));
    let found = engine.look(move |world| {
        let container = world.resolve(&wanted)?;
        Some((convert::inspect(world, &known, container), lower::layers(&container.doc)))
    });
    let (mut found, layers) = found.await?.ok_or_else(|| ApiError::no_container(&name))?;
    if flag(query.size.as_deref()) {
        let (store, layout, id) = (Arc::clone(&engine.images), engine.store.layout.clone(), found.id.clone());
        let (own, all) = blocking(move || Ok(sizes(&store, &layout, &id, &layers))).await?;
        (found.size_rw, found.size_root_fs) = (Some(own), Some(all));
    }
    Ok(Json(found))
}

/// 304 where there is nothing to do, as docker answers.
async fn is_up(engine: &Arc<Engine>, id: &str) -> ApiResult<bool> {
    let id = id.to_owned();
    Ok(engine.look(move |world| world.containers.get(&id).is_some_and(|found| found.phase.is_up())).await?)
}

async fn is_paused(engine: &Arc<Engine>, id: &str) -> ApiResult<bool> {
    let id = id.to_owned();
    Ok(engine.look(move |world| world.containers.get(&id).is_some_and(|found| found.phase == Phase::Paused)).await?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StartQuery {
    #[serde(rename = "detachKeys")]
    _detach_keys: Unsupported,
}

pub(super) async fn start(
    State(engine): App,
    Path(name): Path<String>,
    Query(_): Query<StartQuery>,
) -> ApiResult<StatusCode> {
    let id = resolve(&engine, &name).await?;
    if is_up(&engine, &id).await? {
        return Ok(StatusCode::NOT_MODIFIED);
    }
    actions::start(&engine, &id, StartWhy::Request).await?;
    engine.store.durable(Vec::new()).await.map_err(StepError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StopQuery {
    t: Option<i64>,
    signal: Option<String>,
}

impl StopQuery {
    /// -1 waits for ever.
    fn grace(&self) -> Option<Duration> {
        self.t
            .map(|seconds| u64::try_from(seconds).map_or(Duration::from_secs(u64::from(u32::MAX)), Duration::from_secs))
    }
}

fn valid_signal(name: Option<&str>) -> ApiResult<()> {
    match name {
        Some(name) if signal::number(name).is_none() => Err(ApiError::bad(format!("invalid signal: {name}"))),
        _ => Ok(()),
    }
}

pub(super) async fn stop(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> ApiResult<StatusCode> {
    valid_signal(query.signal.as_deref())?;
    let id = resolve(&engine, &name).await?;
    let was_up = is_up(&engine, &id).await?;
    let (signal, grace) = actions::stop_terms(&engine, &id).await?;
    let signal = query.signal.clone().unwrap_or(signal);
    actions::stop(&engine, &id, &signal, query.grace().unwrap_or(grace)).await?;
    Ok(if was_up { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED })
}

pub(super) async fn restart(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> ApiResult<StatusCode> {
    valid_signal(query.signal.as_deref())?;
    let id = resolve(&engine, &name).await?;
    actions::restart(&engine, &id, query.signal.as_deref(), query.grace()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn kill(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> ApiResult<StatusCode> {
    valid_signal(query.signal.as_deref())?;
    let id = resolve(&engine, &name).await?;
    actions::kill(&engine, &id, query.signal.as_deref().unwrap_or("SIGKILL")).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(State(engine): App, Path(name): Path<String>) -> ApiResult<StatusCode> {
    let id = resolve(&engine, &name).await?;
    if is_paused(&engine, &id).await? {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {name} is already paused")));
    }
    actions::pause(&engine, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unpause(State(engine): App, Path(name): Path<String>) -> ApiResult<StatusCode> {
    let id = resolve(&engine, &name).await?;
    if !is_paused(&engine, &id).await? {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {name} is not paused")));
    }
    actions::unpause(&engine, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RemoveQuery {
    force: Option<String>,
    v: Option<String>,
    link: Option<String>,
}

pub(super) async fn remove(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<StatusCode> {
    if flag(query.link.as_deref()) {
        return Err(ApiError::bad("there are no links between containers here that could be removed"));
    }
    let id = resolve(&engine, &name).await?;
    if is_up(&engine, &id).await? && !flag(query.force.as_deref()) {
        let message = format!("cannot remove container {name}: it is running; stop it first or force its removal");
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let mut volumes = BTreeSet::new();
    if flag(query.v.as_deref()) {
        let wanted = id.clone();
        let anonymous = engine.look(move |world| {
            let container = world.containers.get(&wanted);
            container.map(|container| container.doc.anonymous.values().cloned().collect()).unwrap_or_default()
        });
        volumes = anonymous.await?;
    }
    actions::remove(&engine, &id, &volumes).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WaitQuery {
    condition: Option<String>,
}

pub(super) async fn wait(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<WaitQuery>,
) -> ApiResult<Json<WaitResponse>> {
    let condition = query.condition.as_deref().filter(|text| !text.is_empty()).unwrap_or("not-running");
    if !["not-running", "next-exit", "removed"].contains(&condition) {
        return Err(ApiError::bad(format!("invalid condition: {condition:?}")));
    }
    let id = resolve(&engine, &name).await?;
    let condition = match condition {
        "removed" => Condition::Removed,
        condition => Condition::Ended { fresh: condition == "next-exit" },
    };
    let Outcome::Exit(exit) = engine.wait(&id, condition).await? else { return Err(ApiError::no_container(&name)) };
    let exit = exit.unwrap_or_default();
    let error = (!exit.error.is_empty()).then(|| WaitError { message: exit.error.clone() });
    Ok(Json(WaitResponse { status_code: i64::from(exit.code), error }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResizeQuery {
    h: Option<String>,
    w: Option<String>,
}

impl ResizeQuery {
    /// Rows and columns.
    pub(super) fn size(&self) -> ApiResult<(u16, u16)> {
        let side = |text: &Option<String>, what: &str| {
            let text = text.as_deref().unwrap_or_default();
            text.parse().map_err(|_| ApiError::bad(format!("invalid resize {what}: {text:?}")))
        };
        Ok((side(&self.h, "height")?, side(&self.w, "width")?))
    }
}

pub(super) async fn resize(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    let (rows, columns) = query.size()?;
    let id = resolve(&engine, &name).await?;
    let wanted = id.clone();
    let found = engine
        .look(move |world| world.containers.get(&wanted).map(|found| (found.phase.has_processes(), found.config.tty)));
    match found.await? {
        Some((true, true)) => {
            let bundle = engine.bundle(&id);
            blocking(move || Ok(Shim::connect(&bundle)?.resize(rows, columns)?)).await?;
            actions::announce(&engine, &id, OfContainer::Resize { rows, columns });
        }
        // Without a terminal there is nothing to do, and docker says nothing.
        Some((true, false)) => {}
        _ => return Err(ApiError::new(StatusCode::CONFLICT, format!("container {name} is not running"))),
    }
    Ok(StatusCode::OK)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TopQuery {
    /// Options of ps.
    ps_args: String,
}

pub(super) async fn top(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<TopQuery>,
) -> ApiResult<Json<TopResponse>> {
    let form = processes::Form::parse(&query.ps_args).map_err(|error| ApiError::bad(error.to_string()))?;
    let id = resolve(&engine, &name).await?;
    if !is_up(&engine, &id).await? {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {name} is not running")));
    }
    let (runtime, listed) = (Arc::clone(&engine.runtime), id.clone());
    let pids = blocking(move || {
        runtime.processes(&listed).map_err(|error| StepError::new(format!("listing its processes: {error}")))
    });
    let top = processes::top(&pids.await?, &form);
    actions::announce(&engine, &id, OfContainer::Top);
    Ok(Json(top))
}
