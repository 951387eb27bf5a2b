//! Dockerfile builds: text → typed instructions with places → a graph of steps keyed by content → layers → an image.
//!
//! This crate owns the Dockerfile language, the build context, the build cache and the layout of the resulting image. It
//! knows nothing of services, stacks, containers or networks: a RUN step is handed to the caller's [`RunStep`].
#![forbid(unsafe_code)]

mod budget;
mod build;
mod cache;
mod check;
mod context;
mod diagnostic;
pub mod dockerfile;
mod error;
mod execute;
pub mod expand;
mod fetch;
mod fs;
mod glob;
mod graph;
mod host;
pub mod ignore;
mod lint;
mod progress;
mod prune;
mod reading;
mod remote;
mod request;
mod source;
mod ssh;
mod stamps;
mod step;

pub use budget::{Budget, Exceeded};
pub use build::build;
pub use check::{Checked, check};
pub use diagnostic::{Diagnostic, Severity, SourceFile, Span, Spanned};
pub use error::BuildError;
pub use glob::GlobError;
pub use host::{BaseError, BaseImages, Built, Host, Transfer, TransferSink};
pub use lint::Rule;
pub use progress::{BuildEvent, Progress, StepNumber};
pub use prune::prune;
pub use request::{
    BuildRequest, CacheDestination, CacheMode, CacheTarget, ContextSource, DockerfileSource,
    Entitlement, NamedContext, NetworkMode, SecretBytes,
};
pub use ssh::{Agent, KeyError, Keys};
pub use step::{
    BoxFuture, OutputSink, OutputStream, RunError, RunFile, RunMount, RunMountKind, RunRequest,
    RunStep,
};
