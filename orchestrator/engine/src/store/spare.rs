//! Disk space reserved for the next content of a small file.
//!
//! Beside a record that must change when things are taken down lies its spare: a file of the same size whose blocks are
//! its own. When the disk has no room for a new file, the new content is written over the spare and the two exchange
//! their names: that needs no new block, so it works even when a container has filled the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// The allocation unit of file systems.
const BLOCK: usize = 4096;

fn spare(path: &Path) -> PathBuf {
    path.with_extension("spare")
}

/// Whether the error means that the disk is full.
pub(super) fn no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes sure that there is room for a content of this length, and as much again as a reason for an end may take.
pub(super) fn keep(path: &Path, length: usize) -> io::Result<()> {
    let spare = spare(path);
    let wanted = length.next_multiple_of(BLOCK);
    if std::fs::metadata(&spare).is_ok_and(|found| found.len() >= wanted as u64) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&spare)?;
    // Written and not only allocated: some file systems promise nothing before.
    file.write_all(&vec![b' '; wanted])
}

/// Replaces the file by means of its spare, durably: the old content is overwritten next time, so the exchange of the
/// names must have reached the disk by then.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let spare = spare(path);
    let mut file = OpenOptions::new().write(true).open(&spare)?;
    file.write_all(bytes)?;
    // JSON does not mind spaces; a shorter file would give blocks away.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.seek(io::SeekFrom::Start(bytes.len() as u64))?;
    file.write_all(&vec![b' '; length.saturating_sub(bytes.len())])?;
    file.sync_all()?;
    renameat_with(CWD, &spare, CWD, path, RenameFlags::EXCHANGE)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
