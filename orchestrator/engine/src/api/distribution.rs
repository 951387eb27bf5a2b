//! Registries, asked on behalf of a client.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use hoist_api::RegistryAuth;
use hoist_api::{Artifact, AuthAnswer, Descriptor, DistributionInspect, Platform};
use hoist_image::{Access, Attached, Described, Reference, ResolveError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ApiError, ApiResult, App, convert};
use crate::error::chain;

/// `POST /auth`: whether a registry lets somebody in.
pub(super) async fn login(State(engine): App, body: axum::body::Bytes) -> ApiResult<Json<AuthAnswer>> {
    let _busy = engine.activity.begin();
    let auth: RegistryAuth =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?;
    let registry = hoist_image::registry_of(&auth.server_address).map_err(|error| ApiError::bad(chain(&error)))?;
    let access = Access { auth: [(registry.clone(), convert::credentials(auth))].into(), ..Access::default() };
    let identity_token = hoist_image::login(&registry, &access).await.map_err(|error| {
        let refused = matches!(error, hoist_image::RegistryError::Unauthorized { .. });
        let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::INTERNAL_SERVER_ERROR };
        ApiError::new(status, chain(&error))
    })?;
    let identity_token = identity_token.unwrap_or_default();
    Ok(Json(AuthAnswer { status: "Login Succeeded".to_owned(), identity_token }))
}

/// The credentials that came along: docker's clients send those for the registry of the image, ours all that may be
/// needed, in the header in which docker's send those for a build.
pub(super) fn auth_of(
    headers: &HeaderMap,
    reference: &Reference,
) -> ApiResult<BTreeMap<String, hoist_image::RegistryAuth>> {
    let all: Option<BTreeMap<String, RegistryAuth>> = document(headers, "X-Registry-Config")?;
    let mut auth: BTreeMap<String, RegistryAuth> = all
        .unwrap_or_default()
        .into_iter()
        .map(|(name, auth)| match name.contains("://") {
            true => (hoist_image::registry_of(&name).unwrap_or(name), auth),
            false => (name, auth),
        })
        .collect();
    let own: Option<RegistryAuth> = document(headers, "X-Registry-Auth")?;
    // Docker sends an empty document where it has no credentials.
    if let Some(own) = own.filter(|auth| *auth != RegistryAuth::default()) {
        auth.insert(reference.registry().to_owned(), own);
    }
    Ok(convert::all_credentials(auth))
}

fn document<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> ApiResult<Option<T>> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let url_safe = base64::engine::general_purpose::URL_SAFE.decode(value.as_bytes());
    let bytes = url_safe
        .or_else(|_| base64::engine::general_purpose::STANDARD.decode(value.as_bytes()))
        .or_else(|_| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value.as_bytes()))
        .map_err(|_| ApiError::bad(format!("{name} is not base64")))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| ApiError::bad(format!("{name}: {error}")))
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
    Ok(Json(wire(described.map_err(unresolved)?)))
}

/// What is attached to an image in its registry.
pub(super) async fn artifacts(
    State(engine): App,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Vec<Artifact>>> {
    let _busy = engine.activity.begin();
    let reference = Reference::parse(&name).map_err(|error| ApiError::bad(chain(&error)))?;
    let access = Access { auth: auth_of(&headers, &reference)?, ..Access::default() };
    let found = hoist_image::attachments(&reference, &access).await.map_err(unresolved)?;
    let wire = |artifact: hoist_image::Attachment| Artifact {
        digest: artifact.digest.to_string(),
        artifact_type: artifact.kind,
        size: artifact.size,
        attached: match artifact.found {
            Attached::Referrer => "referrer".to_owned(),
            Attached::Index => "index".to_owned(),
            Attached::Tag(tag) => tag,
        },
    };
    Ok(Json(found.into_iter().map(wire).collect()))
}

fn unresolved(error: ResolveError) -> ApiError {
    let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    ApiError::new(status, chain(&error))
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
