//! The lock of a data root: only one engine at a time uses it, even with different run folders.
//!
//! It is taken before anything in the data root is read: the holder's unfinished work would look like leftovers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("locking {path}")]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "data root {root} is in use by the engine that listens on {socket}; `-H {socket}` reaches it"
    )]
    InUse { root: PathBuf, socket: String },
    #[error("another engine holds {} but does not answer", .0.display())]
    Silent(PathBuf),
}

/// An engine writes its name into the lock's file right after it has taken it.
pub(crate) const NAMED_WITHIN: Duration = Duration::from_millis(500);

/// `None`: the engine that has the data root answers on this very socket, so there is nothing to do.
pub(crate) fn data_root(
    root: &Path,
    socket: &Path,
    deadline: Instant,
) -> Result<Option<OwnedFd>, ClaimError> {
    let path = root.join("engine.lock");
    let failed = |source| ClaimError::Lock {
        path: path.clone(),
        source,
    };
    let begun = Instant::now();
    loop {
        let mut file = open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // For others' error messages only: a full disk must not keep an engine from starting.
                let _ = sign(&mut file, socket);
                return Ok(Some(file.into()));
            }
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(failed)?;
        if Path::new(&holder) != socket && begun.elapsed() > NAMED_WITHIN {
            return Err(ClaimError::InUse {
                root: root.to_owned(),
                socket: holder,
            });
        }
        let patience = if Path::new(&holder) == socket {
            deadline
        } else {
            Instant::now() + NAMED_WITHIN / 5
        };
        match wait_for_other(socket, &path, patience).map_err(failed)? {
            Other::Answers => return Ok(None),
            Other::Silent if Instant::now() >= deadline => return Err(ClaimError::Silent(path)),
            Other::Gone | Other::Silent => {}
        }
    }
}

/// The socket of the engine that has the data root, when there is one.
pub(crate) fn holder(root: &Path) -> Option<String> {
    let mut file = open(&root.join("engine.lock")).ok()?;
    let held = flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    let mut socket = String::new();
    file.read_to_string(&mut socket).ok()?;
    (held && !socket.is_empty()).then_some(socket)
}

pub(crate) fn exclusive(path: &Path) -> std::io::Result<OwnedFd> {
    let file: OwnedFd = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?
        .into();
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

pub(crate) enum Other {
    Answers,
    /// It has let go of the lock: it was about to die.
    Gone,
    Silent,
}

/// The holder of the lock is up, or about to be (a shim takes the lock before its engine does), or about to be gone.
pub(crate) fn wait_for_other(
    socket: &Path,
    lock_path: &Path,
    deadline: Instant,
) -> std::io::Result<Other> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let folder = socket.parent().unwrap_or(Path::new("/"));
    inotify::add_watch(
        &watch,
        folder,
        inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CREATE,
    )?;
    let (released, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let path = lock_path.to_owned();
    // Closes the pipe when the lock is free. If it never is, the thread ends with this process.
    std::thread::Builder::new().spawn(move || {
        drop(exclusive(&path));
        drop(release);
    })?;
    loop {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return Ok(Other::Answers);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Other::Silent);
        }
        let left = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let mut descriptors = [
            PollFd::new(&watch, PollFlags::IN),
            PollFd::new(&released, PollFlags::IN),
        ];
        poll(&mut descriptors, Some(&left))?;
        if !descriptors[1].revents().is_empty() {
            return Ok(Other::Gone);
        }
        let mut buffer = [0_u8; 4096];
        let _ = rustix::io::read(&watch, &mut buffer);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

fn sign(file: &mut File, socket: &Path) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(socket.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_engine_is_told_who_has_the_data_root() {
        let root = tempfile::tempdir().unwrap();
        let deadline = || Instant::now() + Duration::from_millis(600);
        let (one, other) = (
            root.path().join("a/hoist.sock"),
            root.path().join("b/hoist.sock"),
        );
        for socket in [&one, &other] {
            std::fs::create_dir(socket.parent().unwrap()).unwrap();
        }
        let held = data_root(root.path(), &one, deadline())
            .unwrap()
            .expect("free");
        let refused = data_root(
            root.path(),
            &other,
            Instant::now() + Duration::from_secs(20),
        )
        .unwrap_err();
        assert!(refused.to_string().contains("a/hoist.sock"), "{refused}");
        assert!(matches!(
            data_root(root.path(), &one, deadline()).unwrap_err(),
            ClaimError::Silent(_)
        ));
        let listener = std::os::unix::net::UnixListener::bind(&one).unwrap();
        assert!(
            data_root(root.path(), &one, deadline()).unwrap().is_none(),
            "it answers"
        );
        drop((listener, held));
        assert!(
            data_root(root.path(), &other, deadline())
                .unwrap()
                .is_some()
        );
    }
}
