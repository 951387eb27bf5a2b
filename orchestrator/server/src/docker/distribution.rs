//! Registries, asked on behalf of a client.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use base64::Engine as _;
use hoist_api::RegistryAuth;
use hoist_api::{Artifact, AuthAnswer, Descriptor, DistributionInspect, Platform};
use hoist_engine::{all_credentials, credentials};
use hoist_image::{Attached, Described, Reference};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::convert;
use crate::answer::{ApiError, ApiResult, App, decode};

/// `POST /auth`: whether a registry lets somebody in.
pub(crate) async fn login(State(engine): App, body: Bytes) -> ApiResult<Json<AuthAnswer>> {
    let auth: RegistryAuth = decode(&body)?;
    let identity_token = engine.login(credentials(auth)).await?.unwrap_or_default();
    Ok(Json(AuthAnswer {
        status: "Login Succeeded".to_owned(),
        identity_token,
    }))
}

/// The credentials that came along: docker's clients send those for the registry of the image, ours all that may be
/// needed, in the header in which docker's send those for a build.
pub(crate) fn auth_of(
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
    Ok(all_credentials(auth))
}

fn document<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> ApiResult<Option<T>> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let url_safe = base64::engine::general_purpose::URL_SAFE.decode(value.as_bytes());
    let bytes = url_safe
        .or_else(|_| base64::engine::general_purpose::STANDARD.decode(value.as_bytes()))
        .or_else(|_| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value.as_bytes()))
        .map_err(|_| ApiError::bad(format!("{name} is not base64")))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| ApiError::bad(format!("{name}: {error}")))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InspectQuery {
    /// `0`: the digest alone, in one request that does not count as a pull. Ours; docker's clients want them.
    platforms: Option<u8>,
}

/// `/distribution/{name}/json`
pub(crate) async fn inspect(
    State(engine): App,
    Path(path): Path<String>,
    Query(query): Query<InspectQuery>,
    headers: HeaderMap,
) -> ApiResult<Json<DistributionInspect>> {
    let Some(name) = path.strip_suffix("/json") else {
        return Err(ApiError::not_found(format!(
            "page not found: /distribution/{path}"
        )));
    };
    let reference = convert::parse(name)?;
    let auth = auth_of(&headers, &reference)?;
    Ok(Json(wire(
        engine
            .describe(&reference, auth, query.platforms != Some(0))
            .await?,
    )))
}

/// What is attached to an image in its registry.
pub(crate) async fn artifacts(
    State(engine): App,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Vec<Artifact>>> {
    let reference = convert::parse(&name)?;
    let found = engine
        .artifacts(&reference, auth_of(&headers, &reference)?)
        .await?;
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
