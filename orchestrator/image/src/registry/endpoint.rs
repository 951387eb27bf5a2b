//! One server that speaks the distribution protocol for one repository: requests, authorisation, redirects, retries.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Body, Client, Method, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tokio_util::bytes::Bytes;
use tokio_util::io::{InspectReader, ReaderStream};

use super::auth::Authorization;
use super::error::RegistryError;
use crate::RegistryAuth;

const MAX_REDIRECTS: usize = 5;
pub(crate) const ATTEMPTS: u32 = 5;
const MOST_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: Client,
    /// The registry, or the mirror of one, as messages name it.
    pub(super) name: String,
    /// Empty for a login, which is about the registry as a whole.
    pub(super) repository: String,
    pub(super) base: Url,
    pub(super) auth: Option<RegistryAuth>,
    /// What a token is asked for; empty: what the registry suggests.
    pub(super) scopes: Vec<String>,
    pub(super) authorization: Mutex<Option<Authorization>>,
    /// The token that a login got to be kept in place of the password.
    pub(super) lasting: OnceLock<String>,
}

/// What is sent along; every kind can be sent again.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// A file of the store; the function hears how much of it has gone.
    File {
        path: PathBuf,
        size: u64,
        sent: Sent,
    },
}

#[derive(Clone)]
pub(crate) struct Sent(pub(crate) Arc<dyn Fn(u64) + Send + Sync>);

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sent")
    }
}

/// One request, without its address.
#[derive(Debug, Clone)]
pub(crate) struct ApiRequest<'a> {
    pub method: Method,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Payload,
    /// What it is about, for messages.
    pub what: &'a str,
}

impl Endpoint {
    /// The address of `v2/<repository>/<path>`.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let url = self.base.join(&format!("v2/{}/{path}", self.repository));
        url.map_err(|error| self.protocol(format!("no address for {path}: {error}")))
    }

    /// Asks until there is an answer, or it is clear that there will be none.
    pub(super) async fn ask(
        &self,
        url: &Url,
        call: &ApiRequest<'_>,
    ) -> Result<Response, RegistryError> {
        self.ask_times(ATTEMPTS, url, call).await
    }

    pub(super) async fn ask_times(
        &self,
        attempts: u32,
        url: &Url,
        call: &ApiRequest<'_>,
    ) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.once(url, call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if attempt >= attempts || !error.is_passing() {
                return Err(error);
            }
            let wait = error.wait().unwrap_or_default().max(backoff(attempt));
            tracing::debug!(registry = self.name, %error, ?wait, "asking again");
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt; a response without success is an error.
    pub(super) async fn once(
        &self,
        url: &Url,
        call: &ApiRequest<'_>,
    ) -> Result<Response, RegistryError> {
        let mut renewed = false;
        loop {
            let sent = self.authorization.lock().await.clone();
            let response = self.follow(url.clone(), call, sent.as_ref()).await?;
            if response.status() == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.authorize(&response, sent.as_ref()).await?;
                continue;
            }
            if response.status().is_success() {
                return Ok(response);
            }
            return Err(self.refusal(response, call.what).await);
        }
    }

    /// One request through its redirects. Authorization goes to the registry itself only.
    async fn follow(
        &self,
        mut url: Url,
        call: &ApiRequest<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, RegistryError> {
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.request(call.method.clone(), url.clone());
            for (name, value) in &call.headers {
                request = request.header(name, value);
            }
            if url.origin() == self.base.origin()
                && let Some(authorization) = authorization
            {
                request = request.header(AUTHORIZATION, &authorization.header);
            }
            request = match &call.body {
                Payload::Nothing if call.method == Method::GET || call.method == Method::HEAD => {
                    request
                }
                Payload::Nothing => request.header(CONTENT_LENGTH, 0),
                Payload::Bytes(bytes) => request.body(bytes.clone()),
                Payload::File { path, size, sent } => {
                    let file = tokio::fs::File::open(path).await;
                    let file = file.map_err(|source| RegistryError::Local {
                        path: path.clone(),
                        source,
                    })?;
                    let (sent, mut count) = (sent.clone(), 0);
                    let counted = InspectReader::new(file, move |bytes| {
                        count += bytes.len() as u64;
                        sent.0(count);
                    });
                    let stream = ReaderStream::with_capacity(counted, 256 << 10);
                    request
                        .header(CONTENT_LENGTH, *size)
                        .body(Body::wrap_stream(stream))
                }
            };
            let response = request
                .send()
                .await
                .map_err(|error| RegistryError::of(&self.name, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = self.location(&url, &response)?;
        }
        Err(self.protocol("too many redirects".to_owned()))
    }

    /// Where an answer sends us: never away from TLS.
    pub(super) fn location(&self, url: &Url, response: &Response) -> Result<Url, RegistryError> {
        let target = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let next = url
            .join(target)
            .map_err(|_| self.protocol("a redirect to nowhere".to_owned()))?;
        if next.scheme() != "https" && !(next.scheme() == "http" && self.base.scheme() == "http") {
            return Err(self.protocol("a redirect away from TLS".to_owned()));
        }
        Ok(next)
    }

    pub(super) fn protocol(&self, reason: String) -> RegistryError {
        RegistryError::Protocol {
            registry: self.name.clone(),
            reason,
        }
    }

    pub(super) fn unauthorized(&self) -> RegistryError {
        let hint = match &self.auth {
            Some(auth) if !auth.trouble.is_empty() => auth.trouble.clone(),
            Some(_) => "the credentials for it were not accepted".to_owned(),
            None => format!(
                "no credentials for {0} in the docker configuration (hoist login {0})",
                self.name
            ),
        };
        let subject = if self.repository.is_empty() {
            "it".to_owned()
        } else {
            self.repository.clone()
        };
        RegistryError::Unauthorized {
            registry: self.name.clone(),
            repository: subject,
            hint,
        }
    }

    pub(super) async fn refusal(&self, response: Response, what: &str) -> RegistryError {
        let status = response.status();
        let wait = retry_after(&response).map(|wait| wait.min(MOST_WAIT));
        let detail = match bytes(&self.name, response, 64 << 10, "an error").await {
            Ok(body) => explain(&body),
            Err(_) => String::new(),
        };
        let (registry, repository) = (self.name.clone(), self.repository.clone());
        match status {
            StatusCode::UNAUTHORIZED => self.unauthorized(),
            StatusCode::FORBIDDEN => RegistryError::Denied {
                registry,
                repository,
            },
            StatusCode::NOT_FOUND => RegistryError::NotFound {
                registry,
                repository,
                what: what.to_owned(),
                detail,
            },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests { registry, wait },
            status => RegistryError::Status {
                registry,
                status: status.as_u16(),
                detail,
                wait,
            },
        }
    }
}

/// The whole body, if it is not longer than `most`.
pub(super) async fn bytes(
    registry: &str,
    mut response: Response,
    most: u64,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| RegistryError::of(registry, error))?
    {
        if bytes.len() as u64 + chunk.len() as u64 > most {
            let reason = format!("{what} is longer than {most} bytes");
            return Err(RegistryError::Protocol {
                registry: registry.to_owned(),
                reason,
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    wait_until(
        response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim(),
        jiff::Timestamp::now(),
    )
}

fn wait_until(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(date.duration_since(now)).ok()
}

/// Grows from a fifth of a second; spread, so that many clients do not come back together.
pub(crate) fn backoff(attempt: u32) -> Duration {
    let spread = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos() % 100);
    Duration::from_millis((200 << attempt.min(6).saturating_sub(1)) + u64::from(spread))
}

/// `{"errors":[{"code":"NAME_UNKNOWN","message":"…"}]}`
fn explain(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value["errors"][0]["message"]
        .as_str()
        .or(value["details"].as_str());
    match message {
        // Printed on a terminal: nothing in it may steer one.
        Some(message) => format!(
            ": {}",
            message
                .chars()
                .filter(|c| !c.is_control())
                .take(300)
                .collect::<String>()
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_comes_in_seconds_or_as_a_date() {
        let now = "2015-10-21T07:27:30Z".parse().unwrap();
        assert_eq!(wait_until("120", now), Some(Duration::from_secs(120)));
        assert_eq!(
            wait_until("Wed, 21 Oct 2015 07:28:00 GMT", now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait_until("Wed, 21 Oct 2015 07:20:00 GMT", now),
            None,
            "it is over"
        );
        assert_eq!(wait_until("soon", now), None);
    }
}
