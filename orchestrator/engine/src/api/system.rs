//! Ping, version, info; docker's filter documents.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::types::{Info, Version};
use super::{ApiResult, App};
use crate::world::Phase;

/// The Docker API that the object endpoints follow.
const API_VERSION: &str = "1.47";

pub(super) async fn ping() -> Response {
    let headers =
        [("Api-Version", API_VERSION), ("Ostype", "linux"), ("Server", "hoist"), ("Cache-Control", "no-cache")];
    (headers, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "OK").into_response()
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn architecture() -> String {
    hoist_image::Platform::host().architecture
}

pub(super) async fn version(State(engine): App) -> Json<Version> {
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
        data_root: engine.config.data_root.display().to_string(),
    })
}

pub(super) async fn info(State(engine): App) -> ApiResult<Json<Info>> {
    let (running, paused, all, mut warnings) = engine
        .look(|world| {
            let count =
                |phase: fn(&Phase) -> bool| world.containers.values().filter(|found| phase(&found.phase)).count();
            let running = count(|phase| *phase == Phase::Running);
            let paused = count(|phase| *phase == Phase::Paused);
            (running, paused, world.containers.len(), world.damaged.clone())
        })
        .await?;
    warnings.extend(engine.images.damage().into_iter().map(|damage| format!("{}: {}", damage.object, damage.reason)));
    let foreign = engine.net.foreign_accepts().into_iter();
    warnings.extend(foreign.map(|accept| format!("rule added to {} {}: {}", accept.table, accept.chain, accept.why)));
    let system = rustix::system::sysinfo();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Ok(Json(Info {
        id: engine.config.places().instance(),
        name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        containers: all,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: all - running - paused,
        images: engine.images.images().len(),
        driver: "overlay".to_owned(),
        docker_root_dir: engine.config.data_root.display().to_string(),
        cgroup_version: if unified { "2" } else { "1" }.to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        kernel_version: kernel(),
        operating_system: "Linux".to_owned(),
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        ncpu: std::thread::available_parallelism().map_or(1, usize::from),
        mem_total: system.totalram.saturating_mul(u64::from(system.mem_unit)),
        warnings,
    }))
}

/// Docker's filter document, in its newer (`{"label":["a=b"]}`) and older (`{"label":{"a=b":true}}`) form.
#[derive(Debug, Default)]
pub(super) struct Filters {
    by_key: BTreeMap<String, Vec<String>>,
}

impl Filters {
    pub(super) fn parse(text: Option<&str>) -> ApiResult<Self> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let document: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| super::ApiError::bad(format!("invalid filters: {error}")))?;
        let values = |value: serde_json::Value| match value {
            serde_json::Value::Array(list) => {
                list.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            serde_json::Value::Object(map) => map.into_iter().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        };
        Ok(Self { by_key: document.into_iter().map(|(key, value)| (key, values(value))).collect() })
    }

    /// A filter that would be passed over is an error: whoever removes what is listed must not get all of it.
    pub(super) fn check(&self, known: &[&str]) -> ApiResult<()> {
        match self.by_key.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(super::ApiError::bad(format!("invalid filter {key:?}: known here are {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    pub(super) fn flag(&self, key: &str) -> ApiResult<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some([text]) if matches!(text.to_lowercase().as_str(), "1" | "true" | "t") => Ok(Some(true)),
            Some([text]) if matches!(text.to_lowercase().as_str(), "0" | "false" | "f") => Ok(Some(false)),
            Some(values) => {
                Err(super::ApiError::bad(format!("invalid filter {key}={}: true or false", values.join(","))))
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&[String]> {
        self.by_key.get(key).map(Vec::as_slice).filter(|values| !values.is_empty())
    }

    /// One of the values fits, or nothing was asked.
    pub(super) fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.get(key).is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// All of the wanted labels are there: `key` or `key=value`.
    pub(super) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.get("label").is_none_or(|wanted| wanted.iter().all(has))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_in_two_forms() {
        for text in [r#"{"label":["a=b"]}"#, r#"{"label":{"a=b":true}}"#] {
            let filters = Filters::parse(Some(text)).unwrap();
            assert!(filters.labels(&BTreeMap::from([("a".into(), "b".into())])));
            assert!(!filters.labels(&BTreeMap::from([("a".into(), "c".into())])));
        }
        assert!(Filters::parse(Some("{")).is_err());
    }
}
