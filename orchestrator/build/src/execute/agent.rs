//! `RUN --mount=type=ssh`: a socket for one step behind which is the caller's ssh agent.
//!
//! The step never sees the agent's own socket: it gets one with the owner and mode that the Dockerfile asks for, and it is
//! gone when the step ends.

use std::sync::Arc;

use super::{Work, failed};
use crate::Diagnostic;
use crate::error::BuildError;
use crate::graph::{RunStepOp, StepId};
use crate::ssh::AgentSocket;
use crate::step::{RunMount, RunMountKind};

/// Ends with its drop.
#[derive(Debug)]
pub(super) struct Forwarded {
    target: String,
    socket: AgentSocket,
}

impl Forwarded {
    pub(super) fn mount(&self) -> RunMount {
        let kind = RunMountKind::Bind {
            source: self.socket.path().to_owned(),
            read_only: false,
        };
        RunMount {
            target: self.target.clone(),
            kind,
        }
    }
}

/// Offers the agents that a step asks for. One that was not given is left out, unless it is required.
pub(super) fn forward(
    work: &Work,
    id: StepId,
    run: &RunStepOp,
) -> Result<Vec<Forwarded>, BuildError> {
    let step = &work.graph.steps[id];
    let mut offered = Vec::new();
    for wanted in &run.agents {
        match work.request.ssh.get(&wanted.id) {
            Some(agent) => {
                let socket = AgentSocket::open(agent.clone(), wanted.owner);
                let socket = socket.map_err(|error| failed(work, step, error))?;
                offered.push(Forwarded {
                    target: wanted.target.clone(),
                    socket,
                });
            }
            None if wanted.required => {
                let message = format!("the ssh agent {} is required and was not given", wanted.id);
                let diagnostic = Diagnostic::error(step.span, message)
                    .hint("give it with --ssh default, or build.ssh");
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
