//! One engine from its start to its end: what is opened, adopted, kept and, at the end, told and cleaned.
//!
//! Who serves it brings the socket and the process; the order of the steps is that of [`Running`]'s methods.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hoist_api::environment::environment;
use hoist_network::{Host, HostConfig, dns};
use hoist_runtime::descriptors::SoftLimit;
use hoist_runtime::{EngineRestart, Runtime, RuntimeConfig};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::EngineConfig;
use crate::engine::{Engine, boot_id};
use crate::handle::Handle;
use crate::store::{Loaded, Store};
use crate::wiring::{self, Wiring};
use crate::world::{Event, Message, World};
use crate::{adopt, leftovers, lower, mounted, pump, rundir, still};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("reading the id of this boot")]
    Boot(#[source] std::io::Error),
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
}

/// The lock of the run folder, which the engine keeps for its life.
#[derive(Debug)]
pub struct RunLock {
    pub path: PathBuf,
    pub lock: OwnedFd,
}

/// What an engine needs its server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The task that owns the state has ended, which it never should.
    Broken,
    /// Something was missing from the run folder, maybe the socket.
    Missing,
}

/// An engine that runs.
#[derive(Debug)]
pub struct Running {
    engine: Arc<Engine>,
    world: JoinHandle<()>,
    /// Until it is kept.
    lock: Option<RunLock>,
    missing: watch::Receiver<u64>,
}

impl Running {
    /// Opens everything and takes over what runs. `descriptors`: the limit that containers get.
    pub async fn start(
        config: EngineConfig,
        lock: RunLock,
        descriptors: Option<SoftLimit>,
    ) -> Result<Self, StartError> {
        let (engine, mut loaded, inbox) = open(config, lock.path.clone(), descriptors)?;
        let strays = std::mem::take(&mut loaded.strays);
        let mut world = World::new(engine.boot.clone(), loaded);
        adopt::adopt(&engine, &mut world, strays);
        let world = tokio::spawn(pump::run(Arc::clone(&engine), world, inbox));
        tokio::spawn(wiring::run(Arc::clone(&engine)));
        tokio::spawn(wiring::keep(Arc::clone(&engine)));
        engine.wiring.want();
        // What is not complete was reported there.
        engine.wiring.settled().await;
        let missing = engine.missing.subscribe();
        Ok(Self {
            engine,
            world,
            lock: Some(lock),
            missing,
        })
    }

    pub fn handle(&self) -> Handle {
        Handle::new(&self.engine)
    }

    /// Goes on with what an earlier engine left, once the socket listens.
    pub async fn resume(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        tokio::spawn(rundir::keep(Arc::clone(&self.engine), lock.path, lock.lock));
        mounted::renew(&self.engine).await;
        self.engine.tell(Event::Resumed);
        still::resume_held(&self.engine);
    }

    /// Resolves when a server has to do something.
    pub async fn trouble(&mut self) -> Trouble {
        tokio::select! {
            _ = &mut self.world => Trouble::Broken,
            Ok(()) = self.missing.changed() => Trouble::Missing,
        }
    }

    /// Shims are told, so that none starts an engine; what no record wants is taken away.
    pub async fn leave(self) {
        leave(&self.engine).await;
    }
}

impl Handle {
    /// Resolves once the engine has had nothing to do and nothing to supervise for long enough.
    pub async fn idle(&self) {
        let engine = &self.engine;
        let Some(patience) = engine.config.idle_exit else {
            return std::future::pending().await;
        };
        loop {
            let needed = engine.activity.is_busy()
                || engine
                    .look(|world| world.supervises())
                    .await
                    .unwrap_or(false);
            if needed {
                engine.activity.touched().await;
                continue;
            }
            tokio::select! {
                () = engine.activity.touched() => {}
                () = tokio::time::sleep(patience) => {
                    if !engine.activity.is_busy() && !engine.look(|world| world.supervises()).await.unwrap_or(false) {
                        return;
                    }
                }
            }
        }
    }
}

type Opened = (Arc<Engine>, Loaded, mpsc::UnboundedReceiver<Message>);

fn open(
    config: EngineConfig,
    lock: PathBuf,
    descriptors: Option<SoftLimit>,
) -> Result<Opened, StartError> {
    let instance = config.instance();
    let boot = boot_id().map_err(StartError::Boot)?;
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
    let env = env
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect();
    let mut argv = vec![
        program.unwrap_or_else(|_| "hoist".to_owned()),
        "engine".to_owned(),
    ];
    if config.idle_exit.is_none() {
        argv.extend(["--idle-exit".to_owned(), "0".to_owned()]);
    }
    EngineRestart {
        argv,
        env,
        lock,
        log: Some(config.log_file()),
    }
}

/// A hung disk must not keep a process from exiting when told to.
const LAST_WRITES: Duration = Duration::from_secs(20);

/// Shims are told, so that none starts an engine; what no record wants is taken away.
async fn leave(engine: &Arc<Engine>) {
    let running = engine.look(|world| {
        world
            .containers
            .values()
            .filter(|found| found.phase.has_processes())
            .count()
    });
    let running = running.await.unwrap_or(0);
    engine.leaving.send_replace(true);
    let told = engine
        .left
        .acquire_many(u32::try_from(running).unwrap_or(u32::MAX));
    let _ = tokio::time::timeout(Duration::from_secs(2), told).await;
    let _ = tokio::time::timeout(LAST_WRITES, engine.store.durable(Vec::new())).await;
    if running == 0 {
        let leaver = Arc::clone(engine);
        let networks = engine.look(|world| {
            world
                .networks
                .values()
                .map(lower::bridge)
                .collect::<Vec<_>>()
        });
        let networks = networks.await.unwrap_or_default();
        let _ =
            tokio::task::spawn_blocking(move || leftovers::clean_network(&leaver, &networks)).await;
    }
}
