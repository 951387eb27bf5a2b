//! One request from its turn to its result: rounds of observing, planning and carrying out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hoist_api::{ApplyEvent, ApplyRequest, ApplyResult, StepInfo, StepState};
use hoist_image::RegistryAuth;
use hoist_object::StackDoc;
use hoist_scheduler::{
    Action, Desired, ImageName, Note, Observed, Plan, Progress, Request, StepId, Verb, plan,
};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::doing::{Doing, Done};
use super::request::{Prepared, oneoff};
use super::sent::all_credentials;
use super::{Outcome, Output, Slots, ends, labels, overtakes};
use crate::actions::{self, Context, StepError};
use crate::build::ShellOffer;
use crate::building::Building;
use crate::engine::{Engine, steady};
use crate::error::chain;
use crate::logging;
use crate::observe::{Claims, observe};
use crate::projects::Turn;
use crate::world::{Event, World};

/// A plan that is still not empty after this many rounds would never be.
const ROUNDS: usize = 12;

pub(super) struct Session {
    engine: Arc<Engine>,
    desired: Arc<Desired>,
    /// To be stored once it is clear that the stack can be brought about.
    document: Option<StackDoc>,
    /// It is about the stack's record too.
    keeps: bool,
    context: Arc<Context>,
    auth: Arc<BTreeMap<String, RegistryAuth>>,
    request: Request,
    wait_timeout: Option<std::time::Duration>,
    /// `None`: it waits for nobody.
    turn: Option<Turn>,
    out: Output,
    result: ApplyResult,
    held: bool,
    /// What a step was about so far.
    touched: BTreeSet<String>,
    /// Of the plan that is carried out now.
    building: Arc<Building>,
    slots: Arc<Slots>,
    /// Another request for the project wants to go on.
    superseded: bool,
    /// What was said already: each round plans again, and several steps may be about one thing.
    told: BTreeSet<String>,
    skipped: BTreeSet<String>,
    /// Networks that this request has made, with their steps.
    made: Vec<(StepId, String)>,
    /// The stack is recorded for the first time.
    is_new: bool,
}

enum Round {
    Again,
    Finished,
}

impl Session {
    pub(super) async fn begin(
        engine: &Arc<Engine>,
        wire: ApplyRequest,
        prepared: Prepared,
        out: Output,
    ) -> Self {
        let turn = match &wire.verb {
            verb if overtakes(verb) => None,
            verb => Some(turn(engine, &prepared.desired.stack.name, ends(verb), &out).await),
        };
        // From here on: what this request made or started itself is not made or started again by its next round.
        let request = Request::new(steady(), wire.verb);
        let context = Context {
            stack: prepared.desired.stack.clone(),
            variables: wire.variables,
            project_dir: PathBuf::from(wire.project_dir),
            remove: wire.remove,
            attach: wire.attach,
            shell: wire.debug.then(|| Arc::new(ShellOffer::new(out.clone()))),
        };
        Self {
            engine: Arc::clone(engine),
            desired: Arc::new(prepared.desired),
            keeps: prepared.document.is_some(),
            document: prepared.document,
            context: Arc::new(context),
            auth: Arc::new(all_credentials(wire.auth)),
            request,
            wait_timeout: wire.wait_timeout,
            turn,
            out,
            result: ApplyResult::default(),
            held: false,
            touched: BTreeSet::new(),
            building: Arc::default(),
            slots: Arc::new(Slots::new(wire.parallel)),
            superseded: false,
            told: BTreeSet::new(),
            skipped: BTreeSet::new(),
            made: Vec::new(),
            is_new: false,
        }
    }

    pub(super) async fn run(mut self) -> Outcome {
        let deadline = self
            .wait_timeout
            .map(|timeout| tokio::time::Instant::now() + timeout);
        let mut rounds = 0;
        loop {
            rounds += 1;
            match self.round(deadline).await {
                Ok(Round::Again) if rounds < ROUNDS => {}
                Ok(Round::Again) => {
                    self.fail(&StepError::engine(
                        "the plan does not become empty; this is a fault of hoist's planner",
                    ));
                    break;
                }
                Ok(Round::Finished) => break,
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        if self.result.code != 0
            && !self.superseded
            && let Err(error) = self.take_back().await
        {
            self.fail(&error);
        }
        if let Err(error) = self.settle().await {
            self.fail(&error);
        }
        Outcome {
            result: self.result,
            held: self.held,
        }
    }

    fn fail(&mut self, error: &StepError) {
        if self.result.code == 0 {
            self.result.code = error.code();
        }
        self.result.errors.push(error.message.clone());
    }

    fn say(&self, event: ApplyEvent) {
        // A client that left does not stop the work.
        self.out.send(event);
    }

    /// Everything is live and on the disk before the answer.
    async fn settle(&mut self) -> Result<(), StepError> {
        let tried = self.engine.wiring.settled().await;
        let project = self.desired.stack.name.clone();
        if !ends(&self.request.verb) {
            let name = project.clone();
            let networks = self
                .engine
                .look(move |world| networks_in_use(world, &name))
                .await?;
            tried.check(networks.len())?;
        }
        let about = self.concern().await?;
        let left = self.engine.look(move |world| {
            world
                .containers
                .values()
                .any(|container| container.doc.record.project == project)
        });
        if matches!(self.request.verb, Verb::Down(_)) && self.result.code == 0 && !left.await? {
            let name = self.desired.stack.name.clone();
            self.engine
                .store
                .delete(self.engine.store.layout.stack(&name));
            self.engine.tell(Event::StackGone(name));
        }
        if let Verb::Run(run) = &self.request.verb {
            let name = oneoff(&self.desired.stack.name, run);
            self.result.container = self
                .engine
                .look(move |world| {
                    world
                        .by_name(&name)
                        .map(|container| container.doc.id.clone())
                })
                .await?;
        }
        Ok(self.engine.store.durable(about).await?)
    }

    /// The records that this request answers for: of everything that the project has. What takes things down has
    /// looked at each of them, and nothing that could not be written before is in its way.
    async fn concern(&self) -> Result<Vec<PathBuf>, StepError> {
        if ends(&self.request.verb) {
            return Ok(Vec::new());
        }
        let stack = self
            .keeps
            .then(|| self.engine.store.layout.stack(&self.desired.stack.name));
        let (project, layout) = (
            self.desired.stack.name.clone(),
            self.engine.store.layout.clone(),
        );
        let concern = self.engine.look(move |world| {
            let containers = world
                .containers
                .values()
                .filter(|container| container.doc.record.project == project);
            let networks = world
                .networks
                .values()
                .filter(|network| network.project == project);
            let volumes = world
                .volumes
                .values()
                .filter(|volume| volume.project == project);
            let containers = containers.map(|container| layout.container(&container.doc.id));
            let networks = networks.map(|network| layout.network(&network.id));
            let volumes = volumes.map(|volume| layout.volume(&volume.name));
            containers
                .chain(networks)
                .chain(volumes)
                .chain(stack)
                .collect()
        });
        Ok(concern.await?)
    }

    /// A request that failed leaves no network that nothing came into, and no record of a stack that never was.
    async fn take_back(&mut self) -> Result<(), StepError> {
        for (id, network) in std::mem::take(&mut self.made) {
            let wanted = network.clone();
            let unused = self.engine.look(move |world| {
                let mut attachments = world
                    .containers
                    .values()
                    .flat_map(|container| &container.doc.record.networks);
                world.networks.contains_key(&wanted)
                    && attachments.all(|attachment| attachment.network != wanted)
            });
            if unused.await? {
                actions::remove_network(&self.engine, &network).await?;
                let action = Action::RemoveNetwork { network };
                let state = StepState::Done {
                    action: labels::words(&action).1.to_owned(),
                };
                self.say(ApplyEvent::Step {
                    id: id.0,
                    label: labels::label(&action),
                    state,
                });
            }
        }
        let project = self.desired.stack.name.clone();
        let name = project.clone();
        let empty = self.engine.look(move |world| {
            world
                .containers
                .values()
                .all(|container| container.doc.record.project != name)
                && world
                    .networks
                    .values()
                    .all(|network| network.project != name)
                && world.volumes.values().all(|volume| volume.project != name)
        });
        if self.is_new && empty.await? {
            self.engine
                .store
                .delete(self.engine.store.layout.stack(&project));
            self.engine.tell(Event::StackGone(project));
        }
        Ok(())
    }

    async fn round(&mut self, deadline: Option<tokio::time::Instant>) -> Result<Round, StepError> {
        let (plan, observed) = self.plan().await?;
        for note in plan.notes.iter().filter(|note| !note.is_expected()) {
            let text = note.to_string();
            if self.told.insert(text.clone()) {
                self.say(ApplyEvent::Warning { text });
            }
        }
        self.held = plan
            .notes
            .iter()
            .any(|note| matches!(note, Note::Held { .. }));
        if !plan.is_sound() {
            for problem in &plan.problems {
                self.fail(&StepError::new(problem.to_string()));
            }
            return Ok(Round::Finished);
        }
        if let Some(document) = self.document.take() {
            let name = document.name.clone();
            self.is_new = self
                .engine
                .look(move |world| !world.stacks.contains_key(&name))
                .await?;
            self.engine.store.put_stack(&document);
            self.engine.tell(Event::StackApplied(Box::new(document)));
        }
        if plan.is_empty() {
            for name in plan
                .running
                .iter()
                .filter(|name| !self.touched.contains(*name))
            {
                let state = StepState::Done {
                    action: "Running".to_owned(),
                };
                self.say(ApplyEvent::Step {
                    id: 0,
                    label: format!("Container {name}"),
                    state,
                });
            }
            return Ok(Round::Finished);
        }
        let acts = plan
            .steps
            .iter()
            .filter(|step| !matches!(step.action, Action::Await { .. }));
        self.touched.extend(acts.map(|step| step.action.object()));
        let info = plan.steps.iter().map(|step| StepInfo {
            id: step.id.0,
            label: labels::label(&step.action),
            action: step.action.name().to_owned(),
        });
        self.say(ApplyEvent::Plan {
            text: plan.to_string(),
            steps: info.collect(),
        });
        let succeeded = self.execute(&plan, &observed, deadline).await;
        if self.superseded {
            return Err(StepError::new(
                "given up: another request for this project came in between",
            ));
        }
        Ok(if succeeded && !plan.concludes {
            Round::Again
        } else {
            Round::Finished
        })
    }

    /// One at a time in the engine, until what it takes is known to the plans of other projects.
    async fn plan(&self) -> Result<(Plan, Observed), StepError> {
        if self.turn.is_some() {
            actions::until_settled(&self.engine, &self.desired.stack.name).await?;
        }
        let _one = self.engine.turns.planning.lock().await;
        let observed = observe(&self.engine, &self.desired)
            .await
            .map_err(|error| StepError::engine(chain(&error)))?;
        let plan = plan(&self.desired, &observed, &self.request, steady());
        if self.turn.is_some() {
            let claims = Claims::of(&plan, &observed);
            self.engine.claim(self.desired.stack.name.clone(), claims);
        }
        Ok((plan, observed))
    }

    async fn execute(
        &mut self,
        plan: &Plan,
        observed: &Observed,
        deadline: Option<tokio::time::Instant>,
    ) -> bool {
        let mut progress = Progress::new(plan);
        let mut running: JoinSet<(StepId, Done)> = JoinSet::new();
        let mut waits = Vec::new();
        self.building = Arc::new(Building::of(plan, &self.slots));
        let engine = Arc::clone(&self.engine);
        if plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::StartContainer { .. }))
        {
            tokio::task::spawn_blocking(move || engine.runtime.warm_up());
        }
        while !progress.is_finished() {
            for id in progress.ready() {
                let action = plan
                    .step(id)
                    .expect("progress hands out steps of its plan")
                    .action
                    .clone();
                let is_wait = matches!(action, Action::Await { .. });
                let doing = self.doing(id, deadline);
                let span = logging::step(&action.name(), &action.object());
                let handle =
                    running.spawn(async move { (id, doing.run(&action).await) }.instrument(span));
                if is_wait {
                    waits.push(handle);
                }
            }
            let next = tokio::select! {
                next = running.join_next() => next,
                () = give_way(&mut self.turn, &self.out), if !self.superseded => {
                    self.superseded = true;
                    self.slots.close();
                    for id in progress.abandon() {
                        self.skip(plan, id);
                    }
                    waits.drain(..).for_each(|wait| wait.abort());
                    continue;
                }
            };
            match next {
                Some(Ok((id, Done::Ended(Ok(()), _slot)))) => self.done(plan, &mut progress, id),
                Some(Ok((id, Done::Ended(Err(error), _slot)))) => {
                    let service = labels::service(
                        &plan.steps[id.0].action,
                        &self.desired.stack,
                        plan,
                        observed,
                    );
                    let error = if service.is_empty() {
                        error
                    } else {
                        error.at(&service)
                    };
                    self.failed(plan, &mut progress, id, &error);
                }
                // Like an aborted wait: its step stays open in a plan that is given up anyway.
                Some(Ok((id, Done::NotBegun))) => self.skip(plan, id),
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => {
                    self.fail(&StepError::engine(format!("a step was cut short: {error}")));
                    return false;
                }
                None => break,
            }
        }
        progress.succeeded()
    }

    fn doing(&self, step: StepId, deadline: Option<tokio::time::Instant>) -> Doing {
        Doing {
            engine: Arc::clone(&self.engine),
            context: Arc::clone(&self.context),
            auth: Arc::clone(&self.auth),
            out: self.out.clone(),
            building: Arc::clone(&self.building),
            slots: Arc::clone(&self.slots),
            step: step.0,
            restarts: matches!(self.request.verb, Verb::Restart(_)),
            deadline,
        }
    }

    fn step(&self, plan: &Plan, id: StepId, state: StepState) {
        let label = plan
            .step(id)
            .map(|step| labels::label(&step.action))
            .unwrap_or_default();
        self.say(ApplyEvent::Step {
            id: id.0,
            label,
            state,
        });
    }

    fn done(&mut self, plan: &Plan, progress: &mut Progress, id: StepId) {
        progress.done(id);
        self.result.done += 1;
        let Some(step) = plan.step(id) else { return };
        if let Action::PullImage {
            reference,
            platform,
        }
        | Action::BuildImage {
            reference,
            platform,
            ..
        } = &step.action
        {
            self.request
                .refreshed
                .insert(ImageName::new(reference, Some(platform)));
        }
        if let Action::CreateNetwork(spec) = &step.action {
            self.made.push((id, spec.name.clone()));
        }
        let (_, done) = labels::words(&step.action);
        self.step(
            plan,
            id,
            StepState::Done {
                action: done.to_owned(),
            },
        );
    }

    fn failed(&mut self, plan: &Plan, progress: &mut Progress, id: StepId, error: &StepError) {
        let (started, _) = labels::words(&plan.steps[id.0].action);
        let state = StepState::Failed {
            action: started.to_owned(),
            error: error.message.clone(),
        };
        self.step(plan, id, state);
        if matches!(
            plan.steps[id.0].action,
            Action::Await {
                required: false,
                ..
            }
        ) {
            self.say(ApplyEvent::Warning {
                text: error.message.clone(),
            });
        } else {
            self.fail(error);
        }
        for skipped in progress.failed(id) {
            self.skip(plan, skipped);
        }
    }

    fn skip(&mut self, plan: &Plan, id: StepId) {
        let action = &plan.steps[id.0].action;
        if let Action::BuildImage { reference, .. } = action {
            self.building.finished(reference, false);
        }
        let (started, _) = labels::words(action);
        if self.skipped.insert(labels::label(action)) {
            self.step(
                plan,
                id,
                StepState::Skipped {
                    action: started.to_owned(),
                },
            );
        }
    }
}

/// Waits for the right to work on the project, and says so when it takes a while.
async fn turn(engine: &Engine, project: &str, urgent: bool, out: &Output) -> Turn {
    const PATIENCE: Duration = Duration::from_secs(1);
    let mut turn = std::pin::pin!(engine.turns.take(project, urgent));
    if let Ok(turn) = tokio::time::timeout(PATIENCE, turn.as_mut()).await {
        return turn;
    }
    out.send(ApplyEvent::Warning {
        text: format!("waiting for another command on project {project} to end"),
    });
    turn.await
}

/// Resolves when this request should make room: for an urgent one at once, for any other when its own client is gone.
async fn give_way(turn: &mut Option<Turn>, out: &Output) {
    let Some(turn) = turn else {
        return std::future::pending().await;
    };
    if !out.is_closed() {
        tokio::select! {
            () = turn.urgently_wanted() => return,
            () = out.closed() => {}
        }
    }
    turn.wanted().await;
}

/// Ids of the networks that running containers of a project are in.
fn networks_in_use(world: &World, project: &str) -> Vec<String> {
    let of_project = world
        .containers
        .values()
        .filter(|container| container.doc.record.project == project);
    let running = of_project.filter(|container| container.phase.is_up());
    let attachments = running.flat_map(|container| &container.doc.record.networks);
    attachments
        .filter_map(|attachment| Some(world.networks.get(&attachment.network)?.id.clone()))
        .collect()
}
