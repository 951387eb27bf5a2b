//! One function per action of a plan, each idempotent: doing again what is done already is no error, so a plan can be
//! carried out after a crash from wherever it stopped.

mod attachments;
mod containers;
mod images;
mod launch;
mod networks;
mod waiting;

use std::sync::Arc;

pub use attachments::Wish;
pub(crate) use attachments::{connect, disconnect};
use containers::finish_stop;
pub(crate) use containers::{
    Context, Stopped, announce, create, kill, pause, remove, restart, stop, stop_terms, unpause,
};
pub(crate) use images::{layers_in_use, pull_image, registries, remove_image, stored_image};
pub(crate) use launch::start;
pub(crate) use networks::{
    create_network, create_volume, make_volume, remove_network, remove_volume,
};
pub(crate) use waiting::{until_ready, until_settled};

use hoist_api::ErrorKind;
use tracing::Instrument as _;

use crate::engine::{Engine, ShuttingDown};
use crate::error::chain;
use crate::world::StartWhy;

/// Why a step failed: the whole chain of causes, and of what kind it is.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    pub message: String,
    pub kind: ErrorKind,
}

impl StepError {
    pub(crate) fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
        }
    }

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Failed, message)
    }

    pub(crate) fn engine(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Engine, message)
    }

    /// The request is invalid.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Invalid, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Conflict, message)
    }

    pub(crate) fn code(&self) -> i32 {
        self.kind.exit_code()
    }

    /// Puts what was concerned before the message.
    pub(crate) fn at(mut self, place: &str) -> Self {
        // What a Dockerfile's diagnostics begin with; the whole is an error already.
        self.message = format!("{place}: {}", self.message.trim_start_matches("error: "));
        self
    }
}

impl From<ShuttingDown> for StepError {
    fn from(error: ShuttingDown) -> Self {
        Self::of(ErrorKind::Unavailable, error.to_string())
    }
}

macro_rules! engine_failures {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for StepError {
            fn from(error: $error) -> Self {
                Self::engine(chain(&error))
            }
        })*
    };
}

engine_failures!(
    crate::store::StoreError,
    crate::wiring::WiringError,
    crate::volumes::VolumeError,
    crate::lower::LowerError,
    hoist_network::NetworkError,
    hoist_network::NetnsError,
    hoist_network::dns::DnsError,
    hoist_network::FactsError,
    hoist_image::StoreError,
    hoist_runtime::ShimError,
    containers::CallError,
);

/// Runs something that blocks.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, StepError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StepError> + Send + 'static,
{
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| StepError::engine(format!("a step was cut short: {error}")))?
}

/// The restart policy wants it running.
pub(crate) fn start_later(engine: &Arc<Engine>, id: &str) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    let work = async move {
        if let Err(error) = start(&engine, &id, StartWhy::Policy).await {
            tracing::warn!(%error, "cannot restart");
        }
    };
    tokio::spawn(work.in_current_span());
}

/// `run --rm`: it has ended.
pub(crate) fn remove_later(engine: &Arc<Engine>, id: &str, volumes: Vec<String>) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    let work = async move {
        if let Err(error) = remove(&engine, &id, &volumes.into_iter().collect()).await {
            tracing::warn!(%error, "cannot remove");
        }
    };
    tokio::spawn(work.in_current_span());
}

/// An engine before this one had begun to stop it.
pub(crate) fn finish_stop_later(engine: &Arc<Engine>, id: &str, run: u64) {
    let (engine, id) = (Arc::clone(engine), id.to_owned());
    let work = async move {
        if let Err(error) = finish_stop(&engine, &id, run).await {
            tracing::warn!(%error, "cannot finish stopping");
        }
    };
    tokio::spawn(work.in_current_span());
}
