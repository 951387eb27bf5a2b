//! Answers that go on: JSON lines, logs, stats, and connections taken over by clients.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hoist_api::frames::{StreamKind, encode};
use hoist_runtime::{Attach, Shim};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::containers::resolve;
use super::parameters::{Unsupported, flag};
use super::{ApiError, ApiResult, App, relay};
use crate::actions::{StepError, announce, blocking};
use crate::engine::{Engine, now};
use crate::feed::OfContainer;
use crate::logs::{self, Wanted};
use crate::outbox::{Inbox, Piece};
use crate::stats;

/// Whatever can be received one by one.
pub(super) trait Receive<T>: Send + 'static {
    fn receive(&mut self) -> impl Future<Output = Option<T>> + Send;
}

impl<T: Send + 'static> Receive<T> for mpsc::Receiver<T> {
    fn receive(&mut self) -> impl Future<Output = Option<T>> + Send {
        self.recv()
    }
}

impl<T: Piece + Send + 'static> Receive<T> for Inbox<T> {
    fn receive(&mut self) -> impl Future<Output = Option<T>> + Send {
        self.recv()
    }
}

/// An open stream counts as work in progress.
fn streamed<T, R, F>(engine: &Engine, source: R, content: &'static str, encode: F) -> Response
where
    T: Send + 'static,
    R: Receive<T>,
    F: FnMut(T) -> Bytes + Send + 'static,
{
    let state = (source, engine.activity.begin(), encode);
    let stream = stream::unfold(state, |(mut source, busy, mut encode)| async move {
        let item = source.receive().await?;
        Some((Ok::<_, std::io::Error>(encode(item)), (source, busy, encode)))
    });
    ([(header::CONTENT_TYPE, content)], Body::from_stream(stream)).into_response()
}

pub(super) fn json_lines<T, R>(engine: &Engine, source: R) -> Response
where
    T: Serialize + Send + 'static,
    R: Receive<T>,
{
    streamed(engine, source, "application/json", |item| {
        let mut line = serde_json::to_vec(&item).unwrap_or_default();
        line.push(b'\n');
        Bytes::from(line)
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogQuery {
    follow: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
    timestamps: Option<String>,
    tail: Option<String>,
    since: Option<String>,
    until: Option<String>,
    services: Option<String>,
    multiplexed: Option<String>,
    /// Attributes of a log driver.
    #[serde(rename = "details")]
    _details: Unsupported,
}

impl LogQuery {
    pub(super) fn wanted(&self) -> ApiResult<Wanted> {
        let moment = |text: &Option<String>| match text.as_deref() {
            None | Some("" | "0") => Ok(None),
            Some(text) => logs::moment(text, now())
                .map(Some)
                .ok_or_else(|| ApiError::bad(format!("{text:?} is neither a time nor a duration"))),
        };
        Ok(Wanted {
            follow: flag(self.follow.as_deref()),
            stdout: flag(self.stdout.as_deref()),
            stderr: flag(self.stderr.as_deref()),
            tail: self.tail.as_deref().and_then(|tail| tail.parse().ok()),
            since: moment(&self.since)?,
            until: moment(&self.until)?,
        })
    }

    pub(super) fn services(&self) -> Vec<String> {
        let text = self.services.as_deref().unwrap_or_default();
        text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

pub(super) async fn logs(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let wanted = query.wanted()?;
    if !wanted.stdout && !wanted.stderr {
        return Err(ApiError::bad("you must choose at least one stream"));
    }
    let id = resolve(&engine, &name).await?;
    let found = id.clone();
    let tty = engine.look(move |world| world.containers.get(&found).is_some_and(|found| found.config.tty)).await?;
    let raw = tty && !flag(query.multiplexed.as_deref());
    let timestamps = flag(query.timestamps.as_deref());
    let lines = logs::container(&engine, &id, wanted);
    let content = if raw { "application/vnd.docker.raw-stream" } else { "application/vnd.docker.multiplexed-stream" };
    let mut form = LogForm { raw, timestamps, dangling: [false; 2] };
    Ok(streamed(&engine, lines, content, move |line| form.encode(&line)))
}

/// How lines of a log are written to a client.
struct LogForm {
    /// Without frames.
    raw: bool,
    timestamps: bool,
    /// A program that ended without a newline leaves an open line, of stdout or stderr; later output must not continue it.
    dangling: [bool; 2],
}

impl LogForm {
    fn encode(&mut self, line: &logs::Line) -> Bytes {
        let mut data = Vec::new();
        let dangling = &mut self.dangling[usize::from(line.stderr)];
        if line.starts && std::mem::take(dangling) {
            data.push(b'\n');
        }
        *dangling = line.ends && !line.newline;
        if self.timestamps && line.starts {
            data.extend_from_slice(line.time.as_bytes());
            data.push(b' ');
        }
        data.extend_from_slice(&line.text);
        if line.newline {
            data.push(b'\n');
        }
        Bytes::from(if self.raw {
            data
        } else {
            encode(if line.stderr { StreamKind::Stderr } else { StreamKind::Stdout }, &data)
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatsQuery {
    stream: Option<String>,
    #[serde(rename = "one-shot")]
    one_shot: Option<String>,
}

pub(super) async fn stats(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StatsQuery>,
) -> ApiResult<Response> {
    let id = resolve(&engine, &name).await?;
    let streaming = query.stream.as_deref().is_none_or(|text| flag(Some(text)));
    let one_shot = flag(query.one_shot.as_deref());
    let (out, lines) = mpsc::channel(1);
    let reader = Arc::clone(&engine);
    tokio::spawn(async move {
        // Docker's rhythm: a sample a second.
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut before = None;
        loop {
            tick.tick().await;
            let Some(sample) = stats::sample(&reader, &id, before.take()).await else { return };
            before = Some(sample.clone());
            // The first sample has nothing to compare with.
            let first = sample.preread.is_empty();
            if first && !streaming && !one_shot {
                continue;
            }
            if out.send(sample).await.is_err() || !streaming {
                return;
            }
        }
    });
    Ok(json_lines(&engine, lines))
}

/// A connection that a client has taken over.
pub(super) struct Taken {
    pub(super) stream: UnixStream,
    /// What came before the switch.
    pub(super) early: Bytes,
}

/// Answers the request, and hands the connection to `then` when the answer is out; nothing when the client
/// has left before. A client that did not ask for the
/// connection gets the output as the answer's body, and has no input.
pub(super) fn take_over<F, Fut>(engine: &Arc<Engine>, mut request: Request, tty: bool, then: F) -> ApiResult<Response>
where
    F: FnOnce(Option<Taken>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let busy = engine.activity.begin();
    let content = if tty { "application/vnd.docker.raw-stream" } else { "application/vnd.docker.multiplexed-stream" };
    if !request.headers().contains_key(header::UPGRADE) {
        let (body, ours) = pair().map_err(|error| StepError::engine(format!("no socket for its streams: {error}")))?;
        tokio::spawn(async move {
            let _busy = busy;
            then(Some(Taken { stream: ours, early: Bytes::new() })).await;
        });
        return Ok(([(header::CONTENT_TYPE, content)], Body::from_stream(ReaderStream::new(body))).into_response());
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _busy = busy;
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "a client left before it took its connection over");
                return then(None).await;
            }
        };
        match upgraded.downcast::<TokioIo<UnixStream>>() {
            Ok(parts) => then(Some(Taken { stream: parts.io.into_inner(), early: parts.read_buf })).await,
            Err(_) => tracing::error!("a connection that is no Unix socket was taken over"),
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "tcp"), (header::CONTENT_TYPE, content)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The first end only reads.
fn pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
    reader.shutdown(std::net::Shutdown::Write)?;
    for end in [&reader, &writer] {
        end.set_nonblocking(true)?;
    }
    Ok((UnixStream::from_std(reader)?, UnixStream::from_std(writer)?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AttachQuery {
    /// What was written before.
    logs: Option<String>,
    stream: Option<String>,
    stdin: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
    /// Rows and columns of the caller's terminal, for a container that has yet to start.
    h: Option<u16>,
    w: Option<u16>,
    #[serde(rename = "detachKeys")]
    _detach_keys: Unsupported,
}

/// Writes what a log has. `false`: the client has left.
async fn replay(engine: &Arc<Engine>, id: &str, want: Wanted, raw: bool, stream: &mut UnixStream) -> bool {
    let mut lines = logs::container(engine, id, want);
    let mut form = LogForm { raw, timestamps: false, dangling: [false; 2] };
    while let Some(line) = lines.recv().await {
        if stream.write_all(&form.encode(&line)).await.is_err() {
            return false;
        }
    }
    true
}

pub(super) async fn attach(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<AttachQuery>,
    request: Request,
) -> ApiResult<Response> {
    let id = resolve(&engine, &name).await?;
    let found = id.clone();
    let (running, tty) = engine
        .look(move |world| {
            let container = world.containers.get(&found);
            container.map_or((false, false), |found| (found.phase.has_processes(), found.config.tty))
        })
        .await?;
    let live = query.stream.as_deref().is_none_or(|text| flag(Some(text)));
    let (stdout, stderr) = (flag(query.stdout.as_deref()), flag(query.stderr.as_deref()));
    let want = Attach { stdin: flag(query.stdin.as_deref()), stdout, stderr, lossless: true };
    let history = flag(query.logs.as_deref()).then(|| Wanted { stdout, stderr, ..Wanted::default() });
    let size = query.h.zip(query.w);
    announce(&engine, &id, OfContainer::Attach);
    let worker = Arc::clone(&engine);
    take_over(&engine, request, tty, move |taken| async move {
        let Some(mut taken) = taken else { return };
        if let Some(history) = history
            && !replay(&worker, &id, history, tty, &mut taken.stream).await
        {
            return;
        }
        if !live {
            let _ = taken.stream.shutdown().await;
            return;
        }
        match direct(taken).await {
            Ok(stream) if running => {
                let bundle = worker.bundle(&id);
                let attached = blocking(move || Ok(Shim::connect(&bundle)?.attach(stream.as_fd(), want)?)).await;
                if let Err(error) = attached {
                    tracing::warn!(container = id, %error, "cannot attach");
                }
            }
            Ok(stream) => worker.attachments.add(&id, stream, want, size),
            Err(error) => tracing::warn!(container = id, %error, "cannot attach"),
        }
    })
}

/// The client's own descriptor, so that its stream outlives the engine; only when bytes were read already is there a
/// relay in between.
pub(super) async fn direct(taken: Taken) -> Result<OwnedFd, StepError> {
    let failed = |error: std::io::Error| StepError::engine(format!("handing the stream on: {error}"));
    if taken.early.is_empty() {
        return Ok(taken.stream.into_std().map_err(failed)?.into());
    }
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    tokio::spawn(relay::bridge(taken, ours));
    Ok(theirs.into_std().map_err(failed)?.into())
}
