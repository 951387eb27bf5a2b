//! Images.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hoist_api::{
    BootstrapRequest, ErrorBody, ErrorKind, ImageDelete, ImageInspect, ImageMetadata, PullDetail, PullLine, RootFs,
};
use hoist_image::{Image, Platform, PlatformError, Progress, Reference, RemoveError, Scope};
use serde::Deserialize;

use super::parameters::{Moot, Unsupported, flag};
use super::streams::json_lines;
use super::{ApiError, ApiResult, App, making, transfer};
use crate::actions::{self, blocking};
use crate::engine::Engine;
use crate::error::chain;
use crate::execute::phase;
use crate::feed::{self, OfImage};
use crate::outbox::{Outbox, outbox};

/// Go's zero time, which docker's clients know.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn seconds(created: &str) -> i64 {
    created.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second)
}

pub(super) fn names(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::short).collect()
}

pub(super) fn no_image(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("no such image: {name}"))
}

/// `/images/{name}/json` and its neighbours, where the name has slashes of its own.
pub(super) async fn look(
    State(engine): App,
    Path(path): Path<String>,
    Query(query): Query<LookQuery>,
) -> ApiResult<Response> {
    match path.rsplit_once('/') {
        Some((name, "json")) => inspect(&engine, name, &query),
        Some((name, "history")) => making::history(&engine, &*query.image(&engine, name)?),
        Some((_, "get")) if !query.platform.is_empty() => Err(ApiError::bad(transfer::ONE_PLATFORM)),
        Some((name, "get")) => transfer::save(&engine, vec![name.to_owned()]).await,
        Some(_) => Err(ApiError::new(StatusCode::NOT_FOUND, format!("page not found: /images/{path}"))),
        None => Err(no_image(&path)),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LookQuery {
    /// `os/architecture[/variant]`, or docker's JSON of it.
    platform: String,
    /// Docker's older image store has none to tell of either.
    #[serde(rename = "manifests")]
    _manifests: Moot,
}

impl LookQuery {
    /// What a name means, for the platform that was asked for.
    fn image(&self, engine: &Engine, name: &str) -> ApiResult<Arc<Image>> {
        #[derive(Deserialize)]
        struct Described {
            os: String,
            architecture: String,
            #[serde(default)]
            variant: String,
        }
        if self.platform.is_empty() {
            return engine.images.resolve(name).ok_or_else(|| no_image(name));
        }
        let text = match serde_json::from_str::<Described>(&self.platform) {
            Ok(Described { os, architecture, variant }) => format!("{os}/{architecture}/{variant}"),
            Err(_) => self.platform.clone(),
        };
        let platform: Platform =
            text.trim_end_matches('/').parse().map_err(|error: PlatformError| ApiError::bad(chain(&error)))?;
        let all = engine.images.matching(name);
        let platforms: Vec<String> = all.iter().map(|image| image.config.platform().to_string()).collect();
        let lacking = || match platforms.is_empty() {
            true => no_image(name),
            false => {
                let message = format!("image {name} is here for {}, not for {platform}", platforms.join(", "));
                ApiError::new(StatusCode::NOT_FOUND, message)
            }
        };
        engine.images.resolve_for(name, &platform).ok_or_else(lacking)
    }
}

fn inspect(engine: &Engine, name: &str, query: &LookQuery) -> ApiResult<Response> {
    let image = query.image(engine, name)?;
    let config = serde_json::to_value(&image.config.config)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let answer = ImageInspect {
        id: image.id.to_string(),
        repo_tags: names(&image.references),
        repo_digests: names(&image.repo_digests),
        created: image.created.clone(),
        author: image.config.author.clone().unwrap_or_default(),
        architecture: image.config.architecture.clone(),
        variant: image.config.variant.clone().unwrap_or_default(),
        os: image.config.os.clone(),
        size: image.size,
        config,
        root_fs: RootFs { kind: "layers".to_owned(), layers: image.layers.iter().map(ToString::to_string).collect() },
        parent: String::new(),
        comment: image.config.history.last().and_then(|step| step.comment.clone()).unwrap_or_default(),
        docker_version: String::new(),
        metadata: ImageMetadata {
            last_tag_time: match image.references.is_empty() {
                true => NEVER.to_owned(),
                false => engine.images.named_at(&image).to_string(),
            },
        },
    };
    Ok(Json(answer).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RemoveQuery {
    force: Option<String>,
    /// Images have no parents.
    #[serde(rename = "noprune")]
    _no_prune: Moot,
    #[serde(rename = "platforms")]
    _platforms: Unsupported,
}

pub(super) async fn remove(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<Json<Vec<ImageDelete>>> {
    let in_use = engine.look(|world| {
        let ids = world.containers.values().map(|container| container.doc.image_id.clone());
        ids.filter_map(|id| hoist_image::Digest::parse(&id).ok()).collect()
    });
    let in_use = in_use.await?;
    let layers = actions::layers_in_use(&engine).await?;
    let id = engine.images.resolve(&name).map(|image| image.id.to_string()).unwrap_or_default();
    let (images, wanted, force) = (Arc::clone(&engine.images), name, flag(query.force.as_deref()));
    let removed = blocking(move || {
        let removed = images.remove(&wanted, force, &in_use);
        if removed.is_ok() {
            images.collect(&layers, Scope::default())?;
        }
        Ok(removed)
    });
    let removed = removed.await?.map_err(|error| {
        let status = match &error {
            RemoveError::NoSuchImage(_) => StatusCode::NOT_FOUND,
            RemoveError::InUse { .. } | RemoveError::SeveralNames { .. } => StatusCode::CONFLICT,
            RemoveError::Store { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, chain(&error))
    })?;
    feed::image_removed(&engine, &id, &removed);
    let untagged = removed.untagged.iter().map(|name| ImageDelete { untagged: Some(name.short()), deleted: None });
    let deleted = removed.deleted.iter().map(|id| ImageDelete { untagged: None, deleted: Some(id.to_string()) });
    Ok(Json(untagged.chain(deleted).collect()))
}

pub(super) type Lines = Outbox<PullLine>;

fn progress(out: &Lines) -> impl Fn(Progress) + Send + Sync + 'static + use<> {
    let out = out.clone();
    move |progress: Progress| {
        let line = PullLine {
            status: Some(phase(progress.phase, &progress.text)),
            id: Some(progress.item).filter(|item| !item.is_empty()),
            progress_detail: progress.total.map(|total| PullDetail { current: progress.done, total }),
            ..PullLine::default()
        };
        out.send(line);
    }
}

pub(super) fn finish(out: &Lines, outcome: Result<String, String>) {
    let line = match outcome {
        Ok(status) => PullLine { status: Some(status), ..PullLine::default() },
        Err(message) => {
            let detail = ErrorBody::new(ErrorKind::Failed, message.clone());
            PullLine { error: Some(message), error_detail: Some(detail), ..PullLine::default() }
        }
    };
    out.send(line);
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct CreateQuery {
    from_image: String,
    from_src: Option<String>,
    /// Beside `from_src`: the new image's name and comment.
    repo: String,
    message: String,
    tag: String,
    platform: String,
}

pub(super) async fn create(
    State(engine): App,
    Query(query): Query<CreateQuery>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    if query.from_image.is_empty() {
        let Some(source) = query.from_src else {
            return Err(ApiError::bad("the name of the image is empty"));
        };
        if source != "-" {
            return Err(ApiError::bad("an image is imported from the request's body alone: fromSrc=-"));
        }
        let terms = making::terms((&query.repo, &query.tag), query.message, String::new(), &pairs)?;
        return making::import(&engine, terms, query.platform, body).await;
    }
    let name = match query.tag.as_str() {
        "" => query.from_image.clone(),
        digest if digest.starts_with("sha256:") => format!("{}@{digest}", query.from_image),
        tag => format!("{}:{tag}", query.from_image),
    };
    let reference = Reference::parse(&name).map_err(|error| ApiError::bad(chain(&error)))?;
    let auth = super::distribution::auth_of(&headers, &reference)?;
    let (out, lines) = outbox();
    let puller = Arc::clone(&engine);
    tokio::spawn(async move {
        let pulled = actions::pull_image(&puller, &name, &query.platform, &auth, progress(&out)).await;
        let outcome = pulled.map(|pulled| {
            let what = if pulled.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
            format!("Status: {what} for {}", reference.short())
        });
        finish(&out, outcome.map_err(|error| error.message));
    });
    Ok(json_lines(&engine, lines))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadQuery {
    /// Without progress.
    quiet: Option<String>,
    #[serde(rename = "platform")]
    _platform: Unsupported,
}

pub(super) async fn load(State(engine): App, Query(query): Query<LoadQuery>, body: Body) -> ApiResult<Response> {
    let (out, lines) = outbox();
    let quiet = flag(query.quiet.as_deref());
    let archive = super::tarballs::received(body);
    let loader = Arc::clone(&engine);
    tokio::spawn(async move {
        let say = progress(&out);
        let say = move |progress| {
            if !quiet {
                say(progress)
            }
        };
        match hoist_image::load(&loader.images, archive, Arc::new(say)).await {
            Ok(images) => {
                for image in images {
                    let id = image.id.to_string();
                    feed::image(&loader, OfImage::Load, &id, &id);
                    let name = image.references.first().map_or_else(|| image.id.to_string(), Reference::short);
                    let line = PullLine { stream: Some(format!("Loaded image: {name}\n")), ..PullLine::default() };
                    out.send(line);
                }
            }
            Err(error) => finish(&out, Err(chain(&error))),
        }
    });
    Ok(json_lines(&engine, lines))
}

pub(super) async fn bootstrap(State(engine): App, body: axum::body::Bytes) -> ApiResult<Response> {
    let request: BootstrapRequest =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?;
    let reference = Reference::parse(&request.reference).map_err(|error| ApiError::bad(chain(&error)))?;
    let (out, lines) = outbox();
    let worker: Arc<Engine> = Arc::clone(&engine);
    tokio::spawn(async move {
        let _busy = worker.activity.begin();
        let made = hoist_image::bootstrap(&worker.images, &reference, Arc::new(progress(&out))).await;
        finish(&out, made.map(|image| format!("Created {} ({})", reference.short(), image.id)).map_err(|e| chain(&e)));
    });
    Ok(json_lines(&engine, lines))
}
