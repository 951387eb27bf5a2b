//! Unpacks a tar below a directory: a layer into overlay form, a folder as it is, or an archive over a tree that is there.
//!
//! Owns what entries mean in each of them, and the limits. Where a path leads is `confined`'s business.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::FileType;

use super::archive::{ArchiveError, Entry, Kind, TarReader};
use super::attributes::is_attribute_of_overlay;
use super::confined::{Before, Confined, Fault, WriteMode, describe_file, refused};
use super::{Form, Limits, OPAQUE_ENTRY, WHITEOUT};

/// Names in the path of a layer's entry.
pub const MAX_DEPTH: usize = 1024;

/// Why a tar was not unpacked. Paths are those of the tar.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("entry {path:?}: {reason}")]
    Refused { path: String, reason: String },
    #[error("entry {path:?}: {attempt}")]
    Io {
        path: String,
        attempt: &'static str,
        source: io::Error,
    },
    #[error("an archive of more than {0} entries is refused")]
    TooManyEntries(u64),
    #[error("{path}: {reason}")]
    Base { path: String, reason: &'static str },
}

/// What was unpacked.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of file content, without holes.
    pub bytes: u64,
    pub entries: u64,
    /// Directories that the layer needs but does not describe. In a stack of layers they must take mode and owner from
    /// the layer below.
    pub implicit: BTreeSet<String>,
}

/// Reads the whole archive from `tar` and unpacks it below `root`: an empty directory out of reach of other processes or, with
/// [`Form::Over`], a tree that nothing else changes meanwhile, where entries go below `base`.
pub(crate) fn unpack<R: BufRead>(
    tar: &mut TarReader<R>,
    form: Form,
    root: BorrowedFd<'_>,
    base: &[u8],
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let before = if form == Form::Over {
        Before::Others
    } else {
        Before::Mine
    };
    let mut unpacker = Unpacker::new(form, base, Confined::new(root, WriteMode::new(before)))?;
    while let Some(mut entry) = tar.next()? {
        if form != Form::Folder {
            entry
                .xattrs
                .retain(|(name, _)| !is_attribute_of_overlay(name));
        }
        unpacker.done.entries += 1;
        if unpacker.done.entries > limits.entries {
            return Err(UnpackError::TooManyEntries(limits.entries));
        }
        unpacker.entry(&entry, tar)?;
    }
    unpacker.finish()
}

pub(super) struct Unpacker<'a> {
    form: Form,
    /// Where the archive's root is.
    base: Vec<&'a [u8]>,
    place: Confined<'a>,
    done: Unpacked,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(
        form: Form,
        base: &'a [u8],
        place: Confined<'a>,
    ) -> Result<Self, UnpackError> {
        let shown = || String::from_utf8_lossy(base).into_owned();
        let base = components(base, form).map_err(|reason| UnpackError::Base {
            path: shown(),
            reason,
        })?;
        Ok(Self {
            form,
            base,
            place,
            done: Unpacked::default(),
        })
    }
}

/// The fault as one of this entry.
fn at(entry: &Entry) -> impl Fn(Fault) -> UnpackError {
    move |fault| {
        let path = entry.display_path();
        match fault {
            Fault::Refused(reason) => UnpackError::Refused { path, reason },
            Fault::Failed(attempt, errno) => UnpackError::Io {
                path,
                attempt,
                source: errno.into(),
            },
        }
    }
}

impl Unpacker<'_> {
    pub(super) fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let own =
            components(&entry.path, self.form).map_err(|reason| at(entry)(refused(reason)))?;
        let Some((name, parents)) = own.split_last() else {
            return self.root(entry).map_err(at(entry));
        };
        self.place
            .enter(&[&self.base, parents].concat())
            .map_err(at(entry))?;
        let speaks_of_layers = matches!(self.form, Form::Layer | Form::Over);
        if speaks_of_layers && name.starts_with(WHITEOUT) {
            return self.whiteout(name).map_err(at(entry));
        }
        if speaks_of_layers && entry.kind == Kind::Char && entry.device == (0, 0) {
            return Err(at(entry)(refused(
                "a character device 0:0 is overlayfs's own mark",
            )));
        }
        if entry.kind == Kind::File {
            let file = self.place.file(name).map_err(at(entry))?;
            let file = self.write(file.into(), entry, tar)?;
            return describe_file(file.as_fd(), entry).map_err(at(entry));
        }
        let made = match entry.kind {
            Kind::File => Ok(()),
            Kind::Directory => self.place.directory(name, entry),
            Kind::HardLink => match components(&entry.link, self.form) {
                Ok(target) => self
                    .place
                    .hard_link(name, &[&self.base[..], &target[..]].concat()),
                Err(reason) => {
                    let target = String::from_utf8_lossy(&entry.link);
                    Err(Fault::Refused(format!(
                        "a hard link to {target:?}: {reason}"
                    )))
                }
            },
            Kind::Symlink if entry.link.is_empty() => Err(refused("a symlink to nothing")),
            Kind::Symlink => self.place.symlink(name, entry),
            Kind::Char => self.place.special(name, FileType::CharacterDevice, entry),
            Kind::Block => self.place.special(name, FileType::BlockDevice, entry),
            Kind::Fifo => self.place.special(name, FileType::Fifo, entry),
        };
        made.map_err(at(entry))
    }

    /// The archive's root. Over a tree, it is only a place: it keeps the looks that it has.
    fn root(&mut self, entry: &Entry) -> Result<(), Fault> {
        match (entry.kind, self.form) {
            (Kind::Directory, Form::Over | Form::Copy) => Ok(()),
            (Kind::Directory, _) => self.place.describe_root(entry),
            _ => Err(refused(
                "it replaces the root with something other than a directory",
            )),
        }
    }

    fn whiteout(&mut self, name: &[u8]) -> Result<(), Fault> {
        if self.form == Form::Over {
            return Err(refused(
                "names that start with .wh. mean deletion in an image",
            ));
        }
        if name == OPAQUE_ENTRY {
            return self.place.set_opaque(b"");
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
            return Err(refused("a malformed whiteout"));
        }
        self.place.hide(hidden)
    }

    pub(super) fn finish(mut self) -> Result<Unpacked, UnpackError> {
        self.done.implicit = self
            .place
            .finish()
            .map_err(|(path, errno)| UnpackError::Io {
                path: String::from_utf8_lossy(&path).into_owned(),
                attempt: "setting a directory's time",
                source: errno.into(),
            })?;
        Ok(self.done)
    }

    /// Writes the body; where a sparse entry has no data, the file keeps its holes.
    fn write<R: BufRead>(
        &mut self,
        mut file: File,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<File, UnpackError> {
        let failed = |source| UnpackError::Io {
            path: entry.display_path(),
            attempt: "writing the file",
            source,
        };
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
fn components(path: &[u8], form: Form) -> Result<Vec<&[u8]>, &'static str> {
    let components: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    if components.contains(&&b".."[..]) {
        return Err("its path contains ..");
    }
    if components.len() > MAX_DEPTH && matches!(form, Form::Layer | Form::Over) {
        return Err("its path is too deep");
    }
    Ok(components)
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
            unpack(
                &mut TarReader::new(&bytes[..]),
                Form::Layer,
                root.as_fd(),
                b"",
                Limits {
                    entries,
                    ..Limits::default()
                },
            )
        };
        assert!(matches!(
            unpack_up_to(2),
            Err(UnpackError::TooManyEntries(2))
        ));
        assert_eq!(unpack_up_to(3).unwrap().entries, 3);
    }
}
