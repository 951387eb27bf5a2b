//! Containers: what there is of them, and the verbs on one of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hoist_image::Digest;
use hoist_object::{ExitDoc, signal};
use hoist_runtime::Shim;

use super::{Handle, Result};
use crate::actions::{self, StepError, blocking};
use crate::feed::OfContainer;
use crate::processes::{self, Form, Processes};
use crate::usage;
use crate::view::ContainerView;
use crate::world::{Condition, Outcome, Phase, StartWhy};

/// Bytes that a container has written, and those of its whole root.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub own: u64,
    pub all: u64,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    NotRunning,
    NextExit,
    Removed,
}

pub(super) fn no_container(name: &str) -> StepError {
    StepError::not_found(format!("no such container: {name}"))
}

fn not_running(name: &str) -> StepError {
    StepError::conflict(format!("container {name} is not running"))
}

fn valid_signal(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if signal::number(name).is_none() => {
            Err(StepError::bad(format!("invalid signal: {name}")))
        }
        _ => Ok(()),
    }
}

impl Handle {
    /// All of them, in no particular order.
    pub async fn containers(&self) -> Result<Vec<ContainerView>> {
        self.look(|world| {
            world
                .containers
                .values()
                .map(|found| ContainerView::of(world, found))
                .collect()
        })
        .await
    }

    /// By id, unambiguous prefix of an id, or name.
    pub async fn container(&self, name: &str) -> Result<ContainerView> {
        let wanted = name.to_owned();
        let found = self.look(move |world| {
            world
                .resolve(&wanted)
                .map(|found| ContainerView::of(world, found))
        });
        found.await?.ok_or_else(|| no_container(name))
    }

    /// The id of the container that is called so.
    pub async fn container_id(&self, name: &str) -> Result<String> {
        let wanted = name.to_owned();
        let id = self.look(move |world| {
            world
                .resolve(&wanted)
                .map(|container| container.doc.id.clone())
        });
        id.await?.ok_or_else(|| no_container(name))
    }

    /// In the order of the containers: id and layers.
    pub async fn container_sizes(
        &self,
        containers: Vec<(String, Vec<Digest>)>,
    ) -> Result<Vec<Sizes>> {
        let (images, layout) = (
            Arc::clone(&self.engine.images),
            self.engine.store.layout.clone(),
        );
        let sizes = blocking(move || {
            let known = images.layer_sizes();
            let sizes = |(id, layers): (String, Vec<Digest>)| {
                let own = usage::of_folder(&layout.upper(&id));
                let layers = layers
                    .iter()
                    .filter_map(|layer| known.get(layer))
                    .map(|(size, _)| size);
                Sizes {
                    own,
                    all: own + layers.sum::<u64>(),
                }
            };
            Ok(containers.into_iter().map(sizes).collect())
        });
        sizes.await
    }

    async fn phase(&self, id: &str) -> Result<Option<Phase>> {
        let id = id.to_owned();
        self.look(move |world| world.containers.get(&id).map(|found| found.phase.clone()))
            .await
    }

    async fn is_up(&self, id: &str) -> Result<bool> {
        Ok(self.phase(id).await?.is_some_and(|phase| phase.is_up()))
    }

    /// `false`: it was up already.
    pub async fn start(&self, name: &str) -> Result<bool> {
        let id = self.container_id(name).await?;
        if self.is_up(&id).await? {
            return Ok(false);
        }
        actions::start(&self.engine, &id, StartWhy::Request).await?;
        self.durable().await?;
        Ok(true)
    }

    /// Absent terms are the container's own. `false`: it was down already.
    pub async fn stop(
        &self,
        name: &str,
        signal: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<bool> {
        valid_signal(signal)?;
        let id = self.container_id(name).await?;
        let was_up = self.is_up(&id).await?;
        let (own_signal, own_grace) = actions::stop_terms(&self.engine, &id).await?;
        actions::stop(
            &self.engine,
            &id,
            signal.unwrap_or(&own_signal),
            grace.unwrap_or(own_grace),
        )
        .await?;
        Ok(was_up)
    }

    pub async fn restart(
        &self,
        name: &str,
        signal: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<()> {
        valid_signal(signal)?;
        let id = self.container_id(name).await?;
        actions::restart(&self.engine, &id, signal, grace).await
    }

    pub async fn kill(&self, name: &str, signal: Option<&str>) -> Result<()> {
        valid_signal(signal)?;
        let id = self.container_id(name).await?;
        actions::kill(&self.engine, &id, signal.unwrap_or("SIGKILL")).await
    }

    pub async fn pause(&self, name: &str) -> Result<()> {
        let id = self.container_id(name).await?;
        if self.phase(&id).await? == Some(Phase::Paused) {
            return Err(StepError::conflict(format!(
                "container {name} is already paused"
            )));
        }
        actions::pause(&self.engine, &id).await
    }

    pub async fn unpause(&self, name: &str) -> Result<()> {
        let id = self.container_id(name).await?;
        if self.phase(&id).await? != Some(Phase::Paused) {
            return Err(StepError::conflict(format!(
                "container {name} is not paused"
            )));
        }
        actions::unpause(&self.engine, &id).await
    }

    /// `force`: also one that runs. `volumes`: with its anonymous volumes.
    pub async fn remove_container(&self, name: &str, force: bool, volumes: bool) -> Result<()> {
        let id = self.container_id(name).await?;
        if !force && self.is_up(&id).await? {
            let message = format!(
                "cannot remove container {name}: it is running; stop it first or force its removal"
            );
            return Err(StepError::conflict(message));
        }
        let mut with = BTreeSet::new();
        if volumes {
            let wanted = id.clone();
            let anonymous = self.look(move |world| {
                let container = world.containers.get(&wanted);
                container
                    .map(|container| container.doc.anonymous.values().cloned().collect())
                    .unwrap_or_default()
            });
            with = anonymous.await?;
        }
        actions::remove(&self.engine, &id, &with).await
    }

    /// How it ended; the default when it never ran.
    pub async fn wait(&self, name: &str, until: Until) -> Result<ExitDoc> {
        let id = self.container_id(name).await?;
        let condition = match until {
            Until::Removed => Condition::Removed,
            until => Condition::Ended {
                fresh: until == Until::NextExit,
            },
        };
        match self.engine.wait(&id, condition).await? {
            Outcome::Exit(exit) => Ok(exit.unwrap_or_default()),
            _ => Err(no_container(name)),
        }
    }

    /// Sets the size of its terminal, if it has one.
    pub async fn resize(&self, name: &str, rows: u16, columns: u16) -> Result<()> {
        let id = self.container_id(name).await?;
        let wanted = id.clone();
        let found = self.look(move |world| {
            world
                .containers
                .get(&wanted)
                .map(|found| (found.phase.has_processes(), found.config.tty))
        });
        match found.await? {
            Some((true, true)) => {
                let bundle = self.engine.bundle(&id);
                blocking(move || Ok(Shim::connect(&bundle)?.resize(rows, columns)?)).await?;
                actions::announce(&self.engine, &id, OfContainer::Resize { rows, columns });
                Ok(())
            }
            // Without a terminal there is nothing to do, and docker says nothing.
            Some((true, false)) => Ok(()),
            _ => Err(not_running(name)),
        }
    }

    /// What runs in it, in the form that options of ps ask for.
    pub async fn processes(&self, name: &str, options: &str) -> Result<Processes> {
        let form = Form::parse(options).map_err(|error| StepError::bad(error.to_string()))?;
        let id = self.container_id(name).await?;
        if !self.is_up(&id).await? {
            return Err(not_running(name));
        }
        let (runtime, listed) = (Arc::clone(&self.engine.runtime), id.clone());
        let pids = blocking(move || {
            runtime
                .processes(&listed)
                .map_err(|error| StepError::new(format!("listing its processes: {error}")))
        });
        let top = processes::top(&pids.await?, &form);
        actions::announce(&self.engine, &id, OfContainer::Top);
        Ok(top)
    }
}
