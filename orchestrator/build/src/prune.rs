//! What builds keep outside of the image store: what they downloaded, and the folders of their cache mounts. Either can
//! be had again, so it may go while no build uses it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FlockOperation;

/// Downloads.
pub(crate) const REMOTE: &str = "remote";
/// Cache mounts: `NAME.NUMBER` with `NAME.NUMBER.lock` beside it.
pub(crate) const CACHES: &str = "caches";

/// Keeps downloads where they are as long as it lives.
#[derive(Debug)]
pub(crate) struct InUse(#[expect(dead_code, reason = "the lock goes with the file")] File);

/// For the life of a build. Waits while a prune is at it.
pub(crate) fn in_use(state_dir: &Path) -> io::Result<InUse> {
    let lock = lock_file(state_dir)?;
    rustix::fs::flock(&lock, FlockOperation::LockShared)?;
    Ok(InUse(lock))
}

fn lock_file(state_dir: &Path) -> io::Result<File> {
    fs::create_dir_all(state_dir)?;
    File::options()
        .create(true)
        .append(true)
        .open(state_dir.join("remote.lock"))
}

/// Used just now.
pub(crate) fn touch(path: &Path) {
    // If this fails, the download counts as unused a little early.
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes what was not used since `before` and no build uses now; returns the paths.
pub fn prune(state_dir: &Path, before: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for folder in downloads(state_dir, before)? {
        hoist_tree::remove(&folder)?;
        removed.push(folder);
    }
    for lock_path in entries(&state_dir.join(CACHES))?
        .into_iter()
        .filter(|path| path.extension() == Some("lock".as_ref()))
    {
        let lock = File::options().append(true).open(&lock_path)?;
        let folder = lock_path.with_extension("");
        if !unused(&lock_path, before) || !folder.exists() || !taken(&lock)? {
            continue;
        }
        // The lock's file stays: who waits for it has it open.
        hoist_tree::remove(&folder)?;
        removed.push(folder);
    }
    Ok(removed)
}

fn downloads(state_dir: &Path, before: SystemTime) -> io::Result<Vec<PathBuf>> {
    let lock = lock_file(state_dir)?;
    if !taken(&lock)? {
        return Ok(Vec::new());
    }
    let is_download = |path: &PathBuf| path.is_dir() && unused(path, before);
    let folders: Vec<PathBuf> = entries(&state_dir.join(REMOTE))?
        .into_iter()
        .filter(is_download)
        .collect();
    // Renamed under the lock, removed without it: removing many files takes time.
    let trash = state_dir.join("trash");
    hoist_tree::remove(&trash)?;
    fs::create_dir_all(&trash)?;
    let mut moved = Vec::new();
    for folder in folders {
        let place = trash.join(folder.file_name().unwrap_or_default());
        fs::rename(&folder, &place)?;
        moved.push(place);
    }
    Ok(moved)
}

/// `false`: it is in use.
fn taken(lock: &File) -> io::Result<bool> {
    match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn unused(path: &Path, before: SystemTime) -> bool {
    fs::metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|used| used < before)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_used_or_young_stays() {
        let state = tempfile::tempdir().unwrap();
        let [old, young] = ["old", "young"].map(|name| state.path().join(REMOTE).join(name));
        let cache = state.path().join(CACHES).join("name.0");
        for folder in [&old, &young, &cache] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("file"), "content").unwrap();
        }
        let lock_path = state.path().join(CACHES).join("name.0.lock");
        let lock = File::create(&lock_path).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for path in [&old, &lock_path] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        let before = SystemTime::now() - Duration::from_secs(60);

        let building = in_use(state.path()).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockShared).unwrap();
        assert!(prune(state.path(), before).unwrap().is_empty());
        drop((building, lock));
        assert_eq!(prune(state.path(), before).unwrap().len(), 2);
        assert!(!old.exists() && !cache.exists() && young.exists());
    }
}
