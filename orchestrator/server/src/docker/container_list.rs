//! `GET /containers/json`: the containers, filtered as docker does.

use axum::Json;
use axum::extract::{Query, State};
use hoist_api::ContainerSummary;
use hoist_engine::{ContainerView, Handle};
use hoist_object::{Health, MountKind, Transport};
use serde::Deserialize;

use super::convert;
use super::filters::{Filters, Patterns};
use crate::answer::{ApiError, ApiResult, App, flag};

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
const STATES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListQuery {
    all: Option<String>,
    limit: Option<String>,
    size: Option<String>,
    filters: Option<String>,
}

pub(crate) async fn list(
    State(engine): App,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Vec<ContainerSummary>>> {
    let wish = Wish::parse(&engine, &query).await?;
    let chosen = wish.choose(engine.containers().await?);
    let mut listed: Vec<ContainerSummary> = chosen
        .iter()
        .map(|container| convert::summary(&engine, container))
        .collect();
    if flag(query.size.as_deref()) {
        let sizes = engine
            .container_sizes(chosen.iter().map(ContainerView::id_and_layers).collect())
            .await?;
        for (summary, sizes) in listed.iter_mut().zip(sizes) {
            (summary.size_rw, summary.size_root_fs) = (Some(sizes.own), Some(sizes.all));
        }
    }
    Ok(Json(listed))
}

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
    async fn parse(engine: &Handle, query: &ListQuery) -> ApiResult<Self> {
        let filters = Filters::parse(query.filters.as_deref(), &KNOWN)?;
        filters.one_of("status", &STATES)?;
        filters.one_of("health", &HEALTH)?;
        let limit = match query.limit.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let limit: i64 = text
                    .parse()
                    .map_err(|_| ApiError::bad(format!("limit={text} is no number")))?;
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
            ancestors: filters.parsed("ancestor", "an image", |name| {
                Some(Ancestor::of(engine, name))
            })?,
            before: position(engine, &filters, "before").await?,
            since: position(engine, &filters, "since").await?,
            // Neither swarm tasks nor isolation modes exist here.
            nothing: filters.flag("is-task")? == Some(true)
                || !filters.any("isolation", |kind| kind == "default"),
            filters,
        })
    }

    fn choose(&self, mut all: Vec<ContainerView>) -> Vec<ContainerView> {
        if self.nothing {
            return Vec::new();
        }
        // Newest first, as docker has it.
        all.sort_by(|a, b| {
            b.doc
                .created
                .cmp(&a.doc.created)
                .then_with(|| a.doc.record.name.cmp(&b.doc.record.name))
        });
        let place = |id: &Option<String>| {
            id.as_ref()
                .and_then(|id| all.iter().position(|found| found.doc.id == *id))
        };
        let end = place(&self.since).unwrap_or(all.len());
        let start = place(&self.before).map_or(0, |place| place + 1).min(end);
        let between = all
            .drain(start..end)
            .filter(|container| self.takes(container));
        between.take(self.limit.unwrap_or(usize::MAX)).collect()
    }

    fn takes(&self, container: &ContainerView) -> bool {
        let (doc, filters) = (&container.doc, &self.filters);
        let up = container.is_needed();
        let name = &doc.record.name;
        let of_network = |wanted: &str| {
            doc.record.networks.iter().any(|found| {
                let network = container.networks.get(&found.network);
                found.network == wanted || network.is_some_and(|(id, _)| id.starts_with(wanted))
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
            && (self.ancestors.is_empty()
                || self.ancestors.iter().any(|image| image.is_below(container)))
    }

    fn ended_with_one(&self, container: &ContainerView) -> bool {
        let exit = container
            .phase
            .exit()
            .filter(|_| container.state.started.is_some());
        exit.is_some_and(|exit| self.exited.contains(&exit.code))
    }
}

async fn position(engine: &Handle, filters: &Filters, key: &str) -> ApiResult<Option<String>> {
    match filters.get(key) {
        None => Ok(None),
        Some([name]) => Ok(Some(engine.container_id(name).await?)),
        Some(_) => Err(ApiError::bad(format!("more than one {key} filter"))),
    }
}

fn health_word(container: &ContainerView) -> &'static str {
    match container.health {
        Health::None => "none",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// By the volume's name, the place in the container, or the source of a bind.
fn has_mount(container: &ContainerView, wanted: &str) -> bool {
    container.doc.mounts.iter().any(|mount| {
        let source = match &mount.kind {
            MountKind::Volume { name, .. } => name == wanted,
            MountKind::Bind { path, .. } => path.to_str() == Some(wanted),
            MountKind::Tmpfs { .. } => false,
        };
        source || mount.target == wanted
    })
}

fn publishes(container: &ContainerView, wanted: &[Ports]) -> bool {
    container.doc.record.ports.iter().any(|port| {
        let protocol = match port.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        wanted.iter().any(|ports| ports.has(port.target, protocol))
    })
}

fn exposes(container: &ContainerView, wanted: &[Ports]) -> bool {
    publishes(container, wanted)
        || convert::exposed(container)
            .iter()
            .any(|(port, kind)| wanted.iter().any(|ports| ports.has(*port, kind)))
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
        let ports = Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            protocol: protocol.to_lowercase(),
        };
        (matches!(protocol, "tcp" | "udp" | "sctp") && ports.first <= ports.last).then_some(ports)
    }

    fn has(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// An image that containers are made of, or of one that was built on it.
struct Ancestor {
    id: String,
    layers: Vec<String>,
}

impl Ancestor {
    /// A missing image has no containers, unless it is the id of an image that was removed while they used it.
    fn of(engine: &Handle, name: &str) -> Self {
        match engine.image(name, None) {
            Ok(image) => Self {
                id: image.id.to_string(),
                layers: image.layers.iter().map(ToString::to_string).collect(),
            },
            Err(_) => Self {
                id: name.to_owned(),
                layers: Vec::new(),
            },
        }
    }

    fn is_below(&self, container: &ContainerView) -> bool {
        let built_on = !self.layers.is_empty() && container.doc.layers.starts_with(&self.layers);
        container.doc.image_id == self.id || built_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        let all = |first, last, protocol: &str| {
            Some(Ports {
                first,
                last,
                protocol: protocol.to_owned(),
            })
        };
        assert_eq!(Ports::parse("80"), all(80, 80, "tcp"));
        assert_eq!(Ports::parse("8000-8080/udp"), all(8000, 8080, "udp"));
        for wrong in ["", "x", "80/xyz", "9-1", "70000", "-"] {
            assert_eq!(Ports::parse(wrong), None, "{wrong}");
        }
    }
}
