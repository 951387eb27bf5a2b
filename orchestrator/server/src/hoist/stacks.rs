//! Stacks: plan, apply, list, logs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use hoist_api::{ApplyRequest, BuildCheck, PlanResponse, StackDetail, StackSummary};
use hoist_engine::Phase;

use crate::answer::{ApiResult, App, decode};
use crate::docker::convert;
use crate::docker::streams::{LogQuery, json_lines};

pub(crate) async fn plan(State(engine): App, body: Bytes) -> ApiResult<Json<PlanResponse>> {
    Ok(Json(engine.plan(&decode(&body)?).await?))
}

pub(crate) async fn check(State(engine): App, body: Bytes) -> ApiResult<Json<Vec<BuildCheck>>> {
    Ok(Json(engine.check_builds(&decode(&body)?).await?))
}

pub(crate) async fn apply(State(engine): App, body: Bytes) -> ApiResult<Response> {
    let request: ApplyRequest = decode(&body)?;
    Ok(json_lines(&engine, engine.apply(request)))
}

fn paths(files: &[PathBuf]) -> Vec<String> {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect()
}

pub(crate) async fn list(State(engine): App) -> ApiResult<Json<Vec<StackSummary>>> {
    let listed = engine.stacks().await?.into_iter().map(|stack| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for container in &stack.containers {
            *counts.entry(container.phase.word()).or_default() += 1;
        }
        StackSummary {
            status: counts
                .iter()
                .map(|(word, n)| format!("{word}({n})"))
                .collect::<Vec<_>>()
                .join(", "),
            files: paths(&stack.applied.files),
            running: counts.get(Phase::Running.word()).copied().unwrap_or(0),
            containers: stack.containers.len(),
            name: stack.name,
        }
    });
    Ok(Json(listed.collect()))
}

pub(crate) async fn detail(
    State(engine): App,
    Path(name): Path<String>,
) -> ApiResult<Json<StackDetail>> {
    let stack = engine.stack(&name).await?;
    Ok(Json(StackDetail {
        stack: stack.applied.stack,
        project_dir: stack.applied.project_dir.display().to_string(),
        files: paths(&stack.applied.files),
        containers: stack
            .containers
            .iter()
            .map(|container| convert::summary(&engine, container))
            .collect(),
        networks: stack.networks.iter().map(convert::network).collect(),
        volumes: stack.volumes.iter().map(convert::volume).collect(),
        name: stack.name,
    }))
}

pub(crate) async fn logs(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let lines = engine.stack_logs(&name, query.wanted()?, query.services());
    Ok(json_lines(&engine, lines))
}
