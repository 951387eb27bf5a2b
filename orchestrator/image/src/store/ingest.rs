//! Layers and blobs on their way in. One pass per layer: hash, keep the blob, decode, hash again, unpack; nothing gets
//! its final name before every digest was verified.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use super::{Hold, LayerInfo, LayerRecord, Store, StoreError, disk};
use crate::layer::{self, ArchiveError, Decoder, Form, Limits, TarReader, UnpackError, Unpacked};
use crate::{Digest, Hasher};

/// Why something did not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("reading the layer")]
    Read(#[source] io::Error),
    #[error("unpacking the layer")]
    Unpack(#[source] UnpackError),
    #[error("the blob has digest {found}, not {expected}")]
    Digest { expected: Digest, found: Digest },
    #[error("the blob has {found} bytes, not {expected}")]
    Size { expected: u64, found: u64 },
    #[error("the layer unpacks to diff id {found}, not {expected} as its image says")]
    DiffId { expected: Digest, found: Digest },
    #[error("storing the layer")]
    Store(#[source] StoreError),
    #[error("packing the layer")]
    Pack(#[source] layer::PackError),
}

/// What a layer's bytes must turn out to be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    /// Digest and length of the blob as it comes.
    pub blob: Option<(Digest, u64)>,
    pub diff_id: Option<Digest>,
}

impl Expected {
    fn verify(&self, digest: Digest, length: u64, diff_id: Digest) -> Result<(), LayerError> {
        if let Some((expected, size)) = self.blob {
            if length != size {
                return Err(LayerError::Size {
                    expected: size,
                    found: length,
                });
            }
            if digest != expected {
                return Err(LayerError::Digest {
                    expected,
                    found: digest,
                });
            }
        }
        match self.diff_id {
            Some(expected) if expected != diff_id => Err(LayerError::DiffId {
                expected,
                found: diff_id,
            }),
            _ => Ok(()),
        }
    }
}

/// What happens to the bytes as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerBlob {
    /// Becomes a blob of the store.
    Keep,
    /// The same from a download that may end early: so many bytes are in its partial file already, which keeps what comes.
    Resume(u64),
    /// Is one already.
    Stored,
    /// Can be made again from the layer.
    Forget,
}

/// A blob is written back in pieces while it comes, so that little is left to wait for at its end.
const WRITE_BACK: u64 = 4 << 20;

/// A layer in `tmp`; what is left of it goes with it.
pub(super) struct Draft(pub(super) PathBuf);

impl Draft {
    /// A folder for the layer, and in it the open folder that its files go to.
    fn create(store: &Path) -> Result<(Self, File), StoreError> {
        let draft = Self(disk::temporary(store));
        disk::create_private(&draft.0)?;
        let fs_folder = draft.0.join("fs");
        disk::create_private(&fs_folder)?;
        disk::set_mode(&fs_folder, 0o755)?;
        let root = File::open(&fs_folder).map_err(disk::failed("opening", &fs_folder))?;
        Ok((draft, root))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store opens.
        let _ = disk::remove(&self.0);
    }
}

impl Store {
    /// Unpacks a tar stream (plain, gzip or zstd) as a layer.
    pub fn add_layer(&self, archive: &mut dyn Read) -> Result<LayerInfo, StoreError> {
        self.ingest(archive, Expected::default(), LayerBlob::Keep)
            .map_err(|error| StoreError::Layer(Box::new(error)))
    }

    /// Reads a layer to its end, verifies it and gives it its name.
    pub(crate) fn ingest(
        &self,
        source: &mut dyn Read,
        expected: Expected,
        keep: LayerBlob,
    ) -> Result<LayerInfo, LayerError> {
        let (draft, record, digest, hold) = self.draft(source, expected, keep)?;
        let (diff_id, size) = (record.diff_id, record.size);
        self.name_layer(&draft.0, record)
            .map_err(LayerError::Store)?;
        Ok(LayerInfo {
            diff_id,
            digest,
            size,
            hold,
        })
    }

    /// Unpacks and verifies a layer, which still lacks its name, and names its blob.
    fn draft(
        &self,
        source: &mut dyn Read,
        expected: Expected,
        keep: LayerBlob,
    ) -> Result<(Draft, LayerRecord, Digest, Hold), LayerError> {
        let (draft, root) = Draft::create(&self.root).map_err(LayerError::Store)?;
        let (blob_file, copy, kept) = match (keep, expected.blob) {
            (LayerBlob::Resume(kept), Some((digest, _))) => {
                let (path, file) = self
                    .open_partial(&digest, kept)
                    .map_err(LayerError::Store)?;
                (path, Some(file), kept)
            }
            (LayerBlob::Keep | LayerBlob::Resume(_), _) => {
                let path = draft.0.join("blob");
                let file = disk::create(&path)
                    .map_err(disk::failed("creating", &path))
                    .map_err(LayerError::Store)?;
                (path, Some(file), 0)
            }
            (LayerBlob::Stored | LayerBlob::Forget, _) => (PathBuf::new(), None, 0),
        };
        let mut tee = Tee {
            source,
            copy,
            kept,
            begun: 0,
            hasher: Hasher::new(),
            count: 0,
            most: expected.blob.map(|(_, size)| size),
        };

        let (unpacked, diff_id) = unpack_beside(&mut tee, root.as_fd())?;

        let Tee {
            copy,
            hasher,
            count,
            ..
        } = tee;
        let digest = hasher.finish();
        expected.verify(digest, count, diff_id)?;
        let hold = self.hold(&[diff_id, digest]);
        if let Some(copy) = copy {
            self.name_blob(copy, &blob_file, &digest)
                .map_err(LayerError::Store)?;
        }
        let blob = (keep != LayerBlob::Forget).then_some(digest);
        let record = LayerRecord {
            diff_id,
            blob,
            size: unpacked.bytes,
            packed: None,
            implicit: unpacked.implicit,
        };
        Ok((draft, record, digest, hold))
    }

    /// Unpacks a layer again from its blob in the store.
    pub(crate) fn ingest_blob(
        &self,
        digest: Digest,
        diff_id: Digest,
    ) -> Result<LayerInfo, LayerError> {
        let (mut file, expected) = self.stored(digest, diff_id)?;
        self.ingest(&mut file, expected, LayerBlob::Stored)
    }

    /// What the blob of a layer unpacks to, to be looked at or to take the layer's place.
    pub(super) fn draft_of_blob(
        &self,
        digest: Digest,
        diff_id: Digest,
    ) -> Result<(Draft, LayerRecord), LayerError> {
        let (mut file, expected) = self.stored(digest, diff_id)?;
        let (draft, record, ..) = self.draft(&mut file, expected, LayerBlob::Stored)?;
        Ok((draft, record))
    }

    fn stored(&self, digest: Digest, diff_id: Digest) -> Result<(File, Expected), LayerError> {
        let path = self.blob_file(&digest);
        let file = File::open(&path)
            .map_err(disk::failed("opening", &path))
            .map_err(LayerError::Store)?;
        let size = file.metadata().map_err(LayerError::Read)?.len();
        Ok((
            file,
            Expected {
                blob: Some((digest, size)),
                diff_id: Some(diff_id),
            },
        ))
    }

    /// Turns the upper directory of a scratch folder into a layer.
    pub(super) fn ingest_folder(&self, folder: &Path) -> Result<LayerInfo, LayerError> {
        let fs_folder = folder.join("fs");
        let root = File::open(&fs_folder)
            .map_err(disk::failed("opening", &fs_folder))
            .map_err(LayerError::Store)?;
        let mut tee = HashingWriter::new(io::sink());
        let size = layer::pack(root.as_fd(), Form::Layer, &mut tee).map_err(LayerError::Pack)?;
        let (diff_id, packed) = (tee.hasher.finish(), Some(tee.count));
        let hold = self.hold(&[diff_id]);
        let record = LayerRecord {
            diff_id,
            blob: None,
            size,
            packed,
            implicit: BTreeSet::new(),
        };
        self.name_layer(folder, record).map_err(LayerError::Store)?;
        Ok(LayerInfo {
            diff_id,
            digest: diff_id,
            size,
            hold,
        })
    }

    /// Makes a layer of an upper directory (overlay form) that stays its owner's. Nothing may write to
    /// it meanwhile.
    pub fn add_upper(&self, upper: BorrowedFd<'_>) -> Result<LayerInfo, StoreError> {
        let failed = |error| StoreError::Layer(Box::new(error));
        let (mut reader, writer) = io::pipe().map_err(|error| failed(LayerError::Read(error)))?;
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let mut writer = io::BufWriter::with_capacity(256 << 10, writer);
                layer::pack(upper, Form::Layer, &mut writer)?;
                // A reader that stopped early says why.
                let _ = writer.flush();
                Ok::<_, layer::PackError>(())
            });
            let drafted = self.draft(&mut reader, Expected::default(), LayerBlob::Forget);
            drop(reader);
            let packed = packing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let (draft, record, digest, hold) = drafted.map_err(failed)?;
            packed.map_err(|error| failed(LayerError::Pack(error)))?;
            let (diff_id, size) = (record.diff_id, record.size);
            self.name_layer(&draft.0, record)?;
            Ok(LayerInfo {
                diff_id,
                digest,
                size,
                hold,
            })
        })
    }

    /// Writes a layer as the tar that has its diff id: from its blob where there is one, else packed again.
    pub fn write_layer(&self, diff_id: &Digest, output: &mut dyn Write) -> Result<(), StoreError> {
        let _hold = self.hold(&[*diff_id]);
        let blob = self
            .state()
            .layers
            .get(diff_id)
            .ok_or(StoreError::LayerMissing(*diff_id))?
            .blob;
        let failed = |error| StoreError::Layer(Box::new(error));
        if let Some(blob) = blob
            && let Ok(file) = File::open(self.blob_file(&blob))
        {
            let read = |error| failed(LayerError::Read(error));
            let mut decoder = Decoder::new(file, Limits::default()).map_err(read)?;
            let mut tee = HashingWriter::new(output);
            io::copy(&mut decoder, &mut tee).map_err(read)?;
            return match tee.hasher.finish() {
                found if found == *diff_id => Ok(()),
                found => Err(failed(LayerError::DiffId {
                    expected: *diff_id,
                    found,
                })),
            };
        }
        self.pack_layer(diff_id, output).map(drop)
    }

    /// Packs a layer's files; fails when they are not those of the diff id. Returns the tar's length.
    pub(super) fn pack_layer(
        &self,
        diff_id: &Digest,
        output: impl Write,
    ) -> Result<u64, StoreError> {
        let failed = |error| StoreError::Layer(Box::new(error));
        let folder = self.layer_folder(diff_id).join("fs");
        let root = File::open(&folder).map_err(disk::failed("opening", &folder))?;
        let mut tee = HashingWriter::new(output);
        layer::pack(root.as_fd(), Form::Layer, &mut tee)
            .map_err(|error| failed(LayerError::Pack(error)))?;
        match tee.hasher.finish() {
            found if found == *diff_id => Ok(tee.count),
            found => Err(failed(LayerError::DiffId {
                expected: *diff_id,
                found,
            })),
        }
    }

    /// How long the tar of a layer without a blob will be.
    pub(crate) fn packed_size(&self, diff_id: &Digest) -> Result<u64, StoreError> {
        let known = self
            .state()
            .layers
            .get(diff_id)
            .ok_or(StoreError::LayerMissing(*diff_id))?
            .packed;
        known.map_or_else(|| self.pack_layer(diff_id, io::sink()), Ok)
    }

    /// Stores small content under its digest. It is on the disk with the record of the image that names it.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.blob_file(&digest);
        // What is there was verified when it came, but may not have survived a power cut.
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(digest);
        }
        disk::replace_lazily(&self.root, &path, bytes)?;
        self.state().fresh.insert(digest);
        Ok(digest)
    }

    /// Gives a written file, whose content has this digest, its name as a blob: the content is on the disk then, and the
    /// name with the next image's record.
    pub(crate) fn name_blob(
        &self,
        file: File,
        written: &Path,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let path = self.blob_file(digest);
        file.sync_data().map_err(disk::failed("syncing", written))?;
        fs::rename(written, &path).map_err(disk::failed("naming", &path))
    }

    /// A fresh file in `tmp`.
    pub(crate) fn temporary_file(&self) -> Result<(PathBuf, File), StoreError> {
        let path = disk::temporary(&self.root);
        let file = disk::create(&path).map_err(disk::failed("creating", &path))?;
        Ok((path, file))
    }

    pub(super) fn name_layer(&self, draft: &Path, record: LayerRecord) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&record).map_err(|source| StoreError::Encode {
            what: "a layer record",
            source,
        })?;
        let path = draft.join("layer.json");
        fs::write(&path, bytes).map_err(disk::failed("writing", &path))?;
        let folder = self.layer_folder(&record.diff_id);
        // Under the lock: of two equal layers one wins, the other goes with its draft.
        let mut state = self.state();
        if state.layers.contains_key(&record.diff_id) {
            return Ok(());
        }
        if folder.exists() {
            self.discard(&folder)?;
        }
        fs::rename(draft, &folder).map_err(disk::failed("naming", &folder))?;
        state.layers.insert(record.diff_id, record);
        drop(state);
        self.durability.queue(folder);
        Ok(())
    }

    /// Takes a folder out of sight at once and removes it.
    pub(super) fn discard(&self, folder: &Path) -> Result<(), StoreError> {
        let trash = self.retire(folder)?;
        disk::remove(&trash)
    }

    /// Takes a folder out of sight; what is returned remains to be removed, and is so at the latest when the store opens.
    pub(super) fn retire(&self, folder: &Path) -> Result<PathBuf, StoreError> {
        let temporary = disk::temporary(&self.root);
        let name = temporary
            .file_name()
            .expect("a temporary name has a last part");
        let trash = self.root.join("trash").join(name);
        match fs::rename(folder, &trash) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(disk::failed("removing", folder)(error))
            }
            _ => Ok(trash),
        }
    }
}

/// Decodes in this thread and unpacks in another one; also gives the digest of the decoded bytes.
fn unpack_beside(
    source: &mut Tee<'_>,
    root: BorrowedFd<'_>,
) -> Result<(Unpacked, Digest), LayerError> {
    let limits = Limits::default();
    let mut decoder = Decoder::new(source, limits).map_err(LayerError::Read)?;
    let (filler, drawer) = layer::pipe();
    std::thread::scope(|scope| {
        let unpacking = std::thread::Builder::new()
            .name("image-unpack".to_owned())
            .spawn_scoped(scope, move || {
                let mut tar = TarReader::new(drawer);
                let unpacked = layer::unpack(&mut tar, Form::Layer, root, b"", limits)?;
                let diff_id = tar.into_inner().finish().map_err(ArchiveError::Read)?;
                Ok::<_, UnpackError>((unpacked, diff_id))
            })
            .map_err(LayerError::Read)?;
        let passed = filler.pass(&mut decoder);
        let unpacked = match unpacking.join() {
            Ok(unpacked) => unpacked,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // When the source failed, the unpacker only says that its input ended.
        passed.map_err(LayerError::Read)?;
        let unpacked = match unpacked {
            Err(UnpackError::Archive(ArchiveError::Read(error))) => {
                return Err(LayerError::Read(error));
            }
            result => result.map_err(LayerError::Unpack)?,
        };
        decoder.drain().map_err(LayerError::Read)?;
        Ok(unpacked)
    })
}

/// Passes bytes on and keeps what the digest and the blob need.
struct Tee<'a> {
    source: &'a mut dyn Read,
    copy: Option<File>,
    /// Of the first bytes so many are in the copy already.
    kept: u64,
    /// Where writing the copy back was begun last.
    begun: u64,
    hasher: Hasher,
    count: u64,
    most: Option<u64>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.count += count as u64;
        if self.most.is_some_and(|most| self.count > most) {
            return Err(io::Error::other(
                "the blob is longer than its descriptor says",
            ));
        }
        self.hasher.update(&buffer[..count]);
        if let Some(copy) = &mut self.copy {
            let there = usize::try_from(self.kept).unwrap_or(usize::MAX).min(count);
            self.kept -= there as u64;
            copy.write_all(&buffer[there..count])?;
            if self.count - self.begun >= WRITE_BACK {
                // Of clean pages it would drop the file's; of dirty ones it begins to write them. Only a hint: it may fail.
                let _ = rustix::fs::fadvise(
                    &*copy,
                    self.begun,
                    NonZeroU64::new(WRITE_BACK),
                    Advice::DontNeed,
                );
                self.begun = self.count;
            }
        }
        Ok(count)
    }
}

struct HashingWriter<W> {
    output: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> HashingWriter<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            hasher: Hasher::new(),
            count: 0,
        }
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
