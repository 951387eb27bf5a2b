//! Ping, version, info.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hoist_api::{Info, Version};

use crate::answer::{ApiResult, App};

/// The Docker API that the object endpoints follow, and the oldest that clients may speak: 1 dot these.
pub(crate) const MINOR: u32 = 47;
pub(crate) const MIN_MINOR: u32 = 24;
const API_VERSION: &str = "1.47";

/// On every answer, as docker has it.
pub(crate) fn introduce(headers: &mut HeaderMap) {
    let own = [
        ("api-version", API_VERSION),
        ("docker-experimental", "false"),
        ("ostype", "linux"),
        ("server", "hoist"),
    ];
    headers.extend(own.map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    }));
}

pub(crate) async fn ping() -> Response {
    let headers = [("Cache-Control", "no-cache")];
    (
        headers,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        "OK",
    )
        .into_response()
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn architecture() -> String {
    hoist_image::Platform::host().architecture
}

pub(crate) async fn version(State(engine): App) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: API_VERSION.to_owned(),
        min_api_version: "1.24".to_owned(),
        os: "linux".to_owned(),
        arch: architecture(),
        kernel_version: kernel(),
        git_commit: String::new(),
        build_time: String::new(),
        pid: std::process::id(),
        data_root: engine.data_root().display().to_string(),
    })
}

pub(crate) async fn info(State(engine): App) -> ApiResult<Json<Info>> {
    let facts = engine.facts().await?;
    let system = rustix::system::sysinfo();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Ok(Json(Info {
        id: facts.instance,
        name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        containers: facts.containers,
        containers_running: facts.running,
        containers_paused: facts.paused,
        containers_stopped: facts.containers - facts.running - facts.paused,
        images: facts.images,
        driver: "overlay".to_owned(),
        docker_root_dir: facts.data_root.display().to_string(),
        cgroup_version: if unified { "2" } else { "1" }.to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        kernel_version: kernel(),
        operating_system: "Linux".to_owned(),
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        ncpu: std::thread::available_parallelism().map_or(1, usize::from),
        mem_total: system.totalram.saturating_mul(u64::from(system.mem_unit)),
        warnings: facts.warnings,
    }))
}
