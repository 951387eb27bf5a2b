//! Puts an archive into a volume that is mounted from elsewhere. It cannot be exchanged as a whole, so the archive is unpacked
//! beside what the volume has, which only goes when all of the archive is there.

use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hoist_image::unpack_folder;
use rustix::fs::{
    Dir, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat, renameat,
};

use crate::actions::StepError;
use crate::driver::Opened;
use crate::error::chain;

/// Of a refill that is under way, or that was interrupted.
const BESIDE: &str = ".hoist-import-";

/// ext4 makes it; it is no content.
const LOST: &CStr = c"lost+found";

/// Without what a file system or an interrupted refill has put there.
pub(crate) fn is_empty(root: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(names(root)?.iter().all(|name| is_beside(name)))
}

pub(crate) fn refill(
    volume: &str,
    opened: &Opened,
    archive: impl Read,
    replace: bool,
) -> Result<(), StepError> {
    if opened
        .options(volume)
        .is_some_and(|local| matches!(local.kind.as_str(), "tmpfs" | "ramfs"))
    {
        let text = "it is in memory, and only while containers have it; what is put there now would be lost";
        return Err(StepError::bad(format!("volume {volume}: {text}")));
    }
    let failed = |error: io::Error| StepError::engine(format!("filling volume {volume}: {error}"));
    let root = opened.root(volume)?;
    let root = root.as_fd();
    if !replace && !is_empty(root).map_err(failed)? {
        return Err(StepError::conflict(format!(
            "volume {volume} is not empty; --replace drops what it has"
        )));
    }
    let beside =
        CString::new(format!("{BESIDE}{}", &crate::engine::new_id()[..12])).unwrap_or_default();
    let folder = make(root, &beside).map_err(failed)?;
    let unpacked =
        unpack_folder(archive, folder.as_fd()).map_err(|error| StepError::bad(chain(&error)));
    let placed = unpacked.and_then(|_| place(root, &folder, &beside).map_err(failed));
    if placed.is_err() {
        // Best effort; the first error counts.
        let _ = hoist_tree::remove_at(root, &beside);
    }
    placed
}

fn make(root: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    mkdirat(root, name, Mode::from_raw_mode(0o755))?;
    Ok(openat(
        root,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Exchanges what the volume has for what the folder in it has.
fn place(root: BorrowedFd<'_>, folder: &OwnedFd, beside: &CStr) -> io::Result<()> {
    for name in names(root)?.iter().filter(|name| name.as_c_str() != beside) {
        hoist_tree::remove_at(root, name)?;
    }
    for name in names(folder.as_fd())? {
        renameat(folder, &name, root, &name)?;
    }
    let stat = fstat(folder)?;
    fchown(
        root,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(root, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    hoist_tree::remove_at(root, beside)?;
    Ok(rustix::fs::syncfs(root)?)
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_lost = name == LOST && entry.file_type() == FileType::Directory;
        if name != c"." && name != c".." && !is_lost {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

fn is_beside(name: &CStr) -> bool {
    name.to_bytes().starts_with(BESIDE.as_bytes())
}
