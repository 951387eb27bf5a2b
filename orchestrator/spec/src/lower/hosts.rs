//! `extra_hosts`: `name=address`, `name:address`, or a mapping to one or several addresses.

use crate::node::{Data, Node};

use super::Context;

/// A list of `name=address`.
pub(crate) fn list(mut node: Node, context: &mut Context<'_>) -> Node {
    let mut hosts = Vec::new();
    match node.data {
        Data::Seq(items) => {
            for item in items {
                let Some(text) = item.as_str() else { continue };
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((name, addresses)) => {
                        let texts = addresses.split(',').map(|address| joined(name, address));
                        hosts.extend(texts.map(|text| Node::string(item.span, text)));
                    }
                    None if context.report.trusts(text) => hosts.push(item),
                    None => {
                        let _ = context
                            .report
                            .error("E0009", format!("`extra_hosts`: `{text}` has no address"))
                            .at(item.span, "write `name=address`");
                    }
                }
            }
        }
        Data::Map(mut map) => {
            map.0.sort_by(|a, b| a.key.cmp(&b.key));
            for entry in map.0 {
                let addresses = match entry.value.data {
                    Data::Seq(items) => items,
                    _ => vec![entry.value],
                };
                for address in addresses {
                    let Some(text) = address.as_str() else {
                        continue;
                    };
                    hosts.push(Node::string(address.span, joined(&entry.key, text)));
                }
            }
        }
        other => {
            node.data = other;
            return node;
        }
    }
    node.data = Data::Seq(hosts);
    node
}

fn joined(name: &str, address: &str) -> String {
    let address = address.trim();
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    format!("{}={bare}", name.trim())
}
