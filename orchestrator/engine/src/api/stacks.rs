//! Stacks: plan, apply, list, logs.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use hoist_api::{ApplyRequest, BuildCheck, PlanResponse, StackDetail, StackSummary};
use tracing::Instrument as _;

use super::streams::{LogQuery, json_lines};
use super::{ApiError, ApiResult, App, convert};
use crate::execute;
use crate::logs;
use crate::outbox::outbox;
use crate::world::{Phase, World};

/// Docker's clients and ours send the type, but nobody should have to.
fn decode(body: &[u8]) -> ApiResult<ApplyRequest> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))
}

pub(super) async fn plan(State(engine): App, body: axum::body::Bytes) -> ApiResult<Json<PlanResponse>> {
    Ok(Json(execute::preview(&engine, &decode(&body)?).await?))
}

pub(super) async fn check(State(engine): App, body: axum::body::Bytes) -> ApiResult<Json<Vec<BuildCheck>>> {
    Ok(Json(crate::build::check(&engine, &decode(&body)?).await?))
}

pub(super) async fn apply(State(engine): App, body: axum::body::Bytes) -> ApiResult<Response> {
    let request = decode(&body)?;
    let (out, lines) = outbox();
    let worker = std::sync::Arc::clone(&engine);
    // In a task of its own: a client that leaves does not stop it half way, but for builds.
    tokio::spawn(async move { execute::apply(&worker, request, out).await }.in_current_span());
    Ok(json_lines(&engine, lines))
}

fn projects(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world.stacks.keys().cloned().collect();
    names.extend(world.containers.values().map(|container| container.doc.record.project.clone()));
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

pub(super) async fn list(State(engine): App) -> ApiResult<Json<Vec<StackSummary>>> {
    let listed = engine.look(|world| {
        projects(world)
            .into_iter()
            .map(|name| {
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                for container in world.containers.values().filter(|found| found.doc.record.project == name) {
                    *counts.entry(container.phase.word()).or_default() += 1;
                }
                let files = world.stacks.get(&name).map(|stack| &stack.files);
                let files = files.into_iter().flatten().map(|file| file.display().to_string());
                StackSummary {
                    status: counts.iter().map(|(word, n)| format!("{word}({n})")).collect::<Vec<_>>().join(", "),
                    files: files.collect(),
                    running: counts.get(Phase::Running.word()).copied().unwrap_or(0),
                    containers: counts.values().sum(),
                    name,
                }
            })
            .collect()
    });
    Ok(Json(listed.await?))
}

pub(super) async fn detail(State(engine): App, Path(name): Path<String>) -> ApiResult<Json<StackDetail>> {
    let (wanted, layout) = (name.clone(), engine.store.layout.clone());
    let found = engine.look(move |world| {
        let name = projects(world).into_iter().find(|project| *project == wanted)?;
        let stack = world.stacks.get(&name).cloned().unwrap_or_default();
        let containers = world.containers.values().filter(|container| container.doc.record.project == name);
        let networks = world.networks.values().filter(|network| network.project == name);
        let volumes = world.volumes.values().filter(|volume| volume.project == name && !volume.anonymous);
        Some(StackDetail {
            stack: stack.stack,
            project_dir: stack.project_dir.display().to_string(),
            files: stack.files.iter().map(|file| file.display().to_string()).collect(),
            containers: containers.map(|container| convert::summary(world, &layout, container)).collect(),
            networks: networks.map(|network| convert::network(world, network)).collect(),
            volumes: volumes.map(|volume| convert::volume(&layout, volume)).collect(),
            name,
        })
    });
    found.await?.map(Json).ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("no such stack: {name}")))
}

pub(super) async fn logs(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let wanted = query.wanted()?;
    let lines = logs::stack(&engine, &name, wanted, query.services());
    Ok(json_lines(&engine, lines))
}
