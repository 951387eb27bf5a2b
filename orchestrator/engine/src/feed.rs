//! Events for subscribers, in docker's form: those to come, and the last ones of this engine's life.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use hoist_api::{EventActor, EventMessage};
use hoist_object::{MountKind, NetworkDoc, Timestamp};
use tokio::sync::broadcast;

use crate::engine::{Engine, now};
use crate::world::Container;

/// Docker keeps this many.
const PAST: usize = 256;
/// The objects that had events before events had a type; older clients still read these fields.
const OLD: [&str; 2] = ["container", "image"];
/// A subscriber that is further behind misses some.
const PENDING: usize = 1024;

#[derive(Debug)]
pub(crate) struct Feed {
    live: broadcast::Sender<Arc<EventMessage>>,
    /// Oldest first. Held while an event is sent, so that a subscriber gets each event once.
    past: Mutex<VecDeque<Arc<EventMessage>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { live: broadcast::channel(PENDING).0, past: Mutex::default() }
    }
}

impl Feed {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<EventMessage>> {
        self.live.subscribe()
    }

    /// What happened from `since` on, as far as it is remembered, and what comes next.
    pub(crate) fn since(&self, since: Timestamp) -> (Vec<Arc<EventMessage>>, broadcast::Receiver<Arc<EventMessage>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = past.iter().filter(|event| event.time_nano >= since.0).cloned().collect();
        (wanted, self.live.subscribe())
    }

    fn send(&self, event: Arc<EventMessage>) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == PAST {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        // Nobody listening is fine.
        let _ = self.live.send(event);
    }
}

fn send(engine: &Engine, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
    let at = now();
    let message = EventMessage {
        kind: kind.to_owned(),
        action: action.to_owned(),
        status: if OLD.contains(&kind) { action.to_owned() } else { String::new() },
        id: if OLD.contains(&kind) { id.to_owned() } else { String::new() },
        from: attributes.get("image").filter(|_| kind == "container").cloned().unwrap_or_default(),
        actor: EventActor { id: id.to_owned(), attributes },
        scope: "local".to_owned(),
        time: at.0 / 1_000_000_000,
        time_nano: at.0,
    };
    engine.feed.send(Arc::new(message));
}

pub(crate) fn container(engine: &Engine, container: &Container, action: &str, extra: &[(&str, &str)]) {
    let mut attributes = container.doc.labels.clone();
    attributes.insert("name".to_owned(), container.doc.record.name.clone());
    attributes.insert("image".to_owned(), container.doc.record.image.clone());
    attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    send(engine, "container", action, &container.doc.id, attributes);
}

pub(crate) fn network(engine: &Engine, action: &str, network: &NetworkDoc) {
    let attributes =
        BTreeMap::from([("name".to_owned(), network.name.clone()), ("type".to_owned(), "bridge".to_owned())]);
    send(engine, "network", action, &network.id, attributes);
}

/// Attached at a container's start and detached at its end.
pub(crate) fn attachments(engine: &Engine, networks: &BTreeMap<String, NetworkDoc>, container: &Container, up: bool) {
    let of = |extra: &[(&str, &str)]| {
        let all = [("container", container.doc.id.as_str())].into_iter().chain(extra.iter().copied());
        all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
    };
    for attachment in &container.doc.record.networks {
        let Some(network) = networks.get(&attachment.network) else { continue };
        let attributes = of(&[("name", &network.name), ("type", "bridge")]);
        send(engine, "network", if up { "connect" } else { "disconnect" }, &network.id, attributes);
    }
    for mount in &container.doc.mounts {
        let MountKind::Volume { name, .. } = &mount.kind else { continue };
        let writable = (!mount.read_only).to_string();
        let own = [("driver", "local"), ("destination", &mount.target), ("read/write", &writable), ("propagation", "")];
        let attributes = of(if up { &own } else { &own[..1] });
        send(engine, "volume", if up { "mount" } else { "unmount" }, name, attributes);
    }
}

pub(crate) fn volume(engine: &Engine, action: &str, name: &str) {
    send(engine, "volume", action, name, BTreeMap::from([("driver".to_owned(), "local".to_owned())]));
}

pub(crate) fn image(engine: &Engine, action: &str, id: &str, name: &str) {
    send(engine, "image", action, id, BTreeMap::from([("name".to_owned(), name.to_owned())]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time_nano: i64) -> Arc<EventMessage> {
        Arc::new(EventMessage { time_nano, ..EventMessage::default() })
    }

    #[test]
    fn the_last_events_are_remembered() {
        let feed = Feed::default();
        let last = i64::try_from(PAST).unwrap() + 10;
        (0..last).for_each(|time| feed.send(event(time)));
        assert_eq!(feed.since(Timestamp(0)).0.len(), PAST);
        let (past, mut live) = feed.since(Timestamp(last - 2));
        assert_eq!(past.iter().map(|event| event.time_nano).collect::<Vec<_>>(), [last - 2, last - 1]);
        feed.send(event(last));
        assert_eq!(live.try_recv().unwrap().time_nano, last);
    }
}
