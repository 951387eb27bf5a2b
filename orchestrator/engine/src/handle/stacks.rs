//! Stacks: planning, applying, checking, listing, and their way between engines.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hoist_api::{
    ApplyEvent, ApplyRequest, BuildCheck, BundleEvent, BundleRequest, PlanResponse, StackLogLine,
};
use hoist_object::VolumeDoc;
use hoist_runtime::{Attach, Shim};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{Handle, Result};
use crate::actions::{StepError, blocking};
use crate::build;
use crate::bundle::{self, BundleOut};
use crate::execute;
use crate::logs::{self, Wanted};
use crate::outbox::{Inbox, outbox};
use crate::store::Layout;
use crate::view::{ContainerView, NetworkView, StackView, VolumeView};
use crate::world::World;

fn projects(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world.stacks.keys().cloned().collect();
    names.extend(
        world
            .containers
            .values()
            .map(|container| container.doc.record.project.clone()),
    );
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

fn view(world: &World, layout: &Layout, name: String) -> StackView {
    let containers = world
        .containers
        .values()
        .filter(|container| container.doc.record.project == name);
    let networks = world
        .networks
        .values()
        .filter(|network| network.project == name);
    let volumes = world
        .volumes
        .values()
        .filter(|volume| volume.project == name && !volume.anonymous);
    let volume =
        |volume: &VolumeDoc| VolumeView::of(world, volume, layout.volume_data(&volume.name));
    StackView {
        applied: world.stacks.get(&name).cloned().unwrap_or_default(),
        containers: containers
            .map(|container| ContainerView::of(world, container))
            .collect(),
        networks: networks
            .map(|network| NetworkView::of(world, network))
            .collect(),
        volumes: volumes.map(volume).collect(),
        name,
    }
}

fn unknown_shell(id: &str) -> StepError {
    StepError::not_found(format!("no shell of a build step: {id}"))
}

impl Handle {
    /// What would be done.
    pub async fn plan(&self, request: &ApplyRequest) -> Result<PlanResponse> {
        execute::preview(&self.engine, request).await
    }

    /// What the checks say about the builds of a plan.
    pub async fn check_builds(&self, request: &ApplyRequest) -> Result<Vec<BuildCheck>> {
        build::check(&self.engine, request).await
    }

    /// Does it, in a task of its own: a reader that leaves does not stop it half way, but for builds.
    pub fn apply(&self, request: ApplyRequest) -> Inbox<ApplyEvent> {
        let (out, events) = outbox();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move { execute::apply(&engine, request, out).await }.in_current_span());
        events
    }

    /// Stacks that were applied, and projects of containers.
    pub async fn stacks(&self) -> Result<Vec<StackView>> {
        let layout = self.engine.store.layout.clone();
        self.look(move |world| {
            projects(world)
                .into_iter()
                .map(|name| view(world, &layout, name))
                .collect()
        })
        .await
    }

    pub async fn stack(&self, name: &str) -> Result<StackView> {
        let (wanted, layout) = (name.to_owned(), self.engine.store.layout.clone());
        let found = self.look(move |world| {
            let name = projects(world)
                .into_iter()
                .find(|project| *project == wanted)?;
            Some(view(world, &layout, name))
        });
        found
            .await?
            .ok_or_else(|| StepError::not_found(format!("no such stack: {name}")))
    }

    /// `services`: empty for all.
    pub fn stack_logs(
        &self,
        name: &str,
        wanted: Wanted,
        services: Vec<String>,
    ) -> mpsc::Receiver<StackLogLine> {
        logs::stack(&self.engine, name, wanted, services)
    }

    /// Whether the shell of a failed build step waits to be taken.
    pub fn expects_shell(&self, id: &str) -> Result<()> {
        if self.engine.attachments.is_expected(id) {
            Ok(())
        } else {
            Err(unknown_shell(id))
        }
    }

    /// `size`: rows and columns of the caller's terminal.
    pub fn take_shell(&self, id: &str, stream: OwnedFd, size: Option<(u16, u16)>) {
        let want = Attach {
            stdin: true,
            stdout: true,
            stderr: true,
            lossless: true,
        };
        self.engine.attachments.add(id, stream, want, size);
    }

    pub async fn resize_shell(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        // It becomes part of a path.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown_shell(id));
        }
        let bundle = self.engine.bundle(id);
        blocking(move || Ok(Shim::connect(&bundle)?.resize(rows, columns)?)).await
    }

    /// Writes a bundle: the archive and what is told meanwhile go to `out`.
    pub fn save_bundle(&self, request: BundleRequest, out: impl BundleOut) {
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let event = match bundle::save(&engine, request, &out).await {
                Ok(document) => BundleEvent::Done {
                    document: Box::new(document),
                },
                Err(error) => BundleEvent::Failed {
                    error: error.message,
                },
            };
            out.say(event).await;
        });
    }

    /// `mounted`: also fills volumes that their options mount from elsewhere.
    pub fn load_bundle<R>(&self, archive: R, mounted: bool) -> Inbox<BundleEvent>
    where
        R: Read + Send + 'static,
    {
        let (out, events) = outbox();
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let _busy = engine.activity.begin();
            let said = out.clone();
            let say = move |event| said.send(event);
            out.send(match bundle::load(&engine, archive, mounted, say).await {
                Ok(document) => BundleEvent::Done {
                    document: Box::new(document),
                },
                Err(error) => BundleEvent::Failed {
                    error: error.message,
                },
            });
        });
        events
    }
}
