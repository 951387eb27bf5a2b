//! Runs one healthcheck: an exec whose output is kept, and whose whole tree is gone afterwards.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use hoist_object::{HealthPlan, Outcome, Probe, ProbeRecord};
use hoist_runtime::{ExecHandle, ExecRequest, ExecStdio};
use tokio::net::unix::pipe;
use tracing::Instrument as _;

use crate::actions::announce;
use crate::engine::{Engine, new_id, now, steady};
use crate::error::chain;
use crate::exec;
use crate::feed::OfContainer;
use crate::lower::ProcessSetup;
use crate::world::{Event, Summary};

/// Docker keeps this much of the output.
const OUTPUT_LIMIT: usize = 4096;
/// The exit code of a process that SIGKILL ended.
const KILLED: i32 = 137;

pub(crate) fn spawn(
    engine: &Arc<Engine>,
    run: u64,
    pid: i32,
    container: Summary,
    plan: Arc<HealthPlan>,
) {
    let engine = Arc::clone(engine);
    let work = async move {
        let (began, shown) = (steady(), now());
        let (outcome, exit_code, output) = probe(&engine, pid, &container, &plan).await;
        let record = ProbeRecord {
            start: shown,
            end: now(),
            exit_code,
            output,
        };
        let id = container.doc.id.clone();
        engine.tell(Event::Probed {
            id,
            run,
            probe: Probe { began, outcome },
            record,
        });
    };
    tokio::spawn(work.in_current_span());
}

async fn probe(
    engine: &Arc<Engine>,
    pid: i32,
    container: &Summary,
    plan: &HealthPlan,
) -> (Outcome, i32, String) {
    let failed = |error: String| (Outcome::Failed, -1, error);
    let (reader, writer) = match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) {
        Ok(ends) => ends,
        Err(error) => return failed(format!("no pipe for its output: {error}")),
    };
    let request = match request(pid, container, plan, writer) {
        Ok(request) => request,
        Err(error) => return failed(error),
    };
    // Told as any other exec.
    let (exec, command) = (new_id(), plan.argv(container.doc.image.shell.as_deref()));
    let tell = |what| announce(engine, &container.doc.id, what);
    tell(OfContainer::ExecCreate {
        exec: exec.clone(),
        command: command.clone(),
    });
    let runtime = Arc::clone(&engine.runtime);
    let started = tokio::task::spawn_blocking(move || runtime.exec(request)).await;
    let handle = match started {
        Ok(Ok(handle)) => Arc::new(handle),
        Ok(Err(error)) => return failed(chain(&error)),
        Err(error) => return failed(error.to_string()),
    };
    tell(OfContainer::ExecStart {
        exec: exec.clone(),
        command,
    });
    let (outcome, code, output) = finish(handle, reader, plan).await;
    let ended = if matches!(outcome, Outcome::TimedOut) {
        KILLED
    } else {
        code
    };
    tell(OfContainer::ExecDie { exec, code: ended });
    (outcome, code, output)
}

fn request(
    pid: i32,
    container: &Summary,
    plan: &HealthPlan,
    writer: OwnedFd,
) -> Result<ExecRequest, String> {
    let (doc, service) = (&container.doc, &container.config);
    let second = writer
        .try_clone()
        .map_err(|error| format!("no pipe for its output: {error}"))?;
    let setup = ProcessSetup::of(doc, service).map_err(|error| chain(&error))?;
    let stdio = ExecStdio::Fds {
        stdin: None,
        stdout: Some(writer),
        stderr: Some(second),
    };
    Ok(setup.exec(
        doc.id.clone(),
        pid,
        plan.argv(doc.image.shell.as_deref()),
        stdio,
    ))
}

async fn finish(
    handle: Arc<ExecHandle>,
    reader: OwnedFd,
    plan: &HealthPlan,
) -> (Outcome, i32, String) {
    let mut output = Vec::new();
    let read = async {
        match pipe::Receiver::from_owned_fd(reader) {
            Ok(mut pipe) => keep(&mut pipe, &mut output).await,
            Err(error) => tracing::warn!(%error, "cannot read a probe's output"),
        }
    };
    let both = async {
        tokio::pin!(read);
        let waited = exec::wait(&handle);
        tokio::pin!(waited);
        // What it left running in the background may hold the pipe open: its own end is what counts.
        tokio::select! {
            code = &mut waited => {
                let _ = tokio::time::timeout(std::time::Duration::from_millis(10), read).await;
                code
            }
            () = &mut read => waited.await,
        }
    };
    let ended = tokio::time::timeout(plan.timing.timeout, both).await;
    let killer = Arc::clone(&handle);
    let killed = tokio::task::spawn_blocking(move || killer.kill_tree()).await;
    if let Ok(Err(error)) = killed {
        tracing::warn!(%error, "cannot kill what a probe left behind");
    }
    let text = String::from_utf8_lossy(&output).into_owned();
    match ended {
        Ok(0) => (Outcome::Passed, 0, text),
        Ok(code) => (Outcome::Failed, code, text),
        Err(_) => {
            let seconds = plan.timing.timeout.as_secs_f64();
            (
                Outcome::TimedOut,
                -1,
                format!("Health check exceeded timeout ({seconds}s): {text}"),
            )
        }
    }
}

/// Keeps the beginning and reads on, so that a talkative probe is not held up.
async fn keep(pipe: &mut pipe::Receiver, output: &mut Vec<u8>) {
    use tokio::io::AsyncReadExt;
    let mut buffer = [0; 4096];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let room = OUTPUT_LIMIT.saturating_sub(output.len()).min(count);
        output.extend_from_slice(&buffer[..room]);
    }
}
