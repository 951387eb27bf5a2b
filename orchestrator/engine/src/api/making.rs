//! Images out of archives and containers, a container's files as an archive, and what an image was made by.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hoist_api::{HistoryEntry, IdResponse, PullLine};
use hoist_image::{Image, Reference, pack_folder};
use rustix::fs::OFlags;
use serde::Deserialize;

use super::containers::resolve;
use super::parameters::flag;
use super::streams::json_lines;
use super::{ApiError, ApiResult, App, tarballs};
use crate::actions::{StepError, announce, blocking};
use crate::engine::Engine;
use crate::error::chain;
use crate::feed::{self, OfContainer, OfImage};
use crate::lower;
use crate::making::{self, Terms};
use crate::outbox::outbox;
use crate::rootview::RootView;
use crate::still::Still;
use crate::world::Summary;

/// A query in which a key may stand several times.
type Pairs = Vec<(String, String)>;

/// `named`: repository and tag.
pub(super) fn terms(named: (&str, &str), message: String, author: String, pairs: &Pairs) -> ApiResult<Terms> {
    let parse = |text: &str| Reference::parse(text).map_err(|error| ApiError::bad(chain(&error)));
    let name = match named {
        ("", _) => None,
        (repository, "") => Some(parse(repository)?),
        (repository, tag) => Some(parse(repository)?.with_tag(tag).map_err(|error| ApiError::bad(chain(&error)))?),
    };
    if name.as_ref().is_some_and(|name| name.digest().is_some()) {
        return Err(ApiError::bad("a new image cannot be named by a digest"));
    }
    // docker sends one instruction a key, or several lines in one.
    let changes = pairs.iter().filter(|(key, _)| key == "changes").flat_map(|(_, text)| text.lines());
    Ok(Terms {
        name,
        message,
        author,
        changes: changes.filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
    })
}

/// `POST /images/create?fromSrc=-`
pub(super) async fn import(engine: &Arc<Engine>, terms: Terms, platform: String, body: Body) -> ApiResult<Response> {
    let (images, archive) = (Arc::clone(&engine.images), tarballs::received(body));
    let name = terms.name.clone();
    let image = blocking(move || making::import(&images, archive, &platform, &terms)).await?;
    named(engine, &image, name.as_ref());
    feed::image(engine, OfImage::Import, &image.id.to_string(), &image.id.to_string());
    let (out, lines) = outbox();
    out.send(PullLine { status: Some(image.id.to_string()), ..PullLine::default() });
    Ok(json_lines(engine, lines))
}

/// The new image's name; empty without one.
fn named(engine: &Engine, image: &Image, name: Option<&Reference>) -> String {
    let name = name.map(Reference::short).unwrap_or_default();
    if !name.is_empty() {
        feed::image(engine, OfImage::Tag, &image.id.to_string(), &name);
    }
    name
}

async fn summary(engine: &Engine, id: &str) -> ApiResult<Summary> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        Some(Summary { doc: Arc::clone(&container.doc), config: Arc::clone(&container.config) })
    });
    found.await?.ok_or_else(|| ApiError::no_container(id))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CommitQuery {
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
        text => serde_json::from_slice(text).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?,
    };
    match document.iter().flatten().find(|(_, value)| !value.is_null()) {
        Some((key, _)) => {
            Err(ApiError::bad(format!("{key} in the body of a commit: not supported; use the parameter `changes`")))
        }
        None => Ok(()),
    }
}

/// `POST /commit?container=…`; the container is paused meanwhile unless `pause=0`.
pub(super) async fn commit(
    State(engine): App,
    Query(query): Query<CommitQuery>,
    Query(pairs): Query<Pairs>,
    body: axum::body::Bytes,
) -> ApiResult<(StatusCode, Json<IdResponse>)> {
    without_settings(&body)?;
    let id = resolve(&engine, &query.container).await?;
    let terms = terms((&query.repo, &query.tag), query.comment, query.author, &pairs)?;
    let summary = summary(&engine, &id).await?;
    let pause = query.pause.is_empty() || flag(Some(&query.pause));
    let still = if pause { Some(Still::container(&engine, &id).await?) } else { None };
    let (images, layout) = (Arc::clone(&engine.images), engine.store.layout.clone());
    let (name, comment) = (terms.name.clone(), terms.message.clone());
    let image = blocking(move || making::commit(&images, &layout, &summary, &terms)).await;
    if let Ok(image) = &image {
        let reference = named(&engine, image, name.as_ref());
        announce(&engine, &id, OfContainer::Commit { comment, image: image.id.to_string(), reference });
    }
    drop(still);
    let image = image?;
    Ok((StatusCode::CREATED, Json(IdResponse { id: image.id.to_string() })))
}

/// `GET /containers/{id}/export`: the files of image and container, without what is mounted over them.
pub(super) async fn export(State(engine): App, Path(name): Path<String>) -> ApiResult<Response> {
    let id = resolve(&engine, &name).await?;
    let doc = summary(&engine, &id).await?.doc;
    let (images, upper) = (Arc::clone(&engine.images), engine.store.layout.upper(&id));
    let root = blocking(move || {
        let mut lowers = lower::lowers(&images, &doc)?;
        // Read as one more lower directory, so that a running container's own mount of it is not disturbed.
        if upper.exists() {
            lowers.insert(0, upper);
        }
        let opened = RootView::of_layers(&lowers)
            .and_then(|view| view.open(FilePath::new("/"), OFlags::RDONLY | OFlags::DIRECTORY));
        opened.map_err(|error| StepError::engine(format!("opening the container's files: {error}")))
    });
    let root = root.await?;
    announce(&engine, &id, OfContainer::Export);
    Ok(tarballs::written(&engine, move |out| {
        use std::os::fd::AsFd;
        pack_folder(root.as_fd(), out).map(drop).map_err(std::io::Error::other)
    }))
}

/// `GET /images/{name}/history`: the latest step first.
pub(super) fn history(engine: &Engine, image: &hoist_image::Image) -> ApiResult<Response> {
    let sizes = engine.images.layer_sizes();
    let size =
        |layer: Option<&hoist_image::Digest>| layer.and_then(|layer| sizes.get(layer)).map_or(0, |(size, _)| *size);
    let mut layers = image.layers.iter();
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for step in &image.config.history {
        entries.push(HistoryEntry {
            id: "<missing>".to_owned(),
            created: step.created.as_deref().map_or(0, super::images::seconds),
            created_by: step.created_by.clone().unwrap_or_default(),
            tags: None,
            size: if step.empty_layer { 0 } else { size(layers.next()) },
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
            top.tags = Some(super::images::names(&image.references)).filter(|tags| !tags.is_empty());
        }
        None => entries.push(HistoryEntry { id: image.id.to_string(), ..HistoryEntry::default() }),
    }
    Ok(Json(entries).into_response())
}
