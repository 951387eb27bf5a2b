//! The stored data as a whole: whether it is sound.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use hoist_image::{CheckOptions, CheckReport, Digest};

use super::types::CheckRequest;
use super::{ApiResult, App};
use crate::actions::{StepError, blocking};
use crate::world::World;

/// Layers of the containers that fit.
fn layers(world: &World, fits: impl Fn(&crate::world::Phase) -> bool) -> BTreeSet<Digest> {
    let containers = world.containers.values().filter(|container| fits(&container.phase));
    containers.flat_map(|container| container.doc.layers.iter().copied()).collect()
}

/// `POST /hoist/v1/system/check`
pub(super) async fn check(State(engine): App, Json(request): Json<CheckRequest>) -> ApiResult<Json<CheckReport>> {
    let (in_use, mounted) =
        engine.look(|world| (layers(world, |_| true), layers(world, crate::world::Phase::is_up))).await?;
    let options = CheckOptions { repair: request.repair, quick: request.quick, in_use, mounted };
    let images = Arc::clone(&engine.images);
    let report = blocking(move || images.check(&options).map_err(StepError::from)).await?;
    Ok(Json(report))
}
