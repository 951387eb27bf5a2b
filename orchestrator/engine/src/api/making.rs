//! Images out of archives and containers, a container's files as an archive, and what an image was made by.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hoist_api::{HistoryEntry, IdResponse, PullLine};
use hoist_image::{Reference, pack_folder};
use rustix::fs::OFlags;

use super::containers::{flag, resolve};
use super::streams::json_lines;
use super::{ApiError, ApiResult, App, tarballs};
use crate::actions::{StepError, blocking};
use crate::engine::Engine;
use crate::error::chain;
use crate::feed;
use crate::lower;
use crate::making::{self, Terms};
use crate::outbox::outbox;
use crate::rootview::RootView;
use crate::still::Still;
use crate::world::Summary;

/// A query in which a key may stand several times.
type Pairs = Vec<(String, String)>;

fn value<'a>(pairs: &'a Pairs, key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn terms(pairs: &Pairs, message: &str) -> ApiResult<Terms> {
    let parse = |text: &str| Reference::parse(text).map_err(|error| ApiError::bad(chain(&error)));
    let name = match (value(pairs, "repo"), value(pairs, "tag")) {
        (None, _) => None,
        (Some(repository), None) => Some(parse(repository)?),
        (Some(repository), Some(tag)) => {
            Some(parse(repository)?.with_tag(tag).map_err(|error| ApiError::bad(chain(&error)))?)
        }
    };
    if name.as_ref().is_some_and(|name| name.digest().is_some()) {
        return Err(ApiError::bad("a new image cannot be named by a digest"));
    }
    // docker sends one instruction a key, or several lines in one.
    let changes = pairs.iter().filter(|(key, _)| key == "changes").flat_map(|(_, text)| text.lines());
    Ok(Terms {
        name,
        message: value(pairs, message).unwrap_or_default().to_owned(),
        author: value(pairs, "author").unwrap_or_default().to_owned(),
        changes: changes.filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
    })
}

/// `POST /images/create?fromSrc=-`
pub(super) async fn import(engine: &Arc<Engine>, pairs: &Pairs, body: Body) -> ApiResult<Response> {
    if value(pairs, "fromSrc") != Some("-") {
        return Err(ApiError::bad("an image is imported from the request's body alone: fromSrc=-"));
    }
    let terms = terms(pairs, "message")?;
    let (images, archive) = (Arc::clone(&engine.images), tarballs::received(body));
    let platform = value(pairs, "platform").unwrap_or_default().to_owned();
    let image = blocking(move || making::import(&images, archive, &platform, &terms)).await?;
    feed::image(engine, "import", &image.id.to_string(), &image.id.to_string());
    let (out, lines) = outbox();
    out.send(PullLine { status: Some(image.id.to_string()), ..PullLine::default() });
    Ok(json_lines(engine, lines))
}

async fn summary(engine: &Engine, id: &str) -> ApiResult<Summary> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        Some(Summary { doc: Arc::clone(&container.doc), service: Arc::clone(&container.service) })
    });
    found.await?.ok_or_else(|| ApiError::no_container(id))
}

/// `POST /commit?container=…`; the container is paused meanwhile unless `pause=0`.
pub(super) async fn commit(
    State(engine): App,
    Query(pairs): Query<Pairs>,
) -> ApiResult<(StatusCode, Json<IdResponse>)> {
    let id = resolve(&engine, value(&pairs, "container").unwrap_or_default()).await?;
    let terms = terms(&pairs, "comment")?;
    let summary = summary(&engine, &id).await?;
    let pause = value(&pairs, "pause").is_none_or(|text| flag(Some(text)));
    let still = if pause { Some(Still::container(&engine, &id).await?) } else { None };
    let (images, layout) = (Arc::clone(&engine.images), engine.store.layout.clone());
    let image = blocking(move || making::commit(&images, &layout, &summary, &terms)).await;
    drop(still);
    let image = image?;
    feed::image(&engine, "commit", &image.id.to_string(), &image.id.to_string());
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
