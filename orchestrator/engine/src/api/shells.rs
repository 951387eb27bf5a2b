//! The shell of a failed build step: taken over by the client that was offered it, and its terminal's size.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use hoist_runtime::{Attach, Shim};
use serde::Deserialize;

use super::containers::ResizeQuery;
use super::streams::{direct, take_over};
use super::{ApiError, ApiResult, App};
use crate::actions::blocking;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SizeQuery {
    h: Option<u16>,
    w: Option<u16>,
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("no shell of a build step: {id}"))
}

pub(super) async fn attach(
    State(engine): App,
    Path(id): Path<String>,
    Query(size): Query<SizeQuery>,
    request: Request,
) -> ApiResult<Response> {
    if !engine.attachments.is_expected(&id) {
        return Err(unknown(&id));
    }
    let worker = Arc::clone(&engine);
    take_over(&engine, request, true, move |taken| async move {
        let Some(taken) = taken else { return };
        let want = Attach { stdin: true, stdout: true, stderr: true, lossless: true };
        match direct(taken).await {
            Ok(stream) => worker.attachments.add(&id, stream, want, size.h.zip(size.w)),
            Err(error) => tracing::warn!(shell = id, %error, "cannot attach"),
        }
    })
}

pub(super) async fn resize(
    State(engine): App,
    Path(id): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    // It becomes part of a path.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown(&id));
    }
    let (rows, columns) = query.size()?;
    let bundle = engine.bundle(&id);
    blocking(move || Ok(Shim::connect(&bundle)?.resize(rows, columns)?)).await?;
    Ok(StatusCode::OK)
}
