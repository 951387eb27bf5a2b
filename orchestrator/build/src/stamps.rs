//! What is known about files' contents from their stamps (inode, size, times), so that an unchanged file is not read.
//!
//! A stamp is trusted only when it is older than the moment of hashing by a margin: a file that was written in the same
//! tick of the clock could change again without changing its stamp.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hoist_image::{Digest, Hasher};
use rustix::fs::Stat;

use crate::fs::{View, ViewError, content_attributes};
use crate::source::PickedEntry;

const MAGIC: &[u8] = b"hoist stamps 1\n";
const RECORD: usize = 7 * 8 + 1 + 64;
/// Builds that a stamp outlives without being asked for.
const MAX_AGE: u8 = 16;
const MARGIN_SECONDS: i64 = 2;

static SAVES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("reading {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} changed while it was read")]
    Changed(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Debug, Clone, Copy)]
struct Known {
    stamp: Stamp,
    age: u8,
    content: Digest,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<(u64, u64), Known>,
    dirty: bool,
}

/// The stamps of one context, shared by the steps of a build.
#[derive(Debug)]
pub(crate) struct Stamps {
    path: PathBuf,
    table: Mutex<Table>,
}

impl Stamps {
    /// A file that is missing or damaged only costs the time to read the contents again.
    pub(crate) fn load(state_dir: &Path, context: &Path) -> Self {
        let name = Digest::of(context.as_os_str().as_encoded_bytes()).hex();
        let path = state_dir.join("stamps").join(name);
        let known = std::fs::read(&path)
            .ok()
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default();
        Self {
            path,
            table: Mutex::new(Table {
                known,
                dirty: false,
            }),
        }
    }

    pub(crate) fn save(&self) -> io::Result<()> {
        let table = self.lock();
        if !table.dirty {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        // Several builds of one context may end at the same time.
        let number = SAVES.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .path
            .with_extension(format!("new-{}-{number}", std::process::id()));
        let mut file = File::create(&temporary)?;
        file.write_all(&encode(&table.known))?;
        std::fs::rename(&temporary, &self.path)
    }

    /// What is known about files, in their order.
    fn known(&self, files: &[&PickedEntry]) -> Vec<Option<Digest>> {
        let mut table = self.lock();
        let mut one = |file: &&PickedEntry| {
            let stat = &file.node.stat;
            let known = table.known.get_mut(&(stat.st_dev, stat.st_ino))?;
            known.age = 0;
            (known.stamp == stamp(stat)).then_some(known.content)
        };
        files.iter().map(&mut one).collect()
    }

    fn learn(&self, stat: &Stat, content: Digest) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if stat.st_ctime.max(stat.st_mtime) + MARGIN_SECONDS > now {
            return;
        }
        let mut table = self.lock();
        table.dirty = true;
        table.known.insert(
            (stat.st_dev, stat.st_ino),
            Known {
                stamp: stamp(stat),
                age: 0,
                content,
            },
        );
    }

    /// Digests of regular files, in the order of `files`; those that have to be read are read on all processors.
    pub(crate) fn digests(
        &self,
        view: &View,
        files: &[&PickedEntry],
    ) -> Result<Vec<Digest>, HashError> {
        let mut digests = self.known(files);
        let unknown: Vec<usize> = (0..files.len())
            .filter(|index| digests[*index].is_none())
            .collect();
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(unknown.len())
            .max(1);
        let per_worker = unknown.len().div_ceil(workers).max(1);
        let hashed: Vec<Result<Vec<(usize, Digest)>, HashError>> = std::thread::scope(|scope| {
            let hash_all = |part: &[usize]| {
                part.iter()
                    .map(|index| Ok((*index, self.hash(view, files[*index])?)))
                    .collect::<Result<Vec<_>, _>>()
            };
            let handles: Vec<_> = unknown
                .chunks(per_worker)
                .map(|part| scope.spawn(move || hash_all(part)))
                .collect();
            handles
                .into_iter()
                .map(|handle| {
                    handle
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        for part in hashed {
            for (index, digest) in part? {
                digests[index] = Some(digest);
            }
        }
        Ok(digests
            .into_iter()
            .map(|digest| digest.expect("every file is known or was hashed"))
            .collect())
    }

    fn hash(&self, view: &View, entry: &PickedEntry) -> Result<Digest, HashError> {
        let read = |source| HashError::Read {
            path: entry.node.path.clone(),
            source,
        };
        let mut file = view.open_file(&entry.node)?;
        let before = rustix::fs::fstat(&file).map_err(|errno| read(errno.into()))?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0u8; 128 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read(error)),
            }
        }
        for (name, value) in content_attributes(file.as_fd()).map_err(read)? {
            hasher.update(name.as_bytes_with_nul());
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(&value);
        }
        let after = rustix::fs::fstat(&file).map_err(|errno| read(errno.into()))?;
        if stamp(&before) != stamp(&after) || !same_file(&before, &entry.node.stat) {
            return Err(HashError::Changed(entry.node.path.clone()));
        }
        let content = hasher.finish();
        self.learn(&after, content);
        Ok(content)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file is, by its stamp, still what was looked at.
pub(crate) fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) && stamp(a) == stamp(b)
}

fn stamp(stat: &Stat) -> Stamp {
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(0);
    Stamp {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
    }
}

fn encode(known: &HashMap<(u64, u64), Known>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + known.len() * RECORD + 32);
    bytes.extend_from_slice(MAGIC);
    for ((device, inode), entry) in known.iter().filter(|(_, entry)| entry.age < MAX_AGE) {
        bytes.extend_from_slice(&device.to_le_bytes());
        bytes.extend_from_slice(&inode.to_le_bytes());
        bytes.extend_from_slice(&entry.stamp.size.to_le_bytes());
        for part in [entry.stamp.modified, entry.stamp.changed] {
            bytes.extend_from_slice(&part.0.to_le_bytes());
            bytes.extend_from_slice(&part.1.to_le_bytes());
        }
        bytes.push(entry.age + 1);
        bytes.extend_from_slice(entry.content.hex().as_bytes());
    }
    let seal = Digest::of(&bytes).hex();
    bytes.extend_from_slice(&seal.as_bytes()[..32]);
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<(u64, u64), Known>> {
    let (body, seal) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Digest::of(body).hex().as_bytes()[..32] != *seal {
        return None;
    }
    let records = body.strip_prefix(MAGIC)?;
    let mut known = HashMap::with_capacity(records.len() / RECORD);
    for record in records.chunks_exact(RECORD) {
        let word =
            |index: usize| -> Option<[u8; 8]> { record[index * 8..index * 8 + 8].try_into().ok() };
        let unsigned = |index| word(index).map(u64::from_le_bytes);
        let signed = |index| word(index).map(i64::from_le_bytes);
        let stamp = Stamp {
            size: unsigned(2)?,
            modified: (signed(3)?, signed(4)?),
            changed: (signed(5)?, signed(6)?),
        };
        let content = Digest::from_hex(std::str::from_utf8(&record[57..]).ok()?)?;
        known.insert(
            (unsigned(0)?, unsigned(1)?),
            Known {
                stamp,
                age: record[56],
                content,
            },
        );
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_the_disk_and_damage_is_noticed() {
        let stamp = Stamp {
            size: 5,
            modified: (1, 2),
            changed: (-3, 4),
        };
        let known = HashMap::from([(
            (7, 8),
            Known {
                stamp,
                age: 0,
                content: Digest::of(b"x"),
            },
        )]);
        let mut bytes = encode(&known);
        let read = decode(&bytes).unwrap();
        assert_eq!(read[&(7, 8)].stamp, stamp);
        assert_eq!(read[&(7, 8)].content, Digest::of(b"x"));
        bytes[20] ^= 1;
        assert!(decode(&bytes).is_none());
        assert!(decode(b"").is_none());
    }

    #[test]
    fn a_file_of_this_moment_is_read_again_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("file")).unwrap();
        let stamps = Stamps {
            path: folder.path().join("stamps"),
            table: Mutex::default(),
        };
        let knows = |stat: &Stat| {
            stamps.learn(stat, Digest::of(b"x"));
            stamps
                .lock()
                .known
                .remove(&(stat.st_dev, stat.st_ino))
                .is_some()
        };
        // Of the times only mtime can be set at will.
        file.set_modified(UNIX_EPOCH).unwrap();
        let mut stat = rustix::fs::fstat(&file).unwrap();
        assert!(!knows(&stat), "it could change again without another ctime");
        stat.st_ctime -= MARGIN_SECONDS + 1;
        assert!(knows(&stat));
        stat.st_mtime = stat.st_ctime + 3600;
        assert!(!knows(&stat), "a time of the future says nothing");
    }
}
