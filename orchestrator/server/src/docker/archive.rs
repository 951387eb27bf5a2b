//! `cp`: a tar stream out of or into a container, running or not.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use hoist_engine::{Held, PathStat};
use serde::{Deserialize, Serialize};

use crate::answer::{ApiError, ApiResult, App, flag};
use crate::tarballs;

/// Docker's, and what hoist's own client asks for beside them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ArchiveQuery {
    path: String,
    #[serde(rename = "noOverwriteDirNonDir")]
    no_exchange: Option<String>,
    /// What is copied becomes the container's user's.
    #[serde(rename = "copyUIDGID")]
    to_user: Option<String>,
    /// hoist's: what the path's link leads to.
    follow: Option<String>,
    /// hoist's: what the archive holds; it goes where `cp` puts that, not necessarily into the path.
    holds: Option<Held>,
}

/// Docker's stat document of a path.
#[derive(Debug, Serialize)]
struct Stat<'a> {
    name: &'a str,
    size: i64,
    mode: u32,
    mtime: &'a str,
    #[serde(rename = "linkTarget")]
    link_target: &'a str,
}

fn stat_header(stat: &PathStat) -> ApiResult<HeaderValue> {
    let PathStat {
        name,
        size,
        mode,
        mtime,
        link_target,
    } = stat;
    let text = serde_json::to_string(&Stat {
        name,
        size: *size,
        mode: *mode,
        mtime,
        link_target,
    })
    .unwrap_or_default();
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    HeaderValue::from_str(&encoded).map_err(|error| ApiError::bad(error.to_string()))
}

const STAT: &str = "x-docker-container-path-stat";

pub(crate) async fn head(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> ApiResult<Response> {
    let files = engine.files(&name).await?;
    let stat = files
        .stat(query.path, flag(query.follow.as_deref()))
        .await?;
    Ok(([(STAT, stat_header(&stat)?)], StatusCode::OK).into_response())
}

pub(crate) async fn get(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> ApiResult<Response> {
    let files = engine.files(&name).await?;
    let found = files
        .find(query.path, flag(query.follow.as_deref()))
        .await?;
    let stat = stat_header(&found.stat)?;
    let mut response = tarballs::written(&engine, move |out| found.write(out));
    response.headers_mut().insert(STAT, stat);
    Ok(response)
}

pub(crate) async fn put(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    let files = engine.files(&name).await?;
    let (archive, to_user) = (tarballs::received(body), flag(query.to_user.as_deref()));
    match query.holds {
        Some(held) => files.copy_in(query.path, archive, held, to_user).await?,
        None => {
            files
                .unpack(
                    query.path,
                    archive,
                    !flag(query.no_exchange.as_deref()),
                    to_user,
                )
                .await?
        }
    }
    Ok(StatusCode::OK)
}
