//! `GET /containers/json`: the containers, filtered as docker does.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use hoist_api::ContainerSummary;
use hoist_image::{Digest, Store};
use hoist_object::{Health, MountKind, Transport};
use serde::Deserialize;

use super::containers::resolve;
use super::filters::{Filters, Patterns};
use super::parameters::flag;
use super::{ApiError, ApiResult, App, convert};
use crate::actions::blocking;
use crate::engine::Engine;
use crate::lower;
use crate::store::Layout;
use crate::usage;
use crate::world::{Container, Phase, World};

const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    all: Option<String>,
    limit: Option<String>,
    size: Option<String>,
    filters: Option<String>,
}

pub(super) async fn list(State(engine): App, Query(query): Query<ListQuery>) -> ApiResult<Json<Vec<ContainerSummary>>> {
    let wish = Wish::parse(&engine, &query).await?;
    let layout = engine.store.layout.clone();
    let listed = engine.look(move |world| wish.choose(world, &layout));
    let mut listed = listed.await?;
    if flag(query.size.as_deref()) {
        listed = sized(&engine, listed).await?;
    }
    Ok(Json(listed.into_iter().map(|(summary, _)| summary).collect()))
}

/// With how much each has written, and how much its root has in all.
async fn sized(engine: &Engine, mut listed: Vec<Listed>) -> ApiResult<Vec<Listed>> {
    let (store, layout) = (Arc::clone(&engine.images), engine.store.layout.clone());
    let sized = blocking(move || {
        for (summary, layers) in &mut listed {
            let (own, all) = sizes(&store, &layout, &summary.id, layers);
            (summary.size_rw, summary.size_root_fs) = (Some(own), Some(all));
        }
        Ok(listed)
    });
    Ok(sized.await?)
}

/// Bytes that a container has written, and those of its whole root.
pub(super) fn sizes(store: &Store, layout: &Layout, id: &str, layers: &[Digest]) -> (u64, u64) {
    let known = store.layer_sizes();
    let own = usage::of_folder(&layout.upper(id));
    (own, own + layers.iter().filter_map(|layer| known.get(layer)).map(|(size, _)| size).sum::<u64>())
}

type Listed = (ContainerSummary, Vec<Digest>);

/// What is to be listed.
struct Wish {
    filters: Filters,
    all: bool,
    limit: Option<usize>,
    names: Patterns,
    ids: Patterns,
    exited: Vec<i32>,
    publish: Vec<Ports>,
    expose: Vec<Ports>,
    ancestors: Vec<Ancestor>,
    /// Ids.
    before: Option<String>,
    since: Option<String>,
    nothing: bool,
}

impl Wish {
    async fn parse(engine: &Arc<Engine>, query: &ListQuery) -> ApiResult<Self> {
        let filters = Filters::parse(query.filters.as_deref(), &KNOWN)?;
        filters.one_of("status", &STATES)?;
        filters.one_of("health", &HEALTH)?;
        let limit = match query.limit.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let limit: i64 = text.parse().map_err(|_| ApiError::bad(format!("limit={text} is no number")))?;
                usize::try_from(limit).ok().filter(|limit| *limit > 0)
            }
        };
        let ports = |key: &str| filters.parsed(key, "PORT[-PORT][/PROTOCOL]", Ports::parse);
        Ok(Self {
            all: flag(query.all.as_deref()) || filters.get("status").is_some() || limit.is_some(),
            limit,
            names: filters.patterns("name")?,
            ids: filters.patterns("id")?,
            exited: filters.parsed("exited", "an exit code", |text| text.trim().parse().ok())?,
            publish: ports("publish")?,
            expose: ports("expose")?,
            ancestors: filters.parsed("ancestor", "an image", |name| Some(Ancestor::of(engine, name)))?,
            before: position(engine, &filters, "before").await?,
            since: position(engine, &filters, "since").await?,
            // Neither swarm tasks nor isolation modes exist here.
            nothing: filters.flag("is-task")? == Some(true) || !filters.any("isolation", |kind| kind == "default"),
            filters,
        })
    }

    fn choose(&self, world: &World, layout: &Layout) -> Vec<Listed> {
        let mut all: Vec<&Container> = world.containers.values().filter(|_| !self.nothing).collect();
        // Newest first, as docker has it.
        all.sort_by(|a, b| b.doc.created.cmp(&a.doc.created).then_with(|| a.doc.record.name.cmp(&b.doc.record.name)));
        let place = |id: &Option<String>| id.as_ref().and_then(|id| all.iter().position(|found| found.doc.id == *id));
        let end = place(&self.since).unwrap_or(all.len());
        let start = place(&self.before).map_or(0, |place| place + 1).min(end);
        let chosen = all[start..end].iter().filter(|container| self.takes(world, container));
        let chosen = chosen.take(self.limit.unwrap_or(usize::MAX));
        chosen.map(|container| (convert::summary(world, layout, container), lower::layers(&container.doc))).collect()
    }

    fn takes(&self, world: &World, container: &Container) -> bool {
        let (doc, filters) = (&container.doc, &self.filters);
        let up = container.phase.is_up() || matches!(container.phase, Phase::Restarting { .. });
        let name = &doc.record.name;
        let of_network = |wanted: &str| {
            doc.record.networks.iter().any(|found| {
                let network = world.networks.get(&found.network);
                found.network == wanted || network.is_some_and(|network| network.id.starts_with(wanted))
            })
        };
        (self.all || up)
            && filters.labels(&doc.labels)
            && filters.any("status", |status| status == container.phase.word())
            && filters.any("health", |health| health == health_word(container))
            && (self.names.fit(name) || self.names.fit(&format!("/{name}")))
            && self.ids.fit(&doc.id)
            && filters.any("network", of_network)
            && filters.any("volume", |wanted| has_mount(container, wanted))
            && (self.exited.is_empty() || self.ended_with_one(container))
            && (self.publish.is_empty() || publishes(container, &self.publish))
            && (self.expose.is_empty() || exposes(container, &self.expose))
            && (self.ancestors.is_empty() || self.ancestors.iter().any(|image| image.is_below(container)))
    }

    fn ended_with_one(&self, container: &Container) -> bool {
        let exit = container.phase.exit().filter(|_| container.state.started.is_some());
        exit.is_some_and(|exit| self.exited.contains(&exit.code))
    }
}

async fn position(engine: &Arc<Engine>, filters: &Filters, key: &str) -> ApiResult<Option<String>> {
    match filters.get(key) {
        None => Ok(None),
        Some([name]) => resolve(engine, name).await.map(Some),
        Some(_) => Err(ApiError::bad(format!("more than one {key} filter"))),
    }
}

fn health_word(container: &Container) -> &'static str {
    match container.health() {
        Health::None => "none",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// By the volume's name, the place in the container, or the source of a bind.
fn has_mount(container: &Container, wanted: &str) -> bool {
    container.doc.mounts.iter().any(|mount| {
        let source = match &mount.kind {
            MountKind::Volume { name, .. } => name == wanted,
            MountKind::Bind { path, .. } => path.to_str() == Some(wanted),
            MountKind::Tmpfs { .. } => false,
        };
        source || mount.target == wanted
    })
}

fn publishes(container: &Container, wanted: &[Ports]) -> bool {
    container.doc.record.ports.iter().any(|port| {
        let protocol = match port.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        wanted.iter().any(|ports| ports.has(port.target, protocol))
    })
}

fn exposes(container: &Container, wanted: &[Ports]) -> bool {
    publishes(container, wanted)
        || convert::exposed(container).iter().any(|(port, kind)| wanted.iter().any(|ports| ports.has(*port, kind)))
}

/// Ports of a container, as `80`, `80/udp`, `8000-8080/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

impl Ports {
    fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let ports = Self { first: first.parse().ok()?, last: last.parse().ok()?, protocol: protocol.to_lowercase() };
        (matches!(protocol, "tcp" | "udp" | "sctp") && ports.first <= ports.last).then_some(ports)
    }

    fn has(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// An image that containers are made of, or of one that was built on it.
struct Ancestor {
    id: String,
    layers: Vec<Digest>,
}

impl Ancestor {
    /// A missing image has no containers, unless it is the id of an image that was removed while they used it.
    fn of(engine: &Engine, name: &str) -> Self {
        match engine.images.resolve(name) {
            Some(image) => Self { id: image.id.to_string(), layers: image.layers.clone() },
            None => Self { id: name.to_owned(), layers: Vec::new() },
        }
    }

    fn is_below(&self, container: &Container) -> bool {
        let built_on = !self.layers.is_empty() && lower::layers(&container.doc).starts_with(&self.layers);
        container.doc.image_id == self.id || built_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        let all = |first, last, protocol: &str| Some(Ports { first, last, protocol: protocol.to_owned() });
        assert_eq!(Ports::parse("80"), all(80, 80, "tcp"));
        assert_eq!(Ports::parse("8000-8080/udp"), all(8000, 8080, "udp"));
        for wrong in ["", "x", "80/xyz", "9-1", "70000", "-"] {
            assert_eq!(Ports::parse(wrong), None, "{wrong}");
        }
    }
}
