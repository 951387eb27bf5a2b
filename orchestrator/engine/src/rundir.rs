//! Restores the run folder: removing it under a running engine removes the socket, the lock and the shims' sockets, and
//! would put all running containers out of reach.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hoist_object::{ContainerDoc, NetworkDoc};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, flock};
use tokio::io::Interest;

use crate::engine::Engine;
use crate::readiness;
use crate::store::{kept, make_folder};
use crate::world::World;

/// A recursive removal deletes files one by one: files restored before it finishes would be deleted as well.
const QUIET: Duration = Duration::from_millis(200);
/// Retry interval while something could not be created or watched.
const PAUSE: Duration = Duration::from_secs(1);

/// For the engine's life; holds its lock.
pub(crate) async fn keep(engine: Arc<Engine>, lock_path: PathBuf, mut lock: OwnedFd) {
    loop {
        // Watch first, then check: a removal in between is noticed.
        let watch = watch(&engine.config.run_dir);
        lock = match restore(&engine, &lock_path, lock).await {
            (lock, true) => lock,
            (lock, false) => {
                tokio::time::sleep(PAUSE).await;
                lock
            }
        };
        match watch {
            Ok(watch) => changed(&watch).await,
            Err(error) => {
                tracing::debug!(%error, "cannot watch the run folder");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn watch(run_dir: &Path) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    let flags = WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let containers = run_dir.join("containers");
    make_folder(&containers)?;
    inotify::add_watch(&watch, run_dir, flags)?;
    inotify::add_watch(&watch, &containers, flags)?;
    readiness::watch(watch, Interest::READABLE)
}

/// Returns once something was removed and removals have stopped for a while.
async fn changed(watch: &tokio::io::unix::AsyncFd<OwnedFd>) {
    let Ok(mut ready) = watch.readable().await else {
        return;
    };
    ready.clear_ready();
    let mut buffer = [0_u8; 4096];
    loop {
        while rustix::io::read(watch.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {}
        match tokio::time::timeout(QUIET, watch.readable()).await {
            Ok(Ok(mut ready)) => ready.clear_ready(),
            _ => return,
        }
    }
}

/// Restores what is missing. Returns the current lock, and whether everything is in place.
async fn restore(engine: &Arc<Engine>, lock_path: &Path, lock: OwnedFd) -> (OwnedFd, bool) {
    if *engine.leaving.borrow() {
        return (lock, true);
    }
    let look = |world: &World| {
        let running = world
            .containers
            .values()
            .filter(|found| found.phase.has_processes());
        let running: BTreeMap<_, _> = running
            .map(|found| (found.doc.id.clone(), Arc::clone(&found.doc)))
            .collect();
        (
            running,
            world.networks.values().cloned().collect::<Vec<_>>(),
        )
    };
    let Ok((running, networks)) = engine.look(look).await else {
        return (lock, true);
    };
    let (restorer, path) = (Arc::clone(engine), lock_path.to_owned());
    let restored = tokio::task::spawn_blocking(move || {
        let lost = lost(&restorer, &running);
        if lost {
            tracing::warn!(run_dir = %restorer.config.run_dir.display(), "the run folder was removed; it is made again");
            refill(&restorer, &running, &networks);
            // The socket and the shims' own.
            restorer.missing.send_modify(|count| *count += 1);
        }
        let (lock, held) = hold(&path, lock);
        (lock, held && !lost)
    });
    match restored.await {
        Ok(restored) => restored,
        // The lock was lost with the task; nothing can be trusted without it.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn lost(engine: &Engine, running: &BTreeMap<String, Arc<ContainerDoc>>) -> bool {
    let gone = |path: PathBuf| matches!(path.try_exists(), Ok(false));
    gone(engine.config.socket.clone())
        || gone(engine.config.run_dir.join("engine.json"))
        || running.keys().any(|id| gone(engine.bundle(id)))
}

fn refill(engine: &Engine, running: &BTreeMap<String, Arc<ContainerDoc>>, networks: &[NetworkDoc]) {
    if let Err(error) = engine.runtime.record_again() {
        tracing::warn!(
            error = crate::error::chain(&error),
            "the shims cannot start another engine"
        );
    }
    for (id, doc) in running {
        if make_folder(&engine.bundle(id)).is_ok() {
            kept::keep_container(&engine.bundle(id), doc);
        }
    }
    for network in networks {
        kept::keep_network(&engine.config.run_dir, network);
    }
}

/// Locks the file that now has the name. Another engine that has taken it first waits for this one's socket, and exits
/// once it exists.
fn hold(path: &Path, lock: OwnedFd) -> (OwnedFd, bool) {
    let same = |fd: &OwnedFd| {
        let (have, want) = (rustix::fs::fstat(fd.as_fd())?, rustix::fs::stat(path)?);
        Ok::<_, rustix::io::Errno>((have.st_dev, have.st_ino) == (want.st_dev, want.st_ino))
    };
    if same(&lock).unwrap_or(false) {
        return (lock, true);
    }
    match hoist_runtime::engine_lock::open(path) {
        Ok(new) if flock(&new, FlockOperation::NonBlockingLockExclusive).is_ok() => (new, true),
        _ => (lock, false),
    }
}
