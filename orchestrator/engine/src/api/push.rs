//! `POST /images/{name}/push` and `/tag`, where the name has slashes of its own.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hoist_api::{PullDetail, PullLine, PushResult};
use hoist_image::{Access, Phase, Progress, PushOptions, Pushed, Reference};
use serde::Deserialize;

use super::distribution::auth_of;
use super::images::{Lines, finish, no_image};
use super::parameters::Unsupported;
use super::streams::json_lines;
use super::{ApiError, ApiResult, App};
use crate::actions::blocking;
use crate::engine::Engine;
use crate::error::chain;
use crate::execute::phase;
use crate::feed::{self, OfImage};
use crate::outbox::outbox;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PostQuery {
    repo: String,
    tag: String,
    /// One of the platforms that a name stands for.
    #[serde(rename = "platform")]
    _platform: Unsupported,
}

pub(super) async fn post(
    State(engine): App,
    Path(path): Path<String>,
    Query(query): Query<PostQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    match path.rsplit_once('/') {
        Some((name, "push")) => push(engine, name, &query.tag, &headers),
        Some((name, "tag")) => tag(engine, name, &query).await,
        _ => Err(ApiError::new(StatusCode::NOT_FOUND, format!("page not found: POST /images/{path}"))),
    }
}

fn parse(name: &str, tag: &str) -> ApiResult<Reference> {
    let reference = Reference::parse(name).map_err(|error| ApiError::bad(chain(&error)))?;
    match tag {
        "" => Ok(reference),
        tag => reference.with_tag(tag).map_err(|error| ApiError::bad(chain(&error))),
    }
}

async fn tag(engine: Arc<Engine>, name: &str, query: &PostQuery) -> ApiResult<Response> {
    let image = engine.images.resolve(name).ok_or_else(|| no_image(name))?;
    let target = parse(&query.repo, &query.tag)?;
    if target.digest().is_some() {
        return Err(ApiError::bad(format!("{} names a digest; a new name is a tag", target.short())));
    }
    let (images, source, named) = (Arc::clone(&engine.images), name.to_owned(), target.clone());
    blocking(move || Ok(images.tag(&source, &named)?)).await?;
    feed::image(&engine, OfImage::Tag, &image.id.to_string(), &target.short());
    Ok(StatusCode::CREATED.into_response())
}

fn push(engine: Arc<Engine>, name: &str, tag: &str, headers: &HeaderMap) -> ApiResult<Response> {
    let reference = parse(name, tag)?;
    if engine.images.find(&reference).is_none() {
        return Err(no_image(&reference.short()));
    }
    let access = Access { auth: auth_of(headers, &reference)?, ..Access::default() };
    let (out, lines) = outbox();
    let (pusher, lines_of) = (Arc::clone(&engine), out.clone());
    tokio::spawn(async move {
        let progress = Arc::new(move |progress| tell(&lines_of, progress));
        let options = PushOptions { access, progress };
        let pushing = hoist_image::push(&pusher.images, &reference, &options);
        // Nobody waits for it any more: what is up already is found there by the next one.
        let pushed = tokio::select! {
            pushed = pushing => pushed,
            () = out.closed() => return,
        };
        match pushed {
            Ok(pushed) => {
                feed::image(&pusher, OfImage::Push, &reference.short(), &reference.familiar_name());
                done(&out, &reference, &pushed);
            }
            Err(error) => finish(&out, Err(chain(&error))),
        }
    });
    Ok(json_lines(&engine, lines))
}

fn tell(out: &Lines, progress: Progress) {
    let moving = matches!(progress.phase, Phase::Uploading);
    let status = match progress.phase {
        Phase::Exists => "Layer already exists".to_owned(),
        Phase::Complete if progress.item.is_empty() => return,
        Phase::Complete => "Pushed".to_owned(),
        other => phase(other, &progress.text),
    };
    let line = PullLine {
        status: Some(status),
        id: Some(progress.item).filter(|item| !item.is_empty()),
        progress_detail: progress.total.filter(|_| moving).map(|total| PullDetail { current: progress.done, total }),
        ..PullLine::default()
    };
    out.send(line);
}

/// The last two lines of docker's: one for people, one for programs.
fn done(out: &Lines, reference: &Reference, pushed: &Pushed) {
    let tag = reference.tag().unwrap_or("latest").to_owned();
    let status = format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size);
    out.send(PullLine { status: Some(status), ..PullLine::default() });
    let aux = PushResult { tag, digest: pushed.digest.to_string(), size: pushed.size };
    out.send(PullLine { aux: Some(aux), ..PullLine::default() });
}
