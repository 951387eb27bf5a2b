//! Archives for a tree that is there: a tar, plain or compressed, laid over an image. Other than a layer, such an archive
//! is meant for what it meets: its paths follow the tree's symlinks (`bin/x` lands in /usr/bin where /bin is a symlink), so
//! it cannot be unpacked alone and laid over.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::archive::{BLOCK, TarReader, is_header};
use super::{Decoder, Form, Limits, UnpackError, unpack};

/// A file that is a tar.
pub struct TarFile(TarReader<Box<dyn io::BufRead>>);

impl std::fmt::Debug for TarFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TarFile")
    }
}

impl TarFile {
    /// `None`: not a tar, whatever its name says. What cannot be decompressed is none, either.
    pub fn open(file: File) -> Option<Self> {
        let mut reader =
            BufReader::with_capacity(256 << 10, Decoder::new(file, Limits::default()).ok()?);
        let mut head = Vec::with_capacity(BLOCK);
        reader
            .by_ref()
            .take(BLOCK as u64)
            .read_to_end(&mut head)
            .ok()?;
        let block = <&[u8; BLOCK]>::try_from(&head[..]).ok()?;
        if !is_header(block) {
            return None;
        }
        Some(Self(TarReader::new(Box::new(
            io::Cursor::new(head).chain(reader),
        ))))
    }

    /// Unpacks below `base`, an existing directory of the tree below `root`. Nobody else may change the tree meanwhile.
    /// Returns the bytes of file content.
    pub fn unpack_over(mut self, root: BorrowedFd<'_>, base: &Path) -> Result<u64, UnpackError> {
        let base = base.as_os_str().as_bytes();
        Ok(unpack(&mut self.0, Form::Over, root, base, Limits::default())?.bytes)
    }
}

/// Where what is written to an overlay mount goes.
#[derive(Debug, Clone, Copy)]
pub struct Writable<'a> {
    /// A layer's directory.
    pub upper: &'a Path,
    /// An empty directory on the same file system, for the kernel's use.
    pub work: &'a Path,
    /// Whether `upper` becomes a layer of its own: it gets no mark that only means something beside the layers below, and
    /// nothing has to be on the disk when the mount ends. `work` cannot be used again.
    pub layer: bool,
}

/// Layers seen as one tree, by the kernel's overlayfs (Documentation/filesystems/overlayfs.rst): a mount that is in no
/// mount namespace and goes with its descriptor. `lowers`: topmost first, at least one. Without `upper`, it is read-only.
pub fn mount_overlay(lowers: &[PathBuf], upper: Option<Writable<'_>>) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&fs, "source", "hoist")?;
    for lower in lowers {
        rustix::mount::fsconfig_set_string(&fs, "lowerdir+", lower)?;
    }
    // Devices in it must never be opened: the tree is read on behalf of callers without that right.
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    match upper {
        Some(Writable { upper, work, layer }) => {
            rustix::mount::fsconfig_set_string(&fs, "upperdir", upper)?;
            rustix::mount::fsconfig_set_string(&fs, "workdir", work)?;
            if layer {
                for feature in ["index", "metacopy", "redirect_dir"] {
                    rustix::mount::fsconfig_set_string(&fs, feature, "off")?;
                }
                rustix::mount::fsconfig_set_flag(&fs, "volatile")?;
            }
        }
        None => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
    }
    rustix::mount::fsconfig_create(&fs)?;
    Ok(rustix::mount::fsmount(
        &fs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}
