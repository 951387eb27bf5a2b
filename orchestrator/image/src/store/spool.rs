//! Content that waits in `tmp` until it is passed on; it goes with its owner.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Store, StoreError, disk};
use crate::{Digest, Hasher};

const ZSTD_LEVEL: i32 = 3;

/// A zstd file of which digest and length are known.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    pub digest: Digest,
    pub size: u64,
}

impl Spool {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store opens.
        let _ = disk::remove(&self.path);
    }
}

impl Store {
    /// Keeps what `write` writes, compressed. Whatever it fails with is handed back.
    pub fn spool<T, E: From<StoreError>>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(Spool, T), E> {
        let (path, file) = self.temporary_file()?;
        let mut spool = Spool {
            path,
            digest: Digest::of(&[]),
            size: 0,
        };
        let failed =
            |path: &Path, source: io::Error| E::from(disk::failed("writing", path)(source));
        let counting = Counting {
            file: BufWriter::with_capacity(256 << 10, file),
            hasher: Hasher::new(),
            count: 0,
        };
        let mut encoder =
            zstd::Encoder::new(counting, ZSTD_LEVEL).map_err(|error| failed(&spool.path, error))?;
        let outcome = write(&mut encoder)?;
        let mut counting = encoder
            .finish()
            .map_err(|error| failed(&spool.path, error))?;
        counting
            .file
            .flush()
            .map_err(|error| failed(&spool.path, error))?;
        spool.size = counting.count;
        spool.digest = counting.hasher.finish();
        Ok((spool, outcome))
    }
}

struct Counting<W> {
    file: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
