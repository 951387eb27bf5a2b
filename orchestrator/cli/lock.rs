//! Owns `stack.lock`: the digest of every image that a stack takes from a registry, beside the stack file.
//!
//! Digests are those of what the registry has under the name, for all platforms together, so that one lock serves
//! machines of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt};
use hoist_client::Client;
use hoist_spec::Loaded;
use hoist_spec::model::{Service, Stack};
use serde::{Deserialize, Serialize};

use crate::credentials;
use crate::error::{Failure, Result};

const NAME: &str = "stack.lock";
const VERSION: u32 = 1;
/// Registries are asked side by side; most of a stack's images are at one or two.
const AT_ONCE: usize = 8;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    version: u32,
    /// By image, as the stack file names it.
    pub(crate) images: BTreeMap<String, String>,
}

impl Lock {
    /// `None`: there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", path, error)),
        };
        let at = |line: usize, column: usize| format!("{}:{line}:{column}", path.display());
        let lock: Self = serde_json::from_str(&text).map_err(|error| {
            // serde_json says the place once more at the end.
            let reason = error.to_string();
            let reason = reason
                .split(" at line ")
                .next()
                .unwrap_or_default()
                .to_owned();
            Failure::user(format!(
                "{}: not a lock file: {reason}",
                at(error.line(), error.column())
            ))
            .hint("`hoist lock` writes a new one once this one is gone")
        })?;
        if lock.version != VERSION {
            let version = lock.version;
            return Err(Failure::user(format!(
                "{}: lock files of version {version} are unknown",
                at(1, 1)
            ))
            .hint("a newer hoist wrote it: update this one"));
        }
        for (image, digest) in &lock.images {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64
                || !hex
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            {
                let line = text
                    .lines()
                    .position(|line| line.contains(&format!("\"{image}\"")))
                    .unwrap_or(0)
                    + 1;
                return Err(
                    Failure::user(format!("{}: {digest:?} is not a digest", at(line, 1))).hint(
                        format!("`hoist lock` asks the registry for the digest of {image}"),
                    ),
                );
            }
        }
        Ok(Some(lock))
    }

    pub(crate) fn new(images: BTreeMap<String, String>) -> Self {
        Self {
            version: VERSION,
            images,
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(anyhow::Error::new)? + "\n";
        // Beside it first: half a lock would be refused, but the old one would be gone.
        let fresh = path.with_extension("lock.new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, path))
            .map_err(|error| failed("write", path, error))
    }
}

fn failed(attempt: &str, path: &Path, error: std::io::Error) -> Failure {
    Failure::from(anyhow::Error::new(error).context(format!("cannot {attempt} {}", path.display())))
}

/// The lock's place: beside the first stack file.
pub(crate) fn path(loaded: &Loaded) -> PathBuf {
    let first = loaded
        .files
        .iter()
        .find(|file| file.is_absolute())
        .and_then(|file| file.parent());
    first.unwrap_or(&loaded.project_dir).join(NAME)
}

/// The images that come from registries: not those that are built here, nor those that name their digest themselves.
pub(crate) fn images(stack: &Stack, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let services = stack.services.iter().filter(|(name, _)| wanted(name));
    services
        .filter_map(|(_, service)| pulled(service).cloned())
        .collect()
}

fn pulled(service: &Service) -> Option<&String> {
    service
        .image
        .as_ref()
        .filter(|image| service.build.is_none() && !image.contains('@'))
}

/// What the registries have for these images now.
pub(crate) async fn digests(
    client: &Client,
    images: BTreeSet<String>,
) -> Result<BTreeMap<String, String>> {
    let one = async |image: String| -> Result<(String, String)> {
        let auth = credentials::of_images([image.as_str()]).map_err(anyhow::Error::new)?;
        let found = client.resolve_image(&image, &auth).await?;
        Ok((image, found.descriptor.digest))
    };
    futures_util::stream::iter(images)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Pins every image of the stack to what the lock says.
pub(crate) fn pin(loaded: &mut Loaded) -> Result<()> {
    let path = path(loaded);
    let lock = Lock::read(&path)?.ok_or_else(|| {
        Failure::user(format!("there is no {}", path.display()))
            .hint("`hoist lock` writes it: commit it with the stack file")
    })?;
    for (name, service) in &mut loaded.stack.services {
        let Some(image) = pulled(service) else {
            continue;
        };
        let Some(digest) = lock.images.get(image) else {
            return Err(Failure::user(format!(
                "service `{name}`: {image} is not in {}",
                path.display()
            ))
            .hint("the stack file has changed since; `hoist lock` brings the lock up to date"));
        };
        service.image = Some(format!("{image}@{digest}"));
    }
    Ok(())
}
