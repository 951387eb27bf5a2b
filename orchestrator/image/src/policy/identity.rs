//! Which name a signature must carry to count for an image.

use serde::Deserialize;

use crate::Reference;

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum Identity {
    #[serde(rename = "matchExact")]
    Exact {},
    /// For an image named by digest the repository counts, as no signature can know the digest's name.
    #[default]
    #[serde(rename = "matchRepoDigestOrExact")]
    RepoDigestOrExact,
    #[serde(rename = "matchRepository")]
    Repository {},
    #[serde(rename = "exactReference", rename_all = "camelCase")]
    ExactReference { docker_reference: String },
    #[serde(rename = "exactRepository", rename_all = "camelCase")]
    ExactRepository { docker_repository: String },
    #[serde(rename = "remapIdentity", rename_all = "camelCase")]
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

impl Identity {
    /// Whether a signature for `signed` counts for `image`.
    pub(super) fn accepts(&self, image: &Reference, signed: &str) -> bool {
        match self {
            Self::Exact {} => exact(image, signed),
            Self::RepoDigestOrExact => repo_digest_or_exact(image, signed),
            Self::Repository {} => repository(signed).is_some_and(|signed| signed == name(image)),
            Self::ExactReference { docker_reference } => {
                full(docker_reference).is_some_and(|wanted| full(signed) == Some(wanted))
            }
            Self::ExactRepository { docker_repository } => repository(docker_repository)
                .is_some_and(|wanted| repository(signed) == Some(wanted)),
            Self::Remap {
                prefix,
                signed_prefix,
            } => {
                let whole = image.to_string();
                let rest = whole.strip_prefix(prefix.as_str());
                // A prefix ends where a part of the name ends.
                match rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@'])) {
                    Some(rest) => Reference::parse(&format!("{signed_prefix}{rest}"))
                        .is_ok_and(|image| repo_digest_or_exact(&image, signed)),
                    None => repo_digest_or_exact(image, signed),
                }
            }
        }
    }
}

fn exact(image: &Reference, signed: &str) -> bool {
    image.digest().is_none()
        && full(signed).is_some_and(|signed| (name(image), tag(image)) == signed)
}

fn repo_digest_or_exact(image: &Reference, signed: &str) -> bool {
    match image.digest() {
        Some(_) => repository(signed).is_some_and(|signed| signed == name(image)),
        None => exact(image, signed),
    }
}

fn name(image: &Reference) -> String {
    format!("{}/{}", image.registry(), image.repository())
}

fn tag(image: &Reference) -> String {
    image.tag().unwrap_or("latest").to_owned()
}

fn repository(signed: &str) -> Option<String> {
    Reference::parse(signed).ok().map(|signed| name(&signed))
}

/// Repository and tag. A name without one says nothing exact, so it equals nothing.
fn full(signed: &str) -> Option<(String, String)> {
    let last = signed.rsplit('/').next()?;
    let parsed = Reference::parse(signed).ok()?;
    (last.contains(':') && parsed.digest().is_none()).then(|| (name(&parsed), tag(&parsed)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn accepts(identity: &str, image: &str, signed: &str) -> bool {
        let identity: Identity = serde_json::from_str(identity).unwrap();
        identity.accepts(&Reference::parse(image).unwrap(), signed)
    }

    #[test]
    fn a_signature_counts_for_the_name_that_the_policy_says() {
        let digest = format!("example.com/a/b@sha256:{}", "0".repeat(64));
        let exact = r#"{"type": "matchExact"}"#;
        assert!(accepts(exact, "example.com/a/b:1", "example.com/a/b:1"));
        assert!(!accepts(exact, "example.com/a/b:1", "example.com/a/b:2"));
        assert!(!accepts(exact, "example.com/a/b:latest", "example.com/a/b"));
        assert!(!accepts(exact, &digest, "example.com/a/b:1"));
        let default = r#"{"type": "matchRepoDigestOrExact"}"#;
        assert!(accepts(default, &digest, "example.com/a/b:1"));
        assert!(accepts(default, "busybox:1", "docker.io/library/busybox:1"));
        assert!(!accepts(default, "example.com/a/b:1", "example.com/a/b"));
        let repository = r#"{"type": "matchRepository"}"#;
        assert!(accepts(repository, "example.com/a/b:1", "example.com/a/b"));
        assert!(!accepts(
            repository,
            "example.com/a/b:1",
            "example.com/a/bb"
        ));
        let reference = r#"{"type": "exactReference", "dockerReference": "other.org/x:1"}"#;
        assert!(accepts(reference, "example.com/a/b:1", "other.org/x:1"));
        assert!(!accepts(
            reference,
            "example.com/a/b:1",
            "example.com/a/b:1"
        ));
        let remap = r#"{"type": "remapIdentity", "prefix": "mirror.local/m", "signedPrefix": "example.com"}"#;
        assert!(accepts(remap, "mirror.local/m/b:1", "example.com/b:1"));
        assert!(!accepts(remap, "mirror.local/mm/b:1", "example.com/b:1"));
        assert!(accepts(remap, "elsewhere.org/b:1", "elsewhere.org/b:1"));
    }
}
