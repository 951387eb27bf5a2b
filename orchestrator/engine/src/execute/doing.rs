//! Doing one step: which function of `actions` it is, with what of the request, and what is told meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hoist_api::{ApplyEvent, StepState};
use hoist_build::BuildEvent;
use hoist_image::RegistryAuth;
use hoist_scheduler::Action;
use hoist_spec::model::Build;
use tracing::Instrument as _;

use super::sent::build_event;
use super::slots::{Slot, Slots};
use super::{Output, labels};
use crate::actions::{self, Context, StepError, Stopped};
use crate::building::Building;
use crate::engine::Engine;
use crate::feed::OfContainer;
use crate::logging;
use crate::lower::without_effect;
use crate::world::StartWhy;

/// A shorter grace period was meant to go by.
const WORTH_SAYING: Duration = Duration::from_secs(2);

/// What one step needs.
pub(super) struct Doing {
    pub(super) engine: Arc<Engine>,
    pub(super) context: Arc<Context>,
    pub(super) auth: Arc<BTreeMap<String, RegistryAuth>>,
    pub(super) out: Output,
    pub(super) building: Arc<Building>,
    pub(super) slots: Arc<Slots>,
    pub(super) step: usize,
    /// What is started was stopped for it.
    pub(super) restarts: bool,
    pub(super) deadline: Option<tokio::time::Instant>,
}

/// How a step went.
pub(super) enum Done {
    /// The slot is free once this was reported.
    Ended(Result<(), StepError>, Option<Slot>),
    /// The request was given up before it was its turn.
    NotBegun,
}

impl Doing {
    pub(super) async fn run(self, action: &Action) -> Done {
        let slot = match action {
            Action::Await { .. } => None,
            _ => match self.slots.take().await {
                Some(slot) => Some(slot),
                None => return Done::NotBegun,
            },
        };
        let (started, _) = labels::words(action);
        let state = StepState::Started {
            action: started.to_owned(),
        };
        // A client that left does not stop the work.
        self.out.send(ApplyEvent::Step {
            id: self.step,
            label: labels::label(action),
            state,
        });
        let result = self.act(action).await;
        if let Err(error) = &result {
            tracing::warn!(%error, "the step failed");
        }
        Done::Ended(result, slot)
    }

    async fn id(&self, name: &str) -> Result<Option<String>, StepError> {
        let name = name.to_owned();
        let id = self.engine.look(move |world| {
            world
                .by_name(&name)
                .map(|container| container.doc.id.clone())
        });
        Ok(id.await?)
    }

    async fn act(&self, action: &Action) -> Result<(), StepError> {
        let engine = &self.engine;
        match action {
            Action::PullImage {
                reference,
                platform,
            } => self.pull(reference, platform).await,
            Action::BuildImage {
                reference,
                service,
                build,
                platform,
            } => self.build(reference, service, build, platform).await,
            Action::RemoveImage { reference } => actions::remove_image(engine, reference).await,
            Action::CreateNetwork(spec) => actions::create_network(engine, spec).await,
            Action::RemoveNetwork { network } => actions::remove_network(engine, network).await,
            Action::CreateVolume(spec) => actions::create_volume(engine, spec).await,
            Action::RemoveVolume { volume } => actions::remove_volume(engine, volume).await,
            Action::CreateContainer(spec) => {
                for text in without_effect(&spec.record.service, &spec.service, &engine.runtime) {
                    self.out.send(ApplyEvent::Warning { text });
                }
                actions::create(engine, spec, &self.context).await
            }
            Action::Await {
                containers, until, ..
            } => {
                self.in_time(actions::until_ready(engine, containers, *until))
                    .await
            }
            Action::StartContainer { container }
            | Action::StopContainer { container, .. }
            | Action::KillContainer { container, .. }
            | Action::PauseContainer { container }
            | Action::UnpauseContainer { container }
            | Action::RemoveContainer { container, .. } => match self.id(container).await? {
                Some(id) => {
                    self.act_on(&id, action)
                        .instrument(logging::container(&id, container))
                        .await
                }
                None if matches!(action, Action::StartContainer { .. }) => Err(
                    StepError::not_found(format!("container {container} does not exist")),
                ),
                None => Ok(()),
            },
        }
    }

    async fn build(
        &self,
        reference: &str,
        service: &str,
        build: &Build,
        platform: &str,
    ) -> Result<(), StepError> {
        let (out, step, name) = (self.out.clone(), self.step, service.to_owned());
        let output = move |event: BuildEvent| {
            let event = build_event(event);
            out.send(ApplyEvent::Build {
                step,
                service: name.clone(),
                event,
            });
        };
        let wanted = crate::build::Wanted {
            reference,
            build,
            platform,
            building: &self.building,
            shell: self.context.shell.as_ref(),
            out: &self.out,
        };
        let Context {
            stack,
            variables,
            project_dir,
            ..
        } = &*self.context;
        let beside = crate::build::Beside {
            stack,
            variables,
            project_dir,
        };
        // A half-built image has no use: the steps that ended are in the cache.
        let given_up = async {
            tokio::select! {
                () = self.out.closed() => {}
                () = self.slots.closed() => {}
            }
        };
        let built =
            crate::build::build(&self.engine, &wanted, beside, &self.auth, output, given_up).await;
        self.building.finished(reference, built.is_ok());
        built
    }

    /// What `wait` ends with, if it ends before the deadline of the request.
    async fn in_time(
        &self,
        wait: impl Future<Output = Result<(), StepError>>,
    ) -> Result<(), StepError> {
        let Some(deadline) = self.deadline else {
            return wait.await;
        };
        let late = || StepError::new("application not healthy after the wait timeout");
        tokio::time::timeout_at(deadline, wait)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn act_on(&self, id: &str, action: &Action) -> Result<(), StepError> {
        let engine = &self.engine;
        match action {
            Action::StartContainer { .. } => {
                if self.context.attach {
                    self.attached(id).await?;
                }
                actions::start(engine, id, StartWhy::Request).await?;
                if self.restarts {
                    actions::announce(engine, id, OfContainer::Restart);
                }
                Ok(())
            }
            Action::StopContainer {
                container,
                signal,
                grace,
            } => {
                if actions::stop(engine, id, signal, *grace).await? == Stopped::Killed {
                    self.deaf(id, container, signal, *grace).await?;
                }
                Ok(())
            }
            Action::KillContainer { signal, .. } => actions::kill(engine, id, signal).await,
            Action::PauseContainer { .. } => actions::pause(engine, id).await,
            Action::UnpauseContainer { .. } => actions::unpause(engine, id).await,
            Action::RemoveContainer { volumes, .. } => actions::remove(engine, id, volumes).await,
            _ => Ok(()),
        }
    }

    /// The whole grace period was waited for nothing, which the user can change.
    async fn deaf(
        &self,
        id: &str,
        name: &str,
        signal: &str,
        grace: Duration,
    ) -> Result<(), StepError> {
        let id = id.to_owned();
        let init = self.engine.look(move |world| {
            world
                .containers
                .get(&id)
                .is_some_and(|found| found.config.init == Some(true))
        });
        if grace >= WORTH_SAYING && !init.await? {
            let text = format!(
                "container {name} did not end within {}s of {signal} and was killed: process 1 gets only the signals that it \
                 handles; `init: true` puts an init in front of it, `stop_signal` and `stop_grace_period` change what is waited for",
                grace.as_secs()
            );
            self.out.send(ApplyEvent::Warning { text });
        }
        Ok(())
    }

    /// `run`: the client attaches before the first byte is written.
    async fn attached(&self, id: &str) -> Result<(), StepError> {
        let name = id.to_owned();
        let wanted = self.engine.look(move |world| {
            world
                .containers
                .get(&name)
                .is_some_and(|container| container.doc.attach && container.doc.record.oneoff)
        });
        if !wanted.await? {
            return Ok(());
        }
        let arrived = self.engine.attachments.expect(id);
        self.out.send(ApplyEvent::Attach {
            container: id.to_owned(),
        });
        tokio::select! {
            () = arrived => Ok(()),
            () = self.out.closed() => Err(StepError::new("the client left before it attached")),
        }
    }

    async fn pull(&self, reference: &str, platform: &str) -> Result<(), StepError> {
        let (out, step, image) = (self.out.clone(), self.step, reference.to_owned());
        let progress = move |progress: hoist_image::Progress| {
            out.send(ApplyEvent::Pull {
                step,
                image: image.clone(),
                layer: progress.item,
                status: labels::phase(progress.phase, &progress.text),
                current: progress.done,
                total: progress.total.unwrap_or(0),
            });
        };
        actions::pull_image(&self.engine, reference, platform, &self.auth, progress)
            .await
            .map(drop)
    }
}
