//! What of the engine goes in with an event and comes out with an effect.

use std::fmt::Debug;
use std::sync::Arc;

use hoist_object::ContainerDoc;

/// Types of the engine that pass through unread.
pub trait Handles: Sized + Debug + 'static {
    /// A connection to a container's shim.
    type Shim: Debug;
    /// A running exec.
    type Exec: Debug + Clone;
    /// What an exec was asked to be, beside its command.
    type Terms: Debug + Clone;
    /// How a container is configured, for those who start it.
    type Config: Debug;
    /// What subscribers hear of requests.
    type Said: Debug;
    /// Where the answer to a request goes.
    type StartReply: Debug;
    type StopReply: Debug;
    type WaitReply: Debug;

    /// The receiver of this answer is gone.
    fn is_abandoned(wait: &Self::WaitReply) -> bool;
}

/// What does not change, shared with tasks.
#[derive(Debug)]
pub struct Summary<H: Handles> {
    pub doc: Arc<ContainerDoc>,
    pub config: Arc<H::Config>,
}

impl<H: Handles> Clone for Summary<H> {
    fn clone(&self) -> Self {
        Self {
            doc: Arc::clone(&self.doc),
            config: Arc::clone(&self.config),
        }
    }
}
