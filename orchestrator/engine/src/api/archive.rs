//! `cp`: a tar stream out of or into a container, running or not.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use serde::Deserialize;

use super::containers::resolve;
use super::{ApiError, ApiResult, App, tarballs};
use crate::actions::{StepError, blocking};
use crate::archive::{self, PathStat};
use crate::engine::Engine;
use crate::rootview::RootView;
use crate::world::Phase;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ArchiveQuery {
    path: String,
}

/// The container's root: through its init while it runs, else its layers mounted for the moment.
async fn view(engine: &Arc<Engine>, name: &str) -> ApiResult<RootView> {
    let id = resolve(engine, name).await?;
    let wanted = id.clone();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        Some((container.phase.clone(), container.pid, Arc::clone(&container.doc)))
    });
    let (phase, pid, doc) = found.await?.ok_or_else(|| ApiError::no_container(name))?;
    if phase == Phase::Starting {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {name} is being started")));
    }
    let worker = Arc::clone(engine);
    let opened = blocking(move || {
        let failed = |error: std::io::Error| StepError::engine(format!("opening the container's files: {error}"));
        if let Some(pid) = pid {
            return RootView::of_process(pid).map_err(failed);
        }
        let layout = &worker.store.layout;
        let lowers = worker.images.lowers_of(&doc.layers)?;
        let (upper, work) = (layout.upper(&doc.id), layout.work(&doc.id));
        for folder in [&upper, &work] {
            crate::store::make_folder(folder).map_err(failed)?;
        }
        RootView::of_container(&lowers, &upper, &work).map_err(failed)
    });
    Ok(opened.await?)
}

fn path_error(path: &str, error: &std::io::Error) -> StepError {
    let status = match error.kind() {
        std::io::ErrorKind::NotFound => 404,
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::InvalidInput => 400,
        // Without an error of the system's it is what the archive says.
        _ if error.raw_os_error().is_none() && error.get_ref().is_some() => 400,
        _ => 500,
    };
    let what = if status == 404 {
        format!("could not find the file {path} in the container")
    } else {
        format!("{path}: {error}")
    };
    StepError { status, ..StepError::new(what) }
}

fn stat_header(stat: &PathStat) -> ApiResult<HeaderValue> {
    let text = serde_json::to_string(stat).unwrap_or_default();
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    HeaderValue::from_str(&encoded).map_err(|error| ApiError::bad(error.to_string()))
}

const STAT: &str = "x-docker-container-path-stat";

pub(super) async fn head(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> ApiResult<Response> {
    let view = view(&engine, &name).await?;
    let path = PathBuf::from(&query.path);
    let stat = blocking(move || archive::stat(&view, &path).map_err(|error| path_error(&query.path, &error))).await?;
    Ok(([(STAT, stat_header(&stat)?)], StatusCode::OK).into_response())
}

pub(super) async fn get(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> ApiResult<Response> {
    let view = view(&engine, &name).await?;
    let path = PathBuf::from(&query.path);
    let (view, stat) = blocking(move || {
        let stat = archive::stat(&view, &path).map_err(|error| path_error(&query.path, &error))?;
        Ok((view, (stat, path)))
    })
    .await?;
    let (stat, path) = stat;
    let mut response = tarballs::written(&engine, move |out| archive::pack(&view, &path, out));
    response.headers_mut().insert(STAT, stat_header(&stat)?);
    Ok(response)
}

pub(super) async fn put(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    let view = view(&engine, &name).await?;
    let archive = tarballs::received(body);
    let path = PathBuf::from(&query.path);
    blocking(move || archive::unpack(&view, &path, archive).map_err(|error| path_error(&query.path, &error))).await?;
    Ok(StatusCode::OK)
}
