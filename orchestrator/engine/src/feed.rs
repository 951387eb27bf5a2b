//! Events for subscribers, in docker's form.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::types::{EventActor, EventMessage};
use crate::engine::{Engine, now};
use crate::store::NetworkDoc;
use crate::world::Container;

fn send(engine: &Engine, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
    let at = now();
    let message = EventMessage {
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor: EventActor { id: id.to_owned(), attributes },
        scope: "local".to_owned(),
        time: at.0 / 1_000_000_000,
        time_nano: at.0,
    };
    // Nobody listening is fine.
    let _ = engine.feed.send(Arc::new(message));
}

pub(crate) fn container(engine: &Engine, container: &Container, action: &str, extra: &[(&str, &str)]) {
    if engine.feed.receiver_count() == 0 {
        return;
    }
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

pub(crate) fn volume(engine: &Engine, action: &str, name: &str) {
    send(engine, "volume", action, name, BTreeMap::from([("driver".to_owned(), "local".to_owned())]));
}

pub(crate) fn image(engine: &Engine, action: &str, id: &str, name: &str) {
    send(engine, "image", action, id, BTreeMap::from([("name".to_owned(), name.to_owned())]));
}
