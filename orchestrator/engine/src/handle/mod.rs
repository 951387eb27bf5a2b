//! The engine's whole public face: what can be asked of it, in terms of its objects.
//!
//! A server calls these methods and renders what they return. No code outside the engine reads its state, and nothing
//! here knows how a request came or in which form its answer goes.

mod containers;
mod exec;
mod files;
mod images;
mod networks;
mod prune;
mod stacks;
mod streams;
mod system;
mod volumes;

use std::sync::Arc;

pub use containers::{Sizes, Until};
pub use exec::{Begun, Execution};
pub use files::{ContainerFiles, Export, Found};
pub use images::Credentials;
pub use networks::Endpoint;
pub use prune::{Pruned, PrunedImages, Unused};
pub use streams::{Attachable, ContainerLog};
pub use system::{DiskUse, Facts};
pub use volumes::VolumeExport;

use crate::actions::StepError;
use crate::activity::Busy;
use crate::engine::Engine;
use crate::world::World;

pub type Result<T> = std::result::Result<T, StepError>;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) engine: Arc<Engine>,
}

impl Handle {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: Arc::clone(engine),
        }
    }

    /// The engine stays as long as this lives: a request or an open stream.
    pub fn begin(&self) -> Busy {
        self.engine.activity.begin()
    }

    async fn look<R, F>(&self, look: F) -> Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&World) -> R + Send + 'static,
    {
        Ok(self.engine.look(look).await?)
    }

    /// Everything that was recorded before is on the disk.
    async fn durable(&self) -> Result<()> {
        Ok(self.engine.store.durable(Vec::new()).await?)
    }
}
