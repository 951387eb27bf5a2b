//! Image references with docker's familiar names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError};

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";

/// `[registry/]path[:tag][@digest]`, completed: `debian` is `docker.io/library/debian:latest`.
///
/// `Display` (and the serialised form) is the full name; [`Reference::short`] is what a user would type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("an image reference is empty")]
    Empty,
    #[error("image reference {0:?} is longer than 255 characters")]
    TooLong(String),
    #[error("image reference {reference:?}: repository names must be lowercase")]
    Uppercase { reference: String },
    #[error("image reference {reference:?}: {part:?} is not a valid {what}")]
    Invalid {
        reference: String,
        what: &'static str,
        part: String,
    },
    #[error("image reference {reference:?}")]
    Digest {
        reference: String,
        source: DigestError,
    },
}

impl Reference {
    /// `[registry/]repository[:tag][@digest]` as docker reads it: without a registry it is Docker Hub, without tag and digest
    /// the tag is `latest`. Names are those of distribution-spec, "Pulling manifests".
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let invalid = |what, part: &str| ReferenceError::Invalid {
            reference: text.to_owned(),
            what,
            part: part.to_owned(),
        };
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = Digest::parse(digest).map_err(|source| ReferenceError::Digest {
                    reference: text.to_owned(),
                    source,
                })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash starts a tag; an earlier one belongs to a port.
        let path_start = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[path_start..].find(':') {
            Some(colon) => (
                &name[..path_start + colon],
                Some(&name[path_start + colon + 1..]),
            ),
            None => (name, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid("tag", tag));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, rest)) if looks_like_a_host(host) => (host, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        if !is_host(registry) {
            return Err(invalid("registry host", registry));
        }
        let (registry, repository) = docker_hub_names(registry, path);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase {
                reference: text.to_owned(),
            });
        }
        if let Some(bad) = path
            .split('/')
            .find(|component| !is_path_component(component))
        {
            return Err(invalid("part of a repository name", bad));
        }
        if registry.len() + 1 + repository.len() > 255 {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// The registry as written: a host name with an optional port; `docker.io` when none was.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry, such as `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// `None` only where there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest behind `@`.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest where there is one, else the tag.
    pub(crate) fn target(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.as_deref().unwrap_or("latest").to_owned(),
        }
    }

    /// The same repository under a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Invalid {
                reference: self.to_string(),
                what: "tag",
                part: tag.to_owned(),
            });
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository at a digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Without tag and digest, as listings show it: `debian`, `ghcr.io/a/b`.
    pub fn familiar_name(&self) -> String {
        if self.registry == DEFAULT_REGISTRY {
            let path = &self.repository;
            match path.strip_prefix("library/") {
                Some(rest) if !rest.contains('/') => rest.to_owned(),
                _ => path.clone(),
            }
        } else {
            format!("{}/{}", self.registry, self.repository)
        }
    }

    /// As a user would type it: `debian:trixie-slim`.
    pub fn short(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

/// The registry that somebody means by a name or an address, as [`Reference::registry`] names it; nothing is Docker's.
pub fn registry_of(address: &str) -> Result<String, ReferenceError> {
    let host = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    match host.split('/').next().unwrap_or_default() {
        "" | DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io" => {
            Ok(DEFAULT_REGISTRY.to_owned())
        }
        host if is_host(host) => Ok(host.to_owned()),
        host => Err(ReferenceError::Invalid {
            reference: address.to_owned(),
            what: "registry host",
            part: host.to_owned(),
        }),
    }
}

/// Docker Hub has two host names, and a namespace for repositories that are written without one.
fn docker_hub_names<'a>(registry: &'a str, path: &str) -> (&'a str, String) {
    match registry {
        DEFAULT_REGISTRY | "index.docker.io" if path.contains('/') => {
            (DEFAULT_REGISTRY, path.to_owned())
        }
        DEFAULT_REGISTRY | "index.docker.io" => {
            (DEFAULT_REGISTRY, format!("{DEFAULT_NAMESPACE}/{path}"))
        }
        other => (other, path.to_owned()),
    }
}

/// Docker's rule for telling `host/path` from `user/path`.
fn looks_like_a_host(part: &str) -> bool {
    part == "localhost"
        || part.contains(['.', ':', '['])
        || part.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after {
            "" => return true,
            _ => ("", after.strip_prefix(':')),
        }
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    let label_ok = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    port_ok && (host.starts_with('[') && port.is_some() || name.split('.').all(label_ok))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(*first)
        && alphanumeric(*last)
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
}

/// `[\w][\w.-]{0,127}`
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(format!("{}/{}", self.registry, self.repository)))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn familiar_names_are_completed_and_shortened() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, full, short) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            (
                "debian:trixie-slim",
                "docker.io/library/debian:trixie-slim",
                "debian:trixie-slim",
            ),
            (
                "index.docker.io/debian",
                "docker.io/library/debian:latest",
                "debian:latest",
            ),
            ("user/app:1", "docker.io/user/app:1", "user/app:1"),
            (
                "localhost/app",
                "localhost/app:latest",
                "localhost/app:latest",
            ),
            (
                "localhost:5000/a/b:2",
                "localhost:5000/a/b:2",
                "localhost:5000/a/b:2",
            ),
            (
                "127.0.0.1:5000/app",
                "127.0.0.1:5000/app:latest",
                "127.0.0.1:5000/app:latest",
            ),
            (
                "[::1]:5000/app",
                "[::1]:5000/app:latest",
                "[::1]:5000/app:latest",
            ),
            (
                "ghcr.io/a/b__c-d.e",
                "ghcr.io/a/b__c-d.e:latest",
                "ghcr.io/a/b__c-d.e:latest",
            ),
            (
                &format!("a@{digest}"),
                &format!("docker.io/library/a@{digest}"),
                &format!("a@{digest}"),
            ),
            (
                &format!("a:1@{digest}"),
                &format!("docker.io/library/a:1@{digest}"),
                &format!("a:1@{digest}"),
            ),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.short(), short);
            assert_eq!(Reference::parse(full).unwrap(), reference);
            assert_eq!(Reference::parse(short).unwrap(), reference);
        }
    }

    #[test]
    fn bad_references_are_refused_with_the_part_that_is_bad() {
        for text in [
            "",
            ":",
            "a:",
            "a:b:c",
            "A",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a@sha256:12",
            "a..b",
            "-a",
            "a_",
            "a___b",
            "../a",
            "host.example:99999/a",
            "host.example:/a",
            "[zz]:1/a",
            "a:-tag",
            "a@sha256:../../x",
            "a\n",
            "é",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse(&"a".repeat(300)).is_err());
        let error = Reference::parse("Debian").unwrap_err();
        assert_eq!(
            error.to_string(),
            "image reference \"Debian\": repository names must be lowercase"
        );
    }
}
