//! The process: its lock, its start, its socket, its end.
//!
//! Exactly one engine serves a run directory: the holder of `<run>/engine.lock`. A second one that is started meanwhile
//! waits until the first answers, and leaves.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoist_api::environment::DETACHED;
use hoist_engine::process::{self, SoftLimit};
use hoist_engine::{EngineConfig, RunLock, Running, StartError, chain, logging};

use crate::claim::{self, ClaimError, Other, exclusive, wait_for_other};
use crate::door::{self, End, ListenError};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("creating {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("locking {path}")]
    Lock {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("another engine holds {} but does not answer", .0.display())]
    Silent(PathBuf),
    #[error("starting threads")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the task that owns the state has ended; the shims start another engine")]
    Broken,
}

/// Runs an engine until it has nothing left to do; blocks, and brings its own runtime.
pub fn serve(config: EngineConfig) -> Result<(), ServeError> {
    let report = Report::new();
    let outcome = locked(config, &report);
    if let Err(error) = &outcome {
        report.say(&chain(error));
    }
    outcome
}

/// Tells the client that started this engine how it went, on standard output, once.
struct Report {
    detached: bool,
}

impl Report {
    fn new() -> Self {
        let detached = std::env::var_os(DETACHED).is_some();
        if detached {
            // Fails only for a group leader, which a spawned child is not.
            let _ = rustix::process::setsid();
        }
        Self { detached }
    }

    /// The stream is closed afterwards, so its reader does not wait.
    fn say(&self, word: &str) {
        if !self.detached {
            return;
        }
        let _ = rustix::io::write(rustix::stdio::stdout(), word.as_bytes());
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
        }
    }
}

fn locked(config: EngineConfig, report: &Report) -> Result<(), ServeError> {
    for folder in [&config.data_root, &config.run_dir] {
        process::make_folder(folder).map_err(|source| ServeError::Folder {
            path: folder.clone(),
            source,
        })?;
    }
    // The mode of folders created for users (bind sources) must not depend on the umask of the engine's starter.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    logging::start(report.detached.then(|| config.log_file()).as_deref());
    let descriptors = match process::raise_descriptors() {
        Ok(given) => Some(given),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            None
        }
    };
    let lock_path = config.run_dir.join("engine.lock");
    let Some((lock, starting)) = become_the_one(&config, &lock_path)? else {
        report.say("ready");
        return Ok(());
    };
    let deadline = Instant::now() + PATIENCE;
    let Some(data_lock) = claim::data_root(&config.data_root, &config.socket, deadline)? else {
        report.say("ready");
        return Ok(());
    };
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("hoist")
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(ServeError::Threads)?;
    let outcome = threads.block_on(run(
        config,
        RunLock {
            path: lock_path,
            lock,
        },
        descriptors,
        report,
        starting,
    ));
    threads.shutdown_timeout(Duration::from_secs(5));
    drop(data_lock);
    outcome
}

/// Takes the engine's lock, or waits until the engine that has it answers (then `None`). The second lock is held while
/// an engine comes up, so that others see a socket when they get their turn.
fn become_the_one(
    config: &EngineConfig,
    lock_path: &Path,
) -> Result<Option<(OwnedFd, OwnedFd)>, ServeError> {
    let failed = |source| ServeError::Lock {
        path: lock_path.to_owned(),
        source,
    };
    let deadline = Instant::now() + PATIENCE;
    let mut patience = Instant::now() + claim::NAMED_WITHIN;
    loop {
        let starting = exclusive(&config.run_dir.join("starting.lock")).map_err(failed)?;
        if let Some(lock) = process::acquire_lock(lock_path).map_err(failed)? {
            return Ok(Some((lock, starting)));
        }
        // The holder may be a shim whose engine still needs this turn.
        drop(starting);
        match wait_for_other(&config.socket, lock_path, patience).map_err(failed)? {
            Other::Answers => return Ok(None),
            Other::Gone => {}
            // It may be one that was started with another socket.
            Other::Silent => match claim::holder(&config.data_root) {
                Some(socket) if Path::new(&socket) != config.socket => {
                    let root = config.data_root.clone();
                    return Err(ClaimError::InUse { root, socket }.into());
                }
                _ if patience == deadline => return Err(ServeError::Silent(lock_path.to_owned())),
                _ => patience = deadline,
            },
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(15);

async fn run(
    config: EngineConfig,
    lock: RunLock,
    descriptors: Option<SoftLimit>,
    report: &Report,
    starting: OwnedFd,
) -> Result<(), ServeError> {
    let socket = config.socket.clone();
    let mut engine = Running::start(config, lock, descriptors).await?;
    let listener = door::listen(&socket)?;
    engine.resume().await;
    report.say("ready");
    drop(starting);
    match door::serve(&mut engine, &socket, listener).await {
        // An engine without state must not touch running containers.
        Ok(End::Broken) => Err(ServeError::Broken),
        outcome => {
            engine.leave().await;
            outcome.map(drop).map_err(ServeError::from)
        }
    }
}
