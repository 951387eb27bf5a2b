//! Writes the tar of an OCI layout: members of a known size, the same bytes for the same content.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::portable::Blob;
use crate::{Digest, Store};

const BLOCK: u64 = 512;

pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(crate) struct Tarball<'a> {
    output: &'a mut dyn Write,
    /// Blobs that are in it: what several images share goes once.
    blobs: BTreeSet<Digest>,
}

impl<'a> Tarball<'a> {
    pub(crate) fn new(output: &'a mut dyn Write) -> Self {
        Self {
            output,
            blobs: BTreeSet::new(),
        }
    }

    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.member(name, bytes.len() as u64, |output| output.write_all(bytes))
    }

    pub(crate) fn blob(&mut self, store: &Store, blob: &Blob) -> io::Result<()> {
        if !self.blobs.insert(blob.digest) {
            return Ok(());
        }
        self.member(&blob_name(&blob.digest), blob.size, |output| {
            blob.write(store, output)
        })
    }

    pub(crate) fn member(
        &mut self,
        name: &str,
        size: u64,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        let mut exact = Exact {
            output: self.output,
            left: size,
        };
        content(&mut exact)?;
        if exact.left > 0 {
            return Err(io::Error::other(format!(
                "{name} is {} bytes shorter than it was",
                exact.left
            )));
        }
        let padding = size.next_multiple_of(BLOCK) - size;
        self.output
            .write_all(&[0; 512][..usize::try_from(padding).expect("less than a block")])
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.output.write_all(&[0; 1024])?;
        self.output.flush()
    }
}

/// Lets through what the header promised, and no more.
struct Exact<'a> {
    output: &'a mut dyn Write,
    left: u64,
}

impl Write for Exact<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("it is longer than it was"));
        }
        let count = self.output.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
