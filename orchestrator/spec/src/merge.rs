//! Two canonical trees into one, by the rules of Compose: mappings merge, lists append, some values replace, some list
//! items are the same thing. `!reset` drops what was there, `!override` replaces it.
//!
//! Must not know: why two trees meet (several files, `extends`, `include`).

use std::collections::HashMap;

use crate::node::{Data, Entry, Map, Node, Tag};

/// Puts a later stack file over an earlier one.
pub(crate) fn documents(base: Node, over: Node) -> Node {
    merge(base, over, "")
}

/// Puts a service over the one that it extends.
pub(crate) fn services(base: Node, over: Node) -> Node {
    merge(base, over, "services.*")
}

/// Applies the tags of a tree that has nothing below it, and makes list items unique.
pub(crate) fn settle(node: Node) -> Node {
    settled(node, "")
}

fn settled(mut node: Node, path: &str) -> Node {
    node.tag = None;
    match node.data {
        Data::Map(map) => {
            let entries = map
                .0
                .into_iter()
                .filter(|entry| entry.value.tag != Some(Tag::Reset))
                .map(|entry| {
                    let value = settled(entry.value, &child(path, &entry.key));
                    Entry { value, ..entry }
                });
            node.data = Data::Map(Map(entries.collect()));
        }
        Data::Seq(items) => {
            let items = items
                .into_iter()
                .filter(|item| item.tag != Some(Tag::Reset))
                .map(|item| settled(item, &format!("{path}[]")))
                .collect();
            node.data = Data::Seq(unique(items, path));
        }
        data => node.data = data,
    }
    node
}

fn merge(mut base: Node, over: Node, path: &str) -> Node {
    match over.tag {
        Some(Tag::Reset) => return over.over(base),
        Some(Tag::Override) => return Node { tag: None, ..over }.over(base),
        None => {}
    }
    let other_driver = path.ends_with(".logging") && drivers_differ(&base, &over);
    if base.tag == Some(Tag::Reset) || replaces(path) || other_driver {
        return over.over(base);
    }
    match (base.data, over.data) {
        (Data::Map(below), Data::Map(above)) => {
            let (merged, gone) = mappings(below, above, path);
            base.data = Data::Map(merged);
            if !gone.is_empty() {
                let span = base.span;
                let gone = Node {
                    tag: Some(Tag::Reset),
                    ..Node::new(span, Data::Map(Map(gone)))
                };
                return base.over(gone);
            }
            base
        }
        (Data::Seq(below), Data::Seq(above)) => {
            base.data = Data::Seq(lists(below, above, path));
            base
        }
        (below, Data::Null) => Node {
            data: below,
            ..base
        },
        (below, above) => Node {
            data: above,
            ..over
        }
        .over(Node {
            data: below,
            ..base
        }),
    }
}

/// The entries of both, and those that were taken out.
fn mappings(mut below: Map, above: Map, path: &str) -> (Map, Vec<Entry>) {
    let index: HashMap<String, usize> = below
        .0
        .iter()
        .enumerate()
        .map(|(index, entry)| (entry.key.clone(), index))
        .collect();
    for entry in above.0 {
        match index.get(&entry.key) {
            Some(&index) => {
                let slot = &mut below.0[index];
                let old =
                    std::mem::replace(&mut slot.value, Node::new(entry.value.span, Data::Null));
                let old_span = old.span;
                slot.value = merge(old, entry.value, &child(path, &entry.key));
                // The key that the user sees is the one whose value won.
                if slot.value.span != old_span {
                    slot.key_span = entry.key_span;
                }
            }
            None => below.0.push(entry),
        }
    }
    let is_gone = |entry: &mut Entry| entry.value.tag == Some(Tag::Reset);
    let gone = below.0.extract_if(.., is_gone).collect();
    (below, gone)
}

fn lists(mut below: Vec<Node>, above: Vec<Node>, path: &str) -> Vec<Node> {
    if path == "networks.*.ipam.config" {
        for pool in above {
            let same = below.iter().position(|other| {
                pool.at(&["subnet"]).is_some()
                    && other.at(&["subnet"]).and_then(Node::as_str)
                        == pool.at(&["subnet"]).and_then(Node::as_str)
            });
            match same {
                Some(index) => {
                    let old = below.remove(index);
                    below.insert(index, merge(old, pool, "networks.*.ipam.config[]"));
                }
                None => below.push(pool),
            }
        }
        return below;
    }
    below.extend(above);
    unique(below, path)
}

/// Values that are one thing, though they are written as a list.
fn replaces(path: &str) -> bool {
    matches!(
        path,
        "services.*.command"
            | "services.*.entrypoint"
            | "services.*.healthcheck.test"
            | "services.*.provider.options.*"
            | "services.*.ulimits.*"
    )
}

fn drivers_differ(below: &Node, above: &Node) -> bool {
    match (
        below.at(&["driver"]).and_then(Node::as_str),
        above.at(&["driver"]).and_then(Node::as_str),
    ) {
        (Some(below), Some(above)) => below != above,
        _ => false,
    }
}

/// The path of an entry, with `*` for keys that are the user's own.
fn child(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        "services"
        | "networks"
        | "volumes"
        | "secrets"
        | "configs"
        | "services.*.networks"
        | "services.*.provider.options"
        | "services.*.ulimits" => format!("{path}.*"),
        _ => format!("{path}.{key}"),
    }
}

/// What makes a list item the same thing as an earlier one; `None`: every item stands for itself.
fn identity(path: &str, item: &Node) -> Option<String> {
    match path {
        "services.*.cap_add"
        | "services.*.cap_drop"
        | "services.*.dns"
        | "services.*.dns_opt"
        | "services.*.dns_search"
        | "services.*.expose"
        | "services.*.extra_hosts"
        | "services.*.build.extra_hosts"
        | "services.*.build.tags"
        | "services.*.build.platforms"
        | "services.*.build.platform"
        | "services.*.label_file"
        | "services.*.networks.*.aliases"
        | "services.*.networks.*.link_local_ips"
        | "services.*.profiles"
        | "services.*.tmpfs"
        | "services.*.group_add"
        | "services.*.security_opt" => item.scalar_text(),
        "services.*.links" => item
            .scalar_text()
            .map(|link| link.split('=').next().unwrap_or_default().to_owned()),
        "services.*.env_file" => text(item, "path"),
        "services.*.devices" | "services.*.volumes" => text(item, "target"),
        "services.*.secrets" => text(item, "target"),
        "services.*.configs" => {
            text(item, "target").or_else(|| Some(format!("/{}", text(item, "source")?)))
        }
        "services.*.ports" => Some(format!(
            "{}:{}:{}/{}",
            text(item, "host_ip").unwrap_or_else(|| "0.0.0.0".to_owned()),
            text(item, "published").unwrap_or_default(),
            text(item, "target")?,
            text(item, "protocol").unwrap_or_default(),
        )),
        _ => None,
    }
}

fn text(item: &Node, key: &str) -> Option<String> {
    item.at(&[key])?.scalar_text()
}

/// A later item takes the place of an earlier one that is the same thing.
fn unique(items: Vec<Node>, path: &str) -> Vec<Node> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(items.len());
    for item in items {
        match identity(path, &item) {
            Some(key) => match seen.get(&key) {
                Some(&index) => {
                    let below =
                        std::mem::replace(&mut kept[index], Node::new(item.span, Data::Null));
                    kept[index] = item.over(below);
                }
                None => {
                    seen.insert(key, kept.len());
                    kept.push(item);
                }
            },
            None => kept.push(item),
        }
    }
    kept
}
