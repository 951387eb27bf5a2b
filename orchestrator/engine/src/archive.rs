//! Copies files into and out of containers for `cp`. Every path is resolved inside the container's root, by
//! descriptors: no link leads out of it, even if exchanged concurrently.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hoist_api::ErrorKind;
use hoist_image::{CopyTar, Copying, FolderError, Owners, Top, pack_copy};
use hoist_tree::{ResolvedPath, is_kernel_made};
use rustix::fs::{FileType, Mode, OFlags, Stat, openat, readlinkat};

use crate::actions::StepError;
use crate::error::chain;
use crate::rootview::RootView;

/// What is known of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    pub name: String,
    pub size: i64,
    /// Go's file mode bits.
    pub mode: u32,
    pub mtime: String,
    /// Where a link leads in the end, from the container's root.
    pub link_target: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("could not find the file {0} in the container")]
    Missing(String),
    #[error("{0} is not a folder")]
    NotAFolder(String),
    #[error("{0} is made by the kernel, not a file of the container; read it with exec")]
    KernelMade(String),
    #[error("cannot copy a folder over the file {0} of the container")]
    FolderOverFile(String),
    #[error("folder {0} does not exist in the container")]
    NoFolder(String),
    #[error("the archive is empty")]
    Empty,
    #[error("copying to the container's user: {0}")]
    NoUser(String),
    #[error("{0}: the container's root or the volume is read-only")]
    ReadOnly(String),
    #[error("{path}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {}", chain(source))]
    Archive { path: String, source: FolderError },
}

impl ArchiveError {
    fn at(path: &str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            io::ErrorKind::NotADirectory => Self::NotAFolder(path.to_owned()),
            _ => Self::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    fn unpacking(path: &str) -> impl Fn(FolderError) -> Self {
        move |source| {
            let mut cause: Option<&dyn std::error::Error> = Some(&source);
            while let Some(error) = cause {
                let known = error.downcast_ref::<io::Error>();
                if known.is_some_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem) {
                    return Self::ReadOnly(path.to_owned());
                }
                cause = error.source();
            }
            Self::Archive {
                path: path.to_owned(),
                source,
            }
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing(_) | Self::NoFolder(_) => ErrorKind::NotFound,
            Self::ReadOnly(_) => ErrorKind::Forbidden,
            Self::Io { source, .. } if !is_servers(source) => ErrorKind::Invalid,
            Self::Io { .. } => ErrorKind::Failed,
            Self::NotAFolder(_)
            | Self::NoUser(_)
            | Self::KernelMade(_)
            | Self::FolderOverFile(_)
            | Self::Empty => ErrorKind::Invalid,
            Self::Archive { source, .. } => match source {
                FolderError::Unpack(hoist_image::UnpackError::Io { source, .. })
                    if is_servers(source) =>
                {
                    ErrorKind::Failed
                }
                FolderError::Pack(_) => ErrorKind::Failed,
                _ => ErrorKind::Invalid,
            },
        }
    }
}

impl From<ArchiveError> for StepError {
    fn from(error: ArchiveError) -> Self {
        Self::of(error.kind(), chain(&error))
    }
}

/// Whether the failure is not caused by the requested names.
fn is_servers(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, ResourceBusy,
    };
    let kinds = [
        InvalidFilename,
        InvalidInput,
        IsADirectory,
        NotADirectory,
        NotFound,
        ResourceBusy,
    ];
    let of_names = kinds.contains(&error.kind());
    !of_names && rustix::io::Errno::from_io_error(error) != Some(rustix::io::Errno::LOOP)
}

/// Something that is there.
#[derive(Debug)]
pub(crate) struct Found {
    folder: OwnedFd,
    name: CString,
    stat: Stat,
    /// Its name as asked for: what the archive's first entry is called.
    shown: String,
    link_target: String,
}

/// Whether a path only means a folder, as written.
fn wants_folder(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || matches!(path, "" | ".")
}

/// Looks a path up. A link in its last part stands for itself, unless it is to be followed or a slash follows it.
pub(crate) fn find(view: &RootView, path: &str, follow: bool) -> Result<Found, ArchiveError> {
    let error = ArchiveError::at(path);
    let wants_folder = wants_folder(path);
    let place = view
        .resolve(Path::new(path), follow || wants_folder)
        .map_err(&error)?;
    let Some(stat) = place.stat else {
        return Err(ArchiveError::Missing(path.to_owned()));
    };
    if wants_folder && !place.is_folder() {
        return Err(ArchiveError::NotAFolder(path.to_owned()));
    }
    let mut link_target = String::new();
    if place.is_symlink() {
        let target = view
            .resolve(Path::new(path), true)
            .map(|target| Path::new("/").join(target.path()));
        link_target = match target {
            Ok(target) => target.to_string_lossy().into_owned(),
            // A dangling link.
            Err(_) => {
                let text = readlinkat(&place.folder, &place.name, Vec::new());
                text.map_err(|errno| error(errno.into()))?
                    .to_string_lossy()
                    .into_owned()
            }
        };
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(&place.folder, &place.name, flags, Mode::empty())
        .map_err(|errno| error(errno.into()))?;
    if is_kernel_made(found).map_err(&error)? {
        return Err(ArchiveError::KernelMade(path.to_owned()));
    }
    let name =
        CString::new(place.name.as_bytes()).map_err(|source| error(io::Error::other(source)))?;
    Ok(Found {
        shown: shown(path, &place),
        folder: place.folder,
        name,
        stat,
        link_target,
    })
}

/// As Go's path.Base has it, which docker's clients expect.
fn shown(path: &str, place: &ResolvedPath) -> String {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        _ if trimmed.is_empty() => "/".to_owned(),
        Some("..") => place.name.to_string_lossy().into_owned(),
        Some(name) => name.to_owned(),
        None => ".".to_owned(),
    }
}

fn go_mode(stat: &Stat) -> u32 {
    const DIR: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHAR: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => DIR,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR,
        FileType::Fifo => PIPE,
        FileType::Socket => SOCKET,
        _ => 0,
    };
    let special = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    let special = special
        .iter()
        .filter(|(bit, _)| stat.st_mode & bit != 0)
        .fold(0, |all, (_, go)| all | go);
    kind | special | (stat.st_mode & 0o777)
}

impl Found {
    pub(crate) fn stat(&self) -> PathStat {
        let nanoseconds = i32::try_from(self.stat.st_mtime_nsec).unwrap_or(0);
        let mtime = jiff::Timestamp::new(self.stat.st_mtime, nanoseconds).unwrap_or_default();
        PathStat {
            name: self.shown.clone(),
            size: self.stat.st_size,
            mode: go_mode(&self.stat),
            mtime: mtime.to_string(),
            link_target: self.link_target.clone(),
        }
    }

    /// Packs it recursively.
    pub(crate) fn pack(&self, out: &mut dyn Write) -> io::Result<()> {
        let packed = pack_copy(
            self.folder.as_fd(),
            &self.name,
            self.shown.as_bytes(),
            None,
            out,
        );
        packed.map(drop).map_err(io::Error::other)
    }
}

/// Unpacks into an existing folder of the container. `exchange`: whether a folder and something else may replace each
/// other.
pub(crate) fn unpack(
    view: &RootView,
    path: &str,
    archive: impl Read,
    exchange: bool,
    owners: Owners,
) -> Result<(), ArchiveError> {
    let place = view
        .resolve(Path::new(path), true)
        .map_err(ArchiveError::at(path))?;
    if place.stat.is_none() {
        return Err(ArchiveError::Missing(path.to_owned()));
    }
    if !place.is_folder() {
        return Err(ArchiveError::NotAFolder(path.to_owned()));
    }
    let archive = CopyTar::open(archive).map_err(ArchiveError::unpacking(path))?;
    let base = place.path();
    let copying = Copying {
        base: &base,
        top: Top::Kept,
        owners,
        follow: true,
        exchange,
        devices: true,
        trusted: true,
    };
    write(view, path, archive, &copying)
}

/// More than any real account file.
const ACCOUNTS: u64 = 16 << 20;

/// Whose files become that are to be a container's user's.
pub(crate) fn owners(view: &RootView, user: &str) -> Result<Owners, ArchiveError> {
    let read = |path: &str| {
        let file = view
            .open(Path::new(path), OFlags::PATH)
            .and_then(|found| hoist_tree::regular(&found));
        let mut text = Vec::new();
        match file {
            Ok((file, _)) => drop(
                file.take(ACCOUNTS)
                    .read_to_end(&mut text)
                    .map_err(ArchiveError::at(path))?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ArchiveError::at(path)(error)),
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let (uid, gid) = hoist_runtime::owner_of(user, &read("/etc/passwd")?, &read("/etc/group")?)
        .map_err(ArchiveError::NoUser)?;
    Ok(Owners::Given(uid, gid))
}

fn write(
    view: &RootView,
    path: &str,
    archive: CopyTar<'_>,
    copying: &Copying<'_>,
) -> Result<(), ArchiveError> {
    archive
        .unpack(view.root(), copying)
        .map(drop)
        .map_err(ArchiveError::unpacking(path))
}

/// The content of a copy's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// One file or folder.
    Entry,
    /// One folder, whose content is copied: `cp folder/. …`.
    Content,
}

/// Where a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placement {
    /// Into the target, under its own name.
    Inside,
    /// Its content goes into the target.
    Joined,
    /// It becomes the target.
    Target,
}

/// `there`: whether the target, when there is one, is a folder. The error is about the target.
fn placement(
    is_folder: bool,
    held: Held,
    there: Option<bool>,
    path: &str,
) -> Result<Placement, ArchiveError> {
    match (there, held) {
        (Some(true), Held::Content) if is_folder => Ok(Placement::Joined),
        (Some(true), _) => Ok(Placement::Inside),
        (Some(false), _) if is_folder => Err(ArchiveError::FolderOverFile(path.to_owned())),
        (Some(false), _) if wants_folder(path) => Err(ArchiveError::NotAFolder(path.to_owned())),
        (None, _) if !is_folder && wants_folder(path) => {
            Err(ArchiveError::NoFolder(path.to_owned()))
        }
        (Some(false) | None, _) => Ok(Placement::Target),
    }
}

/// Unpacks one file or folder to where `cp` puts it: into a folder that is there, else as the target itself.
pub(crate) fn copy_in(
    view: &RootView,
    path: &str,
    archive: impl Read,
    held: Held,
    owners: Owners,
) -> Result<(), ArchiveError> {
    let archive = CopyTar::open(archive).map_err(ArchiveError::unpacking(path))?;
    let is_folder = archive.begins_with_folder().ok_or(ArchiveError::Empty)?;
    let place = view
        .resolve(Path::new(path), true)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArchiveError::NoFolder(parent(path)),
            _ => ArchiveError::at(path)(error),
        })?;
    let there = place.stat.as_ref().map(|_| place.is_folder());
    let (base, top) = match placement(is_folder, held, there, path)? {
        Placement::Inside => (place.path(), Top::Kept),
        Placement::Joined => (place.path(), Top::Left),
        Placement::Target => (place.parent.clone(), Top::Named(place.name.as_bytes())),
    };
    let copying = Copying {
        base: &base,
        top,
        owners,
        follow: true,
        exchange: false,
        devices: true,
        trusted: true,
    };
    write(view, path, archive, &copying)
}

fn parent(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
    }
}

#[cfg(test)]
mod tests;
