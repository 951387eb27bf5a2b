//! How much is stored.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Query, State};
use hoist_api::{ContainerUsage, DiskUsage, ErrorKind, UsageData, VolumeUsage};
use serde::Deserialize;
use serde_json::Value;

use super::parameters::Moot;
use super::{convert, image_list};
use crate::answer::{ApiError, ApiResult, App};

/// `type`, which may stand several times, is read as pairs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UsageQuery {
    /// Everything is told.
    #[serde(rename = "verbose")]
    _verbose: Moot,
}

const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// Which kinds are asked for; all, when none is named.
fn kinds(pairs: &[(String, String)]) -> ApiResult<BTreeSet<&str>> {
    let named: BTreeSet<&str> = pairs
        .iter()
        .filter(|(key, _)| key == "type")
        .map(|(_, value)| value.as_str())
        .collect();
    match named.iter().find(|kind| !KINDS.contains(kind)) {
        Some(kind) => Err(ApiError::bad(format!(
            "unknown object type: {kind}; known here are {}",
            KINDS.join(", ")
        ))),
        None if named.is_empty() => Ok(KINDS.into()),
        None => Ok(named),
    }
}

/// `GET /system/df`; kinds that are not asked for are null, as docker has it.
pub(crate) async fn usage(
    State(engine): App,
    Query(pairs): Query<Vec<(String, String)>>,
    Query(_): Query<UsageQuery>,
) -> ApiResult<Json<Value>> {
    let kinds = kinds(&pairs)?;
    let (with_containers, with_volumes) = (kinds.contains("container"), kinds.contains("volume"));
    let (with_images, with_cache) = (kinds.contains("image"), kinds.contains("build-cache"));
    let images = match with_images {
        true => {
            image_list::list(State(engine.clone()), Query(Default::default()))
                .await?
                .0
        }
        false => Vec::new(),
    };
    let used = engine.disk_use(with_containers, with_volumes).await?;
    let containers = used
        .containers
        .iter()
        .map(|(container, sizes)| ContainerUsage {
            size_rw: sizes.own,
            size_root_fs: sizes.all,
            summary: convert::summary(&engine, container),
        });
    let volumes = used.volumes.iter().map(|(volume, size)| VolumeUsage {
        usage_data: UsageData {
            size: *size,
            ref_count: volume.users,
        },
        inspect: convert::volume(volume),
    });
    let usage = DiskUsage {
        layers_size: if with_images { used.layers } else { 0 },
        images: image_list::with_shares(&engine, images),
        containers: containers.collect(),
        volumes: volumes.collect(),
        build_cache: Vec::new(),
        build_cache_size: if with_cache { used.cached } else { 0 },
    };
    let mut answer = serde_json::to_value(usage)
        .map_err(|error| ApiError::of(ErrorKind::Engine, format!("writing the answer: {error}")))?;
    let lists = [
        ("Images", with_images),
        ("Containers", with_containers),
        ("Volumes", with_volumes),
        ("BuildCache", with_cache),
    ];
    for (list, _) in lists.into_iter().filter(|(_, wanted)| !wanted) {
        answer[list] = Value::Null;
    }
    Ok(Json(answer))
}
