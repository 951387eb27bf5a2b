//! `extends`: a service on top of another one, of the same file or of another.
//!
//! Must not know: how documents are read (that is `files`).

use std::collections::HashMap;

use crate::files::{FileScope, Loader, MAX_CHAIN};
use crate::node::{Data, Map, Node, Tag, ValueOrigin};
use crate::report::Span;
use crate::{merge, paths, size, suggest, yaml};

impl Loader<'_> {
    pub(crate) fn extended(&mut self, mut tree: Node, scope: &FileScope) -> Node {
        let Some(services) = tree
            .as_map()
            .and_then(|map| map.get("services"))
            .and_then(Node::as_map)
        else {
            return tree;
        };
        if !services
            .0
            .iter()
            .any(|entry| entry.value.at(&["extends"]).is_some())
        {
            return tree;
        }
        let services = services.clone();
        let mut done: HashMap<String, Node> = HashMap::new();
        let mut result = services.clone();
        for entry in &mut result.0 {
            let mut trail = Vec::new();
            if let Some(service) = self.service(&services, &entry.key, scope, &mut done, &mut trail)
            {
                entry.value = service;
            }
        }
        if let Some(node) = tree.as_map_mut().and_then(|map| map.get_mut("services")) {
            node.data = Data::Map(result);
        }
        tree
    }

    /// A service with everything that it extends merged below it.
    fn service(
        &mut self,
        services: &Map,
        name: &str,
        scope: &FileScope,
        done: &mut HashMap<String, Node>,
        trail: &mut Vec<(String, Span)>,
    ) -> Option<Node> {
        if let Some(ready) = done.get(name) {
            return Some(ready.clone());
        }
        let mut service = services.get(name)?.clone();
        let Some(extends) = service.as_map_mut().and_then(|map| map.remove("extends")) else {
            return Some(service);
        };
        if extends.value.tag == Some(Tag::Reset) {
            return Some(service);
        }
        let here = scope.chain.last().cloned().unwrap_or_default();
        let step = format!("{here}:{name}");
        let span = extends.value.span;
        let Some(base_name) = extends.value.at(&["service"]).and_then(Node::as_str) else {
            let _ = self
                .report
                .error(
                    "E0008",
                    format!("`services.{name}.extends` needs the attribute `service`"),
                )
                .at(span, "which service is to be extended?");
            return Some(service);
        };
        let base_name = base_name.to_owned();
        if trail.iter().any(|(seen, _)| *seen == step) || trail.len() > MAX_CHAIN {
            self.extends_cycle(trail, name, span);
            return None;
        }
        trail.push((step, span));
        let base = match extends.value.at(&["file"]).and_then(Node::as_str) {
            Some(file) if *file != here => {
                self.service_of_file(file, &base_name, span, scope, trail)
            }
            _ if services.get(&base_name).is_none() => {
                self.no_base(&base_name, "this file", span, services);
                None
            }
            _ => self.service(services, &base_name, scope, done, trail),
        };
        trail.pop();
        let nothing = |base: &Node| base.as_map().is_some_and(|map| map.0.is_empty());
        let merged = match base {
            Some(base) if nothing(&base) && !self.report.has("E0014") => {
                self.without_effect(name, &base_name, span, base.span);
                if let Some(map) = service.as_map_mut() {
                    map.0.push(extends);
                }
                service
            }
            Some(base) if !self.report.spend(size::of(&base), span) => service,
            Some(mut base) => {
                base.mark(ValueOrigin::Extends);
                merge::services(base, service)
            }
            None => service,
        };
        done.insert(name.to_owned(), merged.clone());
        Some(merged)
    }

    fn extends_cycle(&mut self, trail: &[(String, Span)], name: &str, span: Span) {
        let mut names: Vec<&str> = trail
            .iter()
            .map(|(step, _)| step.rsplit(':').next().unwrap_or_default())
            .collect();
        names.push(name);
        let mut entry = self
            .report
            .error(
                "E0014",
                format!(
                    "services extend each other in a circle: {}",
                    names.join(" -> ")
                ),
            )
            .at(span, "extends");
        for (_, other) in trail.iter().filter(|(_, other)| *other != span) {
            entry = entry.at(*other, "and this one");
        }
        let _ = entry;
    }

    /// As in the reference, the attribute then stays where it is.
    fn without_effect(&mut self, name: &str, base: &str, span: Span, empty: Span) {
        let _ = self
            .report
            .warning(
                "W0003",
                format!("`services.{name}.extends` has no effect: the service `{base}` is empty"),
            )
            .at(span, "extended here")
            .at(empty, "nothing here");
    }

    fn no_base(&mut self, name: &str, file: &str, span: Span, services: &Map) {
        let entry = self
            .report
            .error(
                "E0014",
                format!("there is no service `{name}` in {file} to extend"),
            )
            .at(span, "extended here");
        if let Some(near) =
            suggest::closest(name, services.0.iter().map(|entry| entry.key.as_str()))
        {
            let _ = entry.hint(format!("did you mean `{near}`?"));
        }
    }

    fn service_of_file(
        &mut self,
        path: &str,
        name: &str,
        span: Span,
        scope: &FileScope,
        trail: &mut Vec<(String, Span)>,
    ) -> Option<Node> {
        let dir = paths::parent(path);
        let mut chain = scope.chain.clone();
        chain.push(path.to_owned());
        let base_scope = FileScope {
            dir: dir.clone(),
            variables: scope.variables.clone(),
            chain,
        };
        let key = (path.to_owned(), dir);
        let tree = match self.documents.get(&key) {
            Some(tree) => tree.clone(),
            None => {
                let file = self.text(path, Some(span), "the file to extend")?;
                let documents = yaml::parse(&mut self.report, file)?;
                let mut tree: Option<Node> = None;
                for document in documents.into_iter().filter(|document| !document.is_null()) {
                    let Some(next) = self.canonical(document, &base_scope) else {
                        continue;
                    };
                    tree = Some(match tree {
                        Some(base) => merge::documents(base, next),
                        None => next,
                    });
                }
                self.documents.insert(key, tree.clone());
                tree
            }
        };
        let services = tree
            .as_ref()
            .and_then(|tree| tree.at(&["services"]))
            .and_then(Node::as_map)
            .cloned();
        let services = services.unwrap_or_default();
        if services.get(name).is_none() {
            self.no_base(name, path, span, &services);
            return None;
        }
        let base = self.service(&services, name, &base_scope, &mut HashMap::new(), trail)?;
        // Tags of the base file were about its own bases; above it they say nothing.
        Some(settled_service(base))
    }
}

fn settled_service(service: Node) -> Node {
    let span = service.span;
    let mut services = Map::default();
    services.set("s", service);
    let mut tree = Map::default();
    tree.set("services", Node::new(span, Data::Map(services)));
    let settled = merge::settle(Node::new(span, Data::Map(tree)));
    settled.at(&["services", "s"]).cloned().unwrap_or(settled)
}
