//! Secrets and configs as they are mounted into a service or a build.

use crate::node::{Data, Entry, Map, Node};
use crate::units;

use super::Context;

/// A name is a mount of the secret of that name.
pub(crate) fn mounts(mut node: Node, path: &str, context: &mut Context<'_>) -> Node {
    // A build's secret has no place unless the file gives it one.
    let secret = path == "services.*.secrets";
    if let Data::Seq(items) = &mut node.data {
        for item in items {
            let span = item.span;
            if let Data::Str(name) = &item.data {
                let source = Node::string(span, name.clone());
                item.data = Data::Map(Map(vec![Entry {
                    key: "source".into(),
                    key_span: span,
                    value: source,
                }]));
            }
            let Data::Map(map) = &mut item.data else {
                continue;
            };
            let Some(source) = map.get("source").and_then(Node::as_str).map(str::to_owned) else {
                let _ = context
                    .report
                    .error("E0008", format!("`{path}` needs the attribute `source`"))
                    .at(span, "which secret or config is meant?");
                continue;
            };
            if secret {
                map.set_default(
                    "target",
                    Node::string(span, format!("/run/secrets/{source}")),
                );
            }
        }
    }
    node
}

/// Permission bits, as text with a leading zero: YAML reads `0440` as an octal number.
pub(crate) fn mode(mut node: Node, context: &mut Context<'_>) -> Node {
    let bits = match &node.data {
        Data::Int(bits) => Some(*bits),
        Data::Str(text) => i64::from_str_radix(text.trim_start_matches("0o"), 8)
            .ok()
            .or_else(|| units::integer(text)),
        _ => None,
    };
    match bits {
        Some(bits @ 0..=0o7777) => node.data = Data::Str(format!("0{bits:o}")),
        _ => {
            let _ = context
                .report
                .error("E0009", "`mode` must be permission bits")
                .at(node.span, "not an octal number")
                .hint("write it like \"0440\"");
        }
    }
    node
}
