//! A blob on its way to a registry: opened, sent whole or in chunks, closed with its digest.

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Method, Response, Url};
use tokio_util::bytes::{Buf, Bytes};

use super::endpoint::{ATTEMPTS, ApiRequest, Endpoint, Payload, backoff};
use super::error::RegistryError;
use super::{Registry, primary};
use crate::Digest;

const CHUNK: usize = 8 << 20;
/// A registry that wants longer chunks than this may not get them: one is kept in memory to be sent again.
const LONGEST_CHUNK: usize = 64 << 20;

/// An open upload.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    endpoint: &'a Endpoint,
    location: Url,
    offset: u64,
    chunk: usize,
    what: &'a str,
}

impl Registry {
    /// Opens an upload; `None` when the registry took the blob over from the repository in `mount`.
    pub(crate) async fn upload<'a>(
        &'a self,
        mount: Option<(&Digest, &str)>,
        what: &'a str,
    ) -> Result<Option<Upload<'a>>, RegistryError> {
        let endpoint = primary(&self.servers).endpoint().await?;
        let mut url = endpoint.url("blobs/uploads/")?;
        if let Some((digest, from)) = mount {
            url.query_pairs_mut()
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from);
        }
        let call = ApiRequest {
            method: Method::POST,
            headers: Vec::new(),
            body: Payload::Nothing,
            what,
        };
        let answer = endpoint.ask(&url, &call).await?;
        if answer.status() == reqwest::StatusCode::CREATED {
            return Ok(None);
        }
        let least = answer
            .headers()
            .get("oci-chunk-min-length")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let chunk = least.unwrap_or(0).clamp(CHUNK, LONGEST_CHUNK);
        Ok(Some(Upload {
            endpoint,
            location: endpoint.location(&url, &answer)?,
            offset: 0,
            chunk,
            what,
        }))
    }
}

impl Upload<'_> {
    /// How long every chunk but the last has to be.
    pub(crate) fn chunk_length(&self) -> usize {
        self.chunk
    }

    /// Sends all of it in one request.
    pub(crate) async fn whole(self, digest: &Digest, body: Payload) -> Result<(), RegistryError> {
        let call = ApiRequest {
            method: Method::PUT,
            headers: octets(),
            body,
            what: self.what,
        };
        self.endpoint
            .once(&self.closing(digest), &call)
            .await
            .map(drop)
    }

    /// Sends the next piece; where the connection breaks, what the registry did not get is sent again.
    pub(crate) async fn chunk(&mut self, mut bytes: Bytes) -> Result<(), RegistryError> {
        let end = self.offset + bytes.len() as u64;
        let mut failures = 0;
        while self.offset < end {
            let mut headers = octets();
            headers.push((CONTENT_RANGE, format!("{}-{}", self.offset, end - 1)));
            let body = Payload::Bytes(bytes.clone());
            let call = ApiRequest {
                method: Method::PATCH,
                headers,
                body,
                what: self.what,
            };
            let (reached, least, answer) = match self.endpoint.once(&self.location, &call).await {
                // Not every registry repeats how far it is; but one that takes nothing would be sent the same for ever.
                Ok(answer) => (received(&answer).unwrap_or(end), self.offset + 1, answer),
                Err(error) if error.is_passing() && failures + 1 < ATTEMPTS => {
                    failures += 1;
                    tokio::time::sleep(error.wait().unwrap_or_default().max(backoff(failures)))
                        .await;
                    let answer = self.status().await.map_err(|_| error)?;
                    (received(&answer).unwrap_or(0), self.offset, answer)
                }
                Err(error) => return Err(error),
            };
            if reached < least || reached > end {
                let reason = format!(
                    "it has {reached} bytes of {}, not {least} to {end}",
                    self.what
                );
                return Err(self.endpoint.protocol(reason));
            }
            bytes.advance(
                usize::try_from(reached - self.offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len()),
            );
            self.offset = reached;
            self.location = self.endpoint.location(&self.location, &answer)?;
        }
        Ok(())
    }

    /// Closes an upload that was sent in chunks.
    pub(crate) async fn finish(self, digest: &Digest) -> Result<(), RegistryError> {
        let call = ApiRequest {
            method: Method::PUT,
            headers: octets(),
            body: Payload::Nothing,
            what: self.what,
        };
        self.endpoint
            .once(&self.closing(digest), &call)
            .await
            .map(drop)
    }

    async fn status(&self) -> Result<Response, RegistryError> {
        let call = ApiRequest {
            method: Method::GET,
            headers: Vec::new(),
            body: Payload::Nothing,
            what: self.what,
        };
        self.endpoint.ask(&self.location, &call).await
    }

    fn closing(&self, digest: &Digest) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        url
    }
}

fn octets() -> Vec<(reqwest::header::HeaderName, String)> {
    vec![(CONTENT_TYPE, "application/octet-stream".to_owned())]
}

/// `Range: 0-<last byte>`; an empty upload cannot be said this way, and is `0-0` as well.
fn received(answer: &Response) -> Option<u64> {
    let text = answer.headers().get(RANGE)?.to_str().ok()?;
    let last: u64 = text
        .trim_start_matches("bytes=")
        .strip_prefix("0-")?
        .parse()
        .ok()?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}
