//! Owns the order of steps: turns fates into steps and joins them. There is no barrier; a step comes after exactly what
//! it needs. Must not know verbs.
//!
//! Why there can be no cycle: steps that take down (stop, remove, remove network) come only after other such steps, and
//! steps that build up after both. Within each kind the edges follow the service graph, which has no cycle. The few
//! edges that break this rule for the sake of less downtime are added last and only where they close no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hoist_object::DependencyCondition;
use petgraph::graph::NodeIndex;

use crate::action::{Action, ContainerSpec, NetworkSpec, Readiness, VolumeSpec};
use crate::graph::ServiceGraph;
use crate::names::ImageName;
use crate::observed::{Container, Observed};
use crate::plan::Reason;
use crate::planner::draft::Draft;
use crate::planner::subject::{Fate, Subject, Subjects};

/// Docker's default between the stop signal and SIGKILL.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);

/// All decisions of a plan before they are put in order.
#[derive(Debug)]
pub(crate) struct Decisions<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) graph: &'a ServiceGraph,
    pub(crate) subjects: Subjects<'a>,
    pub(crate) specs: BTreeMap<String, ContainerSpec>,
    /// By reference.
    pub(crate) images: BTreeMap<ImageName, (Action, Reason)>,
    /// Pairs of references: the first is built after the second.
    pub(crate) image_order: Vec<(String, String)>,
    pub(crate) new_networks: Vec<(NetworkSpec, Reason)>,
    pub(crate) old_networks: Vec<(String, Reason)>,
    pub(crate) new_volumes: Vec<(VolumeSpec, Reason)>,
    pub(crate) old_volumes: BTreeSet<String>,
    pub(crate) old_images: BTreeSet<String>,
    /// Instead of each container's own grace period.
    pub(crate) timeout: Option<Duration>,
    /// Services to wait for in the end.
    pub(crate) wait: BTreeSet<String>,
    /// The only dependencies that starts wait for; `None`: all.
    pub(crate) gates: Option<BTreeSet<String>>,
}

impl<'a> Decisions<'a> {
    pub(crate) fn new(
        observed: &'a Observed,
        graph: &'a ServiceGraph,
        subjects: Subjects<'a>,
    ) -> Self {
        Self {
            observed,
            graph,
            subjects,
            specs: BTreeMap::new(),
            images: BTreeMap::new(),
            image_order: Vec::new(),
            new_networks: Vec::new(),
            old_networks: Vec::new(),
            new_volumes: Vec::new(),
            old_volumes: BTreeSet::new(),
            old_images: BTreeSet::new(),
            timeout: None,
            wait: BTreeSet::new(),
            gates: None,
        }
    }

    fn waits_for(&self, service: &str) -> bool {
        self.gates
            .as_ref()
            .is_none_or(|gates| gates.contains(service))
    }
}

/// Steps of one container.
#[derive(Debug, Clone, Copy, Default)]
struct Steps {
    stop: Option<NodeIndex>,
    remove: Option<NodeIndex>,
    create: Option<NodeIndex>,
    start: Option<NodeIndex>,
}

pub(crate) fn assemble(draft: &mut Draft, decisions: Decisions<'_>) {
    let mut assembly = Assembly {
        draft,
        steps: BTreeMap::new(),
        early: Vec::new(),
        decisions,
    };
    assembly.containers();
    assembly.images();
    assembly.networks();
    assembly.volumes();
    assembly.stop_order();
    assembly.start_order();
    assembly.namespaces();
    assembly.volumes_from();
    assembly.handovers();
    assembly.final_waits();
    assembly.late_stops();
}

struct Assembly<'d, 'a> {
    draft: &'d mut Draft,
    decisions: Decisions<'a>,
    steps: BTreeMap<String, Steps>,
    /// Steps before which something running is not yet disturbed, with the start they lead to.
    early: Vec<(NodeIndex, NodeIndex)>,
}

impl Assembly<'_, '_> {
    fn containers(&mut self) {
        for subject in self.decisions.subjects.values() {
            let steps = container_steps(self.draft, subject, &self.decisions);
            if let (Some(stop), Some(start)) = (steps.stop, steps.start) {
                self.early.push((stop, start));
            }
            self.steps.insert(subject.name.clone(), steps);
        }
    }

    fn images(&mut self) {
        let mut made = BTreeMap::new();
        for (ImageName { reference, .. }, (action, why)) in &self.decisions.images {
            let image = self.draft.step(action.clone(), why.clone());
            made.insert(reference.clone(), image);
            for (name, spec) in &self.decisions.specs {
                let Some(steps) = self
                    .steps
                    .get(name)
                    .filter(|_| spec.record.image == *reference)
                else {
                    continue;
                };
                // Nothing that runs is disturbed for an image that cannot be had.
                let first = steps.stop.or(steps.remove).or(steps.create);
                for step in [first, steps.create].into_iter().flatten() {
                    self.draft.after(step, image);
                }
            }
        }
        for (later, first) in &self.decisions.image_order {
            if let (Some(later), Some(first)) = (made.get(later), made.get(first)) {
                self.draft.after(*later, *first);
            }
        }
        for reference in &self.decisions.old_images {
            let removal = self.draft.step(
                Action::RemoveImage {
                    reference: reference.clone(),
                },
                Reason::Requested,
            );
            for (name, steps) in &self.steps {
                let uses = self
                    .decisions
                    .observed
                    .containers
                    .get(name)
                    .is_some_and(|c| c.record.image == *reference);
                if let Some(remove) = steps.remove.filter(|_| uses) {
                    self.draft.after(removal, remove);
                }
            }
        }
    }

    fn networks(&mut self) {
        let mut removed = BTreeMap::new();
        for (network, why) in &self.decisions.old_networks {
            let removal = self.draft.step(
                Action::RemoveNetwork {
                    network: network.clone(),
                },
                why.clone(),
            );
            for (name, steps) in &self.steps {
                let attached = self
                    .decisions
                    .observed
                    .containers
                    .get(name)
                    .is_some_and(|c| is_attached(c, network));
                if let Some(remove) = steps.remove.filter(|_| attached) {
                    self.draft.after(removal, remove);
                }
            }
            removed.insert(network.clone(), removal);
        }
        for (spec, why) in &self.decisions.new_networks {
            let creation = self
                .draft
                .step(Action::CreateNetwork(Box::new(spec.clone())), why.clone());
            // A subnet may be taken over from a network that goes.
            for removal in removed.values() {
                self.draft.after(creation, *removal);
            }
            for (name, container) in &self.decisions.specs {
                let attached = container
                    .record
                    .networks
                    .iter()
                    .any(|attachment| attachment.network == spec.name);
                if let Some(create) = self
                    .steps
                    .get(name)
                    .and_then(|steps| steps.create)
                    .filter(|_| attached)
                {
                    self.draft.after(create, creation);
                }
            }
            // One that is there and lost its network.
            for start in restarted(&self.steps, &self.decisions, |container| {
                is_attached(container, &spec.name)
            }) {
                self.draft.after(start, creation);
            }
        }
    }

    fn volumes(&mut self) {
        for (spec, why) in &self.decisions.new_volumes {
            let creation = self
                .draft
                .step(Action::CreateVolume(Box::new(spec.clone())), why.clone());
            for (name, container) in &self.decisions.specs {
                let uses = container.record.volumes.contains(&spec.name);
                if let Some(create) = self
                    .steps
                    .get(name)
                    .and_then(|steps| steps.create)
                    .filter(|_| uses)
                {
                    self.draft.after(create, creation);
                }
            }
            let uses = |container: &Container| container.record.volumes.contains(&spec.name);
            for start in restarted(&self.steps, &self.decisions, uses) {
                self.draft.after(start, creation);
            }
        }
        for volume in &self.decisions.old_volumes {
            let removal = self.draft.step(
                Action::RemoveVolume {
                    volume: volume.clone(),
                },
                Reason::Requested,
            );
            for (name, steps) in &self.steps {
                let uses = self
                    .decisions
                    .observed
                    .containers
                    .get(name)
                    .is_some_and(|c| c.record.volumes.contains(volume));
                if let Some(remove) = steps.remove.filter(|_| uses) {
                    self.draft.after(removal, remove);
                }
            }
        }
    }

    /// A dependency is stopped after the containers that need it, also across services that are not stopped.
    fn stop_order(&mut self) {
        let mut stops: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        for subject in self.decisions.subjects.values() {
            if let Some(stop) = self.steps.get(&subject.name).and_then(|steps| steps.stop) {
                stops.entry(&subject.service).or_default().push(stop);
            }
        }
        for (service, dependents) in &stops {
            let mut seen = BTreeSet::new();
            let mut queue: Vec<&String> = self
                .decisions
                .graph
                .direct(service)
                .map(|(name, _)| name)
                .collect();
            while let Some(dependency) = queue.pop() {
                if !seen.insert(dependency) {
                    continue;
                }
                let Some(found) = stops.get(dependency.as_str()) else {
                    queue.extend(
                        self.decisions
                            .graph
                            .direct(dependency)
                            .map(|(name, _)| name),
                    );
                    continue;
                };
                for stop in found {
                    for dependent in dependents {
                        self.draft.after(*stop, *dependent);
                    }
                }
            }
        }
    }

    /// A container is started when each of its dependencies is in the condition that it wants.
    fn start_order(&mut self) {
        let mut gates: BTreeMap<(String, DependencyCondition, bool), Gate> = BTreeMap::new();
        for subject in self.decisions.subjects.values() {
            let Some(start) = self.steps.get(&subject.name).and_then(|steps| steps.start) else {
                continue;
            };
            let dependencies = self.decisions.graph.direct(&subject.service);
            for (dependency, edge) in
                dependencies.filter(|(name, _)| self.decisions.waits_for(name))
            {
                let gate = gates
                    .entry((dependency.clone(), edge.condition, edge.required))
                    .or_default();
                gate.starts.push(start);
                gate.dependents.insert(subject.service.clone());
            }
        }
        for ((service, condition, required), gate) in gates {
            let until = match condition {
                DependencyCondition::Started => Readiness::Started,
                DependencyCondition::Healthy => Readiness::Healthy,
                DependencyCondition::CompletedSuccessfully => Readiness::Completed,
            };
            let passed = if until == Readiness::Started {
                self.starts_of(&service)
            } else {
                let why = Reason::Condition {
                    dependents: gate.dependents.into_iter().collect(),
                };
                self.wait_for(&service, until, required, why)
                    .into_iter()
                    .collect()
            };
            for start in gate.starts {
                for before in &passed {
                    self.draft.after(start, *before);
                }
            }
        }
    }

    fn starts_of(&self, service: &str) -> Vec<NodeIndex> {
        self.members(service)
            .filter_map(|subject| self.steps.get(&subject.name)?.start)
            .collect()
    }

    /// The service's replicas that are there in the end.
    fn members<'s>(&'s self, service: &'s str) -> impl Iterator<Item = &'s Subject<'s>> {
        self.decisions.subjects.values().filter(move |subject| {
            subject.service == service
                && !subject.oneoff
                && !matches!(subject.fate, Fate::Remove { .. } | Fate::Stop(_))
        })
    }

    /// A step that waits for all replicas that are not ready already; `None` when all are.
    fn wait_for(
        &mut self,
        service: &str,
        until: Readiness,
        required: bool,
        why: Reason,
    ) -> Option<NodeIndex> {
        let containers: BTreeSet<String> = self
            .members(service)
            .filter(|subject| !subject.satisfies(until))
            .map(|subject| subject.name.clone())
            .collect();
        if containers.is_empty() {
            return None;
        }
        let wait = self.draft.step(
            Action::Await {
                containers,
                until,
                required,
            },
            why,
        );
        for start in self.starts_of(service) {
            self.draft.after(wait, start);
        }
        Some(wait)
    }

    /// Whoever lives in another's namespaces is stopped before it and started after it.
    fn namespaces(&mut self) {
        for (name, steps) in &self.steps {
            let old = self
                .decisions
                .observed
                .containers
                .get(name)
                .map(|container| &container.record);
            let new = self
                .decisions
                .specs
                .get(name)
                .map(|spec| &spec.record)
                .or(old);
            for owner in old.into_iter().flat_map(|record| &record.sharing) {
                let owner = self
                    .steps
                    .get(owner.container())
                    .and_then(|steps| steps.stop);
                if let (Some(owner), Some(stop)) = (owner, steps.stop) {
                    self.draft.rather_after(owner, stop);
                }
            }
            for owner in new.into_iter().flat_map(|record| &record.sharing) {
                let owner = self
                    .steps
                    .get(owner.container())
                    .and_then(|steps| steps.start);
                if let (Some(owner), Some(start)) = (owner, steps.start) {
                    self.draft.rather_after(start, owner);
                }
            }
        }
    }

    /// What a container takes the volumes of must be there when it is made.
    fn volumes_from(&mut self) {
        for (name, steps) in &self.steps {
            let (Some(create), Some(spec)) = (steps.create, self.decisions.specs.get(name)) else {
                continue;
            };
            for source in &spec.volumes_from {
                if let Some(made) = self
                    .steps
                    .get(&source.container)
                    .and_then(|steps| steps.create)
                {
                    self.draft.rather_after(create, made);
                }
            }
        }
    }

    /// Addresses and host ports that pass from one container to another.
    fn handovers(&mut self) {
        let mut removed_from: BTreeMap<_, NodeIndex> = BTreeMap::new();
        let mut freed: Vec<(&Container, NodeIndex)> = Vec::new();
        for (name, steps) in &self.steps {
            let Some(container) = self.decisions.observed.containers.get(name) else {
                continue;
            };
            if let Some(remove) = steps.remove {
                for attachment in &container.record.networks {
                    removed_from.insert((attachment.network.clone(), attachment.address), remove);
                }
            }
            if let Some(stop) = steps.stop.filter(|_| !container.record.ports.is_empty()) {
                freed.push((container, stop));
            }
        }
        for (name, steps) in &self.steps {
            let spec = self.decisions.specs.get(name);
            let existing = self.decisions.observed.containers.get(name);
            if let (Some(create), Some(spec)) = (steps.create, spec) {
                for attachment in &spec.record.networks {
                    if let Some(remove) =
                        removed_from.get(&(attachment.network.clone(), attachment.address))
                    {
                        self.draft.after(create, *remove);
                    }
                }
            }
            let Some(start) = steps.start else { continue };
            let Some(record) = spec
                .map(|spec| &spec.record)
                .or(existing.map(|container| &container.record))
            else {
                continue;
            };
            for (holder, stop) in &freed {
                let clashes = record.ports.iter().any(|port| {
                    holder.record.ports.iter().any(|held| {
                        (held.host_port, held.transport) == (port.host_port, port.transport)
                            && crate::ports::clash(held.host_ip, port.host_ip)
                    })
                });
                if clashes && holder.record.name != *name {
                    self.draft.after(start, *stop);
                }
            }
        }
    }

    fn final_waits(&mut self) {
        for service in std::mem::take(&mut self.decisions.wait) {
            self.wait_for(&service, Readiness::Ready, true, Reason::Requested);
        }
    }

    /// What runs is stopped only when what it needs to come up again is ready.
    fn late_stops(&mut self) {
        for (stop, start) in std::mem::take(&mut self.early) {
            for before in self.draft.before(start) {
                if before != stop {
                    self.draft.rather_after(stop, before);
                }
            }
        }
    }
}

/// Starts that wait for one condition of one service.
#[derive(Debug, Default)]
struct Gate {
    starts: Vec<NodeIndex>,
    dependents: BTreeSet<String>,
}

/// Starts of existing containers that depend on objects being created.
fn restarted(
    steps: &BTreeMap<String, Steps>,
    decisions: &Decisions<'_>,
    needs: impl Fn(&Container) -> bool,
) -> Vec<NodeIndex> {
    let restarted = steps.iter().filter(|(name, steps)| {
        steps.create.is_none() && decisions.observed.containers.get(*name).is_some_and(&needs)
    });
    restarted.filter_map(|(_, steps)| steps.start).collect()
}

pub(crate) fn is_attached(container: &Container, network: &str) -> bool {
    container
        .record
        .networks
        .iter()
        .any(|attachment| attachment.network == network)
}

fn container_steps(draft: &mut Draft, subject: &Subject<'_>, decisions: &Decisions<'_>) -> Steps {
    let container = subject.name.clone();
    let mut steps = Steps::default();
    match &subject.fate {
        Fate::Keep => {}
        Fate::Start(why) => {
            steps.start = Some(draft.step(Action::StartContainer { container }, why.clone()))
        }
        Fate::Unpause(why) => {
            draft.step(Action::UnpauseContainer { container }, why.clone());
        }
        Fate::Pause(why) => {
            draft.step(Action::PauseContainer { container }, why.clone());
        }
        Fate::Kill { signal } => {
            draft.step(
                Action::KillContainer {
                    container,
                    signal: signal.clone(),
                },
                Reason::Requested,
            );
        }
        Fate::Stop(why) => steps.stop = stop(draft, subject, why, decisions),
        Fate::Restart(why) => {
            steps.stop = stop(draft, subject, why, decisions);
            steps.start = Some(draft.step(Action::StartContainer { container }, why.clone()));
        }
        Fate::Remove {
            why,
            anonymous_volumes,
        } => {
            steps.stop = stop(draft, subject, why, decisions);
            steps.remove = Some(remove(draft, subject, why, *anonymous_volumes));
        }
        Fate::Create { start, why } => {
            (steps.create, steps.start) = make(draft, decisions.specs.get(&container), *start, why)
        }
        Fate::Replace { start, why } => {
            steps.stop = stop(draft, subject, why, decisions);
            steps.remove = Some(remove(draft, subject, why, false));
            (steps.create, steps.start) = make(draft, decisions.specs.get(&container), *start, why);
        }
    }
    for pair in [steps.stop, steps.remove, steps.create, steps.start]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .windows(2)
    {
        draft.after(pair[1], pair[0]);
    }
    steps
}

fn stop(
    draft: &mut Draft,
    subject: &Subject<'_>,
    why: &Reason,
    decisions: &Decisions<'_>,
) -> Option<NodeIndex> {
    let container = subject
        .observed
        .filter(|container| container.state.needs_stop())?;
    let action = Action::StopContainer {
        container: subject.name.clone(),
        signal: stop_signal(decisions.observed, container),
        grace: decisions.timeout.unwrap_or(container.record.stop_grace),
    };
    Some(draft.step(action, why.clone()))
}

fn remove(
    draft: &mut Draft,
    subject: &Subject<'_>,
    why: &Reason,
    anonymous_volumes: bool,
) -> NodeIndex {
    let anonymous = subject
        .observed
        .filter(|_| anonymous_volumes)
        .map(|container| &container.anonymous);
    let volumes = anonymous
        .map(|volumes| volumes.values().cloned().collect())
        .unwrap_or_default();
    draft.step(
        Action::RemoveContainer {
            container: subject.name.clone(),
            volumes,
        },
        why.clone(),
    )
}

/// Without a spec (its making met a problem, so the plan will not be carried out) there are no steps.
fn make(
    draft: &mut Draft,
    spec: Option<&ContainerSpec>,
    start: bool,
    why: &Reason,
) -> (Option<NodeIndex>, Option<NodeIndex>) {
    let Some(spec) = spec else {
        return (None, None);
    };
    let create = draft.step(Action::CreateContainer(Box::new(spec.clone())), why.clone());
    let container = spec.record.name.clone();
    let started = start.then(|| draft.step(Action::StartContainer { container }, why.clone()));
    (Some(create), started)
}

/// Its own, else its image's, else SIGTERM.
pub(crate) fn stop_signal(observed: &Observed, container: &Container) -> String {
    let image = observed
        .images
        .values()
        .find(|image| image.id == container.image_id);
    let inherited = image.and_then(|image| image.stop_signal.clone());
    container
        .record
        .stop_signal
        .clone()
        .or(inherited)
        .unwrap_or_else(|| "SIGTERM".to_owned())
}
