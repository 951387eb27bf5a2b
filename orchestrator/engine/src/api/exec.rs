//! Exec: create, start on a taken-over connection, resize, inspect.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hoist_runtime::{ExecHandle, ExecStdio};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::sync::Mutex;

use super::containers::{ResizeQuery, resolve};
use super::streams::{Taken, frame, take_over};
use super::types::{ExecConfig, ExecInspect, ExecProcess, ExecStart, IdResponse};
use super::{ApiError, ApiResult, App};
use crate::actions::{StepError, blocking};
use crate::engine::{Engine, new_id};
use crate::exec::{self, ExecEntry};
use crate::readiness;
use crate::world::{Event, Phase, Summary};

pub(super) async fn create(
    State(engine): App,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> ApiResult<(StatusCode, Json<IdResponse>)> {
    let config: ExecConfig =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?;
    if config.cmd.is_empty() {
        return Err(ApiError::bad("no exec command specified"));
    }
    let container = resolve(&engine, &name).await?;
    running(&engine, &container).await?;
    let id = new_id();
    let entry = ExecEntry { id: id.clone(), container, config, started: false, code: None, handle: None };
    engine.tell(Event::ExecMade(Box::new(entry)));
    Ok((StatusCode::CREATED, Json(IdResponse { id })))
}

async fn running(engine: &Arc<Engine>, id: &str) -> ApiResult<(i32, Summary)> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| {
        let container = world.containers.get(&wanted)?;
        Some((container.phase.clone(), container.pid, container.summary()))
    });
    match found.await? {
        None => Err(ApiError::no_container(id)),
        Some((Phase::Running, Some(pid), summary)) => Ok((pid, summary)),
        Some((Phase::Paused, ..)) => {
            Err(ApiError::new(StatusCode::CONFLICT, format!("container {id} is paused, unpause it first")))
        }
        Some(_) => Err(ApiError::new(StatusCode::CONFLICT, format!("container {id} is not running"))),
    }
}

async fn entry(engine: &Arc<Engine>, id: &str) -> ApiResult<ExecEntry> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| world.execs.get(&wanted).cloned()).await?;
    found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("no such exec instance: {id}")))
}

/// Our ends of the process's streams.
enum Ends {
    Nothing,
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal,
}

fn stdio(config: &ExecConfig, detach: bool, size: Option<(u16, u16)>) -> ApiResult<(ExecStdio, Ends)> {
    if config.tty && !detach {
        let (rows, columns) = size.or(config.console_size).unwrap_or((24, 80));
        return Ok((ExecStdio::Tty { rows, columns }, Ends::Terminal));
    }
    if detach {
        return Ok((ExecStdio::Fds { stdin: None, stdout: None, stderr: None }, Ends::Nothing));
    }
    let make = || {
        let failed = |error: rustix::io::Errno| StepError::engine(format!("no pipe for its streams: {error}"));
        pipe_with(PipeFlags::CLOEXEC).map_err(failed)
    };
    let (stdin, ours) = if config.attach_stdin {
        let (theirs, ours) = make()?;
        (Some(theirs), Some(ours))
    } else {
        (None, None)
    };
    let ((out, stdout), (err, stderr)) = (make()?, make()?);
    let theirs = ExecStdio::Fds { stdin, stdout: Some(stdout), stderr: Some(stderr) };
    Ok((theirs, Ends::Pipes { stdin: ours, stdout: out, stderr: err }))
}

pub(super) async fn start(State(engine): App, Path(id): Path<String>, request: Request) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 * 1024).await.map_err(|error| ApiError::bad(error.to_string()))?;
    let options: ExecStart = if body.is_empty() {
        ExecStart::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| ApiError::bad(format!("invalid request: {error}")))?
    };
    let entry = entry(&engine, &id).await?;
    if entry.started {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("exec instance {id} has already run")));
    }
    let (pid, container) = running(&engine, &entry.container).await?;
    let (theirs, ends) = stdio(&entry.config, options.detach, options.console_size)?;
    let handle = match exec::start(&engine, pid, &container, &entry.config, theirs).await {
        Ok(handle) => Arc::new(handle),
        Err(error) => {
            engine.tell(Event::ExecEnded { id, code: error.code });
            return Err(error.into());
        }
    };
    engine.tell(Event::ExecStarted { id: id.clone(), handle: Arc::clone(&handle) });
    if matches!(ends, Ends::Nothing) {
        tokio::spawn(async move {
            let code = exec::wait(&handle).await;
            engine.tell(Event::ExecEnded { id, code });
        });
        return Ok(StatusCode::OK.into_response());
    }
    let request = Request::from_parts(parts, axum::body::Body::empty());
    let worker = Arc::clone(&engine);
    take_over(&engine, request, entry.config.tty, move |taken| async move {
        let code = match ends {
            Ends::Pipes { stdin, stdout, stderr } => relay_pipes(taken, &handle, stdin, stdout, stderr).await,
            Ends::Terminal | Ends::Nothing => relay_terminal(taken, &handle).await,
        };
        // Told before the connection closes: the client asks for the code next.
        worker.tell(Event::ExecEnded { id, code: code.0 });
        drop(code.1);
    })
}

type Writer = Arc<Mutex<OwnedWriteHalf>>;

async fn relay_pipes(
    taken: Taken,
    handle: &Arc<ExecHandle>,
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> (i32, Writer) {
    let Taken { stream, early } = taken;
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let input = tokio::spawn(async move {
        let Some(stdin) = stdin else { return };
        let mut pipe = match pipe::Sender::from_owned_fd(stdin) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::warn!(%error, "cannot write to an exec");
                return;
            }
        };
        if pipe.write_all(&early).await.is_ok() {
            let _ = tokio::io::copy(&mut reader, &mut pipe).await;
        }
    });
    let out = tokio::spawn(output(stdout, 1, Arc::clone(&writer)));
    let err = tokio::spawn(output(stderr, 2, Arc::clone(&writer)));
    let code = exec::wait(handle).await;
    input.abort();
    // Everything that it wrote is in the pipes by now; what it left in the background does not hold the client up.
    for task in [out, err] {
        let abort = task.abort_handle();
        if tokio::time::timeout(std::time::Duration::from_millis(100), task).await.is_err() {
            abort.abort();
        }
    }
    (code, writer)
}

/// A client that has left does not stop the process: its output is read on and thrown away.
async fn output(end: OwnedFd, stream: u8, writer: Writer) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(end) else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let _ = writer.lock().await.write_all(&frame(stream, &buffer[..count])).await;
    }
}

async fn relay_terminal(taken: Taken, handle: &Arc<ExecHandle>) -> (i32, Writer) {
    let Taken { stream, early } = taken;
    let (reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let terminal = handle.take_terminal().and_then(|master| {
        rustix::io::ioctl_fionbio(&master, true).ok()?;
        readiness::watch(master, Interest::READABLE | Interest::WRITABLE).ok()
    });
    let Some(terminal) = terminal.map(Arc::new) else {
        return (exec::wait(handle).await, writer);
    };
    let input = tokio::spawn(type_in(reader, early.to_vec(), Arc::clone(&terminal)));
    let screen = tokio::spawn(show(Arc::clone(&terminal), Arc::clone(&writer)));
    let code = exec::wait(handle).await;
    input.abort();
    let abort = screen.abort_handle();
    if tokio::time::timeout(std::time::Duration::from_millis(100), screen).await.is_err() {
        abort.abort();
    }
    (code, writer)
}

async fn type_in(mut reader: OwnedReadHalf, early: Vec<u8>, terminal: Arc<AsyncFd<OwnedFd>>) {
    let mut pending = early;
    let mut buffer = vec![0; 4096];
    loop {
        while !pending.is_empty() {
            let Ok(mut ready) = terminal.writable().await else { return };
            match ready.try_io(|fd| rustix::io::write(fd.get_ref().as_fd(), &pending).map_err(Into::into)) {
                Ok(Ok(count)) => drop(pending.drain(..count)),
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
        match reader.read(&mut buffer).await {
            Ok(count) if count > 0 => pending.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
}

async fn show(terminal: Arc<AsyncFd<OwnedFd>>, writer: Writer) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let Ok(mut ready) = terminal.readable().await else { return };
        match ready.try_io(|fd| rustix::io::read(fd.get_ref().as_fd(), &mut buffer).map_err(Into::into)) {
            // EIO: nobody has the other end open any more.
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(count)) => {
                let _ = writer.lock().await.write_all(&buffer[..count]).await;
            }
            Err(_) => {}
        }
    }
}

pub(super) async fn resize(
    State(engine): App,
    Path(id): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    if let Some(handle) = entry(&engine, &id).await?.handle {
        blocking(move || Ok(handle.resize(query.h, query.w)?)).await?;
    }
    Ok(StatusCode::CREATED)
}

pub(super) async fn inspect(State(engine): App, Path(id): Path<String>) -> ApiResult<Json<ExecInspect>> {
    let entry = entry(&engine, &id).await?;
    let config = entry.config;
    let mut argv = config.cmd.into_iter();
    Ok(Json(ExecInspect {
        id: entry.id,
        container_id: entry.container,
        running: entry.handle.is_some(),
        exit_code: entry.code,
        pid: entry.handle.map_or(0, |handle| handle.pid()),
        open_stdin: config.attach_stdin,
        open_stdout: config.attach_stdout,
        open_stderr: config.attach_stderr,
        process_config: ExecProcess {
            tty: config.tty,
            entrypoint: argv.next().unwrap_or_default(),
            arguments: argv.collect(),
            privileged: config.privileged,
            user: config.user,
        },
    }))
}
