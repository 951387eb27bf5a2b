//! Registries, asked on behalf of a client.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use hoist_image::{Access, Described, Reference, RegistryAuth};
use serde::Deserialize;

use super::types::{AuthAnswer, Descriptor, DistributionInspect, Platform};
use super::{ApiError, ApiResult, App};
use crate::error::chain;

/// `POST /auth`: whether a registry lets somebody in.
pub(super) async fn login(State(engine): App, body: axum::body::Bytes) -> ApiResult<Json<AuthAnswer>> {
    let _busy = engine.activity.begin();
    let auth: RegistryAuth =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?;
    let registry = hoist_image::registry_of(&auth.server_address).map_err(|error| ApiError::bad(chain(&error)))?;
    let access = Access { auth: [(registry.clone(), auth)].into(), ..Access::default() };
    hoist_image::login(&registry, &access).await.map_err(|error| {
        let refused = matches!(error, hoist_image::RegistryError::Unauthorized { .. });
        let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::INTERNAL_SERVER_ERROR };
        ApiError::new(status, chain(&error))
    })?;
    Ok(Json(AuthAnswer { status: "Login Succeeded".to_owned(), identity_token: String::new() }))
}

/// The credentials that came along for the registry of an image.
pub(super) fn auth_of(headers: &HeaderMap, reference: &Reference) -> ApiResult<BTreeMap<String, RegistryAuth>> {
    let auth = registry_auth(headers)?.map(|auth| (reference.registry().to_owned(), auth));
    Ok(auth.into_iter().collect())
}

fn registry_auth(headers: &HeaderMap) -> ApiResult<Option<RegistryAuth>> {
    let Some(value) = headers.get("x-registry-auth").filter(|value| !value.is_empty()) else { return Ok(None) };
    let url_safe = base64::engine::general_purpose::URL_SAFE.decode(value.as_bytes());
    let bytes = url_safe
        .or_else(|_| base64::engine::general_purpose::STANDARD.decode(value.as_bytes()))
        .or_else(|_| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value.as_bytes()))
        .map_err(|_| ApiError::bad("X-Registry-Auth is not base64"))?;
    // Docker sends an empty document where it has no credentials.
    let auth: RegistryAuth =
        serde_json::from_slice(&bytes).map_err(|error| ApiError::bad(format!("X-Registry-Auth: {error}")))?;
    Ok(Some(auth).filter(|auth| *auth != RegistryAuth::default()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InspectQuery {
    /// `0`: the digest alone, in one request that does not count as a pull. Ours; docker's clients want them.
    platforms: Option<u8>,
}

/// `/distribution/{name}/json`
pub(super) async fn inspect(
    State(engine): App,
    Path(path): Path<String>,
    Query(query): Query<InspectQuery>,
    headers: HeaderMap,
) -> ApiResult<Json<DistributionInspect>> {
    let _busy = engine.activity.begin();
    let Some(name) = path.strip_suffix("/json") else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, format!("page not found: /distribution/{path}")));
    };
    let reference = Reference::parse(name).map_err(|error| ApiError::bad(chain(&error)))?;
    let access = Access { auth: auth_of(&headers, &reference)?, ..Access::default() };
    let described = match query.platforms {
        Some(0) => hoist_image::resolve(&reference, &access).await,
        _ => hoist_image::describe(&reference, &access).await,
    };
    let described = described.map_err(|error| {
        let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
        ApiError::new(status, chain(&error))
    })?;
    Ok(Json(wire(described)))
}

fn wire(described: Described) -> DistributionInspect {
    let platform = |platform: hoist_image::Platform| Platform {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant.unwrap_or_default(),
    };
    DistributionInspect {
        descriptor: Descriptor {
            media_type: described.media_type,
            digest: described.digest.to_string(),
            size: described.size,
        },
        platforms: described.platforms.into_iter().map(platform).collect(),
    }
}
