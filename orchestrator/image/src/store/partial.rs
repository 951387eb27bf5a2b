//! Blobs on their way in: what has arrived is kept when a download ends early, and goes on from there, also in the next
//! engine.
//!
//! Their bytes are believed when all of them together have the digest, as those from the network are.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use super::{Store, StoreError, disk};
use crate::Digest;

pub(super) const FOLDER: &str = "partial";
/// A download that is resumed after a week starts again.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    pub(super) fn partial_file(&self, digest: &Digest) -> PathBuf {
        self.root.join(FOLDER).join(digest.hex())
    }

    /// How many bytes of a blob are here already, and the bytes.
    pub(crate) fn partial(&self, digest: &Digest) -> Option<(u64, File)> {
        let file = File::open(self.partial_file(digest)).ok()?;
        let length = file.metadata().ok()?.len();
        (length > 0).then_some((length, file))
    }

    /// What is here turned out to be something else.
    pub(crate) fn forget_partial(&self, digest: &Digest) {
        // What cannot be removed is found wanting again, and collected.
        let _ = disk::remove(&self.partial_file(digest));
    }

    /// The file that takes the bytes after the first `kept`.
    pub(super) fn open_partial(
        &self,
        digest: &Digest,
        kept: u64,
    ) -> Result<(PathBuf, File), StoreError> {
        let path = self.partial_file(digest);
        if kept == 0 {
            disk::remove(&path)?;
            let file = disk::create(&path).map_err(disk::failed("creating", &path))?;
            return Ok((path, file));
        }
        let file = File::options()
            .append(true)
            .open(&path)
            .map_err(disk::failed("opening", &path))?;
        file.set_len(kept).map_err(disk::failed("cutting", &path))?;
        Ok((path, file))
    }

    /// Removes downloads that were not resumed. On another generation files written shortly before may be empty.
    pub(super) fn sweep_partials(&self, same_generation: bool) -> Result<(), StoreError> {
        let folder = self.root.join(FOLDER);
        if !same_generation {
            return disk::empty(&folder);
        }
        for entry in fs::read_dir(&folder).map_err(disk::failed("listing", &folder))? {
            let path = entry.map_err(disk::failed("listing", &folder))?.path();
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT)) {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }
}
