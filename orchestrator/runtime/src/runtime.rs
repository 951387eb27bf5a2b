//! The engine's entry: open once, then start, exec, sweep.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, Layout, Stats};
use crate::client::{Attach, Call, Shim};
use crate::descriptors::SoftLimit;
use crate::exec::{ExecHandle, ExecRequest};
use crate::launch::{Launch, LaunchError, Rootfs};
use crate::lower::{self, Environment, Sealed};
use crate::procfs;
use crate::shim::record;
use crate::wire::{Answer, Failure, FdRole, Head, Reply, pair, recv_until, send};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// `/run/hoist`.
    pub run_dir: PathBuf,
    /// Empty for the default data root.
    pub instance: String,
    /// `None`: `$HOIST_SHIM`, then beside the current executable, then `/usr/libexec/hoist/hoist-shim`.
    pub shim: Option<PathBuf>,
    /// `None`: shims leave a dead engine alone. Otherwise written to `<run_dir>/engine.json` (0600) by `open`.
    pub engine: Option<EngineRestart>,
    /// The soft limit of open files for shims and containers; `None`: they inherit this process's.
    pub descriptors: Option<SoftLimit>,
}

/// How a shim starts the engine again.
///
/// The new engine inherits the lock: the descriptor's number is in `HOIST_LOCK_FD`; [`crate::engine_lock::acquire`]
/// takes it over. Exactly one shim can hold it, so exactly one engine starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRestart {
    pub argv: Vec<String>,
    /// The engine's whole environment.
    pub env: Vec<(String, String)>,
    /// `<run_dir>/engine.lock`.
    pub lock: PathBuf,
    /// Where the new engine's stderr goes (appended); `None` is `/dev/null`.
    pub log: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("no hoist-shim executable (looked at {})", .0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoShim(Vec<PathBuf>),
    #[error("copying {path} into memory")]
    SealShim {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("writing {path}")]
    EngineRecord {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("finding the cgroup hierarchies")]
    Cgroups(#[source] io::Error),
}

#[derive(Debug, thiserror::Error)]
#[error("removing {path}")]
pub struct SweepError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

#[derive(Debug)]
pub struct Runtime {
    run_dir: PathBuf,
    instance: String,
    /// The shim's executable, sealed: nothing in a container can change what the next one runs.
    shim: OwnedFd,
    layout: Layout,
    /// Where shims read how to start an engine, and what it says.
    engine: Option<(PathBuf, EngineRestart)>,
    descriptors: Option<SoftLimit>,
}

/// For a container or an exec to be set up: mounts may wait for slow disks, but not for ever.
const START_LIMIT: Duration = Duration::from_secs(60);

const INSTALLED: &str = "/usr/libexec/hoist/hoist-shim";

impl Runtime {
    pub fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let path = find_shim(config.shim)?;
        let shim = seal(&path).map_err(|source| RuntimeError::SealShim { path, source })?;
        let layout = Layout::detect().map_err(RuntimeError::Cgroups)?;
        let RuntimeConfig {
            run_dir,
            instance,
            descriptors,
            engine,
            ..
        } = config;
        let engine = engine.map(|engine| (run_dir.join("engine.json"), engine));
        let runtime = Self {
            run_dir,
            instance,
            shim,
            layout,
            engine,
            descriptors,
        };
        runtime.record_again()?;
        Ok(runtime)
    }

    /// Writes `<run_dir>/engine.json`, where shims read how to start an engine.
    pub fn record_again(&self) -> Result<(), RuntimeError> {
        let Some((path, engine)) = &self.engine else {
            return Ok(());
        };
        record_engine(path, engine).map_err(|source| RuntimeError::EngineRecord {
            path: path.clone(),
            source,
        })
    }

    /// Blocks (a few milliseconds) until the container's program runs or has failed to.
    pub fn start(&self, launch: &Launch) -> Result<Shim, LaunchError> {
        self.launch(launch, false, Vec::new())
    }

    /// As [`Runtime::start`], with clients that see the program's very first output and get its standard input.
    pub fn start_attached(
        &self,
        launch: &Launch,
        clients: &[(OwnedFd, Attach)],
    ) -> Result<Shim, LaunchError> {
        if clients.is_empty() {
            return self.start(launch);
        }
        let shim = self.launch(launch, true, Vec::new())?;
        let opened = clients
            .iter()
            .try_for_each(|(stream, want)| shim.attach(stream.as_fd(), *want))
            .and_then(|()| shim.open_gate());
        match opened {
            Ok(None) => Ok(shim),
            Ok(Some(failure)) => {
                // It cleans up, and `shim.sock` is free again when it says so.
                let _ = shim.wait();
                Err(failure.into())
            }
            Err(error) => {
                // Nobody must be left waiting at the gate.
                let _ = shim.shutdown();
                Err(LaunchError::Protocol(io::Error::other(error)))
            }
        }
    }

    pub(crate) fn launch(
        &self,
        launch: &Launch,
        hold: bool,
        stdio: Vec<(FdRole, OwnedFd)>,
    ) -> Result<Shim, LaunchError> {
        let bundle = |source| LaunchError::Bundle {
            path: launch.bundle.clone(),
            source,
        };
        let point = match &launch.rootfs {
            Rootfs::Dir(_) => launch.bundle.clone(),
            Rootfs::Overlay { .. } => launch.bundle.join("rootfs"),
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(point)
            .map_err(bundle)?;
        match fs::remove_file(&launch.exit_record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bundle(error)),
            // An earlier start's end is not this one's.
            _ => {}
        }
        record::reserve(&launch.exit_record).map_err(bundle)?;
        self.launch_prepared(launch, hold, stdio)
            .inspect_err(|_| record::release(&launch.exit_record))
    }

    fn launch_prepared(
        &self,
        launch: &Launch,
        hold: bool,
        stdio: Vec<(FdRole, OwnedFd)>,
    ) -> Result<Shim, LaunchError> {
        let asked = launch
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.cgroups_path().as_deref());
        let own = self.cgroup(&launch.id);
        let cgroup = match asked.map(|path| path.strip_prefix("/").unwrap_or(path)) {
            Some(path) if path.components().next().is_some() => path,
            _ => &own,
        };
        let engine_record = self.engine.as_ref().map(|(path, _)| path.clone());
        let around = Environment {
            layout: &self.layout,
            cgroup,
            engine_record,
            hold,
            stdio,
        };
        let sealed = lower::container(launch, around)?;
        let socket = self.spawn("start", &launch.id, &sealed)?;
        let word = recv_until::<Reply>(&socket, Instant::now() + START_LIMIT).inspect_err(|_| {
            // A delayed shim must not bring up a container that is no longer waited for.
            let _ = self.kill_with_shim(&launch.id);
        });
        match word.map_err(LaunchError::Protocol)? {
            Some((Reply::Started { pid, .. } | Reply::Created { pid, .. }, _)) => {
                Ok(Shim::of_start(socket, pid))
            }
            Some((Reply::Failed(failure), _)) => Err(failure.into()),
            Some(_) => Err(LaunchError::Protocol(io::ErrorKind::InvalidData.into())),
            None => Err(LaunchError::Protocol(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Blocks until the program runs or has failed to.
    pub fn exec(&self, request: ExecRequest) -> Result<ExecHandle, LaunchError> {
        let (init, root) =
            hold_container(request.pid).map_err(|_| LaunchError::NotRunning(request.id.clone()))?;
        let id = request.id.clone();
        if self.layout.frozen(&self.cgroup(&id)) {
            return Err(LaunchError::Paused(id));
        }
        let fds = vec![(FdRole::Init, init), (FdRole::Root, root)];
        let sealed = lower::exec(request, &self.layout, &self.cgroup(&id), fds)?;
        let socket = self.spawn("exec", &id, &sealed)?;
        drop(sealed);
        match recv_until::<Reply>(&socket, Instant::now() + START_LIMIT)
            .map_err(LaunchError::Protocol)?
        {
            Some((Reply::Started { pid, .. }, fds)) => {
                ExecHandle::new(socket, pid, fds.into_iter().next()).map_err(LaunchError::Protocol)
            }
            Some((Reply::Failed(failure), _)) => Err(failure.into()),
            Some(_) => Err(LaunchError::Protocol(io::ErrorKind::InvalidData.into())),
            None => Err(LaunchError::Protocol(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Mounts what is at `source` now in place of what a running container (by the process id of its init) has at
    /// `target`.
    pub fn renew_mount(
        &self,
        id: &str,
        pid: i32,
        source: &Path,
        target: &str,
    ) -> Result<(), LaunchError> {
        let (init, root) =
            hold_container(pid).map_err(|_| LaunchError::NotRunning(id.to_owned()))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, source, flags).map_err(|error| LaunchError::Bundle {
            path: source.to_owned(),
            source: error.into(),
        })?;
        let fds = vec![
            (FdRole::Init, init),
            (FdRole::Root, root),
            (FdRole::Renewed, tree),
        ];
        let socket = self.spawn("renew", id, &lower::renew(target, fds)?)?;
        match recv_until::<Reply>(&socket, Instant::now() + START_LIMIT)
            .map_err(LaunchError::Protocol)?
        {
            Some((Reply::Answer(Answer::Done), _)) => Ok(()),
            Some((Reply::Failed(failure), _)) => Err(failure.into()),
            Some(_) => Err(LaunchError::Protocol(io::ErrorKind::InvalidData.into())),
            None => Err(LaunchError::Protocol(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Starts the sealed shim and hands it its launch.
    fn spawn(&self, mode: &str, id: &str, sealed: &Sealed) -> Result<OwnedFd, LaunchError> {
        let (ours, theirs) = pair().map_err(LaunchError::Spawn)?;
        let head = Head {
            descriptors: self.descriptors,
            ..sealed.head.clone()
        };
        send(&ours, &head, &sealed.fds()).map_err(LaunchError::Protocol)?;
        let mut child = Command::new(format!("/proc/self/fd/{}", self.shim.as_raw_fd()))
            .arg0("hoist-shim")
            .arg(mode)
            .arg(hoist_object::short(id))
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(LaunchError::Spawn)?;
        // It forks and leaves at once.
        child.wait().map_err(LaunchError::Spawn)?;
        Ok(ours)
    }

    /// Below each hierarchy's mount point.
    fn cgroup(&self, id: &str) -> PathBuf {
        self.cgroup_parent().join(id)
    }

    fn cgroup_parent(&self) -> PathBuf {
        PathBuf::from(if self.instance.is_empty() {
            "hoist".to_owned()
        } else {
            format!("hoist-{}", self.instance)
        })
    }

    /// Whether `memory.disableOOMKiller` does anything: cgroup v2 has no such switch.
    pub fn can_disable_oom_killer(&self) -> bool {
        matches!(self.layout, Layout::V1(_))
    }

    /// Whether a limit of swap does anything: kernels may be built or started without swap accounting.
    pub fn limits_swap(&self) -> bool {
        self.layout.limits_swap()
    }

    /// Whether how readily memory is swapped can be set for one container.
    pub fn sets_swappiness(&self) -> bool {
        self.layout.sets_swappiness()
    }

    pub fn stats(&self, id: &str) -> io::Result<Stats> {
        let relative = self.cgroup(id);
        if !self
            .layout
            .folders(&relative)
            .iter()
            .any(|folder| folder.exists())
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.layout.stats(&relative))
    }

    /// SIGKILL to everything in the container's cgroup, also when its shim is gone. No such cgroup is fine.
    pub fn kill_all(&self, id: &str) -> io::Result<()> {
        cgroup::kill_folders(&self.layout.folders(&self.cgroup(id)))
    }

    /// What a killed shim could not do: ends the container's processes and removes its cgroup.
    pub fn remove_cgroup(&self, id: &str) -> io::Result<()> {
        let folders = self.layout.folders(&self.cgroup(id));
        cgroup::kill_folders(&folders)?;
        cgroup::remove_folders(&folders)
    }

    /// Process ids (the host's) in the container's cgroup.
    pub fn processes(&self, id: &str) -> io::Result<Vec<i32>> {
        let folders = self.layout.folders(&self.cgroup(id));
        let folder = folders
            .iter()
            .find(|folder| folder.exists())
            .ok_or(io::ErrorKind::NotFound)?;
        cgroup::processes(folder)
    }

    /// Whether the container's cgroup has processes. An error means unknown.
    pub fn has_processes(&self, id: &str) -> io::Result<bool> {
        for folder in self.layout.folders(&self.cgroup(id)) {
            if !cgroup::processes(&folder)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The container's first process as found in its cgroup, for a container whose shim does not answer. `None` when it
    /// has no process namespace of its own.
    #[must_use]
    pub fn first_process(&self, id: &str) -> Option<i32> {
        self.processes(id)
            .ok()?
            .into_iter()
            .find(|pid| procfs::is_first_of_namespace(*pid))
    }

    /// Processes of the container's shims, found without their help.
    pub fn shim_processes(&self, id: &str) -> io::Result<Vec<i32>> {
        procfs::find_shims(id)
    }

    /// Kills everything in the container's cgroup and the shim itself, regardless of the shim's state.
    pub fn kill_with_shim(&self, id: &str) -> io::Result<()> {
        let killed = self.kill_all(id);
        for pid in self
            .shim_processes(id)?
            .into_iter()
            .filter_map(Pid::from_raw)
        {
            match rustix::process::kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        killed
    }

    /// Takes the kernel's first slow cgroup attach (some 10 ms on cgroup v1) before a container has to wait for it.
    /// Call it from a thread of its own at the start of a wave; costs nothing on v2.
    pub fn warm_up(&self) {
        self.layout.warm_up();
    }

    /// Removes cgroups and `<run_dir>/containers/*` folders of ours whose id is not known and that nothing lives in.
    /// Those with processes or a listening socket are left alone and named, as are those that cannot be inspected; only
    /// a `leftover` is killed.
    pub fn sweep(&self, known: &BTreeSet<String>, leftover: impl Fn(&str) -> bool) -> Swept {
        let mut swept = Swept::default();
        let mut ids = BTreeSet::new();
        let parents = self.layout.folders(&self.cgroup_parent());
        let bundles = self.run_dir.join("containers");
        for folder in parents.iter().chain([&bundles]) {
            match child_folders(folder) {
                Ok(found) => ids.extend(found),
                Err(source) => swept.errors.push(SweepError {
                    path: folder.clone(),
                    source,
                }),
            }
        }
        for id in ids.into_iter().filter(|id| !known.contains(id)) {
            if !leftover(&id) && self.is_inhabited(&id) {
                swept.strays.push(id);
                continue;
            }
            let bundle = bundles.join(&id);
            let removed = self
                .remove_cgroup(&id)
                .map_err(|source| (self.cgroup(&id), source));
            let removed = removed
                .and_then(|()| hoist_tree::remove(&bundle).map_err(|source| (bundle, source)));
            swept.errors.extend(
                removed
                    .err()
                    .map(|(path, source)| SweepError { path, source }),
            );
        }
        if known.is_empty() {
            // Goes only when empty, which is right.
            parents
                .iter()
                .for_each(|parent| drop(fs::remove_dir(parent)));
        }
        swept
    }

    /// Whether something of the container may live: it has processes, or a shim that listens, or cannot be looked at.
    #[must_use]
    pub fn is_inhabited(&self, id: &str) -> bool {
        let listening = Call::begin(&self.run_dir.join("containers").join(id))
            .err()
            .is_none_or(|error| !error.is_absent());
        listening || self.has_processes(id).unwrap_or(true)
    }
}

/// What a sweep could not or would not remove.
#[derive(Debug, Default)]
pub struct Swept {
    /// Unknown ids that have processes or a shim.
    pub strays: Vec<String>,
    pub errors: Vec<SweepError>,
}

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> Self {
        let Failure {
            stage,
            object,
            errno,
            exit_code,
        } = failure;
        let source = (errno != 0).then(|| io::Error::from_raw_os_error(errno));
        Self::Stage {
            stage,
            object,
            exit_code,
            source,
        }
    }
}

/// None when the folder is not there.
fn child_folders(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// Descriptors of the container's init and its root that are of one and the same process: it was alive after both.
fn hold_container(pid: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    let init = pidfd_open(pid, PidfdFlags::empty())?;
    let path = format!("/proc/{}/root", pid.as_raw_nonzero());
    let root = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    crate::sys::pidfd_signal(std::os::fd::AsFd::as_fd(&init), 0)?;
    Ok((init, root))
}

fn find_shim(asked: Option<PathBuf>) -> Result<PathBuf, RuntimeError> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("hoist-shim")));
    let candidates: Vec<PathBuf> = match asked {
        Some(path) => vec![path],
        None => match std::env::var_os("HOIST_SHIM") {
            Some(path) => vec![path.into()],
            None => beside.into_iter().chain([INSTALLED.into()]).collect(),
        },
    };
    candidates
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or_else(|| RuntimeError::NoShim(candidates.clone()))
}

fn seal(path: &Path) -> io::Result<OwnedFd> {
    let mut source = fs::File::open(path)?;
    let memfd = rustix::fs::memfd_create(
        "hoist-shim",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut copy = fs::File::from(memfd);
    io::copy(&mut source, &mut copy)?;
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(0o500))?;
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(copy.into())
}

/// Replaced as a whole: a shim may read it at any moment.
fn record_engine(path: &Path, engine: &EngineRestart) -> io::Result<()> {
    let bytes = serde_json::to_vec(engine)?;
    // What an engine in the same places wrote will do: a full run directory keeps none from starting.
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let temporary = path.with_extension("json.tmp");
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&bytes)?;
    fs::rename(&temporary, path)
}
