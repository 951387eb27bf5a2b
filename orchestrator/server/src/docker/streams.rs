//! Answers that go on: JSON lines, logs, stats, and connections taken over by clients.

use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hoist_api::frames::{StreamKind, encode};
use hoist_engine::{Attach, Handle, Inbox, Line, Piece, Wanted, moment, now};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::parameters::Unsupported;
use super::takeover::{Taken, take_over};
use super::{convert, relay};
use crate::answer::{ApiError, ApiResult, App, flag};

/// Whatever can be received one by one.
pub(crate) trait Receive<T>: Send + 'static {
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
fn streamed<T, R, F>(engine: &Handle, source: R, content: &'static str, encode: F) -> Response
where
    T: Send + 'static,
    R: Receive<T>,
    F: FnMut(T) -> Bytes + Send + 'static,
{
    let state = (source, engine.begin(), encode);
    let stream = stream::unfold(state, |(mut source, busy, mut encode)| async move {
        let item = source.receive().await?;
        Some((
            Ok::<_, std::io::Error>(encode(item)),
            (source, busy, encode),
        ))
    });
    ([(header::CONTENT_TYPE, content)], Body::from_stream(stream)).into_response()
}

pub(crate) fn json_lines<T, R>(engine: &Handle, source: R) -> Response
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
pub(crate) struct LogQuery {
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
    pub(crate) fn wanted(&self) -> ApiResult<Wanted> {
        let moment = |text: &Option<String>| match text.as_deref() {
            None | Some("" | "0") => Ok(None),
            Some(text) => moment(text, now())
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

    pub(crate) fn services(&self) -> Vec<String> {
        let text = self.services.as_deref().unwrap_or_default();
        text.split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

pub(crate) async fn logs(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let wanted = query.wanted()?;
    if !wanted.stdout && !wanted.stderr {
        return Err(ApiError::bad("you must choose at least one stream"));
    }
    let log = engine.logs(&name, wanted).await?;
    let raw = log.tty && !flag(query.multiplexed.as_deref());
    let timestamps = flag(query.timestamps.as_deref());
    let content = if raw {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    };
    let mut form = LogForm {
        raw,
        timestamps,
        dangling: [false; 2],
    };
    Ok(streamed(&engine, log.lines, content, move |line| {
        form.encode(&line)
    }))
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
    fn encode(&mut self, line: &Line) -> Bytes {
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
            encode(
                if line.stderr {
                    StreamKind::Stderr
                } else {
                    StreamKind::Stdout
                },
                &data,
            )
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatsQuery {
    stream: Option<String>,
    #[serde(rename = "one-shot")]
    one_shot: Option<String>,
}

pub(crate) async fn stats(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<StatsQuery>,
) -> ApiResult<Response> {
    let id = engine.container_id(&name).await?;
    let streaming = query.stream.as_deref().is_none_or(|text| flag(Some(text)));
    let one_shot = flag(query.one_shot.as_deref());
    let (out, lines) = mpsc::channel(1);
    let reader = engine.clone();
    tokio::spawn(async move {
        // Docker's rhythm: a sample a second.
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut before = None;
        loop {
            tick.tick().await;
            let Some(usage) = reader.usage(&id).await else {
                return;
            };
            let sample = convert::stats(&id, &usage, before.take());
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AttachQuery {
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
async fn replay(mut lines: mpsc::Receiver<Line>, raw: bool, stream: &mut UnixStream) -> bool {
    let mut form = LogForm {
        raw,
        timestamps: false,
        dangling: [false; 2],
    };
    while let Some(line) = lines.recv().await {
        if stream.write_all(&form.encode(&line)).await.is_err() {
            return false;
        }
    }
    true
}

pub(crate) async fn attach(
    State(engine): App,
    Path(name): Path<String>,
    Query(query): Query<AttachQuery>,
    request: Request,
) -> ApiResult<Response> {
    let container = engine.begin_attach(&name).await?;
    let live = query.stream.as_deref().is_none_or(|text| flag(Some(text)));
    let (stdout, stderr) = (flag(query.stdout.as_deref()), flag(query.stderr.as_deref()));
    let want = Attach {
        stdin: flag(query.stdin.as_deref()),
        stdout,
        stderr,
        lossless: true,
    };
    let history = flag(query.logs.as_deref());
    let size = query.h.zip(query.w);
    let worker = engine.clone();
    take_over(&engine, request, container.tty, move |taken| async move {
        let Some(mut taken) = taken else { return };
        if history {
            let lines = worker.history(&container, stdout, stderr);
            if !replay(lines, container.tty, &mut taken.stream).await {
                return;
            }
        }
        if !live {
            let _ = taken.stream.shutdown().await;
            return;
        }
        let attached = match direct(taken).await {
            Ok(stream) => worker
                .attach(&container, stream, want, size)
                .await
                .map_err(|error| error.message),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = attached {
            tracing::warn!(container = container.id, error, "cannot attach");
        }
    })
}

/// The client's own descriptor, so that its stream outlives the engine; only when bytes were read already is there a
/// relay in between.
pub(crate) async fn direct(taken: Taken) -> std::io::Result<OwnedFd> {
    if taken.early.is_empty() {
        return Ok(taken.stream.into_std()?.into());
    }
    let (ours, theirs) = UnixStream::pair()?;
    tokio::spawn(relay::bridge(taken, ours));
    Ok(theirs.into_std()?.into())
}
