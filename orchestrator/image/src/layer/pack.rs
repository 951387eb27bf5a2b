//! Writes a directory in overlay form as a layer's tar, the same bytes for the same directory.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hoist_tree::{NotRegular, Visit, Walk, is_kernel_made, open_regular};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::archive::MAX_PATH;
use super::attributes::is_attribute_of_host;
use super::header::{self, BLOCK, Meta};
use super::sparse::Sparse;
use super::unpack::MAX_DEPTH;
use super::{Form, Limits, OPAQUE, OPAQUE_ENTRY, WHITEOUT, fits_layer};

/// Why a directory did not become a tar. Paths are those of the tar.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{attempt} {path:?} of a new layer")]
    Io {
        attempt: &'static str,
        path: String,
        source: io::Error,
    },
    #[error(
        "{path:?} of a new layer is too deep: engines take no layer with paths of more than {MAX_PATH} bytes or \
         more than {MAX_DEPTH} names"
    )]
    TooDeep { path: String },
    #[error("{path:?} of a new layer changed while it was read")]
    Changed { path: String },
    #[error(
        "{path:?} of a new layer uses the overlayfs feature {feature}, which a layer cannot express"
    )]
    Feature { path: String, feature: &'static str },
    #[error(
        "{path:?} of a new layer has {size} bytes, and a layer of more than {} GiB is refused: the holes of a sparse file \
         are stored as zeros there (useradd: --no-log-init; else shorten or remove it in the step that makes it)",
        most >> 30
    )]
    TooLarge { path: String, size: u64, most: u64 },
}

/// Writes everything below `root` to `output` and returns the bytes of file content.
pub(crate) fn pack(
    root: BorrowedFd<'_>,
    form: Form,
    output: &mut dyn Write,
) -> Result<u64, PackError> {
    let mut packer = Packer {
        prefix: Vec::new(),
        form,
        owner: None,
        output,
        links: BTreeMap::new(),
        bytes: 0,
    };
    let stat = rustix::fs::fstat(root).map_err(|errno| failed("looking at", b"/", errno))?;
    // The root is described only when it is not what every unpacker starts with.
    let xattrs = packer.xattrs(root, b"", c".")?;
    if stat.st_mode & 0o7777 != 0o755
        || stat.st_uid != 0
        || stat.st_gid != 0
        || !xattrs.kept.is_empty()
    {
        let meta = Meta {
            link: None,
            kind: b'5',
            stat: &stat,
            size: 0,
            sparse: None,
            xattrs: &xattrs.kept,
        };
        packer.header(b"./", &meta)?;
    }
    if xattrs.opaque {
        packer.marker(&[], OPAQUE_ENTRY)?;
    }
    packer.tree(root)?;
    packer.finish()
}

/// Writes what `folder` has under `name`, with everything below it, under the name `shown`. `owner`: replaces the owner
/// of every entry.
pub(crate) fn pack_entry(
    folder: BorrowedFd<'_>,
    name: &CStr,
    shown: &[u8],
    owner: Option<(u32, u32)>,
    output: &mut dyn Write,
) -> Result<u64, PackError> {
    let mut packer = Packer {
        prefix: shown.to_owned(),
        form: Form::Folder,
        owner,
        output,
        links: BTreeMap::new(),
        bytes: 0,
    };
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| failed("looking at", shown, errno))?;
    if packer.entry(folder, name, &stat, shown)? {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(folder, name, flags, Mode::empty())
            .map_err(|errno| failed("opening", shown, errno))?;
        packer.tree(root.as_fd())?;
    }
    packer.finish()
}

struct Packer<'a> {
    /// The tar's path of the root.
    prefix: Vec<u8>,
    form: Form,
    owner: Option<(u32, u32)>,
    output: &'a mut dyn Write,
    /// The first path of each file with several names.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    bytes: u64,
}

#[derive(Default)]
struct Xattrs {
    opaque: bool,
    kept: Vec<(Vec<u8>, Vec<u8>)>,
}

/// For messages: an untrusted path can have any length.
fn shown(path: &[u8]) -> String {
    const MOST: usize = 300;
    match path.len() {
        0..=MOST => String::from_utf8_lossy(path).into_owned(),
        _ => format!("{}…", String::from_utf8_lossy(&path[..MOST])),
    }
}

fn failed(attempt: &'static str, path: &[u8], errno: Errno) -> PackError {
    unread(attempt, path)(errno.into())
}

fn unread(attempt: &'static str, path: &[u8]) -> impl Fn(io::Error) -> PackError {
    let path = shown(path);
    move |source| PackError::Io {
        attempt,
        path: path.clone(),
        source,
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() || parent.ends_with(b"/") {
        [parent, name].concat()
    } else {
        [parent, b"/", name].concat()
    }
}

fn device(folder: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(folder)?.st_dev)
}

impl Packer<'_> {
    /// Everything below a folder.
    fn tree(&mut self, root: BorrowedFd<'_>) -> Result<(), PackError> {
        let mut walk = Walk::new(root).map_err(unread("listing", &self.prefix))?;
        loop {
            let step = match walk.step() {
                Err(source) => {
                    return Err(unread("listing", &join(&self.prefix, walk.path()))(source));
                }
                Ok(step) => step,
            };
            let Some(visit) = step else { return Ok(()) };
            let Visit::Entry { name, stat } = visit else {
                continue;
            };
            let path = join(&self.prefix, &walk.path_of(&name));
            if self.form == Form::Layer && !fits_layer(&path) {
                return Err(PackError::TooDeep { path: shown(&path) });
            }
            if self.entry(walk.folder(), &name, &stat, &path)? {
                walk.enter(&name).map_err(unread("opening", &path))?;
            }
        }
    }

    fn finish(self) -> Result<u64, PackError> {
        self.output
            .write_all(&[0; 1024])
            .map_err(unread("writing the tar of", b"/"))?;
        Ok(self.bytes)
    }

    /// Writes one entry; `true` for a folder, whose children follow.
    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &[u8],
    ) -> Result<bool, PackError> {
        match self.try_entry(folder, name, stat, path) {
            // A folder in use changes while it is read.
            Err(PackError::Io { source, .. })
                if self.form == Form::Folder && source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(false)
            }
            other => other,
        }
    }

    fn try_entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &[u8],
    ) -> Result<bool, PackError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.form == Form::Layer && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            let parent = path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(&b""[..], |slash| &path[..slash]);
            self.marker(parent, &[WHITEOUT, name.to_bytes()].concat())?;
            return Ok(false);
        }
        if kind == FileType::Socket {
            // As every other packer: a socket means nothing without the process that bound it.
            return Ok(false);
        }
        if kind == FileType::RegularFile {
            self.file(folder, name, stat, path)?;
            return Ok(false);
        }
        let xattrs = self.xattrs(folder, path, name)?;
        let stat = &self.owned(stat);
        let meta = Meta {
            link: None,
            kind: b'6',
            stat,
            size: 0,
            sparse: None,
            xattrs: &xattrs.kept,
        };
        if kind == FileType::Directory {
            self.header(&join(path, b""), &Meta { kind: b'5', ..meta })?;
            if xattrs.opaque {
                self.marker(path, OPAQUE_ENTRY)?;
            }
            return self
                .is_entered(folder, name, stat)
                .map_err(unread("looking at", path));
        }
        if self.link(stat, path)? {
            return Ok(false);
        }
        match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .map_err(|errno| failed("reading", path, errno))?;
                self.header(
                    path,
                    &Meta {
                        link: Some(target.as_bytes()),
                        kind: b'2',
                        ..meta
                    },
                )?;
            }
            FileType::CharacterDevice => self.header(path, &Meta { kind: b'3', ..meta })?,
            FileType::BlockDevice => self.header(path, &Meta { kind: b'4', ..meta })?,
            _ => self.header(path, &meta)?,
        }
        Ok(false)
    }

    /// Pseudo file systems (/proc, /sys) are not content of the folder that they are mounted in.
    fn is_entered(&self, folder: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<bool> {
        if self.form == Form::Layer || device(folder)? == stat.st_dev {
            return Ok(true);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(!is_kernel_made(rustix::fs::openat(
            folder,
            name,
            flags,
            Mode::empty(),
        )?)?)
    }

    fn owned(&self, stat: &Stat) -> Stat {
        let mut stat = *stat;
        if let Some((uid, gid)) = self.owner {
            (stat.st_uid, stat.st_gid) = (uid, gid);
        }
        stat
    }

    /// Writes a further name of a file; `false`: it is the first one.
    fn link(&mut self, stat: &Stat, path: &[u8]) -> Result<bool, PackError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
            let meta = Meta {
                link: Some(&first),
                kind: b'1',
                stat,
                size: 0,
                sparse: None,
                xattrs: &[],
            };
            self.header(path, &meta)?;
            return Ok(true);
        }
        // Paths far beyond what programs can use are not worth their memory.
        if path.len() <= MAX_PATH {
            self.links
                .insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        Ok(false)
    }

    fn file(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), PackError> {
        if self.link(&self.owned(stat), path)? {
            return Ok(());
        }
        let (mut file, stat) = match open_regular(folder, name) {
            // Something else took its place.
            Err(error)
                if error
                    .get_ref()
                    .is_some_and(|cause| cause.is::<NotRegular>()) =>
            {
                return match self.form {
                    Form::Layer => Err(PackError::Changed { path: shown(path) }),
                    _ => Ok(()),
                };
            }
            opened => opened.map_err(unread("opening", path))?,
        };
        let read = unread("looking at", path);
        if self.form != Form::Layer
            && device(folder).map_err(&read)? != stat.st_dev
            && is_kernel_made(&file).map_err(&read)?
        {
            return Ok(());
        }
        let stat = &self.owned(&stat);
        let xattrs = self.xattrs(folder, path, name)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut meta = Meta {
            link: None,
            kind: b'0',
            stat,
            size,
            sparse: None,
            xattrs: &xattrs.kept,
        };
        let most = Limits::default().bytes;
        // Layers have no holes (image-spec, layer.md: sparse files should not be used): docker's and podman's stores
        // cannot give such a layer back as it came.
        if self.form == Form::Layer && self.bytes.saturating_add(size) > most {
            return Err(PackError::TooLarge {
                path: shown(path),
                size,
                most,
            });
        }
        if self.form == Form::Folder && self.holes(path, &mut file, &mut meta)? {
            return Ok(());
        }
        self.header(path, &meta)?;
        self.body(path, &mut file, size)?;
        self.pad(path, size)
    }

    /// Writes a file with holes as its parts; `false` when it has none.
    fn holes(
        &mut self,
        path: &[u8],
        file: &mut std::fs::File,
        meta: &mut Meta<'_>,
    ) -> Result<bool, PackError> {
        let io_failed = unread("looking for holes in", path);
        let (size, allocated) = (
            meta.size,
            u64::try_from(meta.stat.st_blocks).unwrap_or(0) * BLOCK as u64,
        );
        let map = if allocated < size {
            Sparse::of_file(file, size).map_err(&io_failed)?
        } else {
            None
        };
        let Some(map) = map else {
            file.rewind().map_err(&io_failed)?;
            return Ok(false);
        };
        let head = map.encode();
        meta.sparse = Some(size);
        meta.size = head.len() as u64 + map.data();
        self.header(path, meta)?;
        self.write(path, &head)?;
        for (offset, length) in map.parts {
            file.seek(io::SeekFrom::Start(offset)).map_err(&io_failed)?;
            self.body(path, file, length)?;
        }
        self.pad(path, meta.size)?;
        Ok(true)
    }

    fn body(&mut self, path: &[u8], file: &mut std::fs::File, size: u64) -> Result<(), PackError> {
        let mut buffer = vec![0; 256 << 10];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let mut count = file
                .read(&mut buffer[..most])
                .map_err(unread("reading", path))?;
            if count == 0 && self.form == Form::Folder {
                buffer.fill(0);
                count = most;
            }
            if count == 0 {
                return Err(PackError::Changed { path: shown(path) });
            }
            self.write(path, &buffer[..count])?;
            left -= count as u64;
        }
        self.bytes += size;
        Ok(())
    }

    fn write(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), PackError> {
        self.output
            .write_all(bytes)
            .map_err(unread("writing the tar of", path))
    }

    fn pad(&mut self, path: &[u8], size: u64) -> Result<(), PackError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write(
            path,
            &[0; BLOCK][..usize::try_from(padding).expect("less than a block")],
        )
    }

    /// An empty file that says something about the layers below.
    fn marker(&mut self, parent: &[u8], name: &[u8]) -> Result<(), PackError> {
        let path = join(parent, name);
        self.write(&path, &header::marker(&path))
    }

    fn header(&mut self, path: &[u8], meta: &Meta<'_>) -> Result<(), PackError> {
        let bytes = header::entry(path, meta, self.form)
            .map_err(unread("encoding the device number of", path))?;
        self.write(path, &bytes)
    }

    fn xattrs(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        name: &CStr,
    ) -> Result<Xattrs, PackError> {
        // The directory was opened without following a link, and `l…xattr` does not follow the last name either.
        let name = OsStr::from_bytes(name.to_bytes());
        let file = Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(name);
        let names = match grow(|buffer| rustix::fs::llistxattr(&file, buffer)) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(Xattrs::default()),
            Err(errno) => return Err(failed("listing the attributes of", path, errno)),
        };
        let mut xattrs = Xattrs::default();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let feature = match name {
                b"trusted.overlay.redirect" => Some("redirect_dir"),
                b"trusted.overlay.metacopy" => Some("metacopy"),
                _ => None,
            };
            if let Some(feature) = feature
                && self.form == Form::Layer
            {
                return Err(PackError::Feature {
                    path: shown(path),
                    feature,
                });
            }
            if self.form == Form::Layer && name.starts_with(b"trusted.overlay.") {
                xattrs.opaque |= name == OPAQUE.as_bytes();
                continue;
            }
            if is_attribute_of_host(name) {
                continue;
            }
            let value =
                grow(|buffer| rustix::fs::lgetxattr(&file, OsStr::from_bytes(name), buffer))
                    .map_err(|errno| failed("reading the attributes of", path, errno))?;
            xattrs.kept.push((name.to_owned(), value));
        }
        xattrs.kept.sort();
        Ok(xattrs)
    }
}

/// Calls with a larger buffer until the answer fits; the kernel's own limit for names and values is 64 KiB.
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    for size in [1 << 10, 1 << 16] {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::RANGE)
}
