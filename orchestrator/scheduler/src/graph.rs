//! Owns which service needs which: the desired stack's dependencies, and the recorded ones for containers whose service
//! the stack does not know. Must not know containers' states.

use std::collections::{BTreeMap, BTreeSet};

use hoist_object::{Dependency, DependencyCondition};
use hoist_spec::model::{self, NamespaceMode, NetworkMode, Service};
use petgraph::graphmap::DiGraphMap;

use crate::observed::Observed;

type Edges = BTreeMap<String, BTreeMap<String, Dependency>>;

/// Services and their direct dependencies; acyclic by construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceGraph {
    edges: Edges,
    /// Dependencies first; ties by name.
    order: Vec<String>,
    /// Cycles that were cut open, as paths.
    pub(crate) cycles: Vec<Vec<String>>,
}

/// What a service depends on: `depends_on` and the services whose namespaces it shares.
pub(crate) fn dependencies(service: &Service) -> BTreeMap<String, Dependency> {
    let mut all: BTreeMap<String, Dependency> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| (name.clone(), self::dependency(*dependency)))
        .collect();
    for owner in namespace_owners(service) {
        // Sharing is by nature a dependency that must follow its owner, whatever depends_on says of it.
        let implied = Dependency {
            condition: DependencyCondition::Started,
            restart: true,
            required: true,
        };
        all.entry(owner)
            .and_modify(|known| known.restart = true)
            .or_insert(implied);
    }
    all
}

fn namespace_owners(service: &Service) -> BTreeSet<String> {
    let mut owners = BTreeSet::new();
    if let Some(NetworkMode::Service(name)) = &service.network_mode {
        owners.insert(name.clone());
    }
    for mode in [&service.pid, &service.ipc, &service.uts]
        .into_iter()
        .flatten()
    {
        if let NamespaceMode::Service(name) = mode {
            owners.insert(name.clone());
        }
    }
    owners
}

fn dependency(of: model::Dependency) -> Dependency {
    let condition = match of.condition {
        model::Condition::Started => DependencyCondition::Started,
        model::Condition::Healthy => DependencyCondition::Healthy,
        model::Condition::CompletedSuccessfully => DependencyCondition::CompletedSuccessfully,
    };
    Dependency {
        condition,
        restart: of.restart,
        required: of.required,
    }
}

/// The services of a stack and everything that they need, directly or not.
pub fn with_dependencies(stack: &model::Stack, services: &BTreeSet<String>) -> BTreeSet<String> {
    ServiceGraph::new(&stack.services, &Observed::default()).closure(services)
}

impl ServiceGraph {
    /// The stack's word counts for its own services, the records' for all others.
    pub(crate) fn new(services: &BTreeMap<String, Service>, observed: &Observed) -> Self {
        let mut edges: Edges = services
            .iter()
            .map(|(name, service)| (name.clone(), dependencies(service)))
            .collect();
        for container in observed.containers.values() {
            let record = &container.record;
            if !services.contains_key(&record.service) {
                edges
                    .entry(record.service.clone())
                    .or_default()
                    .extend(record.depends_on.clone());
            }
        }
        Self::acyclic(edges)
    }

    /// Takes edges one by one and leaves out what would close a cycle, so that every plan stays possible.
    fn acyclic(mut edges: Edges) -> Self {
        let wanted = edges.clone();
        let mut graph: DiGraphMap<&str, ()> = DiGraphMap::new();
        let mut cycles = Vec::new();
        for (service, dependencies) in &wanted {
            graph.add_node(service);
            for dependency in dependencies.keys() {
                graph.add_edge(service, dependency, ());
            }
        }
        if petgraph::algo::is_cyclic_directed(&graph) {
            graph = DiGraphMap::new();
            for (service, dependencies) in &wanted {
                graph.add_node(service);
                for dependency in dependencies.keys() {
                    if let Some(path) = path(&graph, dependency, service) {
                        cycles.push(
                            path.into_iter()
                                .chain([dependency.as_str()])
                                .map(str::to_owned)
                                .collect(),
                        );
                        edges.entry(service.clone()).or_default().remove(dependency);
                    } else {
                        graph.add_edge(service, dependency, ());
                    }
                }
            }
        }
        let order = order(&graph);
        Self {
            edges,
            order,
            cycles,
        }
    }

    /// All services, dependencies before dependents.
    pub(crate) fn order(&self) -> &[String] {
        &self.order
    }

    pub(crate) fn direct(&self, service: &str) -> impl Iterator<Item = (&String, Dependency)> {
        self.edges
            .get(service)
            .into_iter()
            .flatten()
            .map(|(name, dependency)| (name, *dependency))
    }

    /// The services and everything that they need, directly or not.
    pub(crate) fn closure<'a>(
        &self,
        services: impl IntoIterator<Item = &'a String>,
    ) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut queue: Vec<String> = services.into_iter().cloned().collect();
        while let Some(service) = queue.pop() {
            for (dependency, _) in self.direct(&service) {
                if !all.contains(dependency) {
                    queue.push(dependency.clone());
                }
            }
            all.insert(service);
        }
        all
    }

    /// The services and everything that needs them over edges that `follow` accepts.
    pub(crate) fn dependents<'a>(
        &self,
        services: impl IntoIterator<Item = &'a String>,
        follow: impl Fn(Dependency) -> bool,
    ) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = services.into_iter().cloned().collect();
        // In order, so one pass sees every chain.
        for service in &self.order {
            if self
                .direct(service)
                .any(|(dependency, edge)| all.contains(dependency) && follow(edge))
            {
                all.insert(service.clone());
            }
        }
        all
    }
}

fn path<'a>(graph: &DiGraphMap<&'a str, ()>, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    if from == to {
        return Some(vec![from]);
    }
    if !graph.contains_node(from) || !graph.contains_node(to) {
        return None;
    }
    petgraph::algo::astar(graph, from, |node| node == to, |_| 1_u32, |_| 0).map(|(_, nodes)| nodes)
}

/// Dependencies first; among services that are free at the same time, by name.
fn order(graph: &DiGraphMap<&str, ()>) -> Vec<String> {
    let mut missing: BTreeMap<&str, usize> = graph
        .nodes()
        .map(|node| (node, graph.neighbors(node).count()))
        .collect();
    let mut free: BTreeSet<&str> = missing
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(node, _)| *node)
        .collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(node) = free.pop_first() {
        order.push(node.to_owned());
        for dependent in graph.neighbors_directed(node, petgraph::Direction::Incoming) {
            if let Some(count) = missing.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    free.insert(dependent);
                }
            }
        }
    }
    order
}
