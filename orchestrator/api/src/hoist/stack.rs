//! Stacks: what is ours, under `/hoist/v1`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hoist_scheduler::Verb;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BuildEvent;
use crate::nullable;
use crate::{ContainerSummary, NetworkInspect, RegistryAuth, VolumeInspect};

/// `POST /hoist/v1/plan` and `POST /hoist/v1/apply`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The canonical model, as `canonical::to_json` prints it. `null`: the stack as it was last applied (for verbs that
    /// are called without a file).
    #[serde(default)]
    pub stack: Value,
    /// The project; needed when `stack` is null.
    #[serde(default, deserialize_with = "nullable")]
    pub project: String,
    /// The scheduler's own vocabulary travels here, so that there is no second list of options.
    pub verb: Verb,
    /// How long `up --wait` and other waits may take.
    #[serde(default)]
    pub wait_timeout: Option<Duration>,
    /// Most steps to work on at a time; absent: no limit but the machine's.
    #[serde(default)]
    pub parallel: Option<NonZeroU32>,
    /// `run`: the start of the one-off waits until the client has attached to it (see [`ApplyEvent::Attach`]).
    #[serde(default)]
    pub attach: bool,
    /// Builds: a failed RUN step opens a shell for the client (see [`ApplyEvent::Shell`]).
    #[serde(default)]
    pub debug: bool,
    /// `run --rm`: remove the one-off when it has ended.
    #[serde(default)]
    pub remove: bool,
    #[serde(default, deserialize_with = "nullable")]
    pub project_dir: String,
    /// Files of the stack, for the labels.
    #[serde(default, deserialize_with = "nullable")]
    pub files: Vec<String>,
    /// Values of the variables that `environment:` secrets and configs, and build arguments without value, name.
    #[serde(default, deserialize_with = "nullable")]
    pub variables: BTreeMap<String, String>,
    /// Credentials by registry host, read by the client.
    #[serde(default, deserialize_with = "nullable")]
    pub auth: BTreeMap<String, RegistryAuth>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanResponse {
    /// What `hoist plan` prints.
    pub text: String,
    pub plan: Value,
    /// Number of steps that do something; 0: nothing to do.
    pub steps: usize,
}

/// One line of the apply stream. Lines of kind `step` share the id of the plan's step within one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ApplyEvent {
    /// A round begins; there may be several (images first, then the rest).
    Plan { text: String, steps: Vec<StepInfo> },
    Step {
        id: usize,
        label: String,
        state: StepState,
    },
    /// Progress of one image layer; `step` is the id of the pull step.
    Pull {
        step: usize,
        image: String,
        layer: String,
        status: String,
        current: u64,
        total: u64,
    },
    /// What a build tells.
    Build {
        step: usize,
        service: String,
        event: BuildEvent,
    },
    /// A build with `debug`: a RUN step failed, and a shell in what it left starts as soon as the client attaches to it.
    /// When it ends, the build fails.
    Shell {
        id: String,
        /// What is built.
        image: String,
        shell: String,
        exit_code: i32,
    },
    /// `run` with `attach`: the container is made; it starts as soon as the client attaches to it.
    Attach { container: String },
    /// Talk for the user (optional dependency failed, orphans found, …).
    Warning { text: String },
    /// The last line.
    Result(ApplyResult),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepInfo {
    pub id: usize,
    /// What the user sees, e.g. `Container shop-db-1`, `Network shop_default`.
    pub label: String,
    /// E.g. `Create`, `Start`, `Wait`.
    pub action: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum StepState {
    Started { action: String },
    Done { action: String },
    Failed { action: String, error: String },
    Skipped { action: String },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplyResult {
    /// Exit code for the command: 0; 1; 125 the engine, 126 and 127 the command of a container.
    pub code: i32,
    /// Every failure, each naming its service and cause.
    pub errors: Vec<String>,
    /// Number of steps that were done.
    pub done: usize,
    /// The one-off container of `run`.
    #[serde(default)]
    pub container: Option<String>,
}

/// `GET /hoist/v1/stacks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackSummary {
    pub name: String,
    /// E.g. `running(2), exited(1)`.
    pub status: String,
    pub files: Vec<String>,
    pub running: usize,
    pub containers: usize,
}

/// `GET /hoist/v1/stacks/{name}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StackDetail {
    pub name: String,
    /// The last applied canonical model.
    pub stack: Value,
    pub project_dir: String,
    pub files: Vec<String>,
    pub containers: Vec<ContainerSummary>,
    pub networks: Vec<NetworkInspect>,
    pub volumes: Vec<VolumeInspect>,
}

/// One line of `GET /hoist/v1/stacks/{name}/logs` (NDJSON).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackLogLine {
    pub service: String,
    pub container: String,
    /// RFC 3339 with nanoseconds.
    pub time: String,
    /// `stdout`, `stderr`; `status` for what became of the container ("exited with code 0"); `notice` for what hoist has
    /// to say about the log.
    pub stream: String,
    /// Without the newline; invalid UTF-8 is replaced.
    pub text: String,
    /// Base64 of the text as the program wrote it, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The line is long and goes on with the next one, which is of the same container and stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// The container's exit code on a `status` line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl StackLogLine {
    /// The text as the program wrote it.
    #[must_use]
    pub fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self
            .bytes
            .as_deref()
            .and_then(|bytes| BASE64_STANDARD.decode(bytes).ok());
        bytes.map_or(Cow::Borrowed(self.text.as_bytes()), Cow::Owned)
    }
}

/// Options of the log endpoints, as query parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub timestamps: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// `None`: everything.
    pub tail: Option<usize>,
    /// Seconds since the epoch (with fraction) or RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Stack logs only; empty: all.
    pub services: Vec<String>,
}
