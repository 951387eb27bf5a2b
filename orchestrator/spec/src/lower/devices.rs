//! `devices`, `gpus` and reserved devices.

use crate::node::{Data, Map, Node};

use super::Context;

/// `SOURCE[:TARGET[:PERMISSIONS]]`; the long form gets its defaults.
pub(crate) fn mappings(mut node: Node, context: &Context<'_>) -> Node {
    if let Data::Seq(items) = &mut node.data {
        for item in items {
            let span = item.span;
            if let Data::Str(text) = &item.data {
                let parts: Vec<&str> = text.splitn(3, ':').collect();
                let places = context.written(item).split(':', parts.len());
                let mut map = Map::default();
                for ((key, part), place) in ["source", "target", "permissions"]
                    .into_iter()
                    .zip(&parts)
                    .zip(places)
                {
                    map.set(key, Node::string(place, *part));
                }
                map.set_default("target", Node::string(span, parts[0]));
                map.set_default("permissions", Node::string(span, "rwm"));
                item.data = Data::Map(map);
            } else if let Data::Map(map) = &mut item.data {
                if let Some(source) = map.get("source").cloned() {
                    map.set_default("target", source);
                }
                map.set_default("permissions", Node::string(span, "rwm"));
            }
        }
    }
    node
}

/// `all` is one request for every device.
pub(crate) fn gpus(mut node: Node) -> Node {
    if node.as_str() == Some("all") {
        let mut map = Map::default();
        map.set("count", Node::new(node.span, Data::Int(-1)));
        node.data = Data::Seq(vec![Node::new(node.span, Data::Map(map))]);
    }
    node
}

/// A number, or `all`.
pub(crate) fn count(mut node: Node, context: &mut Context<'_>) -> Node {
    if let Data::Str(text) = &node.data {
        match (text.as_str(), text.parse::<i64>()) {
            ("all", _) => node.data = Data::Int(-1),
            (_, Ok(number)) => node.data = Data::Int(number),
            _ => {
                let _ = context
                    .report
                    .error(
                        "E0009",
                        format!("`count`: `{text}` is neither `all` nor a number"),
                    )
                    .at(node.span, "this value");
            }
        }
    }
    node
}

/// A request names a number of devices or the devices, not both; neither means all.
pub(crate) fn request(node: &mut Node, path: &str, context: &mut Context<'_>) {
    let span = node.span;
    let Some(map) = node.as_map_mut() else { return };
    match (map.entry("count"), map.entry("device_ids")) {
        (Some(count), Some(ids)) => {
            let _ = context
                .report
                .error(
                    "E0018",
                    format!("`{path}`: `count` and `device_ids` exclude each other"),
                )
                .at(count.key_span, "a number of devices")
                .at(ids.key_span, "and the devices themselves");
        }
        (None, None) => map.set("count", Node::new(span, Data::Int(-1))),
        _ => {}
    }
}
