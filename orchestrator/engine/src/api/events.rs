//! The stream of events.

use axum::extract::{Query, State};
use axum::response::Response;
use hoist_api::EventMessage;
use hoist_object::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::filters::Filters;
use super::streams::json_lines;
use super::{ApiError, ApiResult, App};
use crate::engine::now;
use crate::logs::moment;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsQuery {
    since: Option<String>,
    until: Option<String>,
    filters: Option<String>,
}

/// Docker's. There is neither a swarm nor a plugin, so nothing is ever told of them.
const KNOWN: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

fn time(text: Option<&str>) -> ApiResult<Option<Timestamp>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    moment(text, now()).map(Some).ok_or_else(|| ApiError::bad(format!("invalid time {text:?}")))
}

/// Past events are sent for `since` only; with an `until` in the past the stream ends after them.
pub(super) async fn events(State(engine): App, Query(query): Query<EventsQuery>) -> ApiResult<Response> {
    let filters = Filters::parse(query.filters.as_deref(), &KNOWN)?;
    let (since, until) = (time(query.since.as_deref())?, time(query.until.as_deref())?);
    let (past, mut feed) = engine.feed.since(since.unwrap_or(Timestamp(i64::MAX)));
    let (out, lines) = mpsc::channel::<EventMessage>(256);
    tokio::spawn(async move {
        let in_time = |event: &EventMessage| until.is_none_or(|until| event.time_nano <= until.0);
        for event in past.iter().filter(|event| in_time(event) && filters.event(event)) {
            if out.send((**event).clone()).await.is_err() {
                return;
            }
        }
        let end = async {
            match until {
                Some(until) => tokio::time::sleep(until.since(now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            let event = tokio::select! {
                // An end that has come already wins over news.
                biased;
                () = &mut end => return,
                () = out.closed() => return,
                event = feed.recv() => event,
            };
            match event {
                Ok(event) if filters.event(&event) => {
                    if out.send((*event).clone()).await.is_err() {
                        return;
                    }
                }
                // A reader that was too slow has missed some; it goes on with what comes.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    Ok(json_lines(&engine, lines))
}

impl Filters {
    fn event(&self, event: &EventMessage) -> bool {
        let name = event.actor.attributes.get("name");
        let is = |value: &str| event.actor.id.starts_with(value) || name.is_some_and(|name| name == value);
        self.any("type", |kind| kind == event.kind)
            && self.any("event", |action| event.action == action || event.action.starts_with(&format!("{action}:")))
            && self.any("container", |value| event.kind == "container" && is(value))
            && self.any("network", |value| event.kind == "network" && is(value))
            && self.any("volume", |value| event.kind == "volume" && is(value))
            && self.any("image", |value| of_image(event, value))
            && self.any("scope", |scope| scope == event.scope)
            && ["config", "daemon", "node", "plugin", "secret", "service"].iter().all(|kind| self.get(kind).is_none())
            && self.labels(&event.actor.attributes)
    }
}

/// An image's own events, and those of its containers; a name without a tag means every tag.
fn of_image(event: &EventMessage, wanted: &str) -> bool {
    let attribute = if event.kind == "image" { "name" } else { "image" };
    let name = event.actor.attributes.get(attribute).map_or("", String::as_str);
    let untagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    name == wanted || untagged == wanted || (event.kind == "image" && event.actor.id == wanted)
}
