//! The shell of a failed build step: taken over by the client that was offered it, and its terminal's size.

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::answer::{ApiResult, App};
use crate::docker::containers::ResizeQuery;
use crate::docker::streams::direct;
use crate::docker::takeover::take_over;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SizeQuery {
    h: Option<u16>,
    w: Option<u16>,
}

pub(crate) async fn attach(
    State(engine): App,
    Path(id): Path<String>,
    Query(size): Query<SizeQuery>,
    request: Request,
) -> ApiResult<Response> {
    engine.expects_shell(&id)?;
    let worker = engine.clone();
    take_over(&engine, request, true, move |taken| async move {
        let Some(taken) = taken else { return };
        match direct(taken).await {
            Ok(stream) => worker.take_shell(&id, stream, size.h.zip(size.w)),
            Err(error) => tracing::warn!(shell = id, %error, "cannot attach"),
        }
    })
}

pub(crate) async fn resize(
    State(engine): App,
    Path(id): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    let (rows, columns) = query.size()?;
    engine.resize_shell(&id, rows, columns).await?;
    Ok(StatusCode::OK)
}
