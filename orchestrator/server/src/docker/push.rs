//! `POST /images/{name}/push` and `/tag`, where the name has slashes of its own.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hoist_image::Reference;
use serde::Deserialize;

use super::convert;
use super::distribution::auth_of;
use super::parameters::Unsupported;
use super::pulling::push_lines;
use crate::answer::{ApiError, ApiResult, App};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PostQuery {
    repo: String,
    tag: String,
    /// One of the platforms that a name stands for.
    #[serde(rename = "platform")]
    _platform: Unsupported,
}

pub(crate) async fn post(
    State(engine): App,
    Path(path): Path<String>,
    Query(query): Query<PostQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    match path.rsplit_once('/') {
        Some((name, "push")) => {
            let reference = parse(name, &query.tag)?;
            let auth = auth_of(&headers, &reference)?;
            Ok(push_lines(&engine, engine.push(reference, auth)?))
        }
        Some((name, "tag")) => {
            // First, so that an unknown image is what is said.
            engine.image(name, None)?;
            engine
                .tag_image(name, &parse(&query.repo, &query.tag)?)
                .await?;
            Ok(StatusCode::CREATED.into_response())
        }
        _ => Err(ApiError::not_found(format!(
            "page not found: POST /images/{path}"
        ))),
    }
}

fn parse(name: &str, tag: &str) -> ApiResult<Reference> {
    let reference = convert::parse(name)?;
    match tag {
        "" => Ok(reference),
        tag => reference
            .with_tag(tag)
            .map_err(|error| ApiError::invalid(&error)),
    }
}
