//! The HTTP API: routes, and the types that travel. Handlers look at the world or call actions; they decide nothing.

mod archive;
mod containers;
mod convert;
mod distribution;
mod events;
mod exec;
mod gone;
mod image_list;
mod images;
mod making;
mod objects;
mod prune;
mod push;
mod relay;
mod shells;
mod stacks;
mod store;
mod streams;
mod system;
pub(crate) mod tarballs;
mod transfer;
pub mod types;
mod upload;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::ServiceExt;

use crate::actions::StepError;
use crate::engine::{Engine, ShuttingDown};
use types::ErrorBody;

/// What a handler answers when it cannot do what it was asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn no_container(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no such container: {id}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, axum::Json(ErrorBody { message: self.message })).into_response()
    }
}

impl From<StepError> for ApiError {
    fn from(error: StepError) -> Self {
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.message)
    }
}

impl From<ShuttingDown> for ApiError {
    fn from(error: ShuttingDown) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

pub(crate) type App = axum::extract::State<Arc<Engine>>;

/// Of what is held in memory whole: a stack may carry the contents of configs. Archives are streams, of any size.
const DOCUMENT: usize = 64 << 20;

fn routes(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(events::events))
        .route("/containers/json", get(containers::list))
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
        .route("/containers/{id}/archive", get(archive::get).head(archive::head).put(archive::put))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/images/json", get(image_list::list))
        .route("/images/create", post(images::create))
        .route("/images/load", post(images::load))
        .route("/auth", post(distribution::login))
        .route("/images/get", get(transfer::images))
        .route("/images/{*name}", get(images::look).post(push::post).delete(images::remove))
        .route("/distribution/{*name}", get(distribution::inspect))
        .route("/hoist/v1/artifacts/{*name}", get(distribution::artifacts))
        .route("/networks", get(objects::networks))
        .route("/networks/{id}", get(objects::network).delete(objects::remove_network))
        .route("/volumes", get(objects::volumes))
        .route("/volumes/{name}", get(objects::volume).delete(objects::remove_volume))
        .route("/hoist/v1/plan", post(stacks::plan))
        .route("/hoist/v1/check", post(stacks::check))
        .route("/hoist/v1/apply", post(stacks::apply))
        .route("/hoist/v1/build/shells/{id}/attach", post(shells::attach))
        .route("/hoist/v1/build/shells/{id}/resize", post(shells::resize))
        .route("/hoist/v1/stacks", get(stacks::list))
        .route("/hoist/v1/stacks/{name}", get(stacks::detail))
        .route("/hoist/v1/stacks/{name}/logs", get(stacks::logs))
        .route("/hoist/v1/images/bootstrap", post(images::bootstrap))
        .route("/commit", post(making::commit))
        .route("/containers/{id}/export", get(making::export))
        .route("/containers/prune", post(prune::containers))
        .route("/images/prune", post(prune::images))
        .route("/volumes/prune", post(prune::volumes))
        .route("/networks/prune", post(prune::networks))
        .route("/build/prune", post(prune::build))
        .route("/system/df", get(store::usage))
        .route("/hoist/v1/system/check", post(store::check))
        .route("/hoist/v1/volumes/{name}/export", get(transfer::export_volume))
        .route("/hoist/v1/volumes/{name}/import", post(transfer::import_volume))
        .route("/hoist/v1/bundles/save", post(transfer::save_bundle))
        .route("/hoist/v1/bundles/load", post(transfer::load_bundle))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(DOCUMENT))
        .with_state(engine)
}

async fn unknown(request: Request) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("page not found: {} {}", request.method(), request.uri().path()))
}

/// `/v1.47/containers/json` means the same as `/containers/json`.
fn without_version(uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix("/v1.")?;
    let slash = rest.find('/')?;
    let (minor, path) = rest.split_at(slash);
    if minor.is_empty() || !minor.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    path.parse().ok()
}

/// Serves connections.
pub(crate) struct Server {
    engine: Arc<Engine>,
    routes: Router,
}

impl Server {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { routes: routes(Arc::clone(&engine)), engine }
    }

    pub(crate) fn serve(&self, stream: UnixStream) {
        let (routes, engine) = (self.routes.clone(), Arc::clone(&self.engine));
        tokio::spawn(async move {
            let gone = match gone::gone(&stream) {
                Ok(gone) => gone,
                Err(error) => {
                    tracing::warn!(%error, "cannot watch a client's connection");
                    return;
                }
            };
            let service = hyper::service::service_fn(move |request| {
                respond(routes.clone(), Arc::clone(&engine), gone.clone(), request)
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
    engine: Arc<Engine>,
    gone: gone::Gone,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let _busy = engine.activity.begin();
    if let Some(uri) = without_version(request.uri()) {
        *request.uri_mut() = uri;
    }
    let response = routes.oneshot(upload::received(request)).await?;
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
        let strip = |text: &'static str| without_version(&Uri::from_static(text)).map(|uri| uri.to_string());
        assert_eq!(strip("/v1.47/images/a/b/json?x=1"), Some("/images/a/b/json?x=1".to_owned()));
        assert_eq!(strip("/version"), None);
        assert_eq!(strip("/v1.x/version"), None);
    }
}
