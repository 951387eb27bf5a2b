//! One HTTP/1.1 connection per call over the Unix socket.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::TryStreamExt;
use hoist_api::{ErrorBody, ErrorKind, LogOptions, RegistryAuth};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::connection::Connection;
use crate::stream::{ByteStream, Hijacked, JsonStream};
use crate::{Client, ClientError, Result};

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(super) fn refused(socket: &Path, source: std::io::Error) -> ClientError {
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        return ClientError::Permission {
            socket: socket.to_owned(),
        };
    }
    ClientError::NoEngine {
        socket: socket.to_owned(),
        source,
    }
}

/// Any answer counts. `false`: no answer will come.
pub(super) async fn ping(connection: Connection) -> bool {
    let asked = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(connection);
        let body = Full::new(Bytes::new());
        let request = Request::builder()
            .uri("/_ping")
            .header(HOST, "hoist")
            .body(body)
            .unwrap_or_default();
        sender.send_request(request).await
    };
    asked.await.is_ok()
}

fn empty() -> Payload {
    Payload::Bytes(Bytes::new())
}

pub(super) fn reader_body<R: AsyncRead + Send + 'static>(reader: R) -> Body {
    StreamBody::new(ReaderStream::with_capacity(reader, 64 * 1024).map_ok(Frame::data))
        .boxed_unsync()
}

/// Percent-encodes a path segment or a query value: all but the unreserved characters (RFC 3986, 2.3).
pub(super) fn escape(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", escape(value)))
        .collect();
    pairs.join("&")
}

/// Docker's filter document: `{"label":["a=b"]}`; empty without filters.
pub(super) fn filters(selectors: &[(&str, &str)]) -> String {
    if selectors.is_empty() {
        return String::new();
    }
    let mut document = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for (key, value) in selectors {
        document.entry(key).or_default().push(value);
    }
    serde_json::json!(document).to_string()
}

pub(super) fn log_query(options: &LogOptions) -> String {
    let flag = |on: bool| u8::from(on).to_string();
    let mut pairs = vec![
        ("follow", flag(options.follow)),
        ("timestamps", flag(options.timestamps)),
        ("stdout", flag(options.stdout)),
        ("stderr", flag(options.stderr)),
        (
            "tail",
            options
                .tail
                .map_or_else(|| "all".to_owned(), |tail| tail.to_string()),
        ),
        ("services", options.services.join(",")),
    ];
    pairs.extend(options.since.clone().map(|since| ("since", since)));
    pairs.extend(options.until.clone().map(|until| ("until", until)));
    query(&pairs)
}

pub(super) fn path_stat(headers: &HeaderMap) -> serde_json::Value {
    use base64::Engine;
    headers
        .get("x-docker-container-path-stat")
        .and_then(|value| {
            base64::engine::general_purpose::STANDARD
                .decode(value.as_bytes())
                .ok()
        })
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn json<T: Serialize>(value: &T) -> Result<Payload> {
    let bytes = serde_json::to_vec(value).map_err(|source| ClientError::Transport {
        attempt: "encode the request",
        source: Box::new(source),
    })?;
    Ok(Payload::Bytes(Bytes::from(bytes)))
}

/// What is sent along.
enum Payload {
    Bytes(Bytes),
    /// Can only be read once.
    Stream(Body),
}

/// What one call needs.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Payload,
    upgrade: bool,
    /// Sent along for the registries that may be asked.
    auth: Option<&'a BTreeMap<String, RegistryAuth>>,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str, body: Payload) -> Self {
        Self {
            method,
            path,
            body,
            upgrade: false,
            auth: None,
        }
    }

    /// The same once more, if that is possible.
    fn again(&self) -> Option<Self> {
        let Payload::Bytes(bytes) = &self.body else {
            return None;
        };
        let body = Payload::Bytes(bytes.clone());
        Some(Self {
            method: self.method.clone(),
            path: self.path,
            body,
            upgrade: self.upgrade,
            auth: self.auth,
        })
    }

    fn request(self) -> std::result::Result<Request<Body>, hyper::http::Error> {
        use base64::Engine;
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(HOST, "hoist")
            .header(CONTENT_TYPE, "application/json");
        if self.upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        if let Some(auth) = self.auth {
            let document = serde_json::json!(auth).to_string();
            request = request.header(
                "X-Registry-Config",
                base64::engine::general_purpose::URL_SAFE.encode(document),
            );
        }
        request.body(match self.body {
            Payload::Bytes(bytes) => Full::new(bytes)
                .map_err(|never| match never {})
                .boxed_unsync(),
            Payload::Stream(body) => body,
        })
    }
}

impl Client {
    /// An engine may leave (idle, upgraded, killed) at any moment: a request that got no answer at all and can be sent
    /// again goes to the next one. That is safe because everything that can be asked for is a state, not an event.
    async fn send(&self, call: Call<'_>) -> Result<Response<Incoming>> {
        const ATTEMPTS: usize = 3;
        let mut call = call;
        for _ in 1..ATTEMPTS {
            let again = call.again();
            match (self.send_once(call).await, again) {
                (
                    Err(
                        ClientError::NoEngine { .. }
                        | ClientError::Transport {
                            attempt: "send", ..
                        },
                    ),
                    Some(again),
                ) => {
                    crate::launch::start(&self.places).await?;
                    call = again;
                }
                (outcome, _) => return outcome,
            }
        }
        self.send_once(call).await
    }

    async fn send_once(&self, call: Call<'_>) -> Result<Response<Incoming>> {
        let transport = |attempt| {
            move |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Transport {
                attempt,
                source,
            }
        };
        let stream = Connection::open(&self.places.socket)
            .await
            .map_err(|source| refused(&self.places.socket, source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| transport("shake hands")(source.into()))?;
        // Ends by itself with the last byte of the answer, or when the caller drops the body.
        tokio::spawn(connection.with_upgrades());
        let request = call
            .request()
            .map_err(|source| transport("form the request")(source.into()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|source| transport("send")(source.into()))?;
        let status = response.status();
        if status.is_success()
            || status == StatusCode::SWITCHING_PROTOCOLS
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(response);
        }
        let body = response.into_body().collect().await;
        let body = body
            .map_err(|source| transport("read the error")(source.into()))?
            .to_bytes();
        let mut error = serde_json::from_slice(&body).unwrap_or_else(|_| {
            ErrorBody::new(
                ErrorKind::of_status(status.as_u16()),
                String::from_utf8_lossy(&body),
            )
        });
        if error.message.is_empty() {
            error.message = status.to_string();
        }
        Err(ClientError::Api {
            status: status.as_u16(),
            error,
        })
    }

    async fn decoded<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let request = format!("{} {}", call.method, call.path);
        let body = self.send(call).await?.into_body().collect().await;
        let body = body.map_err(|source| ClientError::Transport {
            attempt: "read",
            source: source.into(),
        })?;
        serde_json::from_slice(&body.to_bytes())
            .map_err(|source| ClientError::Decode { request, source })
    }

    async fn done(&self, call: Call<'_>) -> Result<()> {
        self.send(call).await.map(drop)
    }

    async fn streamed<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<JsonStream<T>> {
        let request = format!("{} {}", call.method, call.path);
        Ok(JsonStream::new(
            request,
            ByteStream::new(self.send(call).await?.into_body()),
        ))
    }

    pub(super) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.decoded(Call::new(Method::GET, path, empty())).await
    }

    pub(super) async fn get_with_auth<T: DeserializeOwned>(
        &self,
        path: &str,
        auth: &BTreeMap<String, RegistryAuth>,
    ) -> Result<T> {
        self.decoded(Call {
            auth: Some(auth),
            ..Call::new(Method::GET, path, empty())
        })
        .await
    }

    pub(super) async fn get_unit(&self, path: &str) -> Result<()> {
        self.done(Call::new(Method::GET, path, empty())).await
    }

    pub(super) async fn get_stream<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<JsonStream<T>> {
        self.streamed(Call::new(Method::GET, path, empty())).await
    }

    pub(super) async fn get_bytes(&self, path: &str) -> Result<(ByteStream, HeaderMap)> {
        let response = self.send(Call::new(Method::GET, path, empty())).await?;
        let headers = response.headers().clone();
        Ok((ByteStream::new(response.into_body()), headers))
    }

    pub(super) async fn post_json<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T> {
        self.decoded(Call::new(Method::POST, path, json(body)?))
            .await
    }

    pub(super) async fn post_json_unit<B: Serialize>(&self, path: &str, body: &B) -> Result<()> {
        self.done(Call::new(Method::POST, path, json(body)?)).await
    }

    pub(super) async fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.decoded(Call::new(Method::POST, path, empty())).await
    }

    pub(super) async fn post_unit(&self, path: &str) -> Result<()> {
        self.done(Call::new(Method::POST, path, empty())).await
    }

    pub(super) async fn post_stream<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<JsonStream<T>> {
        self.streamed(Call::new(Method::POST, path, json(body)?))
            .await
    }

    pub(super) async fn post_bytes<B: Serialize>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<ByteStream> {
        let response = self
            .send(Call::new(Method::POST, path, json(body)?))
            .await?;
        Ok(ByteStream::new(response.into_body()))
    }

    pub(super) async fn post_body(&self, path: &str, body: Body) -> Result<()> {
        self.done(Call::new(Method::POST, path, Payload::Stream(body)))
            .await
    }

    pub(super) async fn post_body_stream<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Body,
    ) -> Result<JsonStream<T>> {
        self.streamed(Call::new(Method::POST, path, Payload::Stream(body)))
            .await
    }

    pub(super) async fn pull<T: DeserializeOwned>(
        &self,
        path: &str,
        auth: &BTreeMap<String, RegistryAuth>,
    ) -> Result<JsonStream<T>> {
        self.streamed(Call {
            auth: Some(auth),
            ..Call::new(Method::POST, path, empty())
        })
        .await
    }

    pub(super) async fn put_body(&self, path: &str, body: Body) -> Result<()> {
        self.done(Call::new(Method::PUT, path, Payload::Stream(body)))
            .await
    }

    pub(super) async fn delete_unit(&self, path: &str) -> Result<()> {
        self.done(Call::new(Method::DELETE, path, empty())).await
    }

    pub(super) async fn delete_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.decoded(Call::new(Method::DELETE, path, empty())).await
    }

    pub(super) async fn hijack<B: Serialize>(
        &self,
        path: &str,
        body: Option<&B>,
    ) -> Result<Hijacked> {
        let body = body.map_or_else(|| Ok(empty()), json)?;
        let call = Call {
            upgrade: true,
            ..Call::new(Method::POST, path, body)
        };
        let response = self.send(call).await?;
        let upgraded =
            hyper::upgrade::on(response)
                .await
                .map_err(|source| ClientError::Transport {
                    attempt: "take over the connection",
                    source: source.into(),
                })?;
        Ok(Hijacked::new(TokioIo::new(upgraded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_leave_out_empty_values() {
        assert_eq!(
            query(&[("a", "x y/é".to_owned()), ("b", String::new())]),
            "a=x%20y%2F%C3%A9"
        );
        assert_eq!(
            filters(&[("label", "a=b"), ("label", "c")]),
            r#"{"label":["a=b","c"]}"#
        );
    }

    /// Answers when it has seen the head of a request, and is gone before it has read the body.
    async fn hasty(listener: tokio::net::UnixListener) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 64];
            if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                let answer =
                    b"HTTP/1.1 409 Conflict\r\nContent-Length: 18\r\n\r\n{\"message\":\"full\"}";
                stream.write_all(answer).await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_counts_although_the_request_was_not_read() {
        use tokio::io::AsyncReadExt;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("sock");
        tokio::spawn(hasty(tokio::net::UnixListener::bind(&socket).unwrap()));
        let places = hoist_api::places::Places {
            data_root: "/none".into(),
            run_dir: "/none".into(),
            socket,
        };
        let client = Client::connect(&places).await.unwrap();
        for _ in 0..50 {
            let body = reader_body(tokio::io::repeat(7).take(16 << 20));
            let error = client.post_body("/upload", body).await.unwrap_err();
            assert!(
                matches!(&error, ClientError::Api { status: 409, error } if error.message == "full"),
                "{error:?}"
            );
        }
    }
}
