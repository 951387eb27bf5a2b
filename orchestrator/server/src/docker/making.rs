//! Images out of archives and containers, a container's files as an archive, and what an image was made by.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use hoist_api::{HistoryEntry, IdResponse};
use hoist_engine::{Handle, Terms};
use hoist_image::{Digest, Image, Reference};
use serde::Deserialize;

use super::convert;
use super::pulling::status;
use super::streams::json_lines;
use crate::answer::{ApiError, ApiResult, App, flag};
use crate::tarballs;

/// A query in which a key may stand several times.
type Pairs = Vec<(String, String)>;

/// `named`: repository and tag.
pub(crate) fn terms(
    named: (&str, &str),
    message: String,
    author: String,
    pairs: &Pairs,
) -> ApiResult<Terms> {
    let parse = |text: &str| Reference::parse(text).map_err(|error| ApiError::invalid(&error));
    let name = match named {
        ("", _) => None,
        (repository, "") => Some(parse(repository)?),
        (repository, tag) => Some(
            parse(repository)?
                .with_tag(tag)
                .map_err(|error| ApiError::invalid(&error))?,
        ),
    };
    if name.as_ref().is_some_and(|name| name.digest().is_some()) {
        return Err(ApiError::bad("a new image cannot be named by a digest"));
    }
    // docker sends one instruction a key, or several lines in one.
    let changes = pairs
        .iter()
        .filter(|(key, _)| key == "changes")
        .flat_map(|(_, text)| text.lines());
    Ok(Terms {
        name,
        message,
        author,
        changes: changes
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// `POST /images/create?fromSrc=-`
pub(crate) async fn import(
    engine: &Handle,
    terms: Terms,
    platform: String,
    body: Body,
) -> ApiResult<Response> {
    let image = engine
        .import_image(tarballs::received(body), platform, terms)
        .await?;
    let (out, lines) = tokio::sync::mpsc::channel(1);
    // There is room for one.
    let _ = out.try_send(status(image.id.to_string()));
    Ok(json_lines(engine, lines))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommitQuery {
    container: String,
    repo: String,
    tag: String,
    comment: String,
    author: String,
    pause: String,
}

/// Clients send an empty document for no settings.
fn without_settings(body: &[u8]) -> ApiResult<()> {
    let document: Option<serde_json::Map<String, serde_json::Value>> = match body.trim_ascii() {
        [] => None,
        text => serde_json::from_slice(text)
            .map_err(|error| ApiError::bad(format!("invalid request: {error}")))?,
    };
    match document
        .iter()
        .flatten()
        .find(|(_, value)| !value.is_null())
    {
        Some((key, _)) => Err(ApiError::bad(format!(
            "{key} in the body of a commit: not supported; use the parameter `changes`"
        ))),
        None => Ok(()),
    }
}

/// `POST /commit?container=…`; the container is paused meanwhile unless `pause=0`.
pub(crate) async fn commit(
    State(engine): App,
    Query(query): Query<CommitQuery>,
    Query(pairs): Query<Pairs>,
    body: Bytes,
) -> ApiResult<(StatusCode, Json<IdResponse>)> {
    without_settings(&body)?;
    // First, so that an unknown container is what is said.
    let id = engine.container_id(&query.container).await?;
    let terms = terms(
        (&query.repo, &query.tag),
        query.comment,
        query.author,
        &pairs,
    )?;
    let pause = query.pause.is_empty() || flag(Some(&query.pause));
    let image = engine.commit(&id, terms, pause).await?;
    Ok((
        StatusCode::CREATED,
        Json(IdResponse {
            id: image.id.to_string(),
        }),
    ))
}

/// `GET /containers/{id}/export`: the files of image and container, without what is mounted over them.
pub(crate) async fn export(State(engine): App, Path(name): Path<String>) -> ApiResult<Response> {
    let export = engine.export(&name).await?;
    Ok(tarballs::written(&engine, move |out| export.write(out)))
}

/// `GET /images/{name}/history`: the latest step first.
pub(crate) fn history(engine: &Handle, image: &Image) -> Vec<HistoryEntry> {
    let sizes = engine.layer_sizes();
    let size = |layer: Option<&Digest>| {
        layer
            .and_then(|layer| sizes.get(layer))
            .map_or(0, |(size, _)| *size)
    };
    let mut layers = image.layers.iter();
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for step in &image.config.history {
        entries.push(HistoryEntry {
            id: "<missing>".to_owned(),
            created: step.created.as_deref().map_or(0, convert::seconds),
            created_by: step.created_by.clone().unwrap_or_default(),
            tags: None,
            size: if step.empty_layer {
                0
            } else {
                size(layers.next())
            },
            comment: step.comment.clone().unwrap_or_default(),
        });
    }
    // Layers that the history says nothing about.
    let silent = layers.map(|layer| HistoryEntry {
        id: "<missing>".to_owned(),
        size: size(Some(layer)),
        ..HistoryEntry::default()
    });
    entries.extend(silent);
    entries.reverse();
    match entries.first_mut() {
        Some(top) => {
            top.id = image.id.to_string();
            top.tags = Some(convert::names(&image.references)).filter(|tags| !tags.is_empty());
        }
        None => entries.push(HistoryEntry {
            id: image.id.to_string(),
            ..HistoryEntry::default()
        }),
    }
    entries
}
