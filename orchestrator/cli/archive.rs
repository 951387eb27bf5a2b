//! Owns the local side of `cp`: interpreting local paths, packing them, and unpacking untrusted archives from
//! containers. The engine interprets container paths.

use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures_util::stream;
use hoist_client::Client;
use hoist_image::{Copied, CopyTar, Copying, Owners, Top, pack_copy};
use rustix::fs::{FileType, Mode, OFlags};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use crate::error::{Failure, Result};

/// A side of a copy, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyPath<'a> {
    Local(&'a str),
    Container { service: &'a str, path: &'a str },
}

impl<'a> CopyPath<'a> {
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

/// Whether a path only means a folder, as written.
fn wants_folder(path: &str) -> bool {
    path.ends_with('/') || means_content(path)
}

/// `dir/.`: its content, not the folder itself.
fn means_content(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// A local file or folder to send.
#[derive(Debug)]
pub(crate) struct Source {
    folder: OwnedFd,
    name: CString,
    /// What it is called when it goes into a folder: a link that is followed keeps its own name.
    shown: OsString,
    pub(crate) content: bool,
}

impl Source {
    pub(crate) fn look(working_dir: &Path, text: &str, follow: bool) -> Result<Self> {
        let look = || -> anyhow::Result<Self> {
            let typed = working_dir.join(text);
            let path = if follow || wants_folder(text) {
                typed.canonicalize()?
            } else {
                named(&typed)?
            };
            let meta = path.symlink_metadata()?;
            anyhow::ensure!(meta.is_dir() || !wants_folder(text), "it is not a folder");
            let kind = FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&meta));
            anyhow::ensure!(
                kind != FileType::Socket,
                "it is a socket, which is nothing without its process"
            );
            let parent = path.parent().unwrap_or(Path::new("/"));
            let folder = rustix::fs::open(
                parent,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let name = path.file_name().unwrap_or(".".as_ref());
            let shown = named(&typed)?
                .file_name()
                .unwrap_or(".".as_ref())
                .to_owned();
            Ok(Self {
                folder,
                name: CString::new(name.as_bytes())?,
                shown,
                content: means_content(text),
            })
        };
        Ok(look().with_context(|| format!("cannot copy {text}"))?)
    }

    fn pack(&self, keep_owner: bool, out: impl Write) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(64 << 10, out);
        let owner = if keep_owner { None } else { Some((0, 0)) };
        pack_copy(
            self.folder.as_fd(),
            &self.name,
            self.shown.as_bytes(),
            owner,
            &mut out,
        )
        .map_err(io::Error::other)?;
        out.flush()
    }
}

/// A path whose last part is a name: `..` has none of its own.
fn named(path: &Path) -> io::Result<PathBuf> {
    if path.file_name().is_some() {
        Ok(path.to_owned())
    } else {
        path.canonicalize()
    }
}

pub(crate) fn absolute(path: &str) -> String {
    match path.trim_start_matches('/') {
        // The root has no name: its content is meant.
        "" => "/.".to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("/{path}"),
    }
}

const CHUNKS: usize = 8;

pub(crate) async fn send(
    client: &Client,
    container: &str,
    source: std::sync::Arc<Source>,
    path: &str,
    keep_owner: bool,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel::<io::Result<Vec<u8>>>(CHUNKS);
    let content = source.content;
    let packing = tokio::task::spawn_blocking(move || {
        let packed = source.pack(
            keep_owner,
            Outgoing {
                sender: sender.clone(),
            },
        );
        if let Err(error) = &packed {
            // The receiver must not mistake a truncated stream for a complete one.
            let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        packed
    });
    let chunks = stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((chunk.map(io::Cursor::new), receiver))
    });
    let sent = client
        .copy_in(
            container,
            path,
            content,
            StreamReader::new(Box::pin(chunks)),
        )
        .await;
    match packing.await.map_err(anyhow::Error::new)? {
        // The engine stopped reading, and says why.
        Err(error) if sent.is_err() && is_broken_pipe(&error) => {}
        packed => packed.map_err(anyhow::Error::new)?,
    }
    Ok(sent?)
}

fn is_broken_pipe(error: &io::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

struct Outgoing {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender
            .blocking_send(Ok(bytes.to_vec()))
            .map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

pub(crate) async fn fetch(client: &Client, fetch: &Fetch<'_>) -> Result<Copied> {
    let path = absolute(fetch.path);
    let (mut bytes, stat) = client
        .get_archive(fetch.container, &path, fetch.follow)
        .await?;
    let target = Target::find(
        is_folder(&stat),
        means_content(&path),
        fetch.target,
        fetch.wants_folder,
    )?;
    let keep_owner = fetch.keep_owner;
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(CHUNKS);
    let unpacking = tokio::task::spawn_blocking(move || target.unpack(receiver, keep_owner));
    while let Some(chunk) = bytes.next().await? {
        // It has failed, and says why below.
        if sender.send(chunk.to_vec()).await.is_err() {
            break;
        }
    }
    drop(sender);
    unpacking.await.map_err(anyhow::Error::new)?
}

/// From docker's stat document, whose mode is Go's: the highest bit says folder.
fn is_folder(stat: &serde_json::Value) -> bool {
    stat.get("mode")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0)
        & (1 << 31)
        != 0
}

/// The local destination of a copy from a container.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    folder: PathBuf,
    top: Named,
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    AsThere,
    As(OsString),
    ContentOnly,
}

impl Target {
    fn find(is_folder: bool, content: bool, target: &Path, wants_folder: bool) -> Result<Self> {
        let shown = target.display();
        match std::fs::metadata(target) {
            Ok(meta) if meta.is_dir() => {
                let top = if content {
                    Named::ContentOnly
                } else {
                    Named::AsThere
                };
                Ok(Self {
                    folder: target.to_owned(),
                    top,
                })
            }
            Ok(_) if is_folder => Err(Failure::user(format!(
                "cannot copy a folder over the file {shown}"
            ))),
            Ok(_) if wants_folder => Err(Failure::user(format!("{shown} is not a folder"))),
            Err(_) if !is_folder && wants_folder => {
                Err(Failure::user(format!("folder {shown} does not exist")))
            }
            _ => {
                let target = led(target.to_owned());
                let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
                if !parent.is_dir() {
                    return Err(Failure::user(format!(
                        "folder {} does not exist",
                        parent.display()
                    )));
                }
                let name = target.file_name().map(OsString::from);
                Ok(Self {
                    folder: parent,
                    top: name.map_or(Named::AsThere, Named::As),
                })
            }
        }
    }

    fn unpack(&self, receiver: mpsc::Receiver<Vec<u8>>, keep_owner: bool) -> Result<Copied> {
        let unpack = || -> anyhow::Result<Copied> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(&self.folder, flags, Mode::empty())?;
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            let owners = if keep_owner {
                Owners::Kept
            } else {
                Owners::Given(uid.as_raw(), gid.as_raw())
            };
            let top = match &self.top {
                Named::AsThere => Top::Kept,
                Named::As(name) => Top::Named(name.as_bytes()),
                Named::ContentOnly => Top::Left,
            };
            let copying = Copying {
                base: Path::new(""),
                top,
                owners,
                // Neither a link in the archive nor a local one may lead to other files.
                follow: false,
                exchange: false,
                devices: false,
                trusted: keep_owner && uid.is_root(),
            };
            let archive = CopyTar::open(Incoming {
                receiver,
                chunk: Vec::new(),
                read: 0,
            })?;
            Ok(archive.unpack(root.as_fd(), &copying)?)
        };
        Ok(unpack().with_context(|| format!("cannot copy to {}", self.folder.display()))?)
    }
}

/// The target of symbolic links, which may not exist.
fn led(mut path: PathBuf) -> PathBuf {
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}

struct Incoming {
    receiver: mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => (self.chunk, self.read) = (chunk, 0),
            }
        }
        let rest = &self.chunk[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_with_colons_can_be_local() {
        assert_eq!(CopyPath::parse("./a:b"), CopyPath::Local("./a:b"));
        assert_eq!(
            CopyPath::parse("web:/etc"),
            CopyPath::Container {
                service: "web",
                path: "/etc"
            }
        );
        assert_eq!(CopyPath::parse("-"), CopyPath::Local("-"));
    }

    #[test]
    fn what_comes_from_a_container_gets_the_name_that_docker_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("f"), "x").unwrap();
        symlink("d", at("to-d")).unwrap();
        symlink("f", at("to-f")).unwrap();
        symlink("d/new", at("dangling")).unwrap();
        let placed = |is_folder, content, target: &str| {
            let found = Target::find(is_folder, content, &at(target), target.ends_with('/'));
            found.ok().map(|target| (target.folder, target.top))
        };
        let renamed = |folder: &str, name: &str| Some((at(folder), Named::As(name.into())));
        assert_eq!(placed(false, false, "d"), Some((at("d"), Named::AsThere)));
        assert_eq!(placed(true, true, "d"), Some((at("d"), Named::ContentOnly)));
        assert_eq!(
            placed(true, false, "to-d"),
            Some((at("to-d"), Named::AsThere))
        );
        assert_eq!(placed(false, false, "f"), renamed("", "f"));
        assert_eq!(placed(false, false, "to-f"), renamed("", "f"));
        assert_eq!(placed(false, false, "dangling"), renamed("d", "new"));
        assert_eq!(placed(true, true, "new"), renamed("", "new"));
        assert_eq!(placed(true, false, "new/"), renamed("", "new"));
        assert_eq!(placed(true, false, "f"), None);
        assert_eq!(placed(false, false, "new/"), None);
        assert_eq!(placed(false, false, "no/where"), None);
    }

    #[test]
    fn what_is_sent_is_called_as_it_was_typed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        symlink("d", at("link")).unwrap();
        let look = |text: &str, follow| {
            let source = Source::look(folder.path(), text, follow).unwrap();
            (
                source.name.into_string().unwrap(),
                source.shown.into_string().unwrap(),
                source.content,
            )
        };
        let told = |name: &str, shown: &str, content| (name.to_owned(), shown.to_owned(), content);
        assert_eq!(look("link", false), told("link", "link", false));
        assert_eq!(look("link", true), told("d", "link", false));
        assert_eq!(look("link/", false), told("d", "link", false));
        assert_eq!(look("link/.", false), told("d", "link", true));
        assert!(!look("d/..", false).2);
        assert!(Source::look(folder.path(), "none", false).is_err());
    }

    fn unpack(bytes: Vec<u8>, folder: &Path) -> Result<Copied> {
        let (sender, receiver) = mpsc::channel(1);
        sender.blocking_send(bytes).unwrap();
        drop(sender);
        Target {
            folder: folder.to_owned(),
            top: Named::As("c".into()),
        }
        .unpack(receiver, false)
    }

    #[test]
    fn links_in_the_stream_are_not_followed() {
        for target in ["/tmp", "..", "../other"] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_entry_type(tar::EntryType::Directory);
            builder
                .append_data(&mut header.clone(), "r", io::empty())
                .unwrap();
            header.set_entry_type(tar::EntryType::Symlink);
            builder
                .append_link(&mut header.clone(), "r/out", target)
                .unwrap();
            header.set_entry_type(tar::EntryType::Regular);
            builder
                .append_data(&mut header, "r/out/evil", io::empty())
                .unwrap();
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("other")).unwrap();
            assert!(
                unpack(builder.into_inner().unwrap(), folder.path()).is_err(),
                "{target}"
            );
            assert!(folder.path().join("c/out").is_symlink());
            assert!(
                !folder.path().join("evil").exists() && !folder.path().join("other/evil").exists()
            );
        }
    }
}
