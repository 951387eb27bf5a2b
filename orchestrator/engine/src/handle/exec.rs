//! Commands that run in containers beside their programs.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use hoist_object::signal;
use hoist_runtime::{ExecHandle, ExecStdio};
use rustix::pipe::{PipeFlags, pipe_with};

use super::containers::no_container;
use super::{Handle, Result};
use crate::actions::{StepError, blocking};
use crate::engine::{Engine, new_id};
use crate::exec::{self, ExecConfig, ExecEntry};
use crate::world::{Event, Exec, Phase, Summary};

/// What became of a start.
#[derive(Debug)]
pub enum Begun {
    /// It runs on its own.
    Detached,
    Attached(Execution),
    /// The command could not be run.
    Refused(StepError),
}

/// A command that runs, and our ends of its streams.
#[derive(Debug)]
pub struct Execution {
    engine: Arc<Engine>,
    id: String,
    handle: Arc<ExecHandle>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// All of its streams in one.
    pub terminal: Option<OwnedFd>,
    /// How long it may take to end when it is asked to.
    pub grace: Duration,
}

impl Execution {
    /// The exit code, as soon as it has ended.
    pub async fn wait(&self) -> i32 {
        exec::wait(&self.handle).await
    }

    /// Asks it to end, like a closed terminal.
    pub async fn hang_up(&self) {
        self.end(|handle| handle.kill_group(signal::HANGUP)).await;
    }

    /// With everything that it has started.
    pub async fn kill(&self) {
        self.end(ExecHandle::kill_tree).await;
    }

    async fn end<E>(
        &self,
        how: impl FnOnce(&ExecHandle) -> std::result::Result<(), E> + Send + 'static,
    ) where
        E: std::error::Error + Send + 'static,
    {
        let handle = Arc::clone(&self.handle);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || how(&handle)).await {
            tracing::warn!(%error, "cannot end an exec whose client has left");
        }
    }

    /// Its end is known; its output may still be on the way.
    pub fn ended(&self, code: i32) {
        self.engine.tell(Event::ExecEnded {
            id: self.id.clone(),
            code,
        });
    }

    /// All of its output has arrived.
    pub fn delivered(&self) {
        self.engine.tell(Event::ExecDelivered {
            id: self.id.clone(),
        });
    }
}

/// The process's ends, and ours.
type Streams = (ExecStdio, [Option<OwnedFd>; 3]);

/// None of ours when it is to run on its own.
fn streams(config: &ExecConfig, detach: bool, size: Option<(u16, u16)>) -> Result<Streams> {
    if detach {
        return Ok((
            ExecStdio::Fds {
                stdin: None,
                stdout: None,
                stderr: None,
            },
            [None, None, None],
        ));
    }
    if config.tty {
        let (rows, columns) = size.or(config.console_size).unwrap_or((24, 80));
        return Ok((ExecStdio::Tty { rows, columns }, [None, None, None]));
    }
    let make = |wanted: bool| {
        let failed = |error: rustix::io::Errno| {
            StepError::engine(format!("no pipe for its streams: {error}"))
        };
        wanted
            .then(|| pipe_with(PipeFlags::CLOEXEC))
            .transpose()
            .map_err(failed)
            .map(Option::unzip)
    };
    let (stdin, input) = make(config.attach_stdin)?;
    let (output, stdout) = make(config.attach_stdout)?;
    let (errors, stderr) = make(config.attach_stderr)?;
    Ok((
        ExecStdio::Fds {
            stdin,
            stdout,
            stderr,
        },
        [input, output, errors],
    ))
}

impl Handle {
    /// The id under which it can be started.
    pub async fn create_exec(&self, container: &str, config: ExecConfig) -> Result<String> {
        if config.cmd.is_empty() {
            return Err(StepError::bad("no exec command specified"));
        }
        let container = self.container_id(container).await?;
        self.running(&container).await?;
        let id = new_id();
        let entry = Exec::new(id.clone(), container, config.cmd.clone(), config);
        self.engine.tell(Event::ExecMade(Box::new(entry)));
        Ok(id)
    }

    async fn running(&self, id: &str) -> Result<(i32, Summary)> {
        let wanted = id.to_owned();
        let found = self.look(move |world| {
            let container = world.containers.get(&wanted)?;
            Some((container.phase.clone(), container.pid, container.summary()))
        });
        match found.await? {
            None => Err(no_container(id)),
            Some((Phase::Running, Some(pid), summary)) => Ok((pid, summary)),
            Some((Phase::Paused, ..)) => Err(StepError::conflict(format!(
                "container {id} is paused, unpause it first"
            ))),
            Some(_) => Err(StepError::conflict(format!(
                "container {id} is not running"
            ))),
        }
    }

    pub async fn exec(&self, id: &str) -> Result<ExecEntry> {
        let Exec {
            id,
            container,
            terms: config,
            started,
            code,
            handle,
            ..
        } = self.entry(id).await?;
        Ok(ExecEntry {
            id,
            container,
            config,
            started,
            code,
            pid: handle.map(|handle| handle.pid()),
        })
    }

    async fn entry(&self, id: &str) -> Result<Exec> {
        let wanted = id.to_owned();
        let found = self.look(move |world| world.exec(&wanted).cloned()).await?;
        found.ok_or_else(|| StepError::not_found(format!("no such exec instance: {id}")))
    }

    /// `size`: rows and columns of the caller's terminal.
    pub async fn start_exec(
        &self,
        id: &str,
        detach: bool,
        size: Option<(u16, u16)>,
    ) -> Result<Begun> {
        let entry = self.entry(id).await?;
        if entry.started {
            return Err(StepError::conflict(format!(
                "exec instance {id} has already run"
            )));
        }
        let (pid, container) = self.running(&entry.container).await?;
        let (theirs, [stdin, stdout, stderr]) = streams(&entry.terms, detach, size)?;
        let handle = match exec::start(&self.engine, pid, &container, &entry.terms, theirs).await {
            Ok(handle) => Arc::new(handle),
            Err(error) => {
                self.engine.tell(Event::ExecEnded {
                    id: id.to_owned(),
                    code: error.code(),
                });
                self.engine.tell(Event::ExecDelivered { id: id.to_owned() });
                return Ok(Begun::Refused(error));
            }
        };
        self.engine.tell(Event::ExecStarted {
            id: id.to_owned(),
            handle: Arc::clone(&handle),
        });
        let terminal = if entry.terms.tty && !detach {
            handle.take_terminal()
        } else {
            None
        };
        let grace = container.doc.record.stop_grace;
        let engine = Arc::clone(&self.engine);
        let execution = Execution {
            engine,
            id: id.to_owned(),
            handle,
            stdin,
            stdout,
            stderr,
            terminal,
            grace,
        };
        if !detach {
            return Ok(Begun::Attached(execution));
        }
        tokio::spawn(async move {
            execution.ended(execution.wait().await);
            execution.delivered();
        });
        Ok(Begun::Detached)
    }

    /// Sets the size of its terminal, if it has one and runs.
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let entry = self.entry(id).await?;
        if let Some(handle) = entry.handle.filter(|_| entry.terms.tty) {
            blocking(move || Ok(handle.resize(rows, columns)?)).await?;
        }
        Ok(())
    }
}
