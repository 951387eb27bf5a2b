//! Archives of plain folders: a volume, a container's files. Unlike a layer's, their entries say nothing about anything
//! below, so every name means itself; and they keep what a layer has no use for: holes of sparse files, fractions of
//! seconds.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::BorrowedFd;

use super::archive::TarReader;
use super::{Decoder, Form, Limits, PackError, UnpackError, pack, unpack};

/// Why a folder was not packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("reading the archive")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Writes everything below `root` as a tar and returns the bytes of file content. What vanishes meanwhile is left out, what
/// shrinks is filled with zeros.
pub fn pack_folder(root: BorrowedFd<'_>, output: &mut dyn Write) -> Result<u64, FolderError> {
    Ok(pack(root, Form::Folder, output)?)
}

/// Unpacks a whole tar (plain, gzip or zstd) below `root`, an empty, private folder, and returns the bytes of file
/// content.
pub fn unpack_folder(archive: impl Read, root: BorrowedFd<'_>) -> Result<u64, FolderError> {
    // The owner of the disk knows what a volume may hold.
    let limits = Limits {
        entries: u64::MAX,
        bytes: u64::MAX,
        free_bytes: u64::MAX,
        ratio: u64::MAX,
    };
    let decoder = Decoder::new(archive, limits).map_err(FolderError::Read)?;
    let mut tar = TarReader::of_folder(BufReader::with_capacity(256 << 10, decoder)).whole();
    let unpacked = unpack(&mut tar, Form::Folder, root, b"", limits)?;
    // Read to the end, so that the writer of a pipe does not get EPIPE.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(FolderError::Read)?;
    Ok(unpacked.bytes)
}
