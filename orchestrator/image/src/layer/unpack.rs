//! Unpacks a layer's tar below a directory, in overlay form.
//!
//! Every path is resolved by the kernel with `RESOLVE_IN_ROOT` from the directory's descriptor, then one plain name is
//! acted on with `O_NOFOLLOW`: a symlink of the layer can redirect an entry inside the layer, never out of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::archive::{ArchiveError, Entry, Kind, TarReader};
use super::{Form, Limits, OPAQUE, OPAQUE_ENTRY, WHITEOUT};

const MAX_DEPTH: usize = 1024;
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("layer entry {path:?}: {reason}")]
    Refused { path: String, reason: String },
    #[error("layer entry {path:?}: {attempt}")]
    Io { path: String, attempt: &'static str, source: io::Error },
    #[error("a layer of more than {0} entries is refused")]
    TooManyEntries(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of file content.
    pub bytes: u64,
    pub entries: u64,
    /// Directories that the layer needs but does not describe. In a stack of layers they must take mode and owner from
    /// the layer below.
    pub implicit: BTreeSet<String>,
}

/// Reads the whole archive from `tar` and unpacks it below `root`, an empty directory that nobody else can reach.
pub(crate) fn unpack<R: BufRead>(
    tar: &mut TarReader<R>,
    form: Form,
    root: BorrowedFd<'_>,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let mut unpacker = Unpacker { root, form, parent: None, times: Vec::new(), done: Unpacked::default() };
    while let Some(mut entry) = tar.next()? {
        if form == Form::Layer {
            let overlay: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
            entry.xattrs.retain(|(name, _)| !overlay.iter().any(|prefix| name.starts_with(prefix)));
        }
        unpacker.done.entries += 1;
        if unpacker.done.entries > limits.entries {
            return Err(UnpackError::TooManyEntries(limits.entries));
        }
        unpacker.entry(&entry, tar)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: BorrowedFd<'a>,
    form: Form,
    /// The directory of the last entry: most entries follow a sibling.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories' times, set at the end because every new child changes them.
    times: Vec<(Vec<u8>, (i64, u32))>,
    done: Unpacked,
}

/// What an attempt on one entry failed with.
type Attempt<T> = Result<T, (&'static str, Errno)>;

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

impl Unpacker<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        let refuse = |reason: &str| UnpackError::Refused { path: entry.display_path(), reason: reason.to_owned() };
        let components = components(&entry.path).map_err(refuse)?;
        let Some((name, parents)) = components.split_last() else {
            if entry.kind != Kind::Directory {
                return Err(refuse("it replaces the root by something that is no directory"));
            }
            return self.describe_root(entry);
        };
        self.enter(parents, entry)?;
        if self.form == Form::Layer && name.starts_with(WHITEOUT) {
            return self.whiteout(name, entry);
        }
        let failed = |(attempt, errno): (&'static str, Errno)| UnpackError::Io {
            path: entry.display_path(),
            attempt,
            source: errno.into(),
        };
        match entry.kind {
            Kind::Directory => {
                let directory = self.directory(name).map_err(failed)?;
                describe(directory.as_fd(), entry).map_err(failed)?;
                let path = components.join(&b'/');
                self.done.implicit.remove(&*String::from_utf8_lossy(&path));
                self.times.push((path, entry.modified));
            }
            Kind::File => {
                let file = self.create(name).map_err(failed)?;
                let file = self.write(file.into(), entry, tar)?;
                describe(file.as_fd(), entry).map_err(failed)?;
                rustix::fs::futimens(&file, &timestamps(entry.modified))
                    .map_err(|errno| failed(("setting the time", errno)))?;
            }
            Kind::HardLink => self.hard_link(name, entry)?,
            Kind::Symlink => {
                if entry.link.is_empty() {
                    return Err(refuse("a symlink to nothing"));
                }
                let directory = self.make_room(name).map_err(failed)?;
                rustix::fs::symlinkat(os(&entry.link), directory, os(name))
                    .map_err(|errno| failed(("creating the symlink", errno)))?;
                describe_by_name(directory, name, entry).map_err(failed)?;
            }
            Kind::Char if self.form == Form::Layer && entry.device == (0, 0) => {
                return Err(refuse("a character device 0:0 is overlayfs's own mark"));
            }
            Kind::Char | Kind::Block | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::Char => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let directory = self.make_room(name).map_err(failed)?;
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                rustix::fs::mknodat(directory, os(name), kind, Mode::from_raw_mode(entry.mode), device)
                    .map_err(|errno| failed(("creating the device", errno)))?;
                describe_by_name(directory, name, entry).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked, UnpackError> {
        // Backwards: a parent's time is set after its children's.
        for (path, modified) in self.times.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat2(self.root, os(path), flags, Mode::empty(), INSIDE | ResolveFlags::NO_SYMLINKS) {
                Ok(directory) => rustix::fs::futimens(&directory, &timestamps(*modified)),
                // A later entry replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(errno) => Err(errno),
            }
            .map_err(|errno| UnpackError::Io {
                path: String::from_utf8_lossy(path).into_owned(),
                attempt: "setting a directory's time",
                source: errno.into(),
            })?;
        }
        self.parent = None;
        Ok(self.done)
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |(attempt, errno): (&'static str, Errno)| UnpackError::Io {
            path: entry.display_path(),
            attempt,
            source: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(self.root, ".", flags, Mode::empty())
            .map_err(|errno| failed(("opening the root", errno)))?;
        describe(root.as_fd(), entry).map_err(failed)?;
        self.times.push((b".".to_vec(), entry.modified));
        Ok(())
    }

    /// Makes `self.parent` the directory with these components, creating what the layer did not describe.
    fn enter(&mut self, parents: &[&[u8]], entry: &Entry) -> Result<(), UnpackError> {
        let path = parents.join(&b'/');
        if self.parent.as_ref().is_some_and(|(cached, _)| *cached == path) {
            return Ok(());
        }
        let failed =
            |attempt, errno: Errno| UnpackError::Io { path: entry.display_path(), attempt, source: errno.into() };
        let open = |path: &[u8]| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let path: &[u8] = if path.is_empty() { b"." } else { path };
            rustix::fs::openat2(self.root, os(path), flags, Mode::empty(), INSIDE)
        };
        match open(&path) {
            Ok(directory) => {
                self.parent = Some((path, directory));
                return Ok(());
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => {
                return Err(UnpackError::Refused {
                    path: entry.display_path(),
                    reason: "one of its parents is not a directory".to_owned(),
                });
            }
            Err(errno) => return Err(failed("opening its directory", errno)),
        }
        let mut directory = open(b"").map_err(|errno| failed("opening the root", errno))?;
        for depth in 1..=parents.len() {
            let partial = parents[..depth].join(&b'/');
            directory = match open(&partial) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    let mode = Mode::from_raw_mode(0o755);
                    match rustix::fs::mkdirat(&directory, os(parents[depth - 1]), mode) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => {
                            return Err(UnpackError::Refused {
                                path: entry.display_path(),
                                reason: "one of its parents is a symlink that leads nowhere".to_owned(),
                            });
                        }
                        Err(errno) => return Err(failed("creating its directory", errno)),
                    }
                    self.done.implicit.insert(String::from_utf8_lossy(&partial).into_owned());
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = rustix::fs::openat(&directory, os(parents[depth - 1]), flags, Mode::empty())
                        .map_err(|errno| failed("opening its directory", errno))?;
                    // Whatever the umask is.
                    rustix::fs::fchmod(&made, mode).map_err(|errno| failed("creating its directory", errno))?;
                    made
                }
                Err(errno) => return Err(failed("opening its directory", errno)),
            };
        }
        self.parent = Some((path, directory));
        Ok(())
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.parent.as_ref().expect("enter() comes first").1.as_fd()
    }

    fn whiteout(&mut self, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let refuse = |reason: &str| UnpackError::Refused { path: entry.display_path(), reason: reason.to_owned() };
        let failed =
            |attempt, errno: Errno| UnpackError::Io { path: entry.display_path(), attempt, source: errno.into() };
        let directory = self.current();
        if name == OPAQUE_ENTRY {
            return set_opaque(directory, b".").map_err(|errno| failed("hiding what is below", errno));
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
            return Err(refuse("a malformed whiteout"));
        }
        match stat(directory, hidden) {
            Err(Errno::NOENT) => {
                let device = rustix::fs::makedev(0, 0);
                rustix::fs::mknodat(directory, os(hidden), FileType::CharacterDevice, Mode::empty(), device)
                    .map_err(|errno| failed("creating the whiteout", errno))
            }
            // A whiteout speaks of the layers below; what this layer itself brings stays, and hides them.
            Ok(Existing::Directory) => {
                set_opaque(directory, hidden).map_err(|errno| failed("hiding what is below", errno))
            }
            Ok(_) => Ok(()),
            Err(errno) => Err(failed("looking at what it hides", errno)),
        }
    }

    /// Opens the directory `name`, created when it is not there.
    fn directory(&mut self, name: &[u8]) -> Attempt<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut hides = false;
        match stat(self.current(), name).map_err(not_found_is_none) {
            Ok(Existing::Directory) => {}
            Ok(other) => {
                hides = other == Existing::Whiteout;
                rustix::fs::unlinkat(self.current(), os(name), AtFlags::empty())
                    .map_err(|errno| ("replacing an earlier entry", errno))?;
                rustix::fs::mkdirat(self.current(), os(name), Mode::RWXU)
                    .map_err(|errno| ("creating the directory", errno))?;
            }
            Err(None) => rustix::fs::mkdirat(self.current(), os(name), Mode::RWXU)
                .map_err(|errno| ("creating the directory", errno))?,
            Err(Some(errno)) => return Err(("looking at an earlier entry", errno)),
        }
        if hides {
            set_opaque(self.current(), name).map_err(|errno| ("hiding what is below", errno))?;
        }
        rustix::fs::openat(self.current(), os(name), flags, Mode::empty())
            .map_err(|errno| ("opening the directory", errno))
    }

    /// Removes an earlier entry of that name and gives the directory to create the new one in.
    fn make_room(&mut self, name: &[u8]) -> Attempt<BorrowedFd<'_>> {
        match rustix::fs::unlinkat(self.current(), os(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Only an empty one: tearing down a tree that the layer just built is no real layer's business.
            Err(Errno::ISDIR) => {
                rustix::fs::unlinkat(self.current(), os(name), AtFlags::REMOVEDIR)
                    .map_err(|errno| ("replacing a directory of the same layer", errno))?;
            }
            Err(errno) => return Err(("replacing an earlier entry", errno)),
        }
        Ok(self.current())
    }

    fn create(&mut self, name: &[u8]) -> Attempt<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create =
            |directory: BorrowedFd<'_>| rustix::fs::openat(directory, os(name), flags, Mode::RUSR | Mode::WUSR);
        let created = match create(self.current()) {
            // Rare in a layer, so room is made only when it is missing.
            Err(Errno::EXIST) => create(self.make_room(name)?),
            other => other,
        };
        created.map_err(|errno| ("creating the file", errno))
    }

    fn hard_link(&mut self, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let target = String::from_utf8_lossy(&entry.link).into_owned();
        let refuse = |reason: String| UnpackError::Refused { path: entry.display_path(), reason };
        let failed =
            |attempt, errno: Errno| UnpackError::Io { path: entry.display_path(), attempt, source: errno.into() };
        let components =
            components(&entry.link).map_err(|reason| refuse(format!("a hard link to {target:?}: {reason}")))?;
        let Some((target_name, parents)) = components.split_last() else {
            return Err(refuse("a hard link to the root".to_owned()));
        };
        let mut parent = parents.join(&b'/');
        if parent.is_empty() {
            parent.push(b'.');
        }
        let missing = || refuse(format!("a hard link to {target:?}, which is not in this layer"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = match rustix::fs::openat2(self.root, os(&parent), flags, Mode::empty(), INSIDE) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(errno) => return Err(failed("opening the target's directory", errno)),
        };
        match stat(from.as_fd(), target_name) {
            Ok(Existing::Other) => {}
            Ok(Existing::Directory) => return Err(refuse(format!("a hard link to the directory {target:?}"))),
            Ok(Existing::Whiteout) | Err(Errno::NOENT) => return Err(missing()),
            Err(errno) => return Err(failed("looking at the target", errno)),
        }
        // Already the same file: removing it first would lose it.
        let same = |stat: &rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let look = |at: BorrowedFd<'_>, name: &[u8]| rustix::fs::statat(at, os(name), AtFlags::SYMLINK_NOFOLLOW);
        if let (Ok(old), Ok(new)) = (look(from.as_fd(), target_name), look(self.current(), name))
            && same(&old) == same(&new)
        {
            return Ok(());
        }
        let directory = self.make_room(name).map_err(|(attempt, errno)| failed(attempt, errno))?;
        rustix::fs::linkat(&from, os(target_name), directory, os(name), AtFlags::empty())
            .map_err(|errno| failed("creating the hard link", errno))
    }

    /// Writes the body; where a sparse entry has no data, the file keeps its holes.
    fn write<R: BufRead>(
        &mut self,
        mut file: File,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<File, UnpackError> {
        let failed = |source| UnpackError::Io { path: entry.display_path(), attempt: "writing the file", source };
        let Some(sparse) = &entry.sparse else {
            self.copy(tar, &mut file, u64::MAX, &failed)?;
            return Ok(file);
        };
        for (offset, length) in &sparse.parts {
            file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
            self.copy(tar, &mut file, *length, &failed)?;
        }
        file.set_len(sparse.size).map_err(failed)?;
        Ok(file)
    }

    /// Copies so many bytes of the body, or all that there is.
    fn copy<R: BufRead>(
        &mut self,
        tar: &mut TarReader<R>,
        file: &mut File,
        mut left: u64,
        failed: &dyn Fn(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        while left > 0 {
            let piece = match tar.fill_buf() {
                Ok([]) => break,
                Ok(piece) => &piece[..usize::try_from(left).unwrap_or(usize::MAX).min(piece.len())],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::Read(error).into()),
            };
            file.write_all(piece).map_err(failed)?;
            let count = piece.len();
            tar.consume(count);
            left -= count as u64;
            self.done.bytes += count as u64;
        }
        Ok(())
    }
}

/// The names of a path below the root. A leading slash means the root, as docker takes it; `..` has no place in a layer.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if components.contains(&&b".."[..]) {
        return Err("its path contains ..");
    }
    if components.len() > MAX_DEPTH {
        return Err("its path is too deep");
    }
    Ok(components)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Directory,
    Whiteout,
    Other,
}

fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Existing, Errno> {
    let stat = rustix::fs::statat(directory, os(name), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Existing::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Existing::Whiteout,
        _ => Existing::Other,
    })
}

fn not_found_is_none(errno: Errno) -> Option<Errno> {
    (errno != Errno::NOENT).then_some(errno)
}

fn set_opaque(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, os(name), flags, Mode::empty())?;
    rustix::fs::fsetxattr(&opened, OPAQUE, b"y", XattrFlags::empty())
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Owner, mode and attributes, in this order: chown clears set-id bits and file capabilities.
fn describe(file: BorrowedFd<'_>, entry: &Entry) -> Attempt<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(|errno| ("setting the owner", errno))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(|errno| ("setting the mode", errno))?;
    for (name, value) in wanted_xattrs(entry) {
        tolerate(name, rustix::fs::fsetxattr(file, os(name), value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// The same for what cannot be opened: symlinks and devices.
fn describe_by_name(directory: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Attempt<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(directory, os(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| ("setting the owner", errno))?;
    if entry.kind != Kind::Symlink {
        // Just made by mknod and in nobody's reach, so the name cannot be a symlink here.
        rustix::fs::chmodat(directory, os(name), Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|errno| ("setting the mode", errno))?;
    }
    if wanted_xattrs(entry).next().is_some() {
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(os(name));
        for (name, value) in wanted_xattrs(entry) {
            tolerate(name, rustix::fs::lsetxattr(&path, os(name), value, XattrFlags::empty()))?;
        }
    }
    rustix::fs::utimensat(directory, os(name), &timestamps(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| ("setting the time", errno))
}

/// Without what belongs to the host's security policy.
fn wanted_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let unwanted: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];
    entry
        .xattrs
        .iter()
        .filter(move |(name, _)| !unwanted.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
}

/// A file system without an attribute class loses the attribute, as with docker; file capabilities must not get lost.
fn tolerate(name: &[u8], result: Result<(), Errno>) -> Attempt<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) if name != b"security.capability" => Ok(()),
        other => other.map_err(|errno| ("setting an extended attribute", errno)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn entries_past_the_limit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["a", "b", "c"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.set_mode(0o644);
            header.set_uid(rustix::process::geteuid().as_raw().into());
            header.set_gid(rustix::process::getegid().as_raw().into());
            builder.append_data(&mut header, name, io::empty()).unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let unpack_up_to = |entries| {
            unpack(&mut TarReader::new(&bytes[..]), Form::Layer, root.as_fd(), Limits { entries, ..Limits::default() })
        };
        assert!(matches!(unpack_up_to(2), Err(UnpackError::TooManyEntries(2))));
        assert_eq!(unpack_up_to(3).unwrap().entries, 3);
    }
}
