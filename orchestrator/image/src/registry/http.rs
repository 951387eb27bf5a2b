//! Requests: scheme, certificates, authorisation, redirects, retries.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::sync::Mutex;

use super::Access;
use super::auth::{Authorization, Challenge, TokenAnswer, check_realm};
use super::error::RegistryError;
use super::trust::client;
use crate::{Reference, RegistryAuth};

const MAX_REDIRECTS: usize = 5;
pub(crate) const ATTEMPTS: u32 = 5;

/// A registry and what we may do in one of its repositories.
#[derive(Debug)]
pub(crate) struct Registry {
    client: Client,
    name: String,
    repository: String,
    base: Url,
    auth: Option<RegistryAuth>,
    authorization: Mutex<Option<Authorization>>,
}

impl Registry {
    /// Finds out how the registry of `reference` is spoken to.
    pub(crate) async fn connect(reference: &Reference, access: &Access) -> Result<Self, RegistryError> {
        let name = reference.registry().to_owned();
        let host = if name == "docker.io" { "registry-1.docker.io" } else { &name };
        let own_certificate = access.certificates.join(&name).join("ca.crt");
        let insecure = access.insecure.contains(&name);
        let lenient = insecure && !own_certificate.exists();
        let client = client(&name, &own_certificate, lenient)?;
        let base = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/")).map_err(|error| RegistryError::Protocol {
                registry: name.clone(),
                reason: format!("its name makes no address: {error}"),
            })
        };
        let secure = base("https")?;
        let plain_allowed = (insecure || is_loopback(&secure)) && !own_certificate.exists();
        let base = if plain_allowed { probe(&client, &name, secure, base("http")?).await? } else { secure };
        Ok(Self {
            client,
            repository: reference.repository().to_owned(),
            base,
            auth: access.auth.get(&name).cloned(),
            authorization: Mutex::new(None),
            name,
        })
    }

    /// `GET /v2/<repository>/<path>`; an answer that is no success is an error naming `what`.
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, RegistryError> {
        self.ask(Method::GET, path, headers, what).await
    }

    /// The same without a body.
    pub(crate) async fn head(
        &self,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, RegistryError> {
        self.ask(Method::HEAD, path, headers, what).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (error, wait) = match self.once(&method, path, headers, what).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if attempt >= ATTEMPTS || !error.is_passing() {
                return Err(error);
            }
            let wait = wait.unwrap_or(Duration::ZERO).max(backoff(attempt));
            tracing::debug!(registry = self.name, %error, ?wait, "asking again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, String)],
        what: &str,
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        let url = self
            .base
            .join(&format!("v2/{}/{path}", self.repository))
            .map_err(|error| (self.protocol(format!("no address for {what}: {error}")), None))?;
        let mut renewed = false;
        loop {
            let response = self.follow(method, url.clone(), headers).await.map_err(|error| (error, None))?;
            if response.status() == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                let challenges: Vec<String> = response
                    .headers()
                    .get_all(WWW_AUTHENTICATE)
                    .iter()
                    .filter_map(|value| value.to_str().ok().map(str::to_owned))
                    .collect();
                self.authorize(&challenges).await.map_err(|error| (error, None))?;
                continue;
            }
            if response.status().is_success() {
                return Ok(response);
            }
            let wait = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(|seconds: u64| Duration::from_secs(seconds.min(60)));
            return Err((self.refusal(response, what).await, wait));
        }
    }

    /// One request through its redirects. Authorization goes to the registry itself and to nobody else.
    async fn follow(
        &self,
        method: &Method,
        mut url: Url,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, RegistryError> {
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.request(method.clone(), url.clone());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if url.origin() == self.base.origin()
                && let Some(authorization) = &*self.authorization.lock().await
            {
                request = request.header(AUTHORIZATION, &authorization.header);
            }
            let response = request.send().await.map_err(|error| RegistryError::of(&self.name, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let next = url.join(target).map_err(|_| self.protocol("a redirect to nowhere".to_owned()))?;
            if next.scheme() != "https" && !(next.scheme() == "http" && self.base.scheme() == "http") {
                return Err(self.protocol("a redirect away from TLS".to_owned()));
            }
            url = next;
        }
        Err(self.protocol("too many redirects".to_owned()))
    }

    async fn authorize(&self, challenges: &[String]) -> Result<(), RegistryError> {
        let mut slot = self.authorization.lock().await;
        // Several layers run into an expired token at once; the first one renews it for all.
        let fresh = |authorization: &Authorization| {
            authorization.expires.is_some_and(|expires| expires > Instant::now() + Duration::from_secs(20))
        };
        if slot.as_ref().is_some_and(fresh) {
            return Ok(());
        }
        let auth = self.auth.as_ref();
        *slot = match Challenge::choose(challenges.iter().map(String::as_str)) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                Some(self.fetch_token(&realm, service.as_deref(), scope.as_deref()).await?)
            }
            Some(Challenge::Basic) => match auth.filter(|auth| !auth.username.is_empty()) {
                Some(auth) => Some(Authorization::basic(&auth.username, &auth.password)),
                None => return Err(self.unauthorized()),
            },
            None => return Err(self.unauthorized()),
        };
        Ok(())
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Authorization, RegistryError> {
        let refused = |reason| RegistryError::Realm { registry: self.name.clone(), realm: realm.to_owned(), reason };
        let mut url = Url::parse(realm).map_err(|_| refused("it is no address"))?;
        let auth = self.auth.as_ref();
        let identity = auth.map(|auth| auth.identity_token.as_str()).filter(|token| !token.is_empty());
        let password = auth.filter(|auth| !auth.username.is_empty() && identity.is_none());
        check_realm(&url, &self.base, identity.is_some() || password.is_some()).map_err(refused)?;
        let default_scope = format!("repository:{}:pull", self.repository);
        let mut parameters = vec![("scope", scope.unwrap_or(&default_scope))];
        parameters.extend(service.map(|service| ("service", service)));
        let request = if let Some(identity) = identity {
            parameters.extend([("grant_type", "refresh_token"), ("refresh_token", identity), ("client_id", "hoist")]);
            let mut form = url.clone();
            form.query_pairs_mut().clear().extend_pairs(parameters);
            self.client
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or_default().to_owned())
        } else {
            url.query_pairs_mut().extend_pairs(parameters);
            let request = self.client.get(url);
            match password {
                Some(auth) => {
                    request.header(AUTHORIZATION, Authorization::basic(&auth.username, &auth.password).header)
                }
                None => request,
            }
        };
        let response = request.send().await.map_err(|error| RegistryError::of(&self.name, error))?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
            _ => return Err(self.refusal(response, "a token").await),
        }
        let bytes = self.bytes(response, 1 << 20, "a token").await?;
        let answer: TokenAnswer =
            serde_json::from_slice(&bytes).map_err(|_| self.protocol("its token is not valid JSON".to_owned()))?;
        Authorization::bearer(answer).ok_or_else(|| self.protocol("its token answer holds no token".to_owned()))
    }

    /// The whole body, if it is not longer than `most`.
    pub(crate) async fn bytes(&self, mut response: Response, most: u64, what: &str) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| RegistryError::of(&self.name, error))? {
            if bytes.len() as u64 + chunk.len() as u64 > most {
                return Err(self.protocol(format!("{what} is longer than {most} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    pub(crate) fn broken(&self, error: reqwest::Error) -> RegistryError {
        RegistryError::of(&self.name, error)
    }

    pub(crate) fn protocol(&self, reason: String) -> RegistryError {
        RegistryError::Protocol { registry: self.name.clone(), reason }
    }

    fn unauthorized(&self) -> RegistryError {
        let hint = match &self.auth {
            Some(auth) if !auth.trouble.is_empty() => auth.trouble.clone(),
            Some(_) => "the credentials for it were not accepted".to_owned(),
            None => format!("no credentials for {} in the docker configuration", self.name),
        };
        RegistryError::Unauthorized { registry: self.name.clone(), repository: self.repository.clone(), hint }
    }

    async fn refusal(&self, response: Response, what: &str) -> RegistryError {
        let status = response.status();
        let detail = match self.bytes(response, 64 << 10, "an error").await {
            Ok(body) => explain(&body),
            Err(_) => String::new(),
        };
        let (registry, repository) = (self.name.clone(), self.repository.clone());
        match status {
            StatusCode::UNAUTHORIZED => self.unauthorized(),
            StatusCode::FORBIDDEN => RegistryError::Denied { registry, repository },
            StatusCode::NOT_FOUND => RegistryError::NotFound { registry, repository, what: what.to_owned(), detail },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests { registry },
            status => RegistryError::Status { registry, status: status.as_u16(), detail },
        }
    }
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
    let message = value["errors"][0]["message"].as_str().or(value["details"].as_str());
    match message {
        // Printed on a terminal: nothing in it may steer one.
        Some(message) => format!(": {}", message.chars().filter(|c| !c.is_control()).take(300).collect::<String>()),
        None => String::new(),
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// TLS where the registry speaks it, plain HTTP only where it does not.
async fn probe(client: &Client, name: &str, secure: Url, plain: Url) -> Result<Url, RegistryError> {
    let ask = |base: &Url| {
        let url = base.join("v2/").expect("a constant relative path joins any base");
        client.get(url).send()
    };
    let Err(error) = ask(&secure).await else { return Ok(secure) };
    let error = RegistryError::of(name, error);
    if matches!(error, RegistryError::Refused { .. } | RegistryError::UnknownHost { .. }) {
        return Err(error);
    }
    match ask(&plain).await {
        // Go's servers answer plain HTTP on a TLS port with this status; then the TLS error is the one that matters.
        Ok(response) if response.status() == StatusCode::BAD_REQUEST => Err(error),
        Ok(_) => Ok(plain),
        Err(_) => Err(error),
    }
}
