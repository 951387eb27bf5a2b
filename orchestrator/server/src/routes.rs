//! Routes and connections.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use futures_util::StreamExt;
use hoist_api::ErrorKind;
use hoist_engine::{Handle, logging};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::ServiceExt;
use tracing::Instrument as _;

use crate::answer::{ApiError, ApiResult};
use crate::docker::{
    archive, container_list, containers, distribution, events, exec, image_list, images, making,
    networking, objects, prune, push, store, streams, system,
};
use crate::hoist::{check, shells, stacks, transfer};
use crate::{gone, upload};

/// Of what is held in memory whole: a stack may carry the contents of configs. Archives are streams, of any size.
const DOCUMENT: usize = 64 << 20;

fn routes(engine: Handle) -> Router {
    containers()
        .merge(objects())
        .merge(own())
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(DOCUMENT))
        .with_state(engine)
}

/// Docker's, of containers and what is executed in them.
fn containers() -> Router<Handle> {
    Router::new()
        .route("/containers/json", get(container_list::list))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/pause", post(containers::pause))
        .route("/containers/{id}/unpause", post(containers::unpause))
        .route("/containers/{id}/wait", post(containers::wait))
        .route("/containers/{id}/resize", post(containers::resize))
        .route("/containers/{id}/top", get(containers::top))
        .route("/containers/{id}/stats", get(streams::stats))
        .route("/containers/{id}/logs", get(streams::logs))
        .route("/containers/{id}/attach", post(streams::attach))
        .route(
            "/containers/{id}/archive",
            get(archive::get).head(archive::head).put(archive::put),
        )
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/commit", post(making::commit))
        .route("/containers/{id}/export", get(making::export))
        .route("/containers/prune", post(prune::containers))
}

/// Docker's, of images, networks, volumes and the engine.
fn objects() -> Router<Handle> {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(events::events))
        .route("/images/json", get(image_list::list))
        .route("/images/create", post(images::create))
        .route("/images/load", post(images::load))
        .route("/auth", post(distribution::login))
        .route("/images/get", get(images::save))
        .route(
            "/images/{*name}",
            get(images::look).post(push::post).delete(images::remove),
        )
        .route("/distribution/{*name}", get(distribution::inspect))
        .route("/networks", get(objects::networks))
        .route("/networks/create", post(networking::create))
        .route("/networks/{id}/connect", post(networking::connect))
        .route("/networks/{id}/disconnect", post(networking::disconnect))
        .route(
            "/networks/{id}",
            get(objects::network).delete(objects::remove_network),
        )
        .route("/volumes", get(objects::volumes))
        .route(
            "/volumes/{name}",
            get(objects::volume).delete(objects::remove_volume),
        )
        .route("/images/prune", post(prune::images))
        .route("/volumes/prune", post(prune::volumes))
        .route("/volumes/create", post(objects::create_volume))
        .route("/networks/prune", post(prune::networks))
        .route("/build/prune", post(prune::build))
        .route("/system/df", get(store::usage))
}

/// What Docker has no request for.
fn own() -> Router<Handle> {
    Router::new()
        .route("/hoist/v1/artifacts/{*name}", get(distribution::artifacts))
        .route("/hoist/v1/plan", post(stacks::plan))
        .route("/hoist/v1/check", post(stacks::check))
        .route("/hoist/v1/apply", post(stacks::apply))
        .route("/hoist/v1/build/shells/{id}/attach", post(shells::attach))
        .route("/hoist/v1/build/shells/{id}/resize", post(shells::resize))
        .route("/hoist/v1/stacks", get(stacks::list))
        .route("/hoist/v1/stacks/{name}", get(stacks::detail))
        .route("/hoist/v1/stacks/{name}/logs", get(stacks::logs))
        .route("/hoist/v1/images/bootstrap", post(images::bootstrap))
        .route("/hoist/v1/system/check", post(check::check))
        .route(
            "/hoist/v1/volumes/{name}/export",
            get(transfer::export_volume),
        )
        .route(
            "/hoist/v1/volumes/{name}/import",
            post(transfer::import_volume),
        )
        .route("/hoist/v1/bundles/save", post(transfer::save_bundle))
        .route("/hoist/v1/bundles/load", post(transfer::load_bundle))
}

async fn unknown(request: Request) -> ApiError {
    not_served(request.method(), request.uri().path())
}

/// `/v1.47/containers/json` means the same as `/containers/json`; versions that are too old or too new are refused.
fn without_version(uri: &Uri) -> ApiResult<Option<Uri>> {
    let text = uri.path_and_query().map_or("", |text| text.as_str());
    let versioned = text
        .strip_prefix("/v1.")
        .and_then(|rest| Some(rest.split_at(rest.find('/')?)));
    let Some((minor, path)) = versioned else {
        return Ok(None);
    };
    if minor.is_empty() || !minor.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match minor.parse::<u32>() {
        Ok(number) if number < system::MIN_MINOR => Err(ApiError::bad(format!(
            "client version 1.{minor} is too old. Minimum supported API version is 1.{}, please upgrade your client to a \
             newer version",
            system::MIN_MINOR
        ))),
        Ok(number) if number <= system::MINOR => Ok(path.parse().ok()),
        _ => Err(ApiError::bad(format!(
            "client version 1.{minor} is too new. Maximum supported API version is 1.{}",
            system::MINOR
        ))),
    }
}

/// What the routes and their extractors refuse has docker's form and statuses too.
async fn in_form(response: Response, method: &Method, path: &str) -> Response {
    let status = response.status();
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    if !(status.is_client_error() || status.is_server_error()) || json {
        return response;
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return not_served(method, path).into_response();
    }
    let body = axum::body::to_bytes(response.into_body(), 64 * 1024)
        .await
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let message = if text.trim().is_empty() {
        status.to_string()
    } else {
        text.into_owned()
    };
    let status = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::UNPROCESSABLE_ENTITY => {
            StatusCode::BAD_REQUEST
        }
        status => status,
    };
    ApiError::with_status(status, message).into_response()
}

fn not_served(method: &Method, path: &str) -> ApiError {
    ApiError::not_found(format!(
        "page not found: hoist does not serve {method} {path}"
    ))
}

/// Serves connections.
pub(crate) struct Server {
    engine: Handle,
    routes: Router,
}

impl Server {
    pub(crate) fn new(engine: Handle) -> Self {
        Self {
            routes: routes(engine.clone()),
            engine,
        }
    }

    pub(crate) fn serve(&self, stream: UnixStream) {
        let (routes, engine) = (self.routes.clone(), self.engine.clone());
        tokio::spawn(async move {
            let gone = gone::gone(&stream)
                .map_err(|error| format!("the engine cannot watch a connection: {error}"));
            let service = hyper::service::service_fn(move |request| {
                let (routes, engine, gone) = (routes.clone(), engine.clone(), gone.clone());
                async move {
                    match gone {
                        Ok(gone) => respond(routes, engine, gone, request).await,
                        Err(error) => {
                            Ok(ApiError::of(ErrorKind::Unavailable, error).into_response())
                        }
                    }
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                // docker closes its half of a hijacked stream at the end of stdin.
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client's connection ended badly");
            }
        });
    }
}

async fn respond(
    routes: Router,
    engine: Handle,
    gone: gone::Gone,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let _busy = engine.begin();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = logging::request(&method, &path);
    let response = match without_version(request.uri()) {
        Err(error) => error.into_response(),
        Ok(uri) => {
            if let Some(uri) = uri {
                *request.uri_mut() = uri;
            }
            routes
                .oneshot(upload::received(request))
                .instrument(span.clone())
                .await?
        }
    };
    let mut response = in_form(response, &method, &path).await;
    tracing::debug!(parent: &span, status = response.status().as_u16(), "answered");
    system::introduce(response.headers_mut());
    if response.body().size_hint().exact().is_some() {
        return Ok(response);
    }
    // Whoever writes the answer learns from its closed end that nobody reads it.
    Ok(response.map(|body| Body::from_stream(body.into_data_stream().take_until(gone))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_prefix_is_taken_off() {
        let strip = |text: &'static str| {
            let uri = without_version(&Uri::from_static(text)).ok()?;
            uri.map(|uri| uri.to_string())
        };
        assert_eq!(
            strip("/v1.47/images/a/b/json?x=1"),
            Some("/images/a/b/json?x=1".to_owned())
        );
        assert_eq!(strip("/version"), None);
        assert_eq!(strip("/v1.x/version"), None);
        for refused in [
            "/v1.23/version",
            "/v1.48/version",
            "/v1.99999999999999999999/version",
        ] {
            let error = without_version(&Uri::from_static(refused)).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST, "{refused}");
        }
    }
}
