//! Layers as tar streams and as directories in overlay form.
//!
//! Owns the tar reader, the unpacker, the packer, and the comparison of what was unpacked. Input is hostile until its digests
//! were verified, and after that too: a digest says that these are the bytes that were asked for, not that they mean well.

mod archive;
mod attributes;
mod compare;
mod confined;
mod copy;
mod decode;
mod folder;
mod gzip;
mod header;
mod over;
mod pack;
mod pax;
mod pipe;
mod sparse;
mod unpack;

pub use archive::MAX_PATH;
pub(crate) use archive::{ArchiveError, Kind, TarReader};
pub use attributes::{is_attribute_of_host, is_attribute_of_overlay};
pub(crate) use compare::difference;
pub use copy::{Copied, CopyTar, Copying, Owners, Top, pack_copy};
pub(crate) use decode::Decoder;
pub use decode::decompress;
pub use folder::{FolderError, pack_folder, unpack_folder};
pub use over::{TarFile, Writable, mount_overlay};
pub use pack::PackError;
pub(crate) use pack::pack;
use pack::pack_entry;
pub(crate) use pipe::pipe;
pub use unpack::{MAX_DEPTH, UnpackError};
pub(crate) use unpack::{Unpacked, unpack};

/// What a tar is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A layer: whiteouts and opaque directories speak of the layers below.
    Layer,
    /// A folder that stands for itself.
    Folder,
    /// An archive for a tree that is there, whose symlinks its paths follow: `ADD`.
    Over,
    /// Files of a folder for a tree that is there: `cp`.
    Copy,
}

/// Whether a layer can hold a path, relative to the root. Longer or deeper ones can neither be opened by their path nor
/// be unpacked by other engines.
pub fn fits_layer(path: &[u8]) -> bool {
    path.len() <= MAX_PATH && path.split(|byte| *byte == b'/').count() <= MAX_DEPTH
}

/// overlayfs's mark of a directory that hides everything below it.
const OPAQUE: &str = "trusted.overlay.opaque";
/// The prefix of a whiteout in a layer's tar.
const WHITEOUT: &[u8] = b".wh.";
/// The whole name of the entry that makes its directory opaque.
const OPAQUE_ENTRY: &[u8] = b".wh..wh..opq";

/// What one layer may cost. Generous towards real images, small towards bombs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub entries: u64,
    pub bytes: u64,
    /// Bytes that may come out whatever went in; past them, `ratio` counts.
    pub free_bytes: u64,
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 256 << 30,
            free_bytes: 512 << 20,
            ratio: 150,
        }
    }
}
