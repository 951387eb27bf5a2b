//! Carries out requests on a stack: observe, plan, execute, and again until there is nothing left to do.
//!
//! Nothing is chosen here: the plan says what, [`Progress`] says when, `actions` says how.

mod labels;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_scheduler::{Action, Desired, Observed, Plan, Progress, Request, StepId, Verb, plan};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::actions::{self, Context, StepError};
use crate::adopt;
use crate::api::types::{ApplyEvent, ApplyRequest, ApplyResult, PlanResponse, RegistryAuth, StepInfo, StepState};
use crate::building::Building;
use crate::engine::{Engine, now};
use crate::error::chain;
use crate::observe::{Claims, observe};
use crate::projects::Turn;
use crate::store::StackDoc;
use crate::world::{Event, StartWhy};

pub(crate) use labels::phase;
pub(crate) use request::{Prepared, prepare};

/// A plan that is still not empty after this many rounds would never be.
const ROUNDS: usize = 12;

pub(crate) type Output = mpsc::UnboundedSender<ApplyEvent>;

/// What would be done.
pub(crate) async fn preview(engine: &Arc<Engine>, request: &ApplyRequest) -> Result<PlanResponse, StepError> {
    let prepared = prepare(engine, request).await.map_err(|error| StepError::new(chain(&error)))?;
    let observed = observe(engine, &prepared.desired).await.map_err(|error| StepError::engine(chain(&error)))?;
    let plan = plan(&prepared.desired, &observed, &Request::new(now(), request.verb.clone()), now());
    Ok(PlanResponse { text: plan.to_string(), plan: plan.to_json(), steps: plan.steps.len() })
}

/// Does it. The result is also the last line of `out`.
pub(crate) async fn apply(engine: &Arc<Engine>, request: ApplyRequest, out: Output) -> ApplyResult {
    let _busy = engine.activity.begin();
    let result = match prepare(engine, &request).await {
        Ok(prepared) => {
            let project = prepared.desired.stack.name.clone();
            let ends = matches!(request.verb, Verb::Down(_) | Verb::Stop(_) | Verb::Kill(_) | Verb::Remove(_));
            let result = Session::begin(engine, request, prepared, out.clone()).await.run().await;
            if ends {
                adopt::tidy(engine).await;
            }
            engine.tell(Event::Claimed { project, claims: Claims::default() });
            result
        }
        Err(error) => ApplyResult { code: 1, errors: vec![chain(&error)], ..ApplyResult::default() },
    };
    let _ = out.send(ApplyEvent::Result(result.clone()));
    result
}

/// After a boot: whatever the restart policies of a project want, in dependency order. What waits for a dependency is
/// planned again whenever something has happened.
pub(crate) async fn supervise(engine: &Arc<Engine>, project: &str) {
    let mut happened = engine.feed.subscribe();
    loop {
        let (out, mut lines) = mpsc::unbounded_channel();
        let result = apply(engine, supervision(project), out).await;
        for error in result.errors {
            tracing::warn!(project, error, "cannot bring up what ran before");
        }
        let mut held = false;
        while let Ok(line) = lines.try_recv() {
            held |= matches!(line, ApplyEvent::Warning { .. });
        }
        let missed = |error: &RecvError| matches!(error, RecvError::Lagged(_));
        if !held || happened.recv().await.is_err_and(|error| !missed(&error)) {
            return;
        }
    }
}

fn supervision(project: &str) -> ApplyRequest {
    ApplyRequest {
        stack: serde_json::Value::Null,
        project: project.to_owned(),
        verb: Verb::Supervise,
        wait_timeout: None,
        attach: false,
        remove: false,
        project_dir: String::new(),
        files: Vec::new(),
        variables: BTreeMap::new(),
        auth: BTreeMap::new(),
    }
}

struct Session {
    engine: Arc<Engine>,
    desired: Arc<Desired>,
    /// To be stored once it is clear that the stack can be brought about.
    document: Option<StackDoc>,
    context: Arc<Context>,
    auth: Arc<BTreeMap<String, RegistryAuth>>,
    request: Request,
    wait_timeout: Option<std::time::Duration>,
    turn: Turn,
    out: Output,
    result: ApplyResult,
    /// Of the plan that is carried out now.
    building: Arc<Building>,
    /// Another request for the project wants to go on.
    superseded: bool,
}

enum Round {
    Again,
    Finished,
}

impl Session {
    async fn begin(engine: &Arc<Engine>, wire: ApplyRequest, prepared: Prepared, out: Output) -> Self {
        let urgent = matches!(wire.verb, Verb::Down(_) | Verb::Stop(_) | Verb::Kill(_) | Verb::Remove(_));
        let turn = engine.turns.take(&prepared.desired.stack.name, urgent).await;
        // From here on: what this request made or started itself is not made or started again by its next round.
        let request = Request::new(now(), wire.verb);
        let context = Context {
            stack: prepared.desired.stack.clone(),
            variables: wire.variables,
            remove: wire.remove,
            attach: wire.attach,
        };
        Self {
            engine: Arc::clone(engine),
            desired: Arc::new(prepared.desired),
            document: prepared.document,
            context: Arc::new(context),
            auth: Arc::new(wire.auth),
            request,
            wait_timeout: wire.wait_timeout,
            turn,
            out,
            result: ApplyResult::default(),
            building: Arc::default(),
            superseded: false,
        }
    }

    async fn run(mut self) -> ApplyResult {
        let deadline = self.wait_timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let mut rounds = 0;
        loop {
            rounds += 1;
            match self.round(deadline).await {
                Ok(Round::Again) if rounds < ROUNDS => {}
                Ok(Round::Again) => {
                    self.fail(&StepError::engine("the plan does not become empty; this is a fault of hoist's planner"));
                    break;
                }
                Ok(Round::Finished) => break,
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        if let Err(error) = self.settle().await {
            self.fail(&error);
        }
        self.result
    }

    fn fail(&mut self, error: &StepError) {
        if self.result.code == 0 {
            self.result.code = error.code;
        }
        self.result.errors.push(error.message.clone());
    }

    fn say(&self, event: ApplyEvent) {
        // A client that left does not stop the work.
        let _ = self.out.send(event);
    }

    /// Everything is live and on the disk before the answer.
    async fn settle(&mut self) -> Result<(), StepError> {
        self.engine.wiring.settled().await?;
        let project = self.desired.stack.name.clone();
        let left = self
            .engine
            .look(move |world| world.containers.values().any(|container| container.doc.record.project == project));
        if matches!(self.request.verb, Verb::Down(_)) && self.result.code == 0 && !left.await? {
            let name = self.desired.stack.name.clone();
            self.engine.store.delete(self.engine.store.layout.stack(&name));
            self.engine.tell(Event::StackGone(name));
        }
        if let Verb::Run(run) = &self.request.verb {
            let name = request::oneoff(&self.desired.stack.name, run);
            self.result.container =
                self.engine.look(move |world| world.by_name(&name).map(|container| container.doc.id.clone())).await?;
        }
        Ok(self.engine.store.durable().await?)
    }

    async fn round(&mut self, deadline: Option<tokio::time::Instant>) -> Result<Round, StepError> {
        let (plan, observed) = self.plan().await?;
        for note in &plan.notes {
            self.say(ApplyEvent::Warning { text: note.to_string() });
        }
        if !plan.is_sound() {
            for problem in &plan.problems {
                self.fail(&StepError::new(problem.to_string()));
            }
            return Ok(Round::Finished);
        }
        if let Some(document) = self.document.take() {
            self.engine.store.put_stack(&document);
            self.engine.tell(Event::StackApplied(Box::new(document)));
        }
        if plan.is_empty() {
            return Ok(Round::Finished);
        }
        let info = plan.steps.iter().map(|step| StepInfo {
            id: step.id.0,
            label: labels::label(&step.action),
            action: step.action.name().to_owned(),
        });
        self.say(ApplyEvent::Plan { text: plan.to_string(), steps: info.collect() });
        let succeeded = self.execute(&plan, &observed, deadline).await;
        if self.superseded {
            return Err(StepError::new("given up: another request for this project came in between"));
        }
        Ok(if succeeded { Round::Again } else { Round::Finished })
    }

    /// One at a time in the engine, until what it takes is known to the plans of other projects.
    async fn plan(&self) -> Result<(Plan, Observed), StepError> {
        if !matches!(self.request.verb, Verb::Kill(_)) {
            actions::until_settled(&self.engine, &self.desired.stack.name).await?;
        }
        let _one = self.engine.turns.planning.lock().await;
        let observed = observe(&self.engine, &self.desired).await.map_err(|error| StepError::engine(chain(&error)))?;
        let plan = plan(&self.desired, &observed, &self.request, now());
        let claims = Claims::of(&plan, &observed);
        self.engine.tell(Event::Claimed { project: self.desired.stack.name.clone(), claims });
        Ok((plan, observed))
    }

    async fn execute(&mut self, plan: &Plan, observed: &Observed, deadline: Option<tokio::time::Instant>) -> bool {
        let mut progress = Progress::new(plan);
        let mut running: JoinSet<(StepId, Result<(), StepError>)> = JoinSet::new();
        let mut waits = Vec::new();
        self.building = Arc::new(Building::of(plan));
        let engine = Arc::clone(&self.engine);
        if plan.steps.iter().any(|step| matches!(step.action, Action::StartContainer { .. })) {
            tokio::task::spawn_blocking(move || engine.runtime.warm_up());
        }
        while !progress.is_finished() {
            for id in progress.ready() {
                let step = plan.step(id).expect("progress hands out steps of its plan");
                let (started, _) = labels::words(&step.action);
                self.step(plan, id, StepState::Started { action: started.to_owned() });
                let service = labels::service(&step.action, plan, observed);
                let doing = Doing {
                    engine: Arc::clone(&self.engine),
                    context: Arc::clone(&self.context),
                    auth: Arc::clone(&self.auth),
                    out: self.out.clone(),
                    building: Arc::clone(&self.building),
                    step: id.0,
                    deadline,
                };
                let action = step.action.clone();
                let handle = running.spawn(async move {
                    let done = doing.act(&action).await;
                    (id, done.map_err(|error| if service.is_empty() { error } else { error.at(&service) }))
                });
                if matches!(step.action, Action::Await { .. }) {
                    waits.push(handle);
                }
            }
            let next = tokio::select! {
                next = running.join_next() => next,
                () = give_way(&mut self.turn, &self.out), if !self.superseded => {
                    self.superseded = true;
                    for id in progress.abandon() {
                        self.skip(plan, id);
                    }
                    waits.drain(..).for_each(|wait| wait.abort());
                    continue;
                }
            };
            match next {
                Some(Ok((id, Ok(())))) => self.done(plan, &mut progress, id),
                Some(Ok((id, Err(error)))) => self.failed(plan, &mut progress, id, &error),
                // An aborted wait; its step stays open in a plan that is given up anyway.
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

    fn step(&self, plan: &Plan, id: StepId, state: StepState) {
        let label = plan.step(id).map(|step| labels::label(&step.action)).unwrap_or_default();
        self.say(ApplyEvent::Step { id: id.0, label, state });
    }

    fn done(&mut self, plan: &Plan, progress: &mut Progress, id: StepId) {
        progress.done(id);
        self.result.done += 1;
        let Some(step) = plan.step(id) else { return };
        if let Action::PullImage { reference, .. } | Action::BuildImage { reference, .. } = &step.action {
            self.request.refreshed.insert(reference.clone());
        }
        let (_, done) = labels::words(&step.action);
        self.step(plan, id, StepState::Done { action: done.to_owned() });
    }

    fn failed(&mut self, plan: &Plan, progress: &mut Progress, id: StepId, error: &StepError) {
        let (started, _) = labels::words(&plan.steps[id.0].action);
        let state = StepState::Failed { action: started.to_owned(), error: error.message.clone() };
        self.step(plan, id, state);
        if matches!(plan.steps[id.0].action, Action::Await { required: false, .. }) {
            self.say(ApplyEvent::Warning { text: error.message.clone() });
        } else {
            self.fail(error);
        }
        for skipped in progress.failed(id) {
            self.skip(plan, skipped);
        }
    }

    fn skip(&self, plan: &Plan, id: StepId) {
        let action = &plan.steps[id.0].action;
        if let Action::BuildImage { reference, .. } = action {
            self.building.finished(reference, false);
        }
        let (started, _) = labels::words(action);
        self.step(plan, id, StepState::Skipped { action: started.to_owned() });
    }
}

/// Resolves when this request should make room: for an urgent one at once, for any other when its own client is gone.
async fn give_way(turn: &mut Turn, out: &Output) {
    if !out.is_closed() {
        tokio::select! {
            () = turn.urgently_wanted() => return,
            () = out.closed() => {}
        }
    }
    turn.wanted().await;
}

/// What one step needs.
struct Doing {
    engine: Arc<Engine>,
    context: Arc<Context>,
    auth: Arc<BTreeMap<String, RegistryAuth>>,
    out: Output,
    building: Arc<Building>,
    step: usize,
    deadline: Option<tokio::time::Instant>,
}

impl Doing {
    async fn id(&self, name: &str) -> Result<Option<String>, StepError> {
        let name = name.to_owned();
        let id = self.engine.look(move |world| world.by_name(&name).map(|container| container.doc.id.clone()));
        Ok(id.await?)
    }

    async fn act(&self, action: &Action) -> Result<(), StepError> {
        let engine = &self.engine;
        match action {
            Action::PullImage { reference, platform } => self.pull(reference, platform).await,
            Action::BuildImage { reference, service, build, platform } => {
                let (out, step, name) = (self.out.clone(), self.step, service.clone());
                let output = move |text: String| {
                    let _ = out.send(ApplyEvent::Build { step, service: name.clone(), text });
                };
                let wanted = crate::build::Wanted { reference, build, platform, building: &self.building };
                let (stack, variables) = (&self.context.stack, &self.context.variables);
                let beside = crate::build::Beside { stack, variables };
                let built = crate::build::build(engine, &wanted, beside, &self.auth, output).await;
                self.building.finished(reference, built.is_ok());
                built
            }
            Action::RemoveImage { reference } => actions::remove_image(engine, reference).await,
            Action::CreateNetwork(spec) => actions::create_network(engine, spec).await,
            Action::RemoveNetwork { network } => actions::remove_network(engine, network).await,
            Action::CreateVolume(spec) => actions::create_volume(engine, spec).await,
            Action::RemoveVolume { volume } => actions::remove_volume(engine, volume).await,
            Action::CreateContainer(spec) => actions::create(engine, spec, &self.context).await,
            Action::Await { containers, until, .. } => {
                let wait = actions::until_ready(engine, containers, *until);
                match self.deadline {
                    None => wait.await,
                    Some(deadline) => tokio::time::timeout_at(deadline, wait)
                        .await
                        .unwrap_or_else(|_| Err(StepError::new("application not healthy after the wait timeout"))),
                }
            }
            Action::StartContainer { container }
            | Action::StopContainer { container, .. }
            | Action::KillContainer { container, .. }
            | Action::PauseContainer { container }
            | Action::UnpauseContainer { container }
            | Action::RemoveContainer { container, .. } => match self.id(container).await? {
                Some(id) => self.act_on(&id, action).await,
                None if matches!(action, Action::StartContainer { .. }) => {
                    Err(StepError::not_found(format!("container {container} does not exist")))
                }
                None => Ok(()),
            },
        }
    }

    async fn act_on(&self, id: &str, action: &Action) -> Result<(), StepError> {
        let engine = &self.engine;
        match action {
            Action::StartContainer { .. } => {
                if self.context.attach {
                    self.attached(id).await?;
                }
                actions::start(engine, id, StartWhy::Request).await
            }
            Action::StopContainer { signal, grace, .. } => actions::stop(engine, id, signal, *grace).await,
            Action::KillContainer { signal, .. } => actions::kill(engine, id, signal).await,
            Action::PauseContainer { .. } => actions::pause(engine, id).await,
            Action::UnpauseContainer { .. } => actions::unpause(engine, id).await,
            Action::RemoveContainer { volumes, .. } => actions::remove(engine, id, volumes).await,
            _ => Ok(()),
        }
    }

    /// `run`: the client attaches before the first byte is written.
    async fn attached(&self, id: &str) -> Result<(), StepError> {
        let name = id.to_owned();
        let wanted = self.engine.look(move |world| {
            world.containers.get(&name).is_some_and(|container| container.doc.attach && container.doc.record.oneoff)
        });
        if !wanted.await? {
            return Ok(());
        }
        let arrived = self.engine.attachments.expect(id);
        let _ = self.out.send(ApplyEvent::Attach { container: id.to_owned() });
        tokio::select! {
            () = arrived => Ok(()),
            () = self.out.closed() => Err(StepError::new("the client left before it attached")),
        }
    }

    async fn pull(&self, reference: &str, platform: &str) -> Result<(), StepError> {
        let (out, step, image) = (self.out.clone(), self.step, reference.to_owned());
        let progress = move |progress: hoist_image::Progress| {
            let _ = out.send(ApplyEvent::Pull {
                step,
                image: image.clone(),
                layer: progress.item,
                status: labels::phase(progress.phase, &progress.text),
                current: progress.done,
                total: progress.total.unwrap_or(0),
            });
        };
        actions::pull_image(&self.engine, reference, platform, &self.auth, progress).await.map(drop)
    }
}
