//! Makes files below one directory and nowhere else. Every path is resolved by the kernel with `RESOLVE_IN_ROOT` from the
//! directory's descriptor (openat2(2)), then one plain name is acted on without following it: a symlink that an archive
//! brings, or that was there, can redirect an entry inside of the directory, never out of it. Knows nothing of tar's forms.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hoist_tree::{Visit, Walk, open_beneath, open_in_root};
use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, StatxAttributes, StatxFlags, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

use super::OPAQUE;
use super::archive::{Entry, Kind, MAX_PATH};
use super::attributes::is_attribute_of_host;

const FURTHER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Why something was not made.
#[derive(Debug)]
pub(super) enum Fault {
    Refused(String),
    Failed(&'static str, Errno),
}

fn failed(attempt: &'static str) -> impl FnOnce(Errno) -> Fault {
    move |errno| Fault::Failed(attempt, errno)
}

pub(super) fn refused(reason: &str) -> Fault {
    Fault::Refused(reason.to_owned())
}

/// What happens to what is there when an entry comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// The archive's own earlier entries: of directories only empty ones make room. Removing a tree that the archive
    /// just built is no real archive's business.
    Mine,
    /// A tree that was there before: whatever stands in the way goes, and directories that the archive only passes
    /// through keep their times.
    Others,
}

/// How a tree is written to.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteMode {
    pub before: Before,
    /// Whether paths follow symlinks, inside of the root. An archive that is not trusted with all that is below the root
    /// must not lead to other places in it.
    pub follow: bool,
    /// Whether a directory and something else may replace each other.
    pub exchange: bool,
}

impl WriteMode {
    pub(super) fn new(before: Before) -> Self {
        Self {
            before,
            follow: true,
            exchange: true,
        }
    }
}

pub(super) struct Confined<'a> {
    root: BorrowedFd<'a>,
    manner: WriteMode,
    /// The directory of the last entry: most entries follow a sibling.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Times of directories, by device and inode: set at the end, because every new child changes them.
    times: BTreeMap<(u64, u64), Dated>,
    /// Directories that had to be made up.
    pub implicit: BTreeSet<String>,
}

/// A directory and its modification time, in seconds and nanoseconds.
struct Dated {
    place: DatedPlace,
    modified: (i64, u32),
}

/// The paths of a deep tree's directories take memory by the square of its depth: long ones are put together from names.
enum DatedPlace {
    Path(Vec<u8>),
    In { parent: (u64, u64), name: Vec<u8> },
}

/// A path that is kept whole.
const SHORT: usize = 1024;

fn identity(directory: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(if bytes.is_empty() { b"." } else { bytes })
}

impl<'a> Confined<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, manner: WriteMode) -> Self {
        Self {
            root,
            manner,
            parent: None,
            times: BTreeMap::new(),
            implicit: BTreeSet::new(),
        }
    }

    /// Goes into the directory with these names, made where it is missing. The other methods act on names in it.
    pub(super) fn enter(&mut self, names: &[&[u8]]) -> Result<(), Fault> {
        let path = names.join(&b'/');
        if self
            .parent
            .as_ref()
            .is_some_and(|(known, _)| *known == path)
        {
            return Ok(());
        }
        let directory = match self.open(&path) {
            Ok(directory) => {
                if self.manner.before == Before::Others {
                    self.keep_time(&directory, &path)?;
                }
                directory
            }
            Err(Errno::NOENT) => self.make_up(names)?,
            Err(Errno::NOTDIR) => return Err(refused("one of its parents is not a directory")),
            Err(Errno::LOOP) if !self.manner.follow => {
                return Err(refused("one of its parents is a symlink"));
            }
            Err(errno) => return Err(Fault::Failed("opening its directory", errno)),
        };
        self.parent = Some((path, directory));
        Ok(())
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_as(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn open_as(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let open = if self.manner.follow {
            open_in_root
        } else {
            open_beneath
        };
        open(self.root, Path::new(OsStr::from_bytes(path)), flags)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn make_up(&mut self, names: &[&[u8]]) -> Result<OwnedFd, Fault> {
        let mut directory = self.open(b"").map_err(failed("opening the root"))?;
        for depth in 1..=names.len() {
            let next = match rustix::fs::openat(
                &directory,
                os(names[depth - 1]),
                FURTHER,
                Mode::empty(),
            ) {
                // Perhaps a symlink.
                Err(Errno::NOTDIR | Errno::LOOP) => self.open(&names[..depth].join(&b'/')),
                opened => opened,
            };
            directory = match next {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    if self.manner.before == Before::Others {
                        self.keep_time(&directory, &names[..depth - 1].join(&b'/'))?;
                    }
                    let mode = Mode::from_raw_mode(0o755);
                    match rustix::fs::mkdirat(&directory, os(names[depth - 1]), mode) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => {
                            return Err(refused(
                                "one of its parents is a symlink that leads nowhere",
                            ));
                        }
                        Err(errno) => return Err(Fault::Failed("creating its directory", errno)),
                    }
                    let partial = names[..depth].join(&b'/');
                    if partial.len() <= MAX_PATH {
                        self.implicit
                            .insert(String::from_utf8_lossy(&partial).into_owned());
                    }
                    let made = rustix::fs::openat(
                        &directory,
                        os(names[depth - 1]),
                        DIRECTORY,
                        Mode::empty(),
                    )
                    .map_err(failed("opening its directory"))?;
                    // Whatever the umask is.
                    rustix::fs::fchmod(&made, mode).map_err(failed("creating its directory"))?;
                    made
                }
                Err(errno) => return Err(Fault::Failed("opening its directory", errno)),
            };
        }
        Ok(directory)
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.parent.as_ref().expect("enter() comes first").1.as_fd()
    }

    fn keep_time(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<(), Fault> {
        let stat = rustix::fs::fstat(directory).map_err(failed("looking at its directory"))?;
        let modified = (
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        );
        let place = DatedPlace::Path(path.to_owned());
        self.times
            .entry((stat.st_dev, stat.st_ino))
            .or_insert(Dated { place, modified });
        Ok(())
    }

    fn dated_place(&self, path: Vec<u8>) -> Result<DatedPlace, Fault> {
        let Some((parent_path, parent)) = self.parent.as_ref().filter(|_| path.len() > SHORT)
        else {
            return Ok(DatedPlace::Path(path));
        };
        let parent = identity(parent).map_err(failed("looking at its directory"))?;
        if !self.times.contains_key(&parent) {
            return Ok(DatedPlace::Path(path));
        }
        Ok(DatedPlace::In {
            parent,
            name: path[parent_path.len() + 1..].to_owned(),
        })
    }

    fn path_of<'t>(&'t self, mut place: &'t DatedPlace) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        // A directory is in one that was there before it.
        for _ in 0..=self.times.len() {
            match place {
                DatedPlace::Path(path) => {
                    names.push(path);
                    break;
                }
                DatedPlace::In { parent, name } => {
                    names.push(name);
                    match self.times.get(parent) {
                        Some(dated) => place = &dated.place,
                        None => break,
                    }
                }
            }
        }
        names.reverse();
        names.join(&b'/')
    }

    fn describe_directory(
        &mut self,
        directory: &OwnedFd,
        path: Vec<u8>,
        entry: &Entry,
    ) -> Result<(), Fault> {
        describe(directory.as_fd(), entry)?;
        let stat = rustix::fs::fstat(directory).map_err(failed("looking at the directory"))?;
        let place = self.dated_place(path)?;
        self.times.insert(
            (stat.st_dev, stat.st_ino),
            Dated {
                place,
                modified: entry.modified,
            },
        );
        Ok(())
    }

    pub(super) fn describe_root(&mut self, entry: &Entry) -> Result<(), Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(self.root, ".", flags, Mode::empty())
            .map_err(failed("opening the root"))?;
        self.describe_directory(&root, Vec::new(), entry)
    }

    /// A directory, or other looks for the one that is there.
    pub(super) fn directory(&mut self, name: &[u8], entry: &Entry) -> Result<(), Fault> {
        let there = match stat(self.current(), name) {
            Ok(there) => Some(there),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(Fault::Failed("looking at an earlier entry", errno)),
        };
        if there != Some(Existing::Directory) {
            if there.is_some() && !self.manner.exchange {
                return Err(refused(
                    "it is there already and no directory, and a directory does not replace it",
                ));
            }
            if there.is_some() {
                self.check_mount(name)?;
                rustix::fs::unlinkat(self.current(), os(name), AtFlags::empty())
                    .map_err(failed("replacing an earlier entry"))?;
            }
            rustix::fs::mkdirat(self.current(), os(name), Mode::RWXU)
                .map_err(failed("creating the directory"))?;
        }
        if there == Some(Existing::Whiteout) {
            self.set_opaque(name)?;
        }
        let directory = rustix::fs::openat(self.current(), os(name), DIRECTORY, Mode::empty())
            .map_err(failed("opening the directory"))?;
        let parent = self
            .parent
            .as_ref()
            .map(|(path, _)| path.as_slice())
            .unwrap_or_default();
        let path = if parent.is_empty() {
            name.to_vec()
        } else {
            [parent, b"/", name].concat()
        };
        self.implicit.remove(&*String::from_utf8_lossy(&path));
        self.describe_directory(&directory, path, entry)
    }

    /// A new, empty file.
    pub(super) fn file(&mut self, name: &[u8]) -> Result<OwnedFd, Fault> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |directory: BorrowedFd<'_>| {
            rustix::fs::openat(directory, os(name), flags, Mode::RUSR | Mode::WUSR)
        };
        let created = match create(self.current()) {
            // Rare in a layer, so room is made only when it is missing.
            Err(Errno::EXIST) => match self.make_room(name) {
                // A file that is mounted: it cannot be replaced, but its content can.
                Err(Fault::Failed(_, Errno::BUSY)) if self.manner.before == Before::Others => {
                    return self.overwrite(name);
                }
                room => create(room?),
            },
            other => other,
        };
        created.map_err(failed("creating the file"))
    }

    fn overwrite(&self, name: &[u8]) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = rustix::fs::openat(self.current(), os(name), flags, Mode::empty())
            .map_err(failed("opening the file that is mounted there"))?;
        let stat = rustix::fs::fstat(&path).map_err(failed("looking at what is mounted there"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused("what is mounted there is not a file"));
        }
        let link = format!("/proc/self/fd/{}", path.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        rustix::fs::open(link, flags, Mode::empty())
            .map_err(failed("opening the file that is mounted there"))
    }

    pub(super) fn symlink(&mut self, name: &[u8], entry: &Entry) -> Result<(), Fault> {
        let directory = self.make_room(name)?;
        rustix::fs::symlinkat(os(&entry.link), directory, os(name))
            .map_err(failed("creating the symlink"))?;
        describe_by_name(directory, name, entry)
    }

    /// A device or a pipe.
    pub(super) fn special(
        &mut self,
        name: &[u8],
        kind: FileType,
        entry: &Entry,
    ) -> Result<(), Fault> {
        let directory = self.make_room(name)?;
        let device: Dev = rustix::fs::makedev(entry.device.0, entry.device.1);
        rustix::fs::mknodat(
            directory,
            os(name),
            kind,
            Mode::from_raw_mode(entry.mode),
            device,
        )
        .map_err(failed("creating the device"))?;
        describe_by_name(directory, name, entry)
    }

    /// Another name for a file that is there under `target`.
    pub(super) fn hard_link(&mut self, name: &[u8], target: &[&[u8]]) -> Result<(), Fault> {
        let shown = String::from_utf8_lossy(&target.join(&b'/')).into_owned();
        let Some((target_name, parents)) = target.split_last() else {
            return Err(refused("a hard link to the root"));
        };
        let missing = || {
            Fault::Refused(match self.manner.before {
                Before::Mine => format!("a hard link to {shown:?}, which is not in this layer"),
                Before::Others => format!("a hard link to {shown:?}, which is not there"),
            })
        };
        let from = match self.open(&parents.join(&b'/')) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(errno) => return Err(Fault::Failed("opening the target's directory", errno)),
        };
        match stat(from.as_fd(), target_name) {
            Ok(Existing::Other) => {}
            Ok(Existing::Directory) => {
                return Err(Fault::Refused(format!(
                    "a hard link to the directory {shown:?}"
                )));
            }
            Ok(Existing::Whiteout) if self.manner.before == Before::Others => {}
            Ok(Existing::Whiteout) | Err(Errno::NOENT) => return Err(missing()),
            Err(errno) => return Err(Fault::Failed("looking at the target", errno)),
        }
        // Already the same file: removing it first would lose it.
        let same = |stat: &rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let look = |at: BorrowedFd<'_>, name: &[u8]| {
            rustix::fs::statat(at, os(name), AtFlags::SYMLINK_NOFOLLOW)
        };
        if let (Ok(old), Ok(new)) = (look(from.as_fd(), target_name), look(self.current(), name))
            && same(&old) == same(&new)
        {
            return Ok(());
        }
        let directory = self.make_room(name)?;
        rustix::fs::linkat(
            &from,
            os(target_name),
            directory,
            os(name),
            AtFlags::empty(),
        )
        .map_err(failed("creating the hard link"))
    }

    /// Hides what the layers below have under a name, as overlayfs has it; what this layer itself brings stays.
    pub(super) fn hide(&self, name: &[u8]) -> Result<(), Fault> {
        match stat(self.current(), name) {
            Err(Errno::NOENT) => {
                let device = rustix::fs::makedev(0, 0);
                rustix::fs::mknodat(
                    self.current(),
                    os(name),
                    FileType::CharacterDevice,
                    Mode::empty(),
                    device,
                )
                .map_err(failed("creating the whiteout"))
            }
            Ok(Existing::Directory) => self.set_opaque(name),
            Ok(_) => Ok(()),
            Err(errno) => Err(Fault::Failed("looking at what it hides", errno)),
        }
    }

    /// Makes a directory hide everything below it; an empty name is the directory that was entered.
    pub(super) fn set_opaque(&self, name: &[u8]) -> Result<(), Fault> {
        let opened = rustix::fs::openat(self.current(), os(name), DIRECTORY, Mode::empty());
        opened
            .and_then(|directory| {
                rustix::fs::fsetxattr(&directory, OPAQUE, b"y", XattrFlags::empty())
            })
            .map_err(failed("hiding what is below"))
    }

    /// A mount is not removed. The kernel says so only of those in the caller's own namespace: unlinking what is mounted in a
    /// container would take the mount away from it.
    fn check_mount(&self, name: &[u8]) -> Result<(), Fault> {
        if self.manner.before == Before::Mine {
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statx(self.current(), os(name), flags, StatxFlags::empty()) {
            Ok(found) if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => Err(
                Fault::Failed("replacing what is mounted there", Errno::BUSY),
            ),
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Fault::Failed("looking at an earlier entry", errno)),
        }
    }

    /// Removing a directory would empty what is mounted below it.
    fn check_mounts_below(&self, name: &[u8]) -> Result<(), Fault> {
        let failed = |error: std::io::Error| {
            Fault::Failed(
                "looking below a directory",
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )
        };
        let directory = rustix::fs::openat(self.current(), os(name), DIRECTORY, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        let mut walk = Walk::new(directory.as_fd()).map_err(failed)?;
        while let Some(visit) = walk.step().map_err(failed)? {
            let Visit::Entry { name, stat } = visit else {
                continue;
            };
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let found =
                rustix::fs::statx(walk.folder(), name.as_c_str(), flags, StatxFlags::empty());
            if found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)) {
                let path = String::from_utf8_lossy(&walk.path_of(&name)).into_owned();
                return Err(Fault::Refused(format!(
                    "{path:?} below it is mounted: only a directory replaces it"
                )));
            }
            if Visit::is_folder(&stat) {
                walk.enter(&name).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes what is under a name and gives the directory to create the new entry in.
    fn make_room(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Fault> {
        self.check_mount(name)?;
        match (
            rustix::fs::unlinkat(self.current(), os(name), AtFlags::empty()),
            self.manner.before,
        ) {
            (Ok(()) | Err(Errno::NOENT), _) => {}
            (Err(Errno::ISDIR), Before::Mine) => {
                rustix::fs::unlinkat(self.current(), os(name), AtFlags::REMOVEDIR)
                    .map_err(failed("replacing a directory of the same layer"))?;
            }
            (Err(Errno::ISDIR), _) if !self.manner.exchange => {
                return Err(refused(
                    "it is there already as a directory, and only a directory replaces it",
                ));
            }
            (Err(Errno::ISDIR), Before::Others) => {
                self.check_mounts_below(name)?;
                let name = CString::new(name).map_err(|_| refused("its name holds a NUL"))?;
                hoist_tree::remove_at(self.current(), &name).map_err(|error| {
                    failed("replacing a directory")(
                        Errno::from_io_error(&error).unwrap_or(Errno::IO),
                    )
                })?;
            }
            (Err(errno), _) => return Err(Fault::Failed("replacing an earlier entry", errno)),
        }
        Ok(self.current())
    }

    /// Sets the directories' times. The error names the directory.
    pub(super) fn finish(self) -> Result<BTreeSet<String>, (Vec<u8>, Errno)> {
        for (identity, Dated { place, modified }) in &self.times {
            let path = self.path_of(place);
            let dated = match self.open_as(&path, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(directory) => rustix::fs::fstat(&directory).and_then(|stat| {
                    // A later entry may have put another one there.
                    if (stat.st_dev, stat.st_ino) != *identity {
                        return Ok(());
                    }
                    rustix::fs::futimens(&directory, &timestamps(*modified))
                }),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(errno) => Err(errno),
            };
            dated.map_err(|errno| (path, errno))?;
        }
        Ok(self.implicit)
    }
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

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Owner, mode, attributes and time of a file whose content is there.
pub(super) fn describe_file(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Fault> {
    describe(file, entry)?;
    rustix::fs::futimens(file, &timestamps(entry.modified)).map_err(failed("setting the time"))
}

/// Owner, mode and attributes, in this order: chown clears set-id bits and file capabilities.
fn describe(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Fault> {
    rustix::fs::fchown(
        file,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
    .map_err(failed("setting the owner"))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
        .map_err(failed("setting the mode"))?;
    for (name, value) in wanted_xattrs(entry) {
        tolerate(
            name,
            rustix::fs::fsetxattr(file, os(name), value, XattrFlags::empty()),
        )?;
    }
    Ok(())
}

/// The same for what cannot be opened: symlinks and devices.
fn describe_by_name(directory: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(
        directory,
        os(name),
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(failed("setting the owner"))?;
    if entry.kind != Kind::Symlink {
        // Just made by mknod where no other process can reach it, so the name cannot be a symlink here.
        rustix::fs::chmodat(
            directory,
            os(name),
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(failed("setting the mode"))?;
    }
    if wanted_xattrs(entry).next().is_some() {
        let path = Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(os(name));
        for (name, value) in wanted_xattrs(entry) {
            tolerate(
                name,
                rustix::fs::lsetxattr(&path, os(name), value, XattrFlags::empty()),
            )?;
        }
    }
    rustix::fs::utimensat(
        directory,
        os(name),
        &timestamps(entry.modified),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(failed("setting the time"))
}

/// Without what belongs to the host's security policy.
fn wanted_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = entry
        .xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()));
    all.filter(|(name, _)| !is_attribute_of_host(name))
}

/// A file system without an attribute class loses the attribute, as with docker; file capabilities must not get lost.
fn tolerate(name: &[u8], result: Result<(), Errno>) -> Result<(), Fault> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) if name != b"security.capability" => Ok(()),
        other => other.map_err(failed("setting an extended attribute")),
    }
}
