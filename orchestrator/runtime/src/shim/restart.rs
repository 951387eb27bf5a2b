//! When the engine dies, one shim starts another; the lock decides which.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::bring_up::SOCKET;
use crate::engine_lock::INHERITED;
use crate::runtime::EngineRestart;
use crate::sys;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The state of restarting a dead engine.
#[derive(Debug, Default)]
pub(super) struct EngineWatch {
    /// When to check whether an engine runs again, and if not, to try once more.
    pub(super) next: Option<Instant>,
    /// The engine's process, while it has not ended yet.
    pub(super) dying: Option<OwnedFd>,
    pause: Duration,
}

impl EngineWatch {
    /// An engine's connection broke.
    pub(super) fn lost(&mut self, socket: &OwnedFd) {
        self.dying = process_of(socket).ok();
    }

    /// No engine is left. The kernel closes a dying process's descriptors one after the other, this connection before
    /// the lock: only the end of the process says that the lock is free. Answers whether that is waited for.
    pub(super) fn begin(&mut self) -> bool {
        if self.dying.is_some() {
            self.next = Some(Instant::now() + FIRST_PAUSE);
        }
        self.dying.is_some()
    }

    /// The engine's process has ended, or the time has come to look again.
    pub(super) fn act(&mut self, record: &Path) {
        self.dying = None;
        // Whether it worked or another shim has the lock shows by an engine's connection, which ends the vigil.
        let _ = try_start(record);
        self.pause = if self.pause.is_zero() {
            FIRST_PAUSE
        } else {
            (self.pause * 2).min(LONGEST_PAUSE)
        };
        self.next = Some(Instant::now() + self.pause);
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

/// Fails when it has ended already.
fn process_of(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(rustix::process::pidfd_open(
        peer.pid,
        rustix::process::PidfdFlags::empty(),
    )?)
}

/// Does nothing when another process holds the lock.
fn try_start(record: &Path) -> io::Result<()> {
    // The working folder is the container's. Without its socket no engine finds this shim, so one that it started would
    // only be in the way.
    if !Path::new(SOCKET).exists() {
        return Ok(());
    }
    let restart: EngineRestart = serde_json::from_slice(&fs::read(record)?)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let lock = rustix::fs::open(&restart.lock, flags, Mode::RUSR | Mode::WUSR)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    // The middle process lets the engine belong to process 1 and not to this shim, which is a reaper of orphans.
    rustix::process::set_child_subreaper(None)?;
    let result = match sys::fork() {
        Ok(None) => {
            let code = i32::from(spawn(&restart, lock).is_err());
            #[expect(clippy::exit, reason = "the middle process has nothing to return to")]
            std::process::exit(code)
        }
        Ok(Some(middle)) => {
            let _ = rustix::process::waitpid(
                rustix::process::Pid::from_raw(middle),
                rustix::process::WaitOptions::empty(),
            );
            Ok(())
        }
        Err(error) => Err(error),
    };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    result
}

fn spawn(restart: &EngineRestart, lock: OwnedFd) -> io::Result<()> {
    rustix::process::setsid()?;
    sys::reset_signals();
    rustix::process::chdir("/")?;
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    let (program, arguments) = restart
        .argv
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let errors = match &restart.log {
        Some(path) => fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_or_else(|_| Stdio::null(), Stdio::from),
        None => Stdio::null(),
    };
    sys::inherit(lock.as_fd())?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(restart.env.iter().map(|(name, value)| (name, value)))
        .env(INHERITED, lock.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()?;
    Ok(())
}
