//! Exec: create, start on a taken-over connection, resize, inspect.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hoist_api::{ExecConfig, ExecInspect, ExecProcess, ExecStart, IdResponse};
use hoist_runtime::ExecStdio;
use rustix::pipe::{PipeFlags, pipe_with};

use super::containers::{ResizeQuery, resolve};
use super::relay::{self, Ends, relay};
use super::streams::take_over;
use super::{ApiError, ApiResult, App};
use crate::actions::{StepError, blocking};
use crate::engine::{Engine, new_id};
use crate::exec::{self};
use crate::world::{Event, Exec, Phase, Summary};

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
    if !config.detach_keys.is_empty() {
        // Clients watch for them by themselves, as `hoist exec` does.
        return Err(ApiError::bad(format!("DetachKeys {:?}: hoist does not support this field", config.detach_keys)));
    }
    let container = resolve(&engine, &name).await?;
    running(&engine, &container).await?;
    let id = new_id();
    let config = wanted(config);
    let entry = Exec::new(id.clone(), container, config.cmd.clone(), config);
    engine.tell(Event::ExecMade(Box::new(entry)));
    Ok((StatusCode::CREATED, Json(IdResponse { id })))
}

fn wanted(config: ExecConfig) -> exec::ExecConfig {
    exec::ExecConfig {
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        tty: config.tty,
        cmd: config.cmd,
        env: config.env,
        user: config.user,
        working_dir: config.working_dir,
        privileged: config.privileged,
        console_size: config.console_size,
    }
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

async fn entry(engine: &Arc<Engine>, id: &str) -> ApiResult<Exec> {
    let wanted = id.to_owned();
    let found = engine.look(move |world| world.exec(&wanted).cloned()).await?;
    found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("no such exec instance: {id}")))
}

/// The process's ends, and ours; none of ours when it is to run on its own.
fn stdio(config: &exec::ExecConfig, detach: bool, size: Option<(u16, u16)>) -> ApiResult<(ExecStdio, Option<Ends>)> {
    if detach {
        return Ok((ExecStdio::Fds { stdin: None, stdout: None, stderr: None }, None));
    }
    if config.tty {
        let (rows, columns) = size.or(config.console_size).unwrap_or((24, 80));
        return Ok((ExecStdio::Tty { rows, columns }, Some(Ends::Terminal)));
    }
    let make = |wanted: bool| {
        let failed = |error: rustix::io::Errno| StepError::engine(format!("no pipe for its streams: {error}"));
        wanted.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose().map_err(failed).map(Option::unzip)
    };
    let (stdin, input) = make(config.attach_stdin)?;
    let (output, stdout) = make(config.attach_stdout)?;
    let (errors, stderr) = make(config.attach_stderr)?;
    let ours = Ends::Pipes { stdin: input, stdout: output, stderr: errors };
    Ok((ExecStdio::Fds { stdin, stdout, stderr }, Some(ours)))
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
    let (theirs, ends) = stdio(&entry.terms, options.detach, options.console_size)?;
    let started = exec::start(&engine, pid, &container, &entry.terms, theirs).await.map(Arc::new);
    match &started {
        Ok(handle) => engine.tell(Event::ExecStarted { id: id.clone(), handle: Arc::clone(handle) }),
        Err(error) => {
            engine.tell(Event::ExecEnded { id: id.clone(), code: error.code() });
            engine.tell(Event::ExecDelivered { id: id.clone() });
        }
    }
    let request = Request::from_parts(parts, axum::body::Body::empty());
    let tty = entry.terms.tty;
    let worker = Arc::clone(&engine);
    let (handle, ends) = match (started, ends) {
        (Ok(handle), Some(ends)) => (handle, ends),
        (Ok(handle), None) => {
            tokio::spawn(async move {
                let code = exec::wait(&handle).await;
                worker.tell(Event::ExecEnded { id: id.clone(), code });
                worker.tell(Event::ExecDelivered { id });
            });
            return Ok(StatusCode::OK.into_response());
        }
        (Err(error), Some(_)) if !options.refuse => {
            return take_over(&engine, request, tty, move |taken| async move {
                if let Some(taken) = taken {
                    relay::say(taken, tty, error.message).await;
                }
            });
        }
        (Err(error), _) => return Err(error.into()),
    };
    let grace = container.doc.record.stop_grace;
    take_over(&engine, request, tty, move |taken| async move {
        let ended = |code| worker.tell(Event::ExecEnded { id: id.clone(), code });
        match taken {
            Some(taken) => relay(taken, &handle, ends, grace, ended).await,
            None => relay::abandoned(&handle, grace, ended).await,
        }
        worker.tell(Event::ExecDelivered { id });
    })
}

pub(super) async fn resize(
    State(engine): App,
    Path(id): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    let (rows, columns) = query.size()?;
    let entry = entry(&engine, &id).await?;
    if let Some(handle) = entry.handle.filter(|_| entry.terms.tty) {
        blocking(move || Ok(handle.resize(rows, columns)?)).await?;
    }
    Ok(StatusCode::CREATED)
}

pub(super) async fn inspect(State(engine): App, Path(id): Path<String>) -> ApiResult<Json<ExecInspect>> {
    let entry = entry(&engine, &id).await?;
    let config = entry.terms;
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
