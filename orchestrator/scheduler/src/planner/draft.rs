//! Owns a plan in the making: steps as a graph, problems and notes in the order they were found. `finish` lays the
//! graph out as a list. Must not know why a step comes after another.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::IntoNeighbors;

use crate::action::Action;
use crate::plan::{Plan, Reason, Step, StepId};
use crate::problem::{Note, Problem};

#[derive(Debug, Default)]
pub(crate) struct Draft {
    graph: DiGraph<(Action, Reason), ()>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
    pub(crate) running: Vec<String>,
    pub(crate) concludes: bool,
}

impl Draft {
    pub(crate) fn step(&mut self, action: Action, why: Reason) -> NodeIndex {
        self.graph.add_node((action, why))
    }

    /// `step` needs `before`. Where a cycle would be impossible by construction.
    pub(crate) fn after(&mut self, step: NodeIndex, before: NodeIndex) {
        self.graph.update_edge(before, step, ());
    }

    /// The same where it is only better so: left out when it would close a cycle.
    pub(crate) fn rather_after(&mut self, step: NodeIndex, before: NodeIndex) {
        if !petgraph::algo::has_path_connecting(&self.graph, step, before, None) {
            self.after(step, before);
        }
    }

    /// What `step` comes after so far.
    pub(crate) fn before(&self, step: NodeIndex) -> Vec<NodeIndex> {
        self.graph
            .neighbors_directed(step, Direction::Incoming)
            .collect()
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(crate) fn first_problem(self) -> Option<Problem> {
        self.problems.into_iter().next()
    }

    pub(crate) fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn finish(self, project: &str) -> Plan {
        let order = self.layout();
        let mut position = vec![0; self.graph.node_count()];
        for (index, node) in order.iter().enumerate() {
            position[node.index()] = index;
        }
        let after = self.direct_predecessors(&order, &position);
        let (nodes, _) = self.graph.into_nodes_edges();
        let mut weights: Vec<Option<(Action, Reason)>> =
            nodes.into_iter().map(|node| Some(node.weight)).collect();
        let steps = order
            .iter()
            .zip(after)
            .enumerate()
            .filter_map(|(index, (node, after))| {
                let (action, why) = weights[node.index()].take()?;
                Some(Step {
                    id: StepId(index),
                    action,
                    after,
                    why,
                })
            })
            .collect();
        Plan {
            project: project.to_owned(),
            steps,
            problems: self.problems,
            notes: self.notes,
            running: self.running,
            concludes: self.concludes,
        }
    }

    /// Topological; among steps that are free at the same time by kind and name. A cycle (which the edges' rules
    /// exclude) is cut at its first step, since a plan must exist for every input.
    fn layout(&self) -> Vec<NodeIndex> {
        let key = |node: NodeIndex| {
            let (action, _) = &self.graph[node];
            (action.rank(), action.object(), node)
        };
        let mut missing: Vec<usize> = self
            .graph
            .node_indices()
            .map(|node| self.before(node).len())
            .collect();
        let mut waiting: BTreeSet<_> = self.graph.node_indices().map(key).collect();
        let mut free: BTreeSet<_> = waiting
            .iter()
            .filter(|entry| missing[entry.2.index()] == 0)
            .cloned()
            .collect();
        let mut order = Vec::with_capacity(missing.len());
        while let Some(entry) = free.pop_first().or_else(|| waiting.first().cloned()) {
            waiting.remove(&entry);
            order.push(entry.2);
            for dependent in self.graph.neighbors_directed(entry.2, Direction::Outgoing) {
                let count = &mut missing[dependent.index()];
                *count = count.saturating_sub(1);
                if *count == 0 && waiting.contains(&key(dependent)) {
                    free.insert(key(dependent));
                }
            }
        }
        order
    }

    /// Per step in layout order: the earlier steps it comes after, without those that follow from others.
    fn direct_predecessors(&self, order: &[NodeIndex], position: &[usize]) -> Vec<Vec<StepId>> {
        let mut reversed: DiGraph<(), ()> =
            DiGraph::with_capacity(order.len(), self.graph.edge_count());
        for _ in order {
            reversed.add_node(());
        }
        for edge in self.graph.edge_indices() {
            if let Some((before, step)) = self.graph.edge_endpoints(edge) {
                let (before, step) = (position[before.index()], position[step.index()]);
                if before < step {
                    reversed.update_edge(NodeIndex::new(before), NodeIndex::new(step), ());
                }
            }
        }
        // Positions are a topological order already, so the adjacency list needs no renumbering.
        let topological: Vec<NodeIndex> = (0..order.len()).map(NodeIndex::new).collect();
        let (list, _) = petgraph::algo::tred::dag_to_toposorted_adjacency_list::<_, u32>(
            &reversed,
            &topological,
        );
        let (reduced, _) = petgraph::algo::tred::dag_transitive_reduction_closure(&list);
        let mut after = vec![Vec::new(); order.len()];
        for before in 0..order.len() {
            for step in (&reduced).neighbors(u32::try_from(before).unwrap_or(u32::MAX)) {
                if let Some(list) = usize::try_from(step)
                    .ok()
                    .and_then(|step| after.get_mut(step))
                {
                    list.push(StepId(before));
                }
            }
        }
        after
    }
}
