//! Processes in running containers on behalf of clients.

use std::sync::Arc;

use hoist_runtime::{ExecHandle, ExecRequest, ExecStdio, Seccomp};
use hoist_spec::model::Service;
use tokio::io::Interest;

use crate::actions::{StepError, blocking};
use crate::api::types::ExecConfig;
use crate::engine::{Engine, short};
use crate::error::chain;
use crate::lower::{self, LowerError};
use crate::readiness;
use crate::world::Summary;

#[derive(Debug, Clone)]
pub(crate) struct ExecEntry {
    pub(crate) id: String,
    pub(crate) container: String,
    pub(crate) config: ExecConfig,
    pub(crate) started: bool,
    pub(crate) code: Option<i32>,
    pub(crate) handle: Option<Arc<ExecHandle>>,
}

/// Names as the runtime takes them.
pub(crate) fn capabilities(service: &Service) -> Result<Vec<String>, LowerError> {
    let set = lower::capabilities(service)?;
    Ok(set.into_iter().map(|capability| format!("CAP_{capability}")).collect())
}

/// Starts the process; the caller owns its streams.
pub(crate) async fn start(
    engine: &Arc<Engine>,
    pid: i32,
    container: &Summary,
    config: &ExecConfig,
    stdio: ExecStdio,
) -> Result<ExecHandle, StepError> {
    let (doc, service) = (&container.doc, &container.service);
    let hostname = service.hostname.clone().unwrap_or_else(|| short(&doc.id).to_owned());
    let mut env = lower::environment(service, &doc.image, &hostname);
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    env.retain(|entry| !config.env.iter().any(|over| name(over) == name(entry)));
    env.extend(config.env.iter().cloned());
    if config.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    let privileged = config.privileged || service.privileged;
    let request = ExecRequest {
        id: doc.id.clone(),
        pid,
        argv: config.cmd.clone(),
        env,
        cwd: if config.working_dir.is_empty() {
            lower::working_dir(service, &doc.image)
        } else {
            config.working_dir.clone()
        },
        user: if config.user.is_empty() { lower::user(service, &doc.image) } else { Some(config.user.clone()) },
        group_add: service.group_add.clone(),
        capabilities: capabilities(service)?,
        no_new_privileges: lower::no_new_privileges(service)?,
        seccomp: if privileged { Seccomp::Unconfined } else { lower::seccomp(service)? },
        privileged,
        stdio,
    };
    let runtime = Arc::clone(&engine.runtime);
    blocking(move || {
        runtime.exec(request).map_err(|error| StepError {
            code: i32::from(error.exit_code()),
            status: if matches!(error.exit_code(), 126 | 127) { 400 } else { 500 },
            ..StepError::engine(chain(&error))
        })
    })
    .await
}

/// The exit code, as soon as it has ended.
pub(crate) async fn wait(handle: &Arc<ExecHandle>) -> i32 {
    let Ok(watched) = readiness::watch(Arc::clone(handle), Interest::READABLE) else { return 125 };
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
