//! Owns `cp`: which name a copy gets, packing what is here into a tar stream, and unpacking one that came from a
//! container, whose content is not to be trusted.

mod pack;
mod unpack;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use futures_util::stream;
use hoist_engine::client::Client;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use crate::error::{Failure, Result};

/// A side of a copy, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Local(&'a str),
    Container { service: &'a str, path: &'a str },
}

impl<'a> Place<'a> {
    /// A path that begins with `/` or `.` is here, whatever colons it has.
    pub(crate) fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((service, path)) if !service.is_empty() && !text.starts_with(['/', '.']) => {
                Self::Container { service, path }
            }
            _ => Self::Local(text),
        }
    }
}

/// A file or folder here that is to be sent.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    is_dir: bool,
    /// `dir/.`: what is in it, not the folder itself.
    content: bool,
}

impl Source {
    pub(crate) fn look(working_dir: &Path, text: &str, follow: bool) -> Result<Self> {
        let path = working_dir.join(text);
        let content = text == "." || text.ends_with("/.");
        let meta = if follow || content { std::fs::metadata(&path) } else { std::fs::symlink_metadata(&path) };
        let meta =
            meta.map_err(|error| Failure::from(anyhow::Error::new(error).context(format!("cannot copy {text}"))))?;
        let path = if follow { std::fs::canonicalize(&path)? } else { path };
        Ok(Self { path, is_dir: meta.is_dir(), content })
    }
}

/// A path in a container, and what is there.
#[derive(Debug)]
pub(crate) struct Destination {
    path: String,
    kind: Option<EntryKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    Folder,
    Other,
}

impl Destination {
    pub(crate) async fn look(client: &Client, container: &str, path: &str) -> Result<Self> {
        let path = absolute(path);
        let kind = look(client, container, &path).await?;
        Ok(Self { path, kind })
    }

    /// The folder that an archive from standard input is unpacked in.
    pub(crate) fn folder(&self) -> Result<&str> {
        match self.kind {
            Some(EntryKind::Folder) => Ok(&self.path),
            Some(EntryKind::Other) | None => Err(no_folder(&self.path)),
        }
    }
}

async fn look(client: &Client, container: &str, path: &str) -> Result<Option<EntryKind>> {
    match client.stat_archive(container, path).await {
        Ok(stat) => Ok(Some(kind(&stat))),
        Err(error) if error.not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn no_folder(path: &str) -> Failure {
    Failure::user(format!("folder {path} does not exist in the container"))
}

/// From docker's stat document, whose mode is Go's: the highest bit says folder.
fn kind(stat: &serde_json::Value) -> EntryKind {
    let mode = stat.get("mode").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if mode & (1 << 31) != 0 { EntryKind::Folder } else { EntryKind::Other }
}

/// Where a copy goes: the folder that it is unpacked in, and its name there (`None`: the content goes there directly).
fn placement(source: &Source, destination: &Destination) -> Result<(String, Option<String>)> {
    let path = destination.path.as_str();
    let trimmed = path.trim_end_matches('/');
    let name = source.path.file_name().map(|name| name.to_string_lossy().into_owned());
    match destination.kind {
        Some(EntryKind::Folder) if source.content => Ok((path.to_owned(), None)),
        Some(EntryKind::Folder) => Ok((path.to_owned(), name)),
        Some(EntryKind::Other) if source.is_dir => {
            Err(Failure::user(format!("cannot copy a folder over the file {path} of the container")))
        }
        None if !source.is_dir && path.ends_with('/') => Err(no_folder(path)),
        Some(EntryKind::Other) | None => {
            let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
            let parent = if parent.is_empty() { "/" } else { parent };
            Ok((parent.to_owned(), Some(name.to_owned())))
        }
    }
}

const CHUNKS: usize = 8;

pub(crate) async fn send(
    client: &Client,
    container: &str,
    source: &Source,
    destination: &Destination,
    keep_owner: bool,
) -> Result<()> {
    let (folder, name) = placement(source, destination)?;
    if look(client, container, &folder).await? != Some(EntryKind::Folder) {
        return Err(no_folder(&folder));
    }
    let (sender, receiver) = mpsc::channel::<std::io::Result<Vec<u8>>>(CHUNKS);
    let path = source.path.clone();
    let packing = tokio::task::spawn_blocking(move || pack::pack(&path, name.as_deref(), keep_owner, sender));
    let chunks = stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((chunk.map(std::io::Cursor::new), receiver))
    });
    let sent = client.put_archive(container, &folder, StreamReader::new(Box::pin(chunks))).await;
    packing.await.map_err(anyhow::Error::new)??;
    Ok(sent?)
}

/// What is to be fetched from a container, and where to.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub(crate) container: &'a str,
    pub(crate) path: &'a str,
    pub(crate) target: &'a Path,
    /// The target was typed with a slash at its end.
    pub(crate) wants_folder: bool,
    pub(crate) follow: bool,
    pub(crate) keep_owner: bool,
}

pub(crate) async fn fetch(client: &Client, fetch: &Fetch<'_>) -> Result<()> {
    let path = absolute(fetch.path);
    let source = if fetch.follow { followed(client, fetch.container, &path).await? } else { path.clone() };
    let (mut bytes, stat) = client.get_archive(fetch.container, &source).await?;
    // The name is that of the link, not of what it points to.
    let (folder, name) = local_placement(&path, kind(&stat), fetch.target, fetch.wants_folder)?;
    let keep_owner = fetch.keep_owner;
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(CHUNKS);
    let unpacking = tokio::task::spawn_blocking(move || unpack::unpack(receiver, &folder, name.as_deref(), keep_owner));
    while let Some(chunk) = bytes.next().await? {
        // It has failed, and says why below.
        if sender.send(chunk.to_vec()).await.is_err() {
            break;
        }
    }
    drop(sender);
    unpacking.await.map_err(anyhow::Error::new)??;
    Ok(())
}

/// Where a symbolic link in the container leads; any other path as it is.
async fn followed(client: &Client, container: &str, path: &str) -> Result<String> {
    let stat = client.stat_archive(container, path).await?;
    let target = stat.get("linkTarget").and_then(serde_json::Value::as_str).unwrap_or_default();
    if target.is_empty() || target.starts_with('/') {
        return Ok(if target.is_empty() { path.to_owned() } else { target.to_owned() });
    }
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    Ok(format!("{parent}/{target}"))
}

/// As [`placement`], in the other direction.
fn local_placement(
    path: &str,
    source: EntryKind,
    target: &Path,
    wants_folder: bool,
) -> Result<(PathBuf, Option<std::ffi::OsString>)> {
    let shown = target.display();
    let content = path.ends_with("/.");
    let last = path.trim_end_matches(['/', '.']).rsplit('/').next().unwrap_or_default();
    match std::fs::metadata(target) {
        Ok(meta) if meta.is_dir() && content => Ok((target.to_owned(), None)),
        Ok(meta) if meta.is_dir() => Ok((target.to_owned(), (!last.is_empty()).then(|| last.into()))),
        Ok(_) if source == EntryKind::Folder => {
            Err(Failure::user(format!("cannot copy a folder over the file {shown}")))
        }
        Err(_) if source == EntryKind::Other && wants_folder => {
            Err(Failure::user(format!("folder {shown} does not exist")))
        }
        _ => {
            let parent = target.parent().unwrap_or(Path::new("/"));
            if !parent.is_dir() {
                return Err(Failure::user(format!("folder {} does not exist", parent.display())));
            }
            Ok((parent.to_owned(), target.file_name().map(OsStr::to_owned)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, is_dir: bool, content: bool) -> Source {
        Source { path: path.into(), is_dir, content }
    }

    fn placed(source: &Source, path: &str, kind: Option<EntryKind>) -> Option<(String, Option<String>)> {
        placement(source, &Destination { path: path.to_owned(), kind }).ok()
    }

    fn some(folder: &str, name: &str) -> Option<(String, Option<String>)> {
        Some((folder.to_owned(), Some(name.to_owned())))
    }

    #[test]
    fn copies_get_the_names_that_docker_gives_them() {
        let (file, dir) = (source("/x/a.txt", false, false), source("/x/d", true, false));
        let folder = Some(EntryKind::Folder);
        assert_eq!(placed(&file, "/tmp", folder), some("/tmp", "a.txt"));
        assert_eq!(placed(&file, "/tmp/b.txt", None), some("/tmp", "b.txt"));
        assert_eq!(placed(&file, "/b.txt", Some(EntryKind::Other)), some("/", "b.txt"));
        assert_eq!(placed(&file, "/new/", None), None);
        assert_eq!(placed(&dir, "/tmp", folder), some("/tmp", "d"));
        assert_eq!(placed(&dir, "/tmp/e", None), some("/tmp", "e"));
        assert_eq!(placed(&dir, "/file", Some(EntryKind::Other)), None);
        assert_eq!(placed(&source("/x/d", true, true), "/tmp", folder), Some(("/tmp".to_owned(), None)));
    }

    #[test]
    fn paths_with_colons_can_be_local() {
        assert_eq!(Place::parse("./a:b"), Place::Local("./a:b"));
        assert_eq!(Place::parse("web:/etc"), Place::Container { service: "web", path: "/etc" });
        assert_eq!(Place::parse("-"), Place::Local("-"));
    }
}
