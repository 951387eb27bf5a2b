//! Challenges, tokens, and where credentials may go.

use std::net::IpAddr;

use reqwest::Url;
use serde::Deserialize;

/// One `WWW-Authenticate` challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The one to answer among all headers: a token before a password.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found: Vec<Self> = headers.filter_map(Self::parse).collect();
        found.sort_by_key(|challenge| matches!(challenge, Self::Basic));
        found.into_iter().next()
    }

    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

/// `key="quoted, value", key=token`
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, rest)) = text.split_once('=') {
        let key = key.trim_matches([' ', ',', '\t']).to_owned();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, character)) = characters.next() {
                    match character {
                        '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        other => value.push(other),
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        found.push((key, value));
        text = rest;
    }
    found
}

/// Whether a token may be asked for at `realm`; `secret` when the user's password would go along.
pub(super) fn check_realm(realm: &Url, registry: &Url, secret: bool) -> Result<(), &'static str> {
    let (Some(host), Some(home)) = (realm.host_str(), registry.host_str()) else {
        return Err("it has no host");
    };
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err("it carries a user of its own");
    }
    if host == home {
        return match realm.scheme() {
            "https" => Ok(()),
            "http" if registry.scheme() == "http" => Ok(()),
            _ => Err("it leaves TLS"),
        };
    }
    if realm.scheme() != "https" {
        return Err("it is another host without TLS");
    }
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || host == "localhost" {
        return Err("it is another machine's bare address");
    }
    if secret && registrable_domain(host) != registrable_domain(home) {
        return Err("it belongs to another domain");
    }
    Ok(())
}

/// The part of a name that one owner registers: the last two labels, three below `co.uk` and its like.
fn registrable_domain(host: &str) -> String {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let second_level = |label: &str| {
        matches!(
            label,
            "co" | "com" | "org" | "net" | "ac" | "gov" | "edu" | "or" | "ne"
        )
    };
    let count = match labels[..] {
        [.., second, top] if top.len() == 2 && second_level(second) => 3,
        _ => 2,
    };
    labels[labels.len().saturating_sub(count)..]
        .join(".")
        .to_ascii_lowercase()
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenAnswer {
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub access_token: Option<String>,
    #[serde(default)]
    pub refresh_token: Option<String>,
}

/// What goes into the Authorization header. When it expires is not counted: the registry says so.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authorization {
    pub header: String,
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorization").finish_non_exhaustive()
    }
}

impl Authorization {
    pub(super) fn bearer(answer: TokenAnswer) -> Option<Self> {
        let token = answer
            .token
            .filter(|token| !token.is_empty())
            .or(answer.access_token)?;
        Some(Self::token(&token))
    }

    pub(super) fn token(token: &str) -> Self {
        Self {
            header: format!("Bearer {token}"),
        }
    }

    pub(super) fn basic(username: &str, password: &str) -> Self {
        use base64::Engine as _;
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Self {
            header: format!("Basic {encoded}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_quotes_and_commas() {
        let header = r#"Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull,push""#;
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = Challenge::parse(header)
        else {
            panic!()
        };
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service.as_deref(), Some("a, b"));
        assert_eq!(scope.as_deref(), Some("repository:x:pull,push"));
        assert_eq!(
            Challenge::choose([r#"Basic realm="x""#].into_iter()),
            Some(Challenge::Basic)
        );
        assert_eq!(
            Challenge::choose(["Negotiate", "Bearer x=y"].into_iter()),
            None
        );
    }

    #[test]
    fn credentials_stay_with_their_domain() {
        let check = |realm: &str, registry: &str, secret| {
            check_realm(
                &Url::parse(realm).unwrap(),
                &Url::parse(registry).unwrap(),
                secret,
            )
        };
        assert!(
            check(
                "https://auth.docker.io/token",
                "https://registry-1.docker.io/",
                true
            )
            .is_ok()
        );
        assert!(
            check(
                "https://evil.example/token",
                "https://registry-1.docker.io/",
                true
            )
            .is_err()
        );
        assert!(
            check(
                "https://tokens.example/token",
                "https://registry.other/",
                false
            )
            .is_ok()
        );
        assert!(
            check(
                "http://169.254.169.254/token",
                "https://registry.other/",
                false
            )
            .is_err()
        );
        assert!(
            check(
                "https://169.254.169.254/token",
                "https://registry.other/",
                false
            )
            .is_err()
        );
        assert!(
            check(
                "http://registry.other/token",
                "https://registry.other/",
                true
            )
            .is_err()
        );
        assert!(
            check(
                "http://127.0.0.1:5001/token",
                "http://127.0.0.1:5000/",
                true
            )
            .is_ok()
        );
        assert!(check("https://a.co.uk/token", "https://b.co.uk/", true).is_err());
        assert!(
            check(
                "https://u:p@registry.other/token",
                "https://registry.other/",
                true
            )
            .is_err()
        );
    }
}
