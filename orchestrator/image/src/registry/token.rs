//! Answering a registry's challenge: a password, or a token for it.

use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::auth::{Authorization, Challenge, TokenAnswer, check_realm};
use super::endpoint::{Endpoint, bytes};
use super::error::RegistryError;
use crate::RegistryAuth;

impl Endpoint {
    /// Gets what the refused request lacked. `sent`: what it was sent with.
    pub(super) async fn authorize(
        &self,
        refused: &Response,
        sent: Option<&Authorization>,
    ) -> Result<(), RegistryError> {
        let mut slot = self.authorization.lock().await;
        // Several layers run into an expired token at once; the first one renews it for all.
        if slot.as_ref() != sent {
            return Ok(());
        }
        let challenges = refused
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let auth = self.auth.as_ref();
        *slot = match Challenge::choose(challenges) {
            Some(Challenge::Bearer { .. })
                if auth.is_some_and(|auth| !auth.registry_token.is_empty()) =>
            {
                let token = auth.map(|auth| Authorization::token(&auth.registry_token));
                // It is all there is, and was not enough.
                if token.as_ref() == sent {
                    return Err(self.unauthorized());
                }
                token
            }
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => Some(
                self.fetch_token(&realm, service.as_deref(), scope.as_deref())
                    .await?,
            ),
            Some(Challenge::Basic) => match auth.filter(|auth| !auth.username.is_empty()) {
                Some(auth) => Some(Authorization::basic(&auth.username, &auth.password)),
                None => return Err(self.unauthorized()),
            },
            None => return Err(self.unauthorized()),
        };
        Ok(())
    }

    /// An access token for an identity token: OAuth 2, a form. Its scopes are one parameter with spaces.
    fn refresh(
        &self,
        url: Url,
        identity: &str,
        scopes: &[&str],
        service: Option<&str>,
    ) -> RequestBuilder {
        let mut form = url.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("scope", &scopes.join(" "))
            .extend_pairs(service.map(|service| ("service", service)))
            .extend_pairs([
                ("grant_type", "refresh_token"),
                ("refresh_token", identity),
                ("client_id", "hoist"),
            ]);
        self.client
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned())
    }

    /// An access token for a user, or for an anonymous one. Each scope is a parameter of the address.
    fn login(
        &self,
        mut url: Url,
        password: Option<&RegistryAuth>,
        scopes: &[&str],
        service: Option<&str>,
    ) -> RequestBuilder {
        url.query_pairs_mut()
            .extend_pairs(scopes.iter().map(|scope| ("scope", scope)))
            .extend_pairs(service.map(|service| ("service", service)));
        if let Some(auth) = password.filter(|_| self.repository.is_empty()) {
            let lasting = [
                ("offline_token", "true"),
                ("client_id", "hoist"),
                ("account", &auth.username),
            ];
            url.query_pairs_mut().extend_pairs(lasting);
        }
        let request = self.client.get(url);
        match password {
            Some(auth) => request.header(
                AUTHORIZATION,
                Authorization::basic(&auth.username, &auth.password).header,
            ),
            None => request,
        }
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Authorization, RegistryError> {
        let refused = |reason| RegistryError::Realm {
            registry: self.name.clone(),
            realm: realm.to_owned(),
            reason,
        };
        let url = Url::parse(realm).map_err(|_| refused("it is not a valid address"))?;
        let auth = self.auth.as_ref();
        let identity = auth
            .map(|auth| auth.identity_token.as_str())
            .filter(|token| !token.is_empty());
        let password = auth.filter(|auth| !auth.username.is_empty() && identity.is_none());
        check_realm(&url, &self.base, identity.is_some() || password.is_some()).map_err(refused)?;
        // Everything that we are going to do, whatever this request alone needs.
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        scopes.extend(scope.filter(|_| scopes.is_empty()));
        let request = match identity {
            Some(identity) => self.refresh(url, identity, &scopes, service),
            None => self.login(url, password, &scopes, service),
        };
        let response = request
            .send()
            .await
            .map_err(|error| RegistryError::of(&self.name, error))?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
            _ => return Err(self.refusal(response, "a token").await),
        }
        let bytes = bytes(&self.name, response, 1 << 20, "a token").await?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| self.protocol("its token is not valid JSON".to_owned()))?;
        if let Some(lasting) = answer
            .refresh_token
            .clone()
            .filter(|token| !token.is_empty())
        {
            let _ = self.lasting.set(lasting);
        }
        Authorization::bearer(answer)
            .ok_or_else(|| self.protocol("its token answer holds no token".to_owned()))
    }
}
