//! Volumes and whole stacks on their way out of this engine and into it, as archives.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use hoist_api::BundleRequest;
use serde::Deserialize;

use crate::answer::{ApiResult, App, flag};
use crate::docker::streams::json_lines;
use crate::tarballs;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExportQuery {
    live: Option<String>,
}

/// Names of the containers that are paused while the archive is read.
const PAUSED: &str = "x-hoist-paused";

/// `GET /hoist/v1/volumes/{name}/export`
pub(crate) async fn export_volume(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let export = engine
        .export_volume(&name, flag(query.live.as_deref()))
        .await?;
    let paused = export.paused.join(",");
    let mut response = tarballs::written(&engine, move |out| export.write(out));
    if let Ok(value) = HeaderValue::from_str(&paused) {
        response.headers_mut().insert(PAUSED, value);
    }
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ImportQuery {
    replace: Option<String>,
}

/// `POST /hoist/v1/volumes/{name}/import`: the archive becomes the volume's content, all of it or nothing.
pub(crate) async fn import_volume(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    engine
        .import_volume(
            &name,
            tarballs::received(body),
            flag(query.replace.as_deref()),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /hoist/v1/bundles/save`
pub(crate) async fn save_bundle(
    State(engine): App,
    Json(request): Json<BundleRequest>,
) -> ApiResult<Response> {
    let (frames, response) = tarballs::Frames::new(&engine);
    engine.save_bundle(request, frames);
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadQuery {
    mounted: Option<String>,
}

/// `POST /hoist/v1/bundles/load?mounted=`
pub(crate) async fn load_bundle(
    State(engine): App,
    Query(query): Query<LoadQuery>,
    body: Body,
) -> ApiResult<Response> {
    let events = engine.load_bundle(tarballs::received(body), flag(query.mounted.as_deref()));
    Ok(json_lines(&engine, events))
}
