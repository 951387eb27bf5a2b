//! What goes on: logs, measurements, and clients attached to a container's streams.

use std::os::fd::{AsFd, OwnedFd};

use hoist_runtime::{Attach, Shim};
use tokio::sync::mpsc;

use super::containers::no_container;
use super::{Handle, Result};
use crate::actions::{announce, blocking};
use crate::feed::OfContainer;
use crate::logs::{self, Line, Wanted};
use crate::stats::{self, Usage};

/// A container that a client is about to attach to.
#[derive(Debug, Clone)]
pub struct Attachable {
    pub id: String,
    /// Its streams are one, and are not framed.
    pub tty: bool,
    running: bool,
}

/// A container's log.
#[derive(Debug)]
pub struct ContainerLog {
    pub tty: bool,
    pub lines: mpsc::Receiver<Line>,
}

impl Handle {
    async fn attachable(&self, name: &str) -> Result<Attachable> {
        let id = self.container_id(name).await?;
        let found = self.look(move |world| {
            let container = world.containers.get(&id)?;
            Some(Attachable {
                running: container.phase.has_processes(),
                tty: container.config.tty,
                id,
            })
        });
        found.await?.ok_or_else(|| no_container(name))
    }

    pub async fn logs(&self, name: &str, wanted: Wanted) -> Result<ContainerLog> {
        let Attachable { id, tty, .. } = self.attachable(name).await?;
        Ok(ContainerLog {
            tty,
            lines: logs::container(&self.engine, &id, wanted),
        })
    }

    /// What was written before, for a client that attaches.
    pub fn history(
        &self,
        container: &Attachable,
        stdout: bool,
        stderr: bool,
    ) -> mpsc::Receiver<Line> {
        logs::container(
            &self.engine,
            &container.id,
            Wanted {
                stdout,
                stderr,
                ..Wanted::default()
            },
        )
    }

    /// What a container uses now. `None`: it is gone.
    pub async fn usage(&self, id: &str) -> Option<Usage> {
        stats::sample(&self.engine, id).await
    }

    pub async fn begin_attach(&self, name: &str) -> Result<Attachable> {
        let found = self.attachable(name).await?;
        announce(&self.engine, &found.id, OfContainer::Attach);
        Ok(found)
    }

    /// Hands a client's stream on, so that it outlives the engine; it waits for the start of a container that is down.
    /// `size`: rows and columns of the client's terminal.
    pub async fn attach(
        &self,
        container: &Attachable,
        stream: OwnedFd,
        want: Attach,
        size: Option<(u16, u16)>,
    ) -> Result<()> {
        if !container.running {
            self.engine
                .attachments
                .add(&container.id, stream, want, size);
            return Ok(());
        }
        let bundle = self.engine.bundle(&container.id);
        blocking(move || Ok(Shim::connect(&bundle)?.attach(stream.as_fd(), want)?)).await
    }
}
