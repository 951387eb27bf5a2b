//! How much of the disk is whose.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use hoist_tree::{Visit, Walk};

/// Bytes that a folder's files have allocated, each file once however many names it has. What cannot be read, or goes in
/// the meantime, counts nothing.
pub(crate) fn of_folder(folder: &Path) -> u64 {
    let mut total = 0;
    // What was counted until then is the best answer there is.
    let _ = count(folder, &mut total);
    total
}

fn count(folder: &Path, total: &mut u64) -> io::Result<()> {
    let folder = File::open(folder)?;
    let mut seen = BTreeSet::new();
    let mut walk = Walk::new(folder.as_fd())?;
    while let Some(visit) = walk.step()? {
        let Visit::Entry { name, stat } = visit else {
            continue;
        };
        if Visit::is_folder(&stat) {
            walk.enter(&name)?;
        } else if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            // Without holes, and without what the file system adds to a small file.
            let allocated = stat.st_size.min(stat.st_blocks * 512);
            *total += u64::try_from(allocated).unwrap_or(0);
        }
    }
    Ok(())
}
