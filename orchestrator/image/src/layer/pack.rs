//! Writes a directory in overlay form as a layer's tar, the same bytes for the same directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::attributes::is_attribute_of_host;
use super::header::{self, BLOCK, Meta};
use super::sparse::Sparse;
use super::{Form, Limits, OPAQUE, OPAQUE_ENTRY, WHITEOUT};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Why a directory did not become a tar. Paths are those of the tar.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{attempt} {path:?} of a new layer")]
    Io { attempt: &'static str, path: String, source: io::Error },
    #[error("{path:?} of a new layer changed while it was read")]
    Changed { path: String },
    #[error("{path:?} of a new layer uses the overlayfs feature {feature}, which a layer cannot express")]
    Feature { path: String, feature: &'static str },
    #[error(
        "{path:?} of a new layer has {size} bytes, and a layer of more than {} GiB is refused: the holes of a sparse file \
         are stored as zeros there (useradd: --no-log-init; else shorten or remove it in the step that makes it)",
        most >> 30
    )]
    TooLarge { path: String, size: u64, most: u64 },
}

/// Writes everything below `root` to `output` and returns the bytes of file content.
pub(crate) fn pack(root: BorrowedFd<'_>, form: Form, output: &mut dyn Write) -> Result<u64, PackError> {
    let mut packer = Packer { root, form, output, links: BTreeMap::new(), bytes: 0 };
    let stat = rustix::fs::fstat(root).map_err(|errno| failed("looking at", b"/", errno))?;
    // The root is described only when it is not what every unpacker starts with.
    let xattrs = packer.xattrs(root, b"", b".")?;
    if stat.st_mode & 0o7777 != 0o755 || stat.st_uid != 0 || stat.st_gid != 0 || !xattrs.kept.is_empty() {
        let meta = Meta { link: None, kind: b'5', stat: &stat, size: 0, sparse: None, xattrs: &xattrs.kept };
        packer.header(b"./", &meta)?;
    }
    if xattrs.opaque {
        packer.marker(&[], OPAQUE_ENTRY)?;
    }
    // Depth first with a stack of our own: a deep tree must not exhaust ours.
    let mut pending: Vec<Vec<u8>> = packer.children(b"")?;
    pending.reverse();
    while let Some(path) = pending.pop() {
        if packer.entry(&path)? {
            let mut children = packer.children(&path)?;
            children.reverse();
            pending.append(&mut children);
        }
    }
    packer.output.write_all(&[0; 1024]).map_err(|source| PackError::Io {
        attempt: "writing the tar of",
        path: "/".to_owned(),
        source,
    })?;
    Ok(packer.bytes)
}

struct Packer<'a> {
    root: BorrowedFd<'a>,
    form: Form,
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

fn failed(attempt: &'static str, path: &[u8], errno: Errno) -> PackError {
    PackError::Io { attempt, path: String::from_utf8_lossy(path).into_owned(), source: errno.into() }
}

fn os(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

impl Packer<'_> {
    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, PackError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(self.root, os(path), flags, Mode::empty(), BENEATH)
            .map_err(|errno| failed("opening", path, errno))
    }

    fn children(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(directory).map_err(|errno| failed("listing", path, errno))? {
            let entry = entry.map_err(|errno| failed("listing", path, errno))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        let join = |name: Vec<u8>| if path.is_empty() { name } else { [path, b"/", &name].concat() };
        Ok(names.into_iter().map(join).collect())
    }

    /// Writes one entry; `true` for a directory, whose children follow.
    fn entry(&mut self, path: &[u8]) -> Result<bool, PackError> {
        match self.try_entry(path) {
            // A folder in use changes while it is read.
            Err(PackError::Io { source, .. })
                if self.form == Form::Folder && source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(false)
            }
            other => other,
        }
    }

    fn try_entry(&mut self, path: &[u8]) -> Result<bool, PackError> {
        let (parent, name) = split(path);
        let directory = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let stat = rustix::fs::statat(&directory, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("looking at", path, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.form == Form::Layer && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            self.marker(parent, &[WHITEOUT, name].concat())?;
            return Ok(false);
        }
        if kind == FileType::Socket {
            // As every other packer: a socket means nothing without the process that bound it.
            return Ok(false);
        }
        let xattrs = self.xattrs(directory.as_fd(), path, name)?;
        let mut meta = Meta { link: None, kind: b'0', stat: &stat, size: 0, sparse: None, xattrs: &xattrs.kept };
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                let meta = Meta { link: Some(&first), kind: b'1', xattrs: &[], ..meta };
                self.header(path, &meta)?;
                return Ok(false);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        match kind {
            FileType::Directory => {
                meta.kind = b'5';
                self.header(&[path, b"/"].concat(), &meta)?;
                if xattrs.opaque {
                    self.marker(path, OPAQUE_ENTRY)?;
                }
                return Ok(true);
            }
            FileType::RegularFile => {
                meta.size = u64::try_from(stat.st_size).unwrap_or(0);
                let mut file = std::fs::File::from(self.open(path, OFlags::RDONLY)?);
                let most = Limits::default().bytes;
                // Layers have no holes (image-spec, layer.md: sparse files should not be used): docker's and podman's
                // stores cannot give such a layer back as it came.
                if self.form == Form::Layer && self.bytes.saturating_add(meta.size) > most {
                    let path = String::from_utf8_lossy(path).into_owned();
                    return Err(PackError::TooLarge { path, size: meta.size, most });
                }
                if self.form == Form::Folder && self.holes(path, &mut file, &mut meta)? {
                    return Ok(false);
                }
                self.header(path, &meta)?;
                self.body(path, &mut file, meta.size)?;
                self.pad(path, meta.size)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&directory, OsStr::from_bytes(name), Vec::new())
                    .map_err(|errno| failed("reading", path, errno))?;
                let meta = Meta { link: Some(target.as_bytes()), kind: b'2', ..meta };
                self.header(path, &meta)?;
            }
            FileType::CharacterDevice => self.header(path, &Meta { kind: b'3', ..meta })?,
            FileType::BlockDevice => self.header(path, &Meta { kind: b'4', ..meta })?,
            _ => self.header(path, &Meta { kind: b'6', ..meta })?,
        }
        Ok(false)
    }

    /// Writes a file with holes as its parts; `false` when it has none.
    fn holes(&mut self, path: &[u8], file: &mut std::fs::File, meta: &mut Meta<'_>) -> Result<bool, PackError> {
        let io_failed = |source| PackError::Io {
            attempt: "looking for holes in",
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        };
        let (size, allocated) = (meta.size, u64::try_from(meta.stat.st_blocks).unwrap_or(0) * BLOCK as u64);
        let map = if allocated < size { Sparse::of_file(file, size).map_err(io_failed)? } else { None };
        let Some(map) = map else {
            file.rewind().map_err(io_failed)?;
            return Ok(false);
        };
        let head = map.encode();
        meta.sparse = Some(size);
        meta.size = head.len() as u64 + map.data();
        self.header(path, meta)?;
        self.write(path, &head)?;
        for (offset, length) in map.parts {
            file.seek(io::SeekFrom::Start(offset)).map_err(io_failed)?;
            self.body(path, file, length)?;
        }
        self.pad(path, meta.size)?;
        Ok(true)
    }

    fn body(&mut self, path: &[u8], file: &mut std::fs::File, size: u64) -> Result<(), PackError> {
        let mut buffer = vec![0; 256 << 10];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let mut count = file.read(&mut buffer[..most]).map_err(|source| PackError::Io {
                attempt: "reading",
                path: String::from_utf8_lossy(path).into_owned(),
                source,
            })?;
            if count == 0 && self.form == Form::Folder {
                buffer.fill(0);
                count = most;
            }
            if count == 0 {
                return Err(PackError::Changed { path: String::from_utf8_lossy(path).into_owned() });
            }
            self.write(path, &buffer[..count])?;
            left -= count as u64;
        }
        self.bytes += size;
        Ok(())
    }

    fn write(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), PackError> {
        self.output.write_all(bytes).map_err(|source| PackError::Io {
            attempt: "writing the tar of",
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        })
    }

    fn pad(&mut self, path: &[u8], size: u64) -> Result<(), PackError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write(path, &[0; BLOCK][..usize::try_from(padding).expect("less than a block")])
    }

    /// An empty file that says something about the layers below.
    fn marker(&mut self, parent: &[u8], name: &[u8]) -> Result<(), PackError> {
        let path = if parent.is_empty() { name.to_owned() } else { [parent, b"/", name].concat() };
        self.write(&path, &header::marker(&path))
    }

    fn header(&mut self, path: &[u8], meta: &Meta<'_>) -> Result<(), PackError> {
        let bytes = header::entry(path, meta, self.form).map_err(|source| PackError::Io {
            attempt: "encoding the device number of",
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        })?;
        self.write(path, &bytes)
    }

    fn xattrs(&self, directory: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> Result<Xattrs, PackError> {
        // The directory was opened without following a link, and `l…xattr` does not follow the last name either.
        let file = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(OsStr::from_bytes(name));
        let names = match grow(|buffer| rustix::fs::llistxattr(&file, buffer)) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(Xattrs::default()),
            Err(errno) => return Err(failed("listing the attributes of", path, errno)),
        };
        let mut xattrs = Xattrs::default();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let feature = match name {
                b"trusted.overlay.redirect" => Some("redirect_dir"),
                b"trusted.overlay.metacopy" => Some("metacopy"),
                _ => None,
            };
            if let Some(feature) = feature
                && self.form == Form::Layer
            {
                return Err(PackError::Feature { path: String::from_utf8_lossy(path).into_owned(), feature });
            }
            if self.form == Form::Layer && name.starts_with(b"trusted.overlay.") {
                xattrs.opaque |= name == OPAQUE.as_bytes();
                continue;
            }
            if is_attribute_of_host(name) {
                continue;
            }
            let value = grow(|buffer| rustix::fs::lgetxattr(&file, OsStr::from_bytes(name), buffer))
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
