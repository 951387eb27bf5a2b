//! What names other things: dependencies, networks, models, env files; and two small odd shapes.

use crate::node::{Data, Entry, Map, Node};

use super::Context;

/// A list of services is a mapping to the weakest condition.
pub(crate) fn depends_on(node: Node) -> Node {
    if node.as_seq().is_none() {
        return node;
    }
    let mut node = references(node);
    if let Data::Map(map) = &mut node.data {
        for entry in &mut map.0 {
            let span = entry.value.span;
            if entry.value.is_null() {
                entry.value.data = Data::Map(Map::default());
            }
            if let Data::Map(dependency) = &mut entry.value.data {
                dependency.set_default("condition", Node::string(span, "service_started"));
                dependency.set_default("required", Node::new(span, Data::Bool(true)));
            }
        }
    }
    node
}

/// `[a, b]` is `{a: null, b: null}`.
pub(crate) fn references(mut node: Node) -> Node {
    if let Data::Seq(items) = node.data {
        let mut map = Map::default();
        for item in items {
            if let Some(name) = item.as_str().map(str::to_owned) {
                let value = Node::new(item.span, Data::Null);
                map.set(&name, value);
            }
        }
        node.data = Data::Map(map);
    }
    node
}

/// Each with an absolute path, `required: true` unless it says otherwise.
pub(crate) fn env_files(node: Node, context: &mut Context<'_>) -> Node {
    let mut node = super::listed(node);
    if let Data::Seq(items) = &mut node.data {
        for item in items {
            let span = item.span;
            if let Data::Str(path) = &item.data {
                let map = Map(vec![Entry {
                    key: "path".into(),
                    key_span: span,
                    value: Node::string(span, path.clone()),
                }]);
                item.data = Data::Map(map);
            }
            if let Data::Map(map) = &mut item.data {
                if let Some(path) = map.get_mut("path") {
                    context.resolve_to_read(path);
                }
                map.set_default("required", Node::new(span, Data::Bool(true)));
            }
        }
    }
    node
}

/// A string is a command for the shell.
pub(crate) fn health_test(mut node: Node, context: &mut Context<'_>) -> Node {
    match &node.data {
        Data::Str(text) => {
            let words = vec![
                Node::string(node.span, "CMD-SHELL"),
                Node::string(node.span, text.clone()),
            ];
            node.data = Data::Seq(words);
        }
        Data::Seq(items) => {
            let first = items.first().and_then(Node::as_str).unwrap_or_default();
            let problem = match (first, items.len()) {
                ("NONE", 1) => None,
                ("NONE", _) => Some("`NONE` stands alone"),
                ("CMD" | "CMD-SHELL", 0 | 1) => Some("a command is missing after it"),
                ("CMD" | "CMD-SHELL", _) | (_, 0) => None,
                _ => Some("it must begin with NONE, CMD or CMD-SHELL"),
            };
            if let Some(problem) = problem {
                let _ = context
                    .report
                    .error("E0009", format!("`healthcheck.test`: {problem}"))
                    .at(node.span, "this list")
                    .hint("write a plain string for a command of the shell");
            }
        }
        _ => {}
    }
    node
}

/// Every option is a list of strings.
pub(crate) fn provider_options(mut node: Node) -> Node {
    if let Data::Map(map) = &mut node.data {
        for entry in &mut map.0 {
            let items = match std::mem::replace(&mut entry.value.data, Data::Null) {
                Data::Seq(items) => items,
                data => vec![Node::new(entry.value.span, data)],
            };
            let texts = items
                .into_iter()
                .filter_map(|item| Some(Node::string(item.span, item.scalar_text()?)));
            entry.value.data = Data::Seq(texts.collect());
        }
    }
    node
}
