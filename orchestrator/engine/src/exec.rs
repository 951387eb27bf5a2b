//! Processes in running containers on behalf of clients.

use std::sync::Arc;

use hoist_api::ErrorKind;
use hoist_runtime::{ExecHandle, ExecStdio, LaunchError, Seccomp};
use tokio::io::Interest;

use crate::actions::{StepError, blocking};
use crate::engine::Engine;
use crate::error::chain;
use crate::lower::ProcessSetup;
use crate::readiness;
use crate::world::Summary;

/// What a client wants to run, and how.
#[derive(Debug, Clone, Default)]
pub struct ExecConfig {
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub tty: bool,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    pub privileged: bool,
    /// Rows, columns.
    pub console_size: Option<(u16, u16)>,
}

/// A command of a client's, from its creation on.
#[derive(Debug, Clone)]
pub struct ExecEntry {
    pub id: String,
    pub container: String,
    pub config: ExecConfig,
    pub started: bool,
    pub code: Option<i32>,
    /// Of its process, while it runs.
    pub pid: Option<i32>,
}

/// Starts the process; the caller owns its streams.
pub(crate) async fn start(
    engine: &Arc<Engine>,
    pid: i32,
    container: &Summary,
    config: &ExecConfig,
    stdio: ExecStdio,
) -> Result<ExecHandle, StepError> {
    let (doc, service) = (&container.doc, &container.config);
    let mut setup = ProcessSetup::of(doc, service)?;
    let mut env = setup.process.env().clone().unwrap_or_default();
    let name = |entry: &str| {
        entry
            .split_once('=')
            .map_or(entry, |(name, _)| name)
            .to_owned()
    };
    env.retain(|entry| !config.env.iter().any(|over| name(over) == name(entry)));
    env.extend(config.env.iter().cloned());
    if config.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    setup.process.set_env(Some(env));
    if !config.working_dir.is_empty() {
        setup.process.set_cwd(config.working_dir.clone().into());
    }
    if !config.user.is_empty() {
        setup.user = Some(config.user.clone());
    }
    if config.privileged {
        (setup.privileged, setup.seccomp) = (true, Seccomp::Unconfined);
    }
    let request = setup.exec(doc.id.clone(), pid, config.cmd.clone(), stdio);
    let runtime = Arc::clone(&engine.runtime);
    blocking(move || {
        runtime
            .exec(request)
            .map_err(|error| StepError::of(kind(&error), refusal(&error)))
    })
    .await
}

fn kind(error: &LaunchError) -> ErrorKind {
    match error {
        LaunchError::Spec(_) => ErrorKind::Invalid,
        LaunchError::NotRunning(_) | LaunchError::Paused(_) => ErrorKind::Conflict,
        LaunchError::Stage { source: None, .. } => ErrorKind::Command,
        LaunchError::Stage {
            stage,
            source: Some(source),
            ..
        } if stage == WORKING_DIR => match source.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::CommandNotExecutable,
            _ => ErrorKind::CommandNotFound,
        },
        error => ErrorKind::of_exit_code(error.exit_code().into()),
    }
}

/// The stage of a start at which its working directory turns out not to be one.
const WORKING_DIR: &str = "enter the working directory";

/// Docker's words for a command that could not be run: clients look for them.
fn refusal(error: &LaunchError) -> String {
    let LaunchError::Stage {
        stage,
        object,
        source,
        ..
    } = error
    else {
        return chain(error);
    };
    let Some(source) = source else {
        return object.clone();
    };
    let reason = match source.raw_os_error() {
        Some(number) => rustix::io::Errno::from_raw_os_error(number).to_string(),
        None => source.to_string(),
    };
    let reason = reason
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase();
    let failed = match stage.as_str() {
        WORKING_DIR => format!("chdir to cwd ({object:?}) set in config.json failed: {reason}"),
        "find the command" if object.ends_with("$PATH") => object.clone(),
        "find the command" | "execute" => format!("{object}: {reason}"),
        _ => return chain(error),
    };
    format!(
        "OCI runtime exec failed: exec failed: unable to start container process: {failed}: unknown"
    )
}

/// The exit code, as soon as it has ended.
pub(crate) async fn wait(handle: &Arc<ExecHandle>) -> i32 {
    let Ok(watched) = readiness::watch(Arc::clone(handle), Interest::READABLE) else {
        return 125;
    };
    loop {
        match handle.try_wait() {
            Ok(Some(status)) => return status.code,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot learn how an exec ended");
                return 137;
            }
        }
        match watched.readable().await {
            // Whatever made it readable is read by the next try.
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return 125,
        }
    }
}
