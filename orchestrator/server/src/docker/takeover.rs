//! Connections that clients take over for raw bytes in both directions.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hoist_api::ErrorKind;
use hoist_engine::Handle;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;

use crate::answer::{ApiError, ApiResult};

/// A connection that a client has taken over.
pub(crate) struct Taken {
    pub(crate) stream: UnixStream,
    /// What came before the switch.
    pub(crate) early: Bytes,
}

/// Answers the request, and hands the connection to `then` when the answer is out; nothing when the client
/// has left before. A client that did not ask for the
/// connection gets the output as the answer's body, and has no input.
pub(crate) fn take_over<F, Fut>(
    engine: &Handle,
    mut request: Request,
    tty: bool,
    then: F,
) -> ApiResult<Response>
where
    F: FnOnce(Option<Taken>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let busy = engine.begin();
    let content = if tty {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    };
    if !request.headers().contains_key(header::UPGRADE) {
        let (body, ours) = pair().map_err(|error| {
            ApiError::of(
                ErrorKind::Engine,
                format!("no socket for its streams: {error}"),
            )
        })?;
        tokio::spawn(async move {
            let _busy = busy;
            then(Some(Taken {
                stream: ours,
                early: Bytes::new(),
            }))
            .await;
        });
        return Ok((
            [(header::CONTENT_TYPE, content)],
            Body::from_stream(ReaderStream::new(body)),
        )
            .into_response());
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
            Ok(parts) => {
                then(Some(Taken {
                    stream: parts.io.into_inner(),
                    early: parts.read_buf,
                }))
                .await
            }
            Err(_) => tracing::error!("a connection that is no Unix socket was taken over"),
        }
    });
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "tcp"),
        (header::CONTENT_TYPE, content),
    ];
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
