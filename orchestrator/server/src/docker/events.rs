//! The stream of events.

use axum::extract::{Query, State};
use axum::response::Response;
use hoist_api::{EventActor, EventMessage};
use hoist_engine::{Happening, moment, now};
use hoist_object::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::filters::Filters;
use super::streams::json_lines;
use crate::answer::{ApiError, ApiResult, App};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EventsQuery {
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
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    moment(text, now())
        .map(Some)
        .ok_or_else(|| ApiError::bad(format!("invalid time {text:?}")))
}

/// Past events are sent for `since` only; with an `until` in the past the stream ends after them.
pub(crate) async fn events(
    State(engine): App,
    Query(query): Query<EventsQuery>,
) -> ApiResult<Response> {
    let filters = Filters::parse(query.filters.as_deref(), &KNOWN)?;
    let (since, until) = (time(query.since.as_deref())?, time(query.until.as_deref())?);
    let (past, mut feed) = engine.events(since.unwrap_or(Timestamp(i64::MAX)));
    let (out, lines) = mpsc::channel::<EventMessage>(256);
    tokio::spawn(async move {
        let in_time = |event: &Happening| until.is_none_or(|until| event.at <= until);
        for event in past
            .iter()
            .filter(|event| in_time(event) && filters.event(event))
        {
            if out.send(message(event)).await.is_err() {
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
                    if out.send(message(&event)).await.is_err() {
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

/// Those that docker also tells in an older form.
const OLD: [&str; 2] = ["container", "image"];

fn message(event: &Happening) -> EventMessage {
    let Happening {
        at,
        kind,
        id,
        action,
        attributes,
    } = event;
    let old = OLD.contains(kind);
    EventMessage {
        kind: (*kind).to_owned(),
        status: if old { action.clone() } else { String::new() },
        action: action.clone(),
        id: if old { id.clone() } else { String::new() },
        from: attributes
            .get("image")
            .filter(|_| *kind == "container")
            .cloned()
            .unwrap_or_default(),
        actor: EventActor {
            id: id.clone(),
            attributes: attributes.clone(),
        },
        scope: SCOPE.to_owned(),
        time: at.0 / 1_000_000_000,
        time_nano: at.0,
    }
}

const SCOPE: &str = "local";

impl Filters {
    fn event(&self, event: &Happening) -> bool {
        let name = event.attributes.get("name");
        let is =
            |value: &str| event.id.starts_with(value) || name.is_some_and(|name| name == value);
        self.any("type", |kind| kind == event.kind)
            && self.any("event", |action| {
                event.action == action || event.action.starts_with(&format!("{action}:"))
            })
            && self.any("container", |value| event.kind == "container" && is(value))
            && self.any("network", |value| event.kind == "network" && is(value))
            && self.any("volume", |value| event.kind == "volume" && is(value))
            && self.any("image", |value| of_image(event, value))
            && self.any("scope", |scope| scope == SCOPE)
            && ["config", "daemon", "node", "plugin", "secret", "service"]
                .iter()
                .all(|kind| self.get(kind).is_none())
            && self.labels(&event.attributes)
    }
}

/// An image's own events, and those of its containers; a name without a tag means every tag.
fn of_image(event: &Happening, wanted: &str) -> bool {
    let attribute = if event.kind == "image" {
        "name"
    } else {
        "image"
    };
    let name = event.attributes.get(attribute).map_or("", String::as_str);
    let untagged = name
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .map_or(name, |(name, _)| name);
    name == wanted || untagged == wanted || (event.kind == "image" && event.id == wanted)
}
