//! `cp`: a tar stream out of or into a container, running or not.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use hoist_image::Owners;
use serde::Deserialize;

use super::containers::resolve;
use super::parameters::flag;
use super::{ApiError, ApiResult, App, tarballs};
use crate::actions::{StepError, announce, blocking};
use crate::archive::{self, ArchiveError, Held, PathStat};
use crate::driver;
use crate::engine::Engine;
use crate::error::chain;
use crate::feed::OfContainer;
use crate::lower::{self, volume_mounts};
use crate::rootview::RootView;
use crate::world::Phase;

/// Docker's, and what hoist's own client asks for beside them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ArchiveQuery {
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

/// The container's root: through its init while it runs, else its layers, volumes and binds mounted for the moment.
async fn view(engine: &Arc<Engine>, name: &str, id: &str) -> ApiResult<RootView> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        let (doc, first) = (Arc::clone(&container.doc), container.state.started.is_none());
        let driver_opts = world.driver_opts(&doc);
        Some((container.phase.clone(), container.pid, doc, container.config.read_only, first, driver_opts))
    });
    let (phase, pid, doc, read_only, first, driver_opts) = found.await?.ok_or_else(|| ApiError::no_container(name))?;
    if phase == Phase::Starting {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("container {name} is being started")));
    }
    // A running container has its volumes mounted.
    let volumes = driver::open(engine, if pid.is_some() { BTreeMap::new() } else { driver_opts }).await?;
    let worker = Arc::clone(engine);
    let opened = blocking(move || {
        let failed = |error: std::io::Error| StepError::engine(format!("opening the container's files: {error}"));
        if let Some(pid) = pid {
            return RootView::of_process(pid).map_err(failed);
        }
        let layout = &worker.store.layout;
        let lowers = lower::lowers(&worker.images, &doc)?;
        let (upper, work) = (layout.upper(&doc.id), layout.work(&doc.id));
        for folder in [&upper, &work] {
            crate::store::make_folder(folder).map_err(failed)?;
        }
        // A volume that is still to be filled from the image would not be, with a first file in it.
        for (volume, target, copies) in volume_mounts(&doc).filter(|_| first) {
            match volumes.options(volume) {
                None if copies => worker.volumes.fill(layout, volume, target, &lowers)?,
                Some(local) if copies && !local.is_read_only() => {
                    let data = volumes.root(volume)?;
                    worker.volumes.fill_elsewhere(volume, data.as_fd(), target, &lowers)?;
                }
                _ => {}
            }
        }
        for (volume, ..) in volume_mounts(&doc) {
            crate::volumes::make(layout, volume)?;
        }
        let root = RootView::of_container(&lowers, &upper, &work).map_err(failed)?;
        root.with_mounts(&doc, &volumes, layout, read_only).map_err(failed)
    });
    Ok(opened.await?)
}

/// The user that the container runs as, if one is set.
async fn user(engine: &Arc<Engine>, id: &str) -> ApiResult<Option<String>> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        lower::user(&container.config, &container.doc.image).filter(|user| !user.is_empty())
    });
    Ok(found.await?)
}

impl From<ArchiveError> for StepError {
    fn from(error: ArchiveError) -> Self {
        Self::of(error.kind(), chain(&error))
    }
}

fn stat_header(stat: &PathStat) -> ApiResult<HeaderValue> {
    let text = serde_json::to_string(stat).unwrap_or_default();
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    HeaderValue::from_str(&encoded).map_err(|error| ApiError::bad(error.to_string()))
}

const STAT: &str = "x-docker-container-path-stat";

pub(super) async fn head(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> ApiResult<Response> {
    let id = resolve(&engine, &name).await?;
    let view = view(&engine, &name, &id).await?;
    let follow = flag(query.follow.as_deref());
    let stat = blocking(move || Ok(archive::find(&view, &query.path, follow)?.stat())).await?;
    Ok(([(STAT, stat_header(&stat)?)], StatusCode::OK).into_response())
}

pub(super) async fn get(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> ApiResult<Response> {
    let id = resolve(&engine, &name).await?;
    let view = view(&engine, &name, &id).await?;
    let follow = flag(query.follow.as_deref());
    let (view, found) = blocking(move || {
        let found = archive::find(&view, &query.path, follow)?;
        Ok((view, found))
    })
    .await?;
    let stat = stat_header(&found.stat())?;
    announce(&engine, &id, OfContainer::ArchivePath);
    let mut response = tarballs::written(&engine, move |out| {
        let packed = found.pack(out);
        // What is mounted for it stays so until here.
        drop(view);
        packed
    });
    response.headers_mut().insert(STAT, stat);
    Ok(response)
}

pub(super) async fn put(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<ArchiveQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    let id = resolve(&engine, &name).await?;
    let view = view(&engine, &name, &id).await?;
    let archive = tarballs::received(body);
    let exchange = !flag(query.no_exchange.as_deref());
    let user = if flag(query.to_user.as_deref()) { user(&engine, &id).await? } else { None };
    blocking(move || {
        let owners = user.map_or(Ok(Owners::Kept), |user| archive::owners(&view, &user))?;
        match query.holds {
            Some(held) => archive::copy_in(&view, &query.path, archive, held, owners)?,
            None => archive::unpack(&view, &query.path, archive, exchange, owners)?,
        }
        Ok(())
    })
    .await?;
    announce(&engine, &id, OfContainer::ExtractToDir);
    Ok(StatusCode::OK)
}
