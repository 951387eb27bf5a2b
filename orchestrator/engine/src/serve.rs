//! The process: its lock, its start, its socket, its end.
//!
//! Exactly one engine serves a run directory: whoever holds `<run>/engine.lock`. A second one that is started meanwhile
//! waits until the first answers, and leaves.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hoist_api::environment::{DETACHED, environment};
use hoist_network::{Host, HostConfig, dns};
use hoist_runtime::descriptors::{self, SoftLimit};
use hoist_runtime::{EngineRestart, Runtime, RuntimeConfig, engine_lock};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::claim::{self, ClaimError};
use crate::config::EngineConfig;
use crate::door::{self, End, ListenError};
use crate::engine::{Engine, boot_id};
use crate::error::chain;
use crate::lower;
use crate::pump;
use crate::store::{Loaded, Store, make_folder};
use crate::wiring::{self, Wiring};
use crate::world::{Event, Message, World};
use crate::{adopt, leftovers, logging, mounted, rundir, still};

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
    #[error("reading the id of this boot")]
    Boot(#[source] std::io::Error),
    #[error("starting threads")]
    Threads(#[source] std::io::Error),
    #[error("opening the state")]
    Store(#[from] crate::store::StoreError),
    #[error("opening the image store")]
    Images(#[from] hoist_image::StoreError),
    #[error("opening the container runtime")]
    Runtime(#[from] hoist_runtime::RuntimeError),
    #[error("opening the host's network")]
    Network(#[from] hoist_network::NetworkError),
    #[error("starting the name server")]
    Dns(#[from] dns::DnsError),
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

    /// The stream is closed afterwards: whoever reads it need not wait.
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
        make_folder(folder).map_err(|source| ServeError::Folder { path: folder.clone(), source })?;
    }
    // The mode of folders created for users (bind sources) must not depend on the umask of the engine's starter.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    logging::start(report.detached.then(|| log_file(&config)).as_deref());
    let descriptors = match descriptors::raise() {
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
    let outcome = threads.block_on(run(config, (lock_path, lock), descriptors, report, starting));
    threads.shutdown_timeout(Duration::from_secs(5));
    drop(data_lock);
    outcome
}

fn log_file(config: &EngineConfig) -> PathBuf {
    config.data_root.join("engine.log")
}

/// Takes the engine's lock, or waits until the engine that has it answers (then `None`). The second lock is held while
/// an engine comes up, so that others see a socket when they get their turn.
fn become_the_one(config: &EngineConfig, lock_path: &Path) -> Result<Option<(OwnedFd, OwnedFd)>, ServeError> {
    let failed = |source| ServeError::Lock { path: lock_path.to_owned(), source };
    let deadline = Instant::now() + PATIENCE;
    let mut patience = Instant::now() + claim::NAMED_WITHIN;
    loop {
        let starting = exclusive(&config.run_dir.join("starting.lock")).map_err(failed)?;
        if let Some(lock) = engine_lock::acquire(lock_path).map_err(failed)? {
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

fn exclusive(path: &Path) -> std::io::Result<OwnedFd> {
    let file: OwnedFd = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?.into();
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

pub(crate) enum Other {
    Answers,
    /// It has let go of the lock: it was about to die.
    Gone,
    Silent,
}

/// Whoever has the lock is up, or about to be (a shim takes the lock before its engine does), or about to be gone.
pub(crate) fn wait_for_other(socket: &Path, lock_path: &Path, deadline: Instant) -> std::io::Result<Other> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let folder = socket.parent().unwrap_or(Path::new("/"));
    inotify::add_watch(&watch, folder, inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CREATE)?;
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
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut descriptors = [PollFd::new(&watch, PollFlags::IN), PollFd::new(&released, PollFlags::IN)];
        poll(&mut descriptors, Some(&left))?;
        if !descriptors[1].revents().is_empty() {
            return Ok(Other::Gone);
        }
        let mut buffer = [0_u8; 4096];
        let _ = rustix::io::read(&watch, &mut buffer);
    }
}

async fn run(
    config: EngineConfig,
    (lock_path, lock): (PathBuf, OwnedFd),
    descriptors: Option<SoftLimit>,
    report: &Report,
    starting: OwnedFd,
) -> Result<(), ServeError> {
    let (engine, mut loaded, inbox) = open(config, lock_path.clone(), descriptors)?;
    let strays = std::mem::take(&mut loaded.strays);
    let mut world = World::new(engine.boot.clone(), loaded);
    adopt::adopt(&engine, &mut world, strays);
    let world = tokio::spawn(pump::run(Arc::clone(&engine), world, inbox));
    tokio::spawn(wiring::run(Arc::clone(&engine)));
    tokio::spawn(wiring::keep(Arc::clone(&engine)));
    engine.wiring.want();
    // What is not complete was reported there.
    engine.wiring.settled().await;
    let listener = door::listen(&engine.config.socket)?;
    tokio::spawn(rundir::keep(Arc::clone(&engine), lock_path, lock));
    mounted::renew(&engine).await;
    engine.tell(Event::Resumed);
    still::resume_held(&engine);
    report.say("ready");
    drop(starting);
    match door::serve(&engine, listener, world).await {
        // An engine without state must not touch running containers.
        Ok(End::Broken) => Err(ServeError::Broken),
        outcome => {
            leave(&engine).await;
            outcome.map(drop).map_err(ServeError::from)
        }
    }
}

type Opened = (Arc<Engine>, Loaded, mpsc::UnboundedReceiver<Message>);

fn open(config: EngineConfig, lock: PathBuf, descriptors: Option<SoftLimit>) -> Result<Opened, ServeError> {
    let instance = config.instance();
    let boot = boot_id().map_err(ServeError::Boot)?;
    let runtime = Runtime::open(RuntimeConfig {
        run_dir: config.run_dir.clone(),
        instance: instance.clone(),
        shim: None,
        engine: Some(restart_terms(&config, lock)),
        descriptors,
    })?;
    let (store, loaded) = Store::open(&config.data_root, &|id| runtime.is_inhabited(id))?;
    let images = hoist_image::Store::open(&config.data_root)?;
    let net = Host::open(HostConfig { instance })?;
    let dns = dns::Server::start(dns::DnsConfig::default())?;
    let (messages, inbox) = mpsc::unbounded_channel();
    let engine = Engine {
        boot,
        config,
        store,
        images,
        runtime: Arc::new(runtime),
        net: Arc::new(net),
        dns,
        names: Default::default(),
        wiring: Wiring::new(),
        turns: Default::default(),
        volumes: Default::default(),
        network_turn: Default::default(),
        lanes: Semaphore::new(leftovers::lanes() as usize),
        activity: Default::default(),
        attachments: Default::default(),
        build_network: Default::default(),
        steps: Default::default(),
        leaving: watch::Sender::new(false),
        missing: watch::Sender::new(0),
        left: Semaphore::new(0),
        feed: Default::default(),
        messages,
    };
    Ok((Arc::new(engine), loaded, inbox))
}

/// What a shim needs to start this engine again, in the same places.
fn restart_terms(config: &EngineConfig, lock: PathBuf) -> EngineRestart {
    let program = std::env::current_exe().map(|path| path.display().to_string());
    let env = environment(&config.places()).into_iter();
    let env = env.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect();
    let mut argv = vec![program.unwrap_or_else(|_| "hoist".to_owned()), "engine".to_owned()];
    if config.idle_exit.is_none() {
        argv.extend(["--idle-exit".to_owned(), "0".to_owned()]);
    }
    EngineRestart { argv, env, lock, log: Some(log_file(config)) }
}

/// A hung disk must not keep a process from exiting when told to.
const LAST_WRITES: Duration = Duration::from_secs(20);

/// Shims are told, so that none starts an engine; what no record wants is taken away.
async fn leave(engine: &Arc<Engine>) {
    let running = engine.look(|world| world.containers.values().filter(|found| found.phase.has_processes()).count());
    let running = running.await.unwrap_or(0);
    engine.leaving.send_replace(true);
    let told = engine.left.acquire_many(u32::try_from(running).unwrap_or(u32::MAX));
    let _ = tokio::time::timeout(Duration::from_secs(2), told).await;
    let _ = tokio::time::timeout(LAST_WRITES, engine.store.durable(Vec::new())).await;
    if running == 0 {
        let leaver = Arc::clone(engine);
        let networks = engine.look(|world| world.networks.values().map(lower::bridge).collect::<Vec<_>>());
        let networks = networks.await.unwrap_or_default();
        let _ = tokio::task::spawn_blocking(move || leftovers::clean_network(&leaver, &networks)).await;
    }
}
