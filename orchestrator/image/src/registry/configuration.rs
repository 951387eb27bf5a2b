//! `registries.conf` (version 2) and `registries.conf.d`: where the images of a name are, as podman, skopeo and buildah
//! have it. Short names stay Docker's: `unqualified-search-registries` and aliases have no say in what a stack file means.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why `registries.conf` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The parser's own text has line, column and the line itself.
    #[error("{path} is not a registries.conf of version 2")]
    Parse {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error(
        "{path} is a registries.conf of version 1 ([registries.search] and its like), which is not followed; \
             write [[registry]] tables"
    )]
    Old { path: PathBuf },
    #[error("{path}: a [[registry]] has neither prefix nor location")]
    Nameless { path: PathBuf },
    #[error("{path}: prefix {prefix:?}: {reason}")]
    Prefix {
        path: PathBuf,
        prefix: String,
        reason: &'static str,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Entry>,
    /// Of version 1. To pass over what it blocks would be worse than to stop.
    registries: Option<toml::Value>,
    #[serde(rename = "credential-helpers")]
    credential_helpers: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: PullFromMirror,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryLocation {
    pub host: String,
    pub repository: String,
    /// Plain HTTP and unknown certificates are accepted.
    pub insecure: bool,
}

/// What the configuration says of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Locations {
    /// The prefix that blocks it.
    Blocked(String),
    /// Mirrors in order, then the registry itself.
    Ask(Vec<RepositoryLocation>),
}

/// What podman calls its own files among the helpers.
const FILES: &str = "containers-auth.json";

/// All entries that count, each with its prefix filled in.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    entries: Vec<Entry>,
    pub(super) credential_helpers: Vec<String>,
}

impl Configuration {
    /// Reads a file and the `.d` folder beside it; what is not there says nothing.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigurationError> {
        let mut files = vec![file.to_owned()];
        let folder = file.with_extension("conf.d");
        match fs::read_dir(&folder) {
            Ok(entries) => {
                let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                more.retain(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "conf")
                });
                more.sort();
                files.extend(more);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigurationError::Read {
                    path: folder,
                    source,
                });
            }
        }
        let mut configuration = Self::default();
        for path in files {
            match fs::read_to_string(&path) {
                Ok(text) => configuration.add(&path, &text)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(ConfigurationError::Read { path, source }),
            }
        }
        Ok(configuration)
    }

    /// A later file's entry replaces an earlier one for the same prefix.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), ConfigurationError> {
        let parsed: File = toml::from_str(text).map_err(|source| ConfigurationError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if parsed.registries.is_some() {
            return Err(ConfigurationError::Old {
                path: path.to_owned(),
            });
        }
        if let Some(helpers) = parsed.credential_helpers {
            self.credential_helpers = helpers.into_iter().filter(|name| name != FILES).collect();
        }
        for mut entry in parsed.registry {
            for location in std::iter::once(&mut entry.location)
                .chain(entry.mirror.iter_mut().map(|m| &mut m.location))
            {
                *location = location.trim_end_matches('/').to_owned();
            }
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            if entry.prefix.is_empty() {
                return Err(ConfigurationError::Nameless {
                    path: path.to_owned(),
                });
            }
            let refuse = |reason| {
                let prefix = entry.prefix.clone();
                Err(ConfigurationError::Prefix {
                    path: path.to_owned(),
                    prefix,
                    reason,
                })
            };
            let wildcard = entry.prefix.strip_prefix("*.");
            if entry.prefix.contains("://") {
                return refuse("it must be a name, not an address: host[:port][/path]");
            }
            if entry.prefix.contains('*') && wildcard.is_none_or(|rest| rest.contains(['*', '/'])) {
                return refuse(
                    "a wildcard may only replace the first labels of a host: *.example.com",
                );
            }
            if entry.mirror_by_digest_only
                && entry
                    .mirror
                    .iter()
                    .any(|mirror| mirror.pull_from_mirror != PullFromMirror::All)
            {
                return refuse(
                    "mirror-by-digest-only and a mirror's pull-from-mirror exclude each other",
                );
            }
            if entry.location.is_empty() && wildcard.is_none() {
                entry.location.clone_from(&entry.prefix);
            }
            self.entries.retain(|old| old.prefix != entry.prefix);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Where `host/repository` is, asked for by a tag or by a digest.
    pub(super) fn places(&self, host: &str, repository: &str, by_digest: bool) -> Locations {
        let name = if repository.is_empty() {
            host.to_owned()
        } else {
            format!("{host}/{repository}")
        };
        let best = self
            .entries
            .iter()
            .filter_map(|entry| Some((matched(&entry.prefix, &name)?, entry)));
        let itself = |insecure| RepositoryLocation {
            host: host.to_owned(),
            repository: repository.to_owned(),
            insecure,
        };
        let Some((length, entry)) = best.max_by_key(|(_, entry)| entry.prefix.len()) else {
            return Locations::Ask(vec![itself(false)]);
        };
        if entry.blocked {
            return Locations::Blocked(entry.prefix.clone());
        }
        let moved = |location: &str, insecure| {
            let moved = format!("{location}{}", &name[length..]);
            let (host, repository) = moved.split_once('/').unwrap_or((&moved, ""));
            RepositoryLocation {
                host: host.to_owned(),
                repository: repository.to_owned(),
                insecure,
            }
        };
        let wanted = |mirror: &&Mirror| match mirror.pull_from_mirror {
            _ if entry.mirror_by_digest_only => by_digest,
            PullFromMirror::All => true,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        };
        let mut places: Vec<RepositoryLocation> = entry
            .mirror
            .iter()
            .filter(wanted)
            .map(|mirror| moved(&mirror.location, mirror.insecure))
            .collect();
        places.push(match entry.location.as_str() {
            "" => itself(entry.insecure),
            location => moved(location, entry.insecure),
        });
        Locations::Ask(places)
    }
}

/// How many bytes of the name a prefix stands for.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or_default();
        let bare = host.split(':').next().unwrap_or_default();
        return (host.ends_with(domain) || bare.ends_with(domain)).then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(texts: &[&str]) -> Configuration {
        let mut configuration = Configuration::default();
        for text in texts {
            configuration
                .add(Path::new("registries.conf"), text)
                .unwrap();
        }
        configuration
    }

    fn asked(
        configuration: &Configuration,
        host: &str,
        repository: &str,
        by_digest: bool,
    ) -> Vec<String> {
        match configuration.places(host, repository, by_digest) {
            Locations::Blocked(prefix) => vec![format!("blocked by {prefix}")],
            Locations::Ask(places) => places
                .into_iter()
                .map(|place| {
                    format!(
                        "{}/{}{}",
                        place.host,
                        place.repository,
                        if place.insecure { " insecure" } else { "" }
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn the_longest_prefix_says_where_a_repository_is() {
        let conf = configuration(&[r#"
            unqualified-search-registries = ["quay.io"]
            short-name-mode = "enforcing"
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.example:5000/hub/"
            insecure = true
            [[registry]]
            prefix = "docker.io/secret"
            blocked = true
            [[registry]]
            prefix = "old.example/team"
            location = "new.example/group/team"
        "#]);
        let of = |host: &str, repository: &str| asked(&conf, host, repository, false);
        assert_eq!(
            of("docker.io", "library/x"),
            [
                "mirror.example:5000/hub/library/x insecure",
                "docker.io/library/x"
            ]
        );
        assert_eq!(of("docker.io", "secret/x"), ["blocked by docker.io/secret"]);
        assert_eq!(of("docker.io", "secretive/x").len(), 2);
        assert_eq!(
            of("old.example", "team/app"),
            ["new.example/group/team/app"]
        );
        assert_eq!(of("old.example", "other"), ["old.example/other"]);
        assert_eq!(of("docker.io.example", "x"), ["docker.io.example/x"]);
    }

    #[test]
    fn wildcards_stand_for_hosts_and_mirrors_may_be_for_digests_alone() {
        let conf = configuration(&[r#"
            [[registry]]
            prefix = "*.corp.example"
            insecure = true
            [[registry]]
            location = "q.example"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m.example"
            [[registry]]
            location = "t.example"
            [[registry.mirror]]
            location = "tags.example"
            pull-from-mirror = "tag-only"
        "#]);
        assert_eq!(
            asked(&conf, "a.corp.example:5000", "x", false),
            ["a.corp.example:5000/x insecure"]
        );
        assert_eq!(asked(&conf, "corp.example", "x", false), ["corp.example/x"]);
        assert_eq!(asked(&conf, "q.example", "x", false), ["q.example/x"]);
        assert_eq!(
            asked(&conf, "q.example", "x", true),
            ["m.example/x", "q.example/x"]
        );
        assert_eq!(asked(&conf, "t.example", "x", true), ["t.example/x"]);
        assert_eq!(
            asked(&conf, "t.example", "x", false),
            ["tags.example/x", "t.example/x"]
        );
    }

    #[test]
    fn a_later_file_replaces_a_prefix_and_mistakes_are_named() {
        let conf = configuration(&[
            "[[registry]]\nlocation = \"a\"\nblocked = true",
            "[[registry]]\nlocation = \"a\"",
        ]);
        assert_eq!(asked(&conf, "a", "x", false), ["a/x"]);
        let add = |text: &str| {
            Configuration::default()
                .add(Path::new("f"), text)
                .unwrap_err()
                .to_string()
        };
        assert!(add("[[registry]]\ninsecure = true").contains("neither prefix nor location"));
        assert!(add("[[registry]]\nprefix = \"https://a\"").contains("not an address"));
        assert!(add("[[registry]]\nprefix = \"a*b\"").contains("wildcard"));
        assert!(add("[registries.block]\nregistries = [\"a\"]").contains("version 1"));
        assert!(
            add(
                "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n\
                 [[registry.mirror]]\nlocation = \"m\"\npull-from-mirror = \"tag-only\""
            )
            .contains("exclude each other")
        );
        assert!(add("registry = 1").contains("not a registries.conf of version 2"));
    }
}
