//! `RUN --mount=type=ssh`: a socket for one step behind which is the caller's ssh agent.
//!
//! The step never sees the agent's own socket: it gets one with the owner and mode that the Dockerfile asks for, and it is
//! gone when the step ends.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Gid, Mode, Uid};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::{Work, failed};
use crate::Diagnostic;
use crate::error::BuildError;
use crate::graph::{AgentUse, RunStepOp, StepId};
use crate::step::{RunMount, RunMountKind};

#[derive(Debug, thiserror::Error)]
#[error("offering the ssh agent at {path}")]
struct AgentError {
    path: PathBuf,
    source: std::io::Error,
}

/// Ends with its drop.
#[derive(Debug)]
pub(super) struct Forwarded {
    target: String,
    socket: PathBuf,
    _folder: tempfile::TempDir,
    server: JoinHandle<()>,
}

impl Forwarded {
    pub(super) fn mount(&self) -> RunMount {
        let kind = RunMountKind::Bind { source: self.socket.clone(), read_only: false };
        RunMount { target: self.target.clone(), kind }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Offers the agents that a step asks for. One that was not given is left out, unless it is required.
pub(super) fn forward(work: &Work, id: StepId, run: &RunStepOp) -> Result<Vec<Forwarded>, BuildError> {
    let step = &work.graph.steps[id];
    let mut offered = Vec::new();
    for wanted in &run.agents {
        match work.request.ssh.get(&wanted.id) {
            Some(agent) => {
                offered.push(offer(wanted, agent.clone()).map_err(|error| failed(work, step, error))?);
            }
            None if wanted.required => {
                let message = format!("the ssh agent {} is required and was not given", wanted.id);
                let diagnostic = Diagnostic::error(step.span, message).hint("give it with --ssh default, or build.ssh");
                return Err(BuildError::Step {
                    file: Arc::clone(&work.file),
                    diagnostic: Box::new(diagnostic),
                    source: None,
                });
            }
            None => {}
        }
    }
    Ok(offered)
}

fn offer(wanted: &AgentUse, agent: PathBuf) -> Result<Forwarded, AgentError> {
    let folder = tempfile::Builder::new().prefix("hoist-ssh-").tempdir();
    let folder = folder.map_err(|source| AgentError { path: std::env::temp_dir(), source })?;
    let socket = folder.path().join("agent");
    let failed = |source: std::io::Error| AgentError { path: socket.clone(), source };
    let listener = UnixListener::bind(&socket).map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(wanted.owner.uid), Gid::from_raw(wanted.owner.gid));
    rustix::fs::chown(&socket, Some(uid), Some(gid)).map_err(|errno| failed(errno.into()))?;
    rustix::fs::chmod(&socket, Mode::from_raw_mode(wanted.owner.mode)).map_err(|errno| failed(errno.into()))?;
    let server = tokio::spawn(async move {
        // The connections end with the server: they are its own.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut step, _)) = listener.accept().await {
            let agent = agent.clone();
            connections.spawn(async move {
                if let Ok(mut agent) = UnixStream::connect(&agent).await {
                    // Either side may leave at any time.
                    let _ = tokio::io::copy_bidirectional(&mut step, &mut agent).await;
                }
            });
        }
    });
    Ok(Forwarded { target: wanted.target.clone(), socket, _folder: folder, server })
}
