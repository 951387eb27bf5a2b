//! Owns the planner: which verb leads to which fate of each container, network, volume and image. One file per decision;
//! each writes into the [`draft::Draft`]. The order of steps is `assemble`'s alone.
//!
//! Must not know how long anything takes, nor the outcome of a pull or build: where the next decision depends on one,
//! the plan ends there and is made again afterwards.

mod addresses;
mod assemble;
mod converge;
mod draft;
mod follow;
mod images;
mod lifecycle;
mod networks;
mod published;
mod spec;
mod subject;
mod supervise;
mod teardown;
mod volumes;

use std::collections::BTreeSet;

use crate::desired::Desired;
use crate::graph::ServiceGraph;
use crate::observed::{Container, Observed, State};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::request::{Request, Services, Verb};
use converge::Goal;
use draft::Draft;
use hoist_object::Timestamp;
pub(crate) use lifecycle::ends_container;
pub use networks::network_spec;
pub(crate) use volumes::keys as volume_keys;
pub use volumes::volume_spec;

/// What every decision looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) request: &'a Request,
    pub(crate) now: Timestamp,
    pub(crate) graph: &'a ServiceGraph,
}

/// The difference between what is desired and what is, under what is asked.
///
/// Total and pure: the same input gives the same plan to the byte. Carry it out, observe, and plan again until one is
/// empty or [concludes](Plan::concludes): then the request is fulfilled. A plan with problems must not be carried out.
pub fn plan(desired: &Desired, observed: &Observed, request: &Request, now: Timestamp) -> Plan {
    let desired = &*desired.with_modes();
    let graph = ServiceGraph::new(&desired.stack.services, observed);
    let context = Context {
        desired,
        observed,
        request,
        now,
        graph: &graph,
    };
    let mut draft = Draft::default();
    for services in &graph.cycles {
        draft.problem(Problem::Cycle {
            services: services.clone(),
        });
    }
    match &request.verb {
        Verb::Up(up) => converge::plan(context, &mut draft, Goal::up(up)),
        Verb::Create(create) => converge::plan(context, &mut draft, Goal::create(create)),
        Verb::Scale(scale) => converge::plan(context, &mut draft, Goal::scale(scale)),
        Verb::Run(run) => converge::plan(context, &mut draft, Goal::run(run)),
        Verb::Down(down) => teardown::down(context, &mut draft, down),
        Verb::Remove(remove) => teardown::remove(context, &mut draft, remove),
        Verb::Start(start) => lifecycle::start(context, &mut draft, start),
        Verb::Stop(stop) => lifecycle::stop(context, &mut draft, stop),
        Verb::Restart(restart) => lifecycle::restart(context, &mut draft, restart),
        Verb::Kill(kill) => lifecycle::kill(context, &mut draft, kill),
        Verb::Pause(services) => lifecycle::pause(context, &mut draft, services),
        Verb::Unpause(services) => lifecycle::unpause(context, &mut draft, services),
        Verb::Pull(pull) => images::pull(context, &mut draft, pull),
        Verb::Build(build) => images::build(context, &mut draft, build),
        Verb::Supervise => supervise::plan(context, &mut draft),
    }
    draft.finish(&desired.stack.name)
}

impl Context<'_> {
    /// The named services, or all that the stack or the records know. Names that the stack does not know are problems;
    /// without a stack any name will do.
    fn selected(&self, draft: &mut Draft, services: &Services) -> BTreeSet<String> {
        let stack: BTreeSet<&String> = self
            .desired
            .stack
            .services
            .keys()
            .chain(&self.desired.stack.inactive)
            .collect();
        if services.is_empty() {
            return stack.into_iter().chain(self.recorded()).cloned().collect();
        }
        let (found, unknown): (BTreeSet<String>, BTreeSet<String>) = services
            .iter()
            .cloned()
            .partition(|service| self.desired.is_unknown() || stack.contains(service));
        for service in unknown {
            draft.problem(Problem::UnknownService { service });
        }
        found
    }

    /// Whether the request has had its way with this container already: it was started since, or it was running and came
    /// to its end by itself. From then on it is its restart policy's business.
    fn has_begun(&self, container: &Container) -> bool {
        let at = self.request.at;
        let ended = matches!(container.state, State::Exited { at: ended, .. } if ended >= at);
        container.started.is_some_and(|started| started >= at)
            || (ended && !container.stopped_by_request)
    }

    fn recorded(&self) -> impl Iterator<Item = &String> {
        self.observed
            .containers
            .values()
            .map(|container| &container.record.service)
    }

    /// The stack's files say nothing of this service; inactive ones are known.
    fn is_orphan(&self, service: &str) -> bool {
        let stack = &self.desired.stack;
        !self.desired.is_unknown()
            && !stack.services.contains_key(service)
            && !stack.inactive.iter().any(|inactive| inactive == service)
    }
}
