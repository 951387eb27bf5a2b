//! `build`: the context alone, or the whole section.

use crate::node::{Data, Entry, Map, Node};
use crate::paths;
use crate::report::Span;
use crate::schema::Shape;

use super::Context;

pub(crate) fn section(node: Node, inner: &Shape, path: &str, context: &mut Context<'_>) -> Node {
    let span = node.span;
    let mut node = match node.data {
        Data::Str(text) => {
            let map = Map(vec![Entry {
                key: "context".into(),
                key_span: span,
                value: Node::string(span, text),
            }]);
            Node {
                data: Data::Map(map),
                ..node
            }
        }
        _ => super::value(node, inner, path, context),
    };
    let Some(map) = node.as_map_mut() else {
        return node;
    };
    if let Some(Node {
        data: Data::Str(text),
        ..
    }) = map.get_mut("context")
        && !paths::is_remote(text)
        && !paths::is_windows(text)
    {
        *text = context.absolute(text);
    }
    if let Some(contexts) = map
        .get_mut("additional_contexts")
        .and_then(Node::as_map_mut)
    {
        for entry in &mut contexts.0 {
            let Data::Str(text) = &mut entry.value.data else {
                continue;
            };
            // The folder of an `oci-layout://` stays as it is written, as with the reference.
            if !paths::is_remote(text) {
                *text = context.absolute(text);
            }
        }
    }
    for key in ["cache_from", "cache_to"] {
        if let Some(Node {
            data: Data::Seq(items),
            ..
        }) = map.get_mut(key)
        {
            // A variable that is not set stands for no cache.
            items.retain(|item| item.as_str() != Some(""));
        }
    }
    exclusive_dockerfiles(map, context);
    node
}

fn exclusive_dockerfiles(map: &Map, context: &mut Context<'_>) {
    if let (Some(inline), Some(file)) = (map.entry("dockerfile_inline"), map.entry("dockerfile")) {
        let _ = context
            .report
            .error(
                "E0018",
                "`dockerfile` and `dockerfile_inline` exclude each other",
            )
            .at(inline.key_span, "the instructions are here")
            .at(file.key_span, "and a file is named here");
    }
}

/// `default`, `ID=PATH`.
pub(crate) fn ssh(mut node: Node) -> Node {
    if let Data::Map(map) = &node.data {
        let keys = map.0.iter().map(|entry| {
            let span: Span = entry.key_span;
            match entry.value.scalar_text() {
                Some(path) => Node::string(span, format!("{}={path}", entry.key)),
                None => Node::string(span, entry.key.clone()),
            }
        });
        node.data = Data::Seq(keys.collect());
    }
    node
}
