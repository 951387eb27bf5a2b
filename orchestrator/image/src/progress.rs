//! What a pull, load or bootstrap tells while it works.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One observation. `item` is a layer's short digest, or `""` for the image as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub item: String,
    pub phase: Phase,
    /// Bytes of the transfer so far.
    pub done: u64,
    /// Bytes of all of it, where that is known.
    pub total: Option<u64>,
    /// What the phase is about: a reason for a retry, a line of a program's output; mostly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// How far an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Resolving,
    Waiting,
    /// The layer is in the store; no byte of it crosses.
    Exists,
    /// Bytes arrive and are unpacked in the same pass.
    Downloading,
    /// Bytes leave.
    Uploading,
    /// The registry took the layer over from its repository `text`; no byte of it crosses.
    Mounted,
    /// Unpacking from a local file.
    Unpacking,
    Retrying,
    Complete,
    /// A program that works for us said something (bootstrap).
    Output,
}

/// Called from any thread, often; it must not block.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// A sink for callers that show nothing.
pub fn silent() -> ProgressSink {
    Arc::new(|_| {})
}
