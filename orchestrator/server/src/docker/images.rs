//! Images.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use hoist_api::{BootstrapRequest, ErrorKind, ImageDelete, ImageInspect, ImageMetadata, RootFs};
use hoist_engine::Handle;
use hoist_image::{Image, Platform, PlatformError, Removed};
use serde::Deserialize;

use super::convert::{names, parse};
use super::parameters::{Moot, Unsupported};
use super::pulling::pull_lines;
use super::{distribution, making};
use crate::answer::{ApiError, ApiResult, App, decode, flag};
use crate::tarballs;

/// Go's zero time, which docker's clients know.
const NEVER: &str = "0001-01-01T00:00:00Z";

const ONE_PLATFORM: &str = "platform: an archive of images holds every platform that is here; hoist does not support this parameter";

/// `/images/{name}/json` and its neighbours, where the name has slashes of its own.
pub(crate) async fn look(
    State(engine): App,
    Path(path): Path<String>,
    Query(query): Query<LookQuery>,
) -> ApiResult<Response> {
    match path.rsplit_once('/') {
        Some((name, "json")) => inspect(&engine, &*engine.image(name, query.platform()?.as_ref())?),
        Some((name, "history")) => Ok(Json(making::history(
            &engine,
            &*engine.image(name, query.platform()?.as_ref())?,
        ))
        .into_response()),
        Some((_, "get")) if !query.platform.is_empty() => Err(ApiError::bad(ONE_PLATFORM)),
        Some((name, "get")) => archive(&engine, vec![name.to_owned()]).await,
        Some(_) => Err(ApiError::not_found(format!(
            "page not found: /images/{path}"
        ))),
        None => Err(ApiError::not_found(format!("no such image: {path}"))),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LookQuery {
    /// `os/architecture[/variant]`, or docker's JSON of it.
    platform: String,
    /// Docker's older image store has none to tell of either.
    #[serde(rename = "manifests")]
    _manifests: Moot,
}

impl LookQuery {
    fn platform(&self) -> ApiResult<Option<Platform>> {
        #[derive(Deserialize)]
        struct Described {
            os: String,
            architecture: String,
            #[serde(default)]
            variant: String,
        }
        if self.platform.is_empty() {
            return Ok(None);
        }
        let text = match serde_json::from_str::<Described>(&self.platform) {
            Ok(Described {
                os,
                architecture,
                variant,
            }) => format!("{os}/{architecture}/{variant}"),
            Err(_) => self.platform.clone(),
        };
        let platform = text.trim_end_matches('/').parse();
        platform
            .map(Some)
            .map_err(|error: PlatformError| ApiError::invalid(&error))
    }
}

fn inspect(engine: &Handle, image: &Image) -> ApiResult<Response> {
    let config = serde_json::to_value(&image.config.config)
        .map_err(|error| ApiError::of(ErrorKind::Failed, error.to_string()))?;
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
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: image.layers.iter().map(ToString::to_string).collect(),
        },
        parent: String::new(),
        comment: image
            .config
            .history
            .last()
            .and_then(|step| step.comment.clone())
            .unwrap_or_default(),
        docker_version: String::new(),
        metadata: ImageMetadata {
            last_tag_time: match image.references.is_empty() {
                true => NEVER.to_owned(),
                false => engine.image_named_at(image),
            },
        },
    };
    Ok(Json(answer).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RemoveQuery {
    force: Option<String>,
    /// Images have no parents.
    #[serde(rename = "noprune")]
    _no_prune: Moot,
    #[serde(rename = "platforms")]
    _platforms: Unsupported,
}

/// What went, in docker's form.
pub(crate) fn deleted(removed: &Removed) -> impl Iterator<Item = ImageDelete> {
    let untagged = removed.untagged.iter().map(|name| ImageDelete {
        untagged: Some(name.short()),
        deleted: None,
    });
    let deleted = removed.deleted.iter().map(|id| ImageDelete {
        untagged: None,
        deleted: Some(id.to_string()),
    });
    untagged.chain(deleted)
}

pub(crate) async fn remove(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<Json<Vec<ImageDelete>>> {
    let removed = engine
        .remove_image(&name, flag(query.force.as_deref()))
        .await?;
    Ok(Json(deleted(&removed).collect()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct CreateQuery {
    from_image: String,
    from_src: Option<String>,
    /// Beside `from_src`: the new image's name and comment.
    repo: String,
    message: String,
    tag: String,
    platform: String,
}

pub(crate) async fn create(
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
            return Err(ApiError::bad(
                "an image is imported from the request's body alone: fromSrc=-",
            ));
        }
        let terms = making::terms(
            (&query.repo, &query.tag),
            query.message,
            String::new(),
            &pairs,
        )?;
        return making::import(&engine, terms, query.platform, body).await;
    }
    let name = match query.tag.as_str() {
        "" => query.from_image.clone(),
        digest if digest.starts_with("sha256:") => format!("{}@{digest}", query.from_image),
        tag => format!("{}:{tag}", query.from_image),
    };
    let reference = parse(&name)?;
    let auth = distribution::auth_of(&headers, &reference)?;
    Ok(pull_lines(
        &engine,
        engine.pull(reference, name, query.platform, auth),
    ))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadQuery {
    /// Without progress.
    quiet: Option<String>,
    #[serde(rename = "platform")]
    _platform: Unsupported,
}

pub(crate) async fn load(
    State(engine): App,
    Query(query): Query<LoadQuery>,
    body: Body,
) -> ApiResult<Response> {
    let news = engine.load_images(tarballs::received(body), flag(query.quiet.as_deref()));
    Ok(pull_lines(&engine, news))
}

/// `GET /images/get?names=a&names=b`
pub(crate) async fn save(
    State(engine): App,
    Query(pairs): Query<Vec<(String, String)>>,
) -> ApiResult<Response> {
    if pairs
        .iter()
        .any(|(key, value)| key == "platform" && !value.is_empty())
    {
        return Err(ApiError::bad(ONE_PLATFORM));
    }
    let names = pairs
        .into_iter()
        .filter(|(key, _)| key == "names")
        .map(|(_, name)| name)
        .collect();
    archive(&engine, names).await
}

async fn archive(engine: &Handle, names: Vec<String>) -> ApiResult<Response> {
    if names.is_empty() {
        return Err(ApiError::bad("no image to save was named"));
    }
    let archive = engine.save_images(names).await?;
    Ok(tarballs::written(engine, move |out| archive.write(out)))
}

/// `POST /hoist/v1/images/bootstrap`
pub(crate) async fn bootstrap(State(engine): App, body: Bytes) -> ApiResult<Response> {
    let request: BootstrapRequest = decode(&body)?;
    let reference = parse(&request.reference)?;
    Ok(pull_lines(&engine, engine.bootstrap(reference)))
}
