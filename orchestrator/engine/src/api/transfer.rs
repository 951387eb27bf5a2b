//! Images, volumes and whole stacks on their way out of this engine and into it, as archives.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use hoist_api::{BundleEvent, BundleRequest};
use hoist_image::{Archive, SaveError};
use hoist_object::VolumeDoc;
use serde::Deserialize;

use super::parameters::flag;
use super::streams::json_lines;
use super::{ApiError, ApiResult, App, tarballs};
use crate::actions::{StepError, blocking};
use crate::bundle;
use crate::driver;
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::feed::{self, OfImage};
use crate::outbox::outbox;
use crate::refill::refill;
use crate::staging::Staging;
use crate::still::Still;
use crate::volumes::check_name;
use crate::world::{Event, World};

pub(super) const ONE_PLATFORM: &str =
    "platform: an archive of images holds every platform that is here; hoist does not support this parameter";

/// `GET /images/get?names=a&names=b`
pub(super) async fn images(State(engine): App, Query(pairs): Query<Vec<(String, String)>>) -> ApiResult<Response> {
    if pairs.iter().any(|(key, value)| key == "platform" && !value.is_empty()) {
        return Err(ApiError::bad(ONE_PLATFORM));
    }
    let names = pairs.into_iter().filter(|(key, _)| key == "names").map(|(_, name)| name).collect();
    save(&engine, names).await
}

/// `GET /images/{name}/get`
pub(super) async fn save(engine: &Arc<Engine>, names: Vec<String>) -> ApiResult<Response> {
    if names.is_empty() {
        return Err(ApiError::bad("no image to save was named"));
    }
    let (images, named) = (Arc::clone(&engine.images), names.clone());
    let archive = blocking(move || {
        Archive::of(&images, &names).map_err(|error| match &error {
            SaveError::NoSuchImage(_) => StepError::not_found(error.to_string()),
            SaveError::Image { .. } => StepError::engine(chain(&error)),
        })
    });
    let archive = archive.await?;
    for id in named.iter().filter_map(|name| engine.images.resolve(name)).map(|image| image.id.to_string()) {
        feed::image(engine, OfImage::Save, &id, &id);
    }
    Ok(tarballs::written(engine, move |out| archive.write(out)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExportQuery {
    live: Option<String>,
}

/// Names of the containers that are paused while the archive is read.
const PAUSED: &str = "x-hoist-paused";

/// `GET /hoist/v1/volumes/{name}/export`
pub(super) async fn export_volume(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let wanted = name.clone();
    let Some(volume) = engine.look(move |world| world.volumes.get(&wanted).cloned()).await? else {
        return Err(super::objects::no_volume(&name));
    };
    let live = flag(query.live.as_deref());
    let still = if live { None } else { Some(Still::writers(&engine, &BTreeSet::from([name.clone()])).await?) };
    let paused = still.as_ref().map(Still::names).unwrap_or_default().join(",");
    let opened = bundle::opened(&engine, &volume).await?;
    let root = blocking(move || Ok((opened.root(&name)?, opened))).await?;
    let mut response = tarballs::written(&engine, move |out| {
        let (root, opened) = root;
        let read = bundle::read_volume(root.as_fd(), out).map(drop).map_err(io::Error::other);
        // What is mounted for it stays so until here.
        drop((opened, still));
        read
    });
    if let Ok(value) = HeaderValue::from_str(&paused) {
        response.headers_mut().insert(PAUSED, value);
    }
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImportQuery {
    replace: Option<String>,
}

/// Name of a running container that has the volume.
fn user(world: &World, volume: &str) -> Option<String> {
    use hoist_object::MountKind;
    let mounted = |kind: &MountKind| matches!(kind, MountKind::Volume { name, .. } if name == volume);
    let uses = |doc: &hoist_object::ContainerDoc| {
        doc.mounts.iter().any(|mount| mounted(&mount.kind)) || doc.anonymous.values().any(|name| name == volume)
    };
    let found = world.containers.values().find(|container| container.phase.is_up() && uses(&container.doc));
    found.map(|container| container.doc.record.name.clone())
}

/// `POST /hoist/v1/volumes/{name}/import`: the archive becomes the volume's content, all of it or nothing.
pub(super) async fn import_volume(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    check_name(&name).map_err(|error| ApiError::bad(chain(&error)))?;
    let wanted = name.clone();
    let (known, user) = engine.look(move |world| (world.volumes.get(&wanted).cloned(), user(world, &wanted))).await?;
    if let Some(user) = user {
        let message = format!("volume {name} is in use by container {user}; stop it first");
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let (layout, exists) = (engine.store.layout.clone(), known.is_some());
    let volume = known.unwrap_or_else(|| VolumeDoc { name: name.clone(), created: now(), ..VolumeDoc::default() });
    let (made, archive, replace) = (volume.clone(), tarballs::received(body), flag(query.replace.as_deref()));
    if driver::check(&made.name, &made.driver_opts)?.is_some() {
        let opened = bundle::opened(&engine, &made).await?;
        blocking(move || refill(&made.name, &opened, archive, replace)).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    blocking(move || {
        let failed = |error: io::Error| StepError::engine(format!("filling volume {}: {error}", made.name));
        if exists && !replace && std::fs::read_dir(layout.volume_data(&made.name)).map_err(failed)?.next().is_some() {
            return Err(StepError::conflict(format!("volume {} is not empty; --replace drops what it has", made.name)));
        }
        let staging = Staging::new(&layout).map_err(failed)?;
        bundle::fill_volume(&staging.volume(&made).map_err(failed)?, archive)?;
        if exists { staging.exchange(&made.name) } else { staging.commit() }.map_err(failed)
    })
    .await?;
    if !exists {
        engine.tell(Event::VolumeMade(Box::new(volume)));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /hoist/v1/bundles/save`
pub(super) async fn save_bundle(State(engine): App, Json(request): Json<BundleRequest>) -> ApiResult<Response> {
    let (frames, response) = tarballs::Frames::new(&engine);
    tokio::spawn(async move {
        let event = match bundle::save(&engine, request, &frames).await {
            Ok(document) => BundleEvent::Done { document: Box::new(document) },
            Err(error) => BundleEvent::Failed { error: error.message },
        };
        frames.say(&event).await;
    });
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadQuery {
    mounted: Option<String>,
}

/// `POST /hoist/v1/bundles/load?mounted=`
pub(super) async fn load_bundle(State(engine): App, Query(query): Query<LoadQuery>, body: Body) -> ApiResult<Response> {
    let (out, lines) = outbox();
    let (loader, mounted) = (Arc::clone(&engine), flag(query.mounted.as_deref()));
    tokio::spawn(async move {
        let _busy = loader.activity.begin();
        let said = out.clone();
        let say = move |event| said.send(event);
        let event = match bundle::load(&loader, tarballs::received(body), mounted, say).await {
            Ok(document) => BundleEvent::Done { document: Box::new(document) },
            Err(error) => BundleEvent::Failed { error: error.message },
        };
        out.send(event);
    });
    Ok(json_lines(&engine, lines))
}
