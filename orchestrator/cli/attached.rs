//! Owns an attached `up`: the work and the logs at the same time, the end when containers exit, and what Ctrl-C does.

mod seen;

use std::collections::BTreeSet;

use hoist_api::{ApplyEvent, ApplyRequest, ApplyResult, LogOptions, StackLogLine, StepState};
use hoist_client::{Client, ClientError, JsonStream};
use hoist_scheduler::{Stop, Verb};
use jiff::Timestamp;

use self::seen::Seen;
use crate::containers::short_name;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::logs::{LogStyle, LogWriter};
use crate::render::progress::Progress;
use crate::signals::Interrupts;
use crate::{apply, containers};

#[derive(Debug)]
pub(crate) struct Attached {
    /// Services whose logs are shown.
    pub(crate) shown: BTreeSet<String>,
    /// Services that keep the command going.
    pub(crate) running: BTreeSet<String>,
    pub(crate) end: EndWhen,
    pub(crate) style: LogStyle,
    /// Seconds for stopping.
    pub(crate) timeout: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndWhen {
    AllExited,
    /// The command ends with the code of the container that exits first.
    AnyExits {
        /// Of this service's containers alone, when there is one.
        code_of: Option<String>,
    },
    AnyFails,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Raising,
    Running,
    /// With the exit code that the command ends with.
    Stopping(Exit),
    Killing(Exit),
}

/// What woke the loop.
enum Wake {
    Work(Option<ApplyEvent>),
    Log(Option<StackLogLine>),
    Interrupt,
}

struct Session<'a> {
    ctx: &'a Ctx,
    client: Client,
    attached: &'a Attached,
    project: String,
    began: Timestamp,
    phase: Phase,
    progress: Progress,
    work: Option<JsonStream<ApplyEvent>>,
    logs: Option<JsonStream<StackLogLine>>,
    writer: LogWriter,
    seen: Seen,
    /// Of the container that `EndWhen::AnyExits` names.
    code: Option<Exit>,
}

pub(crate) async fn run(ctx: &Ctx, request: &ApplyRequest, attached: &Attached) -> Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    let client = ctx.client().await?;
    let began = Timestamp::now();
    let work = apply::begin(ctx, &client, request).await?;
    let mut session = Session {
        ctx,
        attached,
        project: request.project.clone(),
        began,
        phase: Phase::Raising,
        progress: Progress::new(ctx.ui),
        work: Some(work),
        logs: None,
        writer: LogWriter::new(
            ctx.ui,
            attached.style,
            names(&client, request, attached).await?,
        ),
        seen: Seen::default(),
        code: None,
        client,
    };
    loop {
        let wake = tokio::select! {
            event = next(&mut session.work) => Wake::Work(event?),
            line = next(&mut session.logs) => Wake::Log(line?),
            () = interrupts.next() => Wake::Interrupt,
        };
        let end = match wake {
            Wake::Work(event) => session.work(event).await?,
            Wake::Log(line) => session.log(line).await?,
            Wake::Interrupt => session.interrupt().await?,
        };
        if let Some(exit) = end {
            return Ok(exit);
        }
    }
}

/// The next item, or never when there is no stream.
async fn next<T: serde::de::DeserializeOwned>(
    stream: &mut Option<JsonStream<T>>,
) -> Result<Option<T>> {
    match stream {
        Some(stream) => Ok(stream.next().await?),
        None => std::future::pending().await,
    }
}

/// Names for the widths and colours of prefixes: what is there and what the first replicas will be called.
async fn names(
    client: &Client,
    request: &ApplyRequest,
    attached: &Attached,
) -> Result<Vec<String>> {
    let there = containers::of_project(client, &request.project, true).await?;
    let there = there
        .iter()
        .filter(|container| attached.shown.contains(container.service()));
    let mut names: Vec<String> = there
        .map(|c| short_name(&request.project, c.name()).to_owned())
        .collect();
    for service in &attached.shown {
        let own = request.stack.pointer(&format!(
            "/services/{}/container_name",
            service.replace('~', "~0").replace('/', "~1")
        ));
        names.push(
            own.and_then(serde_json::Value::as_str)
                .map_or_else(|| format!("{service}-1"), str::to_owned),
        );
    }
    Ok(names)
}

impl Session<'_> {
    async fn work(&mut self, event: Option<ApplyEvent>) -> Result<Option<Exit>> {
        match event {
            None => Err(apply::lost()),
            Some(ApplyEvent::Result(result)) => self.done(result).await,
            Some(event) => {
                self.progress.event(&event);
                if self.logs.is_none() && is_progress(&event) {
                    self.follow().await?;
                }
                Ok(None)
            }
        }
    }

    /// The engine has finished raising, stopping or killing.
    async fn done(&mut self, result: ApplyResult) -> Result<Option<Exit>> {
        self.work = None;
        self.progress.finish();
        match self.phase {
            Phase::Raising => {
                apply::check(result)?;
                // Lines that are done stay where they are, above the logs.
                self.progress = Progress::new(self.ctx.ui);
                self.phase = Phase::Running;
                if self.logs.is_none() {
                    self.follow().await?;
                }
                match self.ended_early().await? {
                    Some((service, code)) => self.exited(&service, code).await,
                    None => self.after_exit().await,
                }
            }
            Phase::Running => Ok(None),
            Phase::Stopping(exit) | Phase::Killing(exit) => {
                self.drain().await?;
                apply::check(result)?;
                self.final_code(exit).await.map(Some)
            }
        }
    }

    /// Opens the log stream. A stack that has no record yet is asked again at the next event.
    async fn follow(&mut self) -> Result<()> {
        match self
            .client
            .stack_logs(&self.project, &self.log_options())
            .await
        {
            Ok(stream) => {
                let names: Vec<&str> = self.attached.shown.iter().map(String::as_str).collect();
                self.progress
                    .suspend(|ui| ui.note(&format!("Attaching to {}", names.join(", "))));
                self.logs = Some(stream);
            }
            Err(error) if error.not_found() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn log_options(&self) -> LogOptions {
        LogOptions {
            follow: true,
            stdout: true,
            stderr: true,
            timestamps: true,
            since: Some(self.began.to_string()),
            ..LogOptions::default()
        }
    }

    async fn log(&mut self, line: Option<StackLogLine>) -> Result<Option<Exit>> {
        let Some(line) = line else {
            self.logs = None;
            return if self.phase == Phase::Running {
                self.ended().await.map(Some)
            } else {
                Ok(None)
            };
        };
        self.whole_line(&line).await?;
        match line.exit_code {
            Some(code) => self.exited(&line.service, code.into()).await,
            None => Ok(None),
        }
    }

    /// How a container's exit affects the command.
    async fn exited(&mut self, service: &str, code: i64) -> Result<Option<Exit>> {
        if !self.attached.running.contains(service) {
            return Ok(None);
        }
        let exit = Exit::of_container(code);
        if matches!(&self.attached.end, EndWhen::AnyExits { code_of: Some(of) } if of == service) {
            self.code.get_or_insert(exit);
        }
        if matches!(self.phase, Phase::Stopping(_) | Phase::Killing(_)) {
            return Ok(None);
        }
        match &self.attached.end {
            EndWhen::AllExited => self.after_exit().await,
            EndWhen::AnyExits { .. } => self.stop(exit, "Aborting on container exit...").await,
            EndWhen::AnyFails if code == 0 => self.after_exit().await,
            EndWhen::AnyFails => self.stop(exit, "Aborting on container failure...").await,
        }
    }

    /// Of the containers that this command started, one that ended before the log stream could tell of it and that the
    /// command is to end with.
    async fn ended_early(&self) -> Result<Option<(String, i64)>> {
        if self.attached.end == EndWhen::AllExited {
            return Ok(None);
        }
        let mut first = None;
        for container in containers::of_services(&self.client, &self.project, &[], true).await? {
            let meant =
                self.attached.running.contains(container.service()) && container.state == "exited";
            if !meant || (self.attached.end == EndWhen::AnyFails && container.exit_code == 0) {
                continue;
            }
            let state = self.client.container(&container.id).await?.state;
            let Ok(at) = state.finished_at.parse::<Timestamp>() else {
                continue;
            };
            if at >= self.began && first.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                first = Some((
                    at,
                    (container.service().to_owned(), i64::from(state.exit_code)),
                ));
            }
        }
        Ok(first.map(|(_, exit)| exit))
    }

    /// The pieces of a long line are written one after the other, with nothing in between.
    async fn whole_line(&mut self, line: &StackLogLine) -> Result<()> {
        self.write(line)?;
        let mut more = line.more;
        while more && let Some(piece) = next(&mut self.logs).await? {
            more = piece.more;
            self.write(&piece)?;
        }
        Ok(())
    }

    fn write(&mut self, line: &StackLogLine) -> Result<()> {
        if !self.attached.shown.contains(&line.service) {
            return Ok(());
        }
        self.seen.note(line);
        let name = short_name(&self.project, &line.container);
        self.writer.add(name);
        let writer = &mut self.writer;
        let mut put = || {
            match line.stream.as_str() {
                "status" => writer.status(name, &line.text),
                "notice" => writer.notice(name, &line.text),
                _ => writer.line(name, line),
            }?;
            writer.flush()
        };
        if line.more {
            self.progress.leave();
            put()?;
        } else {
            self.progress.suspend(|_| put())?;
        }
        Ok(())
    }

    /// Nothing runs any more and nothing will be restarted: the end.
    async fn after_exit(&mut self) -> Result<Option<Exit>> {
        if self.phase != Phase::Running {
            return Ok(None);
        }
        let there = containers::of_services(&self.client, &self.project, &[], true).await?;
        let alive = |state: &str| matches!(state, "running" | "paused" | "restarting");
        if there
            .iter()
            .any(|c| self.attached.running.contains(c.service()) && alive(&c.state))
        {
            return Ok(None);
        }
        self.drain().await?;
        self.ended().await.map(Some)
    }

    async fn ended(&mut self) -> Result<Exit> {
        self.final_code(Exit::OK).await
    }

    /// Writes what the log stream still holds. Its end is not in the stream itself, which goes on for ever, so the log
    /// is read again and what was written is left out.
    async fn drain(&mut self) -> Result<()> {
        self.logs = None;
        let options = LogOptions {
            follow: false,
            ..self.log_options()
        };
        let mut rest = match self.client.stack_logs(&self.project, &options).await {
            Err(error) if error.not_found() => return Ok(()),
            rest => rest?,
        };
        let mut again = self.seen.reread();
        while let Some(line) = rest.next().await? {
            if again.is_new(&line) {
                self.write(&line)?;
            }
        }
        let there = containers::of_services(&self.client, &self.project, &[], true).await?;
        for container in there.iter().filter(|container| container.state == "exited") {
            if self.attached.running.contains(container.service())
                && !self.seen.has_ended(container.name())
            {
                self.write(&StackLogLine {
                    service: container.service().to_owned(),
                    container: container.name().to_owned(),
                    stream: "status".to_owned(),
                    text: format!("exited with code {}", container.exit_code),
                    ..StackLogLine::default()
                })?;
            }
        }
        Ok(())
    }

    async fn final_code(&self, exit: Exit) -> Result<Exit> {
        let EndWhen::AnyExits {
            code_of: Some(service),
        } = &self.attached.end
        else {
            return Ok(exit);
        };
        match self.code {
            _ if exit == Exit::INTERRUPTED => Ok(exit),
            Some(code) => Ok(code),
            None => {
                let container = containers::any(&self.client, &self.project, service, None).await?;
                Ok(Exit::of_container(container.exit_code.into()))
            }
        }
    }

    async fn interrupt(&mut self) -> Result<Option<Exit>> {
        match self.phase {
            Phase::Raising | Phase::Running => {
                self.stop(
                    Exit::INTERRUPTED,
                    "Gracefully stopping... (press Ctrl+C again to force)",
                )
                .await
            }
            Phase::Stopping(_) => {
                self.phase = Phase::Killing(Exit::INTERRUPTED);
                self.kill().await?;
                Ok(None)
            }
            // A third one: leave at once.
            Phase::Killing(_) => Err(Failure::interrupted()),
        }
    }

    /// Ends the grace periods that the engine is waiting for; the stop that is under way does the rest.
    async fn kill(&mut self) -> Result<()> {
        for container in containers::of_services(&self.client, &self.project, &[], false).await? {
            if self.attached.running.contains(container.service()) {
                match self.client.kill_container(&container.id, "SIGKILL").await {
                    // It has ended in the meantime.
                    Err(ClientError::Api {
                        status: 404 | 409, ..
                    })
                    | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn stop(&mut self, exit: Exit, say: &str) -> Result<Option<Exit>> {
        self.progress.suspend(|ui| ui.note(say));
        let stop = Stop {
            services: self.attached.running.clone(),
            timeout: apply::seconds(self.attached.timeout),
        };
        self.begin(Verb::Stop(stop), Phase::Stopping(exit)).await
    }

    async fn begin(&mut self, verb: Verb, phase: Phase) -> Result<Option<Exit>> {
        self.progress.finish();
        self.progress = Progress::new(self.ctx.ui);
        self.work =
            Some(apply::begin(self.ctx, &self.client, &apply::on_name(&self.project, verb)).await?);
        self.phase = phase;
        Ok(None)
    }
}

/// Something has come to be, so that the stack has a record and may have logs.
fn is_progress(event: &ApplyEvent) -> bool {
    matches!(
        event,
        ApplyEvent::Step {
            state: StepState::Done { .. } | StepState::Started { .. },
            ..
        }
    )
}
