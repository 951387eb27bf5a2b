//! An OCI image layout in a folder of the user's: what is in it, found by tag or digest, and content added to it.
//!
//! Nothing of it is believed before it has its digest. What is written appears whole: content first, the table last.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::index::OCI_INDEX;
use crate::manifest::{Descriptor, MAX_MANIFEST, OCI_MANIFEST};
use crate::save::{OCI_LAYOUT, REF_NAME};
use crate::{Digest, Hasher};

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("{attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0} is not an OCI image layout: it has no index.json")]
    None(PathBuf),
    #[error("{path} is not what it should be")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} is longer than {most} bytes")]
    TooLong { path: PathBuf, most: u64 },
    #[error("{path} does not have its digest")]
    Digest { path: PathBuf },
    #[error("{folder} holds no {wanted}, only {there}")]
    NoSuch {
        folder: PathBuf,
        wanted: String,
        there: String,
    },
}

/// `FOLDER[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayoutName {
    pub folder: PathBuf,
    /// `None`: the only entry, or the one that is called `latest`.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl LayoutName {
    pub fn parse(text: &str) -> Result<Self, crate::DigestError> {
        let (rest, digest) = match text.rsplit_once('@') {
            Some((rest, digest)) if digest.starts_with("sha256:") => {
                (rest, Some(Digest::parse(digest)?))
            }
            _ => (text, None),
        };
        let (folder, tag) = match rest.rsplit_once(':') {
            Some((folder, tag)) if !tag.contains('/') && !tag.is_empty() => {
                (folder, Some(tag.to_owned()))
            }
            _ => (rest, None),
        };
        Ok(Self {
            folder: PathBuf::from(folder),
            tag,
            digest,
        })
    }
}

impl fmt::Display for LayoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.folder.display())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Layout(PathBuf);

#[derive(serde::Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

impl Layout {
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn index(&self) -> PathBuf {
        self.0.join("index.json")
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    /// The entry of the table of contents that the name means.
    pub(crate) fn find(&self, name: &LayoutName) -> Result<Descriptor, LayoutError> {
        let path = self.index();
        let bytes = match read(&path, MAX_MANIFEST) {
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(LayoutError::None(self.0.clone()));
            }
            other => other?,
        };
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })?;
        let tag_of = |entry: &Descriptor| entry.annotations.as_ref()?.get(REF_NAME).cloned();
        // Some tools write the whole reference where others write the tag.
        let tagged = |entry: &&Descriptor, tag: &str| {
            tag_of(entry).is_some_and(|own| {
                own == tag || own.rsplit_once(':').is_some_and(|(_, last)| last == tag)
            })
        };
        let found = match (&name.digest, &name.tag, index.manifests.as_slice()) {
            (Some(digest), ..) => index.manifests.iter().find(|entry| entry.digest == *digest),
            (None, Some(tag), entries) => entries.iter().find(|entry| tagged(entry, tag)),
            (None, None, [only]) => Some(only),
            (None, None, entries) => entries.iter().find(|entry| tagged(entry, "latest")),
        };
        found.cloned().ok_or_else(|| {
            let names = index
                .manifests
                .iter()
                .map(|entry| tag_of(entry).unwrap_or_else(|| entry.digest.to_string()));
            let there: Vec<String> = names
                .map(|name| name.chars().filter(|c| !c.is_control()).collect())
                .collect();
            let wanted = match (&name.digest, &name.tag) {
                (Some(digest), _) => digest.to_string(),
                (None, tag) => format!("tag {}", tag.as_deref().unwrap_or("latest")),
            };
            let there = if there.is_empty() {
                "nothing".to_owned()
            } else {
                there.join(", ")
            };
            LayoutError::NoSuch {
                folder: self.0.clone(),
                wanted,
                there,
            }
        })
    }

    /// Small content, which has its digest.
    pub(crate) fn bytes(&self, digest: &Digest, most: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob(digest);
        let bytes = read(&path, most)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(LayoutError::Digest { path })
        }
    }

    /// Content of any length, which may be anything: the reader checks the digest.
    pub(crate) fn open(&self, digest: &Digest) -> Result<File, LayoutError> {
        open(&self.blob(digest))
    }

    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|there| there.is_file() && there.len() == size)
    }

    /// Makes the folder be a layout.
    pub(crate) fn create(&self) -> Result<(), LayoutError> {
        let blobs = self.0.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(failed("creating", &blobs))?;
        self.place(&self.0.join("oci-layout"), OCI_LAYOUT)
    }

    /// Adds what `write` writes under its digest; gives that and the length.
    pub(crate) fn add<E: From<LayoutError>>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(Digest, u64), E> {
        let draft =
            tempfile::NamedTempFile::with_prefix_in(".partial-", &self.0).map_err(|source| {
                LayoutError::Io {
                    attempt: "writing into",
                    path: self.0.clone(),
                    source,
                }
            })?;
        let mut output = Counting {
            output: io::BufWriter::new(draft),
            hasher: Hasher::new(),
            size: 0,
        };
        write(&mut output)?;
        let Counting {
            output,
            hasher,
            size,
        } = output;
        let digest = hasher.finish();
        let path = self.blob(&digest);
        let draft = output
            .into_inner()
            .map_err(|error| failed("writing", &path)(error.into_error()))?;
        readable(&draft, &path)?;
        draft
            .persist(&path)
            .map_err(|error| failed("writing", &path)(error.error))?;
        Ok((digest, size))
    }

    /// Gives a manifest its tag, in place of the one that had it.
    pub(crate) fn name(&self, manifest: &[u8], tag: &str) -> Result<Digest, LayoutError> {
        let (digest, size) = self.add::<LayoutError>(|output| {
            output
                .write_all(manifest)
                .map_err(|source| LayoutError::Io {
                    attempt: "writing into",
                    path: self.0.clone(),
                    source,
                })
        })?;
        let path = self.index();
        let mut index = match read(&path, MAX_MANIFEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json {
                path: path.clone(),
                source,
            })?,
            Err(LayoutError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] })
            }
            Err(error) => return Err(error),
        };
        let mut entries: Vec<Value> = index["manifests"].as_array().cloned().unwrap_or_default();
        entries.retain(|entry| entry["annotations"][REF_NAME] != tag);
        entries.push(json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "annotations": { REF_NAME: tag },
        }));
        index["manifests"] = entries.into();
        self.place(&path, index.to_string().as_bytes())?;
        Ok(digest)
    }

    /// Every manifest that the table of contents names.
    pub(crate) fn manifests(&self) -> Result<Vec<Vec<u8>>, LayoutError> {
        let path = self.index();
        let bytes = read(&path, MAX_MANIFEST)?;
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })?;
        index
            .manifests
            .iter()
            .map(|entry| self.bytes(&entry.digest, MAX_MANIFEST))
            .collect()
    }

    /// Removes content that nothing names any more.
    pub(crate) fn keep_only(&self, digests: &BTreeSet<Digest>) -> Result<(), LayoutError> {
        let folder = self.0.join("blobs/sha256");
        for entry in fs::read_dir(&folder)
            .map_err(failed("listing", &folder))?
            .flatten()
        {
            let digest = entry.file_name().to_str().and_then(Digest::from_hex);
            if digest.is_some_and(|digest| !digests.contains(&digest)) {
                let path = entry.path();
                fs::remove_file(&path).map_err(failed("removing", &path))?;
            }
        }
        Ok(())
    }

    fn place(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        let mut draft = tempfile::NamedTempFile::with_prefix_in(".partial-", &self.0)
            .map_err(failed("writing into", &self.0))?;
        draft.write_all(bytes).map_err(failed("writing", path))?;
        readable(&draft, path)?;
        draft
            .persist(path)
            .map(drop)
            .map_err(|error| failed("writing", path)(error.error))
    }
}

/// It belongs to the user, who may not be the engine's user.
fn readable(draft: &tempfile::NamedTempFile, path: &Path) -> Result<(), LayoutError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    draft
        .as_file()
        .set_permissions(mode)
        .map_err(failed("writing", path))
}

/// Nothing but a plain file: a pipe would never end.
fn open(path: &Path) -> Result<File, LayoutError> {
    let plain = fs::metadata(path)
        .map_err(failed("opening", path))?
        .is_file();
    if !plain {
        return Err(failed("opening", path)(io::Error::other(
            "it is not a file",
        )));
    }
    File::open(path).map_err(failed("opening", path))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("reading", path))?;
    if bytes.len() as u64 > most {
        Err(LayoutError::TooLong {
            path: path.to_owned(),
            most,
        })
    } else {
        Ok(bytes)
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io {
        attempt,
        path,
        source,
    }
}

struct Counting<W> {
    output: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_folder_a_tag_and_a_digest() {
        let digest = Digest::of(b"x");
        let name = |text: &str| LayoutName::parse(text).unwrap();
        let plain = LayoutName {
            folder: PathBuf::from("/a.b/c"),
            tag: None,
            digest: None,
        };
        assert_eq!(name("/a.b/c"), plain);
        assert_eq!(
            name("/a.b/c:1.0"),
            LayoutName {
                tag: Some("1.0".to_owned()),
                ..plain.clone()
            }
        );
        assert_eq!(
            name(&format!("/a.b/c@{digest}")),
            LayoutName {
                digest: Some(digest),
                ..plain
            }
        );
        assert_eq!(name("/odd:colon/c").folder, PathBuf::from("/odd:colon/c"));
        assert!(LayoutName::parse("/a@sha256:1").is_err());
    }
}
