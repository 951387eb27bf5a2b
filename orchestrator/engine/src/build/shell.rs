//! `build --debug`: a shell in what a failed RUN step left, for the client that asked for the build.

use std::collections::BTreeSet;
use std::sync::Arc;

use hoist_api::{ApplyEvent, ErrorKind};
use hoist_build::RunRequest;
use tokio::sync::Mutex;

use super::{StepContainer, launch};
use crate::actions::{StepError, blocking};
use crate::buildnet::BuildNetwork;
use crate::error::chain;
use crate::execute::Output;
use crate::lower;

/// Of one request. Its client has one terminal: one shell at a time, and one for each build, in the first step that fails.
#[derive(Debug)]
pub(crate) struct ShellOffer {
    out: Output,
    /// The images whose build had its shell.
    entered: Mutex<BTreeSet<String>>,
}

impl ShellOffer {
    pub(crate) fn new(out: Output) -> Self {
        Self {
            out,
            entered: Mutex::default(),
        }
    }

    /// Comes back when the step may fail: the shell has ended, or the build had one. A step that fails beside an open
    /// shell of its own build waits, since its failure would end the build and the shell with it.
    pub(super) async fn open(
        &self,
        container: StepContainer,
        image: &str,
        step: RunRequest,
        exit_code: i32,
    ) {
        let mut entered = self.entered.lock().await;
        if !entered.insert(image.to_owned()) {
            return;
        }
        let shell = shell(&step.argv);
        if let Err(error) = self.run(container, image, step, &shell, exit_code).await {
            let text = match error.kind.is_command() {
                true => format!(
                    "{image}: the failed step cannot be looked at, since its root has no {shell} that runs: {}",
                    error.message
                ),
                false => format!(
                    "{image}: the failed step cannot be looked at: {}",
                    error.message
                ),
            };
            self.out.send(ApplyEvent::Warning { text });
        }
    }

    async fn run(
        &self,
        container: StepContainer,
        image: &str,
        mut step: RunRequest,
        shell: &str,
        exit_code: i32,
    ) -> Result<(), StepError> {
        step.argv = vec![shell.to_owned()];
        if !step.env.iter().any(|entry| entry.starts_with("TERM=")) {
            step.env.push("TERM=xterm".to_owned());
        }
        let engine = Arc::clone(&container.engine);
        let arrived = engine.attachments.expect(&container.id);
        self.out.send(ApplyEvent::Shell {
            id: container.id.clone(),
            image: image.to_owned(),
            shell: shell.to_owned(),
            exit_code,
        });
        arrived.await;
        let lease = BuildNetwork::lease(&engine, &step.network, &container.id).await?;
        let (shim, lease, mut container) = blocking(move || {
            let clients = container.engine.attachments.take(&container.id);
            let mut launch = launch(&container.engine, &container.id, step, &lease)?;
            (launch.tty, launch.stdin_open) = (true, true);
            if let Some(process) = launch.spec.process_mut() {
                process.set_terminal(Some(true));
            }
            if let Some(size) = clients.size {
                lower::console(&mut launch.spec, size);
            }
            let shim = container
                .engine
                .runtime
                .start_attached(&launch, &clients.streams)
                .map_err(|error| {
                    StepError::of(
                        ErrorKind::of_exit_code(error.exit_code().into()),
                        chain(&error),
                    )
                })?;
            Ok((shim, lease, container))
        })
        .await?;
        blocking(move || Ok(shim.wait()?)).await?;
        container.ended = true;
        drop(container);
        lease.release().await;
        Ok(())
    }
}

/// The shell that the step was written for, where it has one (`SHELL`, or the usual `/bin/sh -c`).
fn shell(argv: &[String]) -> String {
    match argv {
        [shell, options, ..] if options.starts_with('-') && options.ends_with('c') => shell.clone(),
        _ => "/bin/sh".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_is_the_one_that_the_step_was_written_for() {
        let shell_of = |words: &[&str]| {
            shell(
                &words
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(shell_of(&["/bin/bash", "-euc", "false"]), "/bin/bash");
        assert_eq!(shell_of(&["/bin/sh", "-c", "false"]), "/bin/sh");
        assert_eq!(shell_of(&["/app/tool", "--strict"]), "/bin/sh");
        assert_eq!(shell_of(&["false"]), "/bin/sh");
    }
}
