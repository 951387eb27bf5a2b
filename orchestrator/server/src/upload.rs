//! What a client sends along, and what becomes of the part that its handler does not read.
//!
//! A connection that is closed over unread data is broken for the client, too: it sees its own sending fail and never
//! reads why. So whatever is left is read and dropped while the answer goes out, for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use tokio::runtime::Handle;

/// Who still sends then and has not looked at the answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request's body; dropped before its end, the rest is read in the background.
struct Upload {
    body: Option<Incoming>,
    /// The client sends nothing before it is asked to by the first read.
    unasked: bool,
    runtime: Handle,
}

/// The request with a body of which every byte is taken off the connection.
pub(crate) fn received(request: Request<Incoming>) -> Request<Body> {
    let unasked = request.headers().contains_key(EXPECT);
    request.map(|body| {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Upload {
            body: Some(body),
            unasked,
            runtime: Handle::current(),
        })
    })
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.unasked = false;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut rest) = self.body.take().filter(|_| !self.unasked) else {
            return;
        };
        self.runtime
            .spawn(tokio::time::timeout(PATIENCE, async move {
                while let Some(Ok(_)) = rest.frame().await {}
            }));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::Router;
    use axum::routing::post;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncReadExt;
    use tokio::net::{UnixListener, UnixStream};
    use tower::ServiceExt;

    use super::*;
    use crate::answer::ApiError;
    use hoist_api::places::Places;
    use hoist_client::{Client, ClientError};

    async fn refuse() -> ApiError {
        ApiError::bad("that is not wanted here")
    }

    /// Reads a little and answers with a success that turns out badly.
    async fn half(body: Body) -> Body {
        let mut body = body.into_data_stream();
        let _ = futures_util::StreamExt::next(&mut body).await;
        drop(body);
        Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>(
            "{\"kind\":\"failed\",\"error\":\"cut\"}\n",
        )]))
    }

    fn serve(stream: UnixStream) {
        let routes = Router::new()
            .route("/hoist/v1/volumes/{name}/import", post(refuse))
            .route("/hoist/v1/bundles/load", post(half));
        let service =
            hyper::service::service_fn(move |request| routes.clone().oneshot(received(request)));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }

    /// A client of a server that answers before it has read what it was sent, many megabytes.
    async fn client(folder: &std::path::Path) -> Client {
        let socket = folder.join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream);
            }
        });
        let places = Places {
            data_root: folder.join("data"),
            run_dir: folder.join("run"),
            socket,
        };
        Client::connect(&places).await.unwrap()
    }

    fn upload() -> impl tokio::io::AsyncRead + Send + 'static {
        tokio::io::repeat(7).take(16 << 20)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_upload_hears_why() {
        let folder = tempfile::tempdir().unwrap();
        let client = client(folder.path()).await;
        for _ in 0..20 {
            let error = client
                .import_volume("v", false, upload())
                .await
                .unwrap_err();
            assert!(
                matches!(&error, ClientError::Api { status: 400, error } if error.message.contains("wanted")),
                "{error:?}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_upload_that_turns_out_badly_hears_why() {
        let folder = tempfile::tempdir().unwrap();
        let client = client(folder.path()).await;
        for _ in 0..20 {
            let mut events = client.load_bundle(upload(), false).await.unwrap();
            assert!(format!("{:?}", events.next().await.unwrap()).contains("cut"));
            assert!(events.next().await.unwrap().is_none());
        }
    }
}
