//! Exec: create, start on a taken-over connection, resize, inspect.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hoist_api::{ExecConfig, ExecInspect, ExecProcess, ExecStart, IdResponse};
use hoist_engine::Begun;

use super::containers::ResizeQuery;
use super::relay::{self, relay};
use super::takeover::take_over;
use crate::answer::{ApiError, ApiResult, App, decode};

pub(crate) async fn create(
    State(engine): App,
    Path(name): Path<String>,
    body: Bytes,
) -> ApiResult<(StatusCode, Json<IdResponse>)> {
    let config: ExecConfig = decode(&body)?;
    if !config.detach_keys.is_empty() {
        // Clients watch for them by themselves, as `hoist exec` does.
        return Err(ApiError::bad(format!(
            "DetachKeys {:?}: hoist does not support this field",
            config.detach_keys
        )));
    }
    let id = engine.create_exec(&name, wanted(config)).await?;
    Ok((StatusCode::CREATED, Json(IdResponse { id })))
}

fn wanted(config: ExecConfig) -> hoist_engine::ExecConfig {
    hoist_engine::ExecConfig {
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

pub(crate) async fn start(
    State(engine): App,
    Path(id): Path<String>,
    request: Request,
) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 * 1024)
        .await
        .map_err(|error| ApiError::bad(error.to_string()))?;
    let options: ExecStart = if body.is_empty() {
        ExecStart::default()
    } else {
        decode(&body)?
    };
    let request = Request::from_parts(parts, Body::empty());
    let tty = engine.exec(&id).await?.config.tty;
    match engine
        .start_exec(&id, options.detach, options.console_size)
        .await?
    {
        Begun::Detached => Ok(StatusCode::OK.into_response()),
        Begun::Attached(execution) => take_over(&engine, request, tty, move |taken| async move {
            match taken {
                Some(taken) => relay(taken, execution).await,
                None => relay::abandoned(&execution).await,
            }
        }),
        // Docker's clients read it in the stream.
        Begun::Refused(error) if !options.refuse && !options.detach => {
            take_over(&engine, request, tty, move |taken| async move {
                if let Some(taken) = taken {
                    relay::say(taken, tty, error.message).await;
                }
            })
        }
        Begun::Refused(error) => Err(error.into()),
    }
}

pub(crate) async fn resize(
    State(engine): App,
    Path(id): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> ApiResult<StatusCode> {
    let (rows, columns) = query.size()?;
    engine.resize_exec(&id, rows, columns).await?;
    Ok(StatusCode::CREATED)
}

pub(crate) async fn inspect(
    State(engine): App,
    Path(id): Path<String>,
) -> ApiResult<Json<ExecInspect>> {
    let exec = engine.exec(&id).await?;
    let pid = exec.pid;
    let config = exec.config;
    let mut argv = config.cmd.into_iter();
    Ok(Json(ExecInspect {
        id: exec.id,
        container_id: exec.container,
        running: pid.is_some(),
        exit_code: exec.code,
        pid: pid.unwrap_or(0),
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
