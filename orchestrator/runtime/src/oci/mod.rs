//! `hoist oci create|start|state|kill|delete`: the OCI runtime command line on a plain bundle, as functions.
//!
//! Works without an engine: each container has its folder under `root`, with its shim's socket, its exit record and
//! what `state` tells. Must not know the engine's containers.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use hoist_object::signal;

use crate::client::Shim;
use crate::launch::{Join, Launch, LaunchError, Netns, Rootfs, Seccomp};
use crate::runtime::{Runtime, RuntimeConfig};
use crate::status::ExitStatus;
use crate::wire::FdRole;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    pub id: String,
    /// Folder with `config.json`.
    pub bundle: PathBuf,
    pub pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master end.
    pub console_socket: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("{0}")]
    Invalid(String),
    #[error("container {0} does not exist")]
    Unknown(String),
    #[error("{attempt}")]
    Io {
        attempt: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Launch(#[from] crate::launch::LaunchError),
    #[error(transparent)]
    Runtime(#[from] crate::runtime::RuntimeError),
    #[error(transparent)]
    Shim(#[from] crate::client::ShimError),
}

/// The state folder of the command line (`--root`, default `/run/hoist/oci`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oci {
    pub root: PathBuf,
}

/// What is remembered of a container beside what its shim knows.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    oci_version: String,
    bundle: PathBuf,
    annotations: HashMap<String, String>,
}

/// The runtime spec's state.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    oci_version: String,
    id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: PathBuf,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: HashMap<String, String>,
}

fn during(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> OciError {
    let attempt = attempt.into();
    |source| OciError::Io { attempt, source }
}

impl Oci {
    /// Sets everything up and stops before the program.
    pub fn create(&self, request: &Create) -> Result<(), OciError> {
        let folder = self.folder(&request.id)?;
        let bundle = fs::canonicalize(&request.bundle)
            .map_err(during(format!("opening {}", request.bundle.display())))?;
        let config = bundle.join("config.json");
        let text = fs::read(&config).map_err(during(format!("reading {}", config.display())))?;
        let spec: Spec = serde_json::from_slice(&text)
            .map_err(|error| OciError::Invalid(format!("{}: {error}", config.display())))?;
        let runtime = self.runtime()?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(during("creating the state folder"))?;
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(OciError::Invalid(format!(
                    "container {} exists already",
                    request.id
                )));
            }
            result => result.map_err(during(format!("creating {}", folder.display())))?,
        }
        let created = self.create_in(&folder, &bundle, spec, &runtime, request);
        if created.is_err() {
            let _ = hoist_tree::remove(&folder);
        }
        created
    }

    fn create_in(
        &self,
        folder: &Path,
        bundle: &Path,
        spec: Spec,
        runtime: &Runtime,
        request: &Create,
    ) -> Result<(), OciError> {
        let saved = Saved {
            oci_version: spec.version().clone(),
            bundle: bundle.to_owned(),
            annotations: spec.annotations().clone().unwrap_or_default(),
        };
        let text = serde_json::to_vec(&saved)
            .map_err(io::Error::from)
            .map_err(during("encoding the state"))?;
        fs::write(folder.join("state.json"), text).map_err(during("saving the state"))?;
        let launch = launch(request, folder, bundle, spec)?;
        let stdio = stdio(&launch, request)?;
        let shim = runtime.launch(&launch, true, stdio)?;
        if let Some(path) = &request.pid_file {
            fs::write(path, shim.pid().to_string())
                .map_err(during(format!("writing {}", path.display())))?;
        }
        Ok(shim.detach()?)
    }

    pub fn start(&self, id: &str) -> Result<(), OciError> {
        let folder = self.existing(id)?;
        let shim = Shim::connect(&folder)
            .map_err(|_| OciError::Invalid(format!("container {id} has ended")))?;
        if shim.state()?.started {
            return Err(OciError::Invalid(format!(
                "container {id} is running already"
            )));
        }
        match shim.open_gate()? {
            None => Ok(shim.detach()?),
            Some(failure) => Err(LaunchError::from(failure).into()),
        }
    }

    /// The state as the runtime spec's JSON.
    pub fn state(&self, id: &str) -> Result<String, OciError> {
        let folder = self.existing(id)?;
        let saved = fs::read(folder.join("state.json")).map_err(during("reading the state"))?;
        let saved: Saved =
            serde_json::from_slice(&saved).map_err(|error| OciError::Invalid(error.to_string()))?;
        let (status, pid) = match self.live(&folder) {
            Some((state, shim)) => {
                shim.detach()?;
                let status = if state.paused {
                    "paused"
                } else if state.started {
                    "running"
                } else {
                    "created"
                };
                (status, Some(state.pid))
            }
            None => ("stopped", None),
        };
        let Saved {
            oci_version,
            bundle,
            annotations,
        } = saved;
        let state = State {
            oci_version,
            id: id.to_owned(),
            status,
            pid,
            bundle,
            annotations,
        };
        serde_json::to_string_pretty(&state)
            .map_err(io::Error::from)
            .map_err(during("encoding the state"))
    }

    /// `signal`: a number or a name, with or without `SIG`.
    pub fn kill(&self, id: &str, signal: &str, all: bool) -> Result<(), OciError> {
        let folder = self.existing(id)?;
        let number = signal::number(signal)
            .ok_or_else(|| OciError::Invalid(format!("unknown signal {signal}")))?;
        let Some((_, shim)) = self.live(&folder) else {
            return Err(OciError::Invalid(format!("container {id} is not running")));
        };
        if all && number == libc::SIGKILL {
            shim.kill_all()
        } else {
            shim.kill(number)
        }?;
        Ok(shim.detach()?)
    }

    pub fn delete(&self, id: &str, force: bool) -> Result<(), OciError> {
        let folder = match self.existing(id) {
            Err(OciError::Unknown(_)) if force => return Ok(()),
            result => result?,
        };
        if let Some((_, shim)) = self.live(&folder) {
            if !force {
                shim.detach()?;
                return Err(OciError::Invalid(format!("container {id} has not ended")));
            }
            match shim.shutdown().and_then(|()| shim.wait()) {
                Ok(_) | Err(crate::client::ShimError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A killed shim could not clean up.
        self.runtime()?
            .remove_cgroup(id)
            .map_err(during("removing the cgroup"))?;
        hoist_tree::remove(&folder).map_err(during(format!("removing {}", folder.display())))
    }

    /// How it ended, when it has.
    pub fn exit_status(&self, id: &str) -> Result<Option<ExitStatus>, OciError> {
        let record = self.existing(id)?.join("exit.json");
        ExitStatus::read(&record).map_err(during(format!("reading {}", record.display())))
    }

    fn live(&self, folder: &Path) -> Option<(crate::client::ShimState, Shim)> {
        let shim = Shim::connect(folder).ok()?;
        let state = shim.state().ok()?;
        Some((state, shim))
    }

    fn runtime(&self) -> Result<Runtime, OciError> {
        let config = RuntimeConfig {
            run_dir: self.root.clone(),
            instance: "oci".to_owned(),
            shim: None,
            engine: None,
            descriptors: None,
        };
        Ok(Runtime::open(config)?)
    }

    fn folder(&self, id: &str) -> Result<PathBuf, OciError> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if id.is_empty() || id.len() > 1024 || !id.bytes().all(valid) || id == "." || id == ".." {
            return Err(OciError::Invalid(format!("invalid container id {id:?}")));
        }
        Ok(self.root.join(id))
    }

    fn existing(&self, id: &str) -> Result<PathBuf, OciError> {
        let folder = self.folder(id)?;
        if folder.join("state.json").exists() {
            Ok(folder)
        } else {
            Err(OciError::Unknown(id.to_owned()))
        }
    }
}

fn launch(request: &Create, folder: &Path, bundle: &Path, spec: Spec) -> Result<Launch, OciError> {
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| OciError::Invalid("config.json has no root".to_owned()))?;
    let rootfs = Rootfs::Dir(bundle.join(root.path()));
    let tty = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    let network = namespaces
        .into_iter()
        .flatten()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    let netns = match network.map(|namespace| namespace.path()) {
        None => Netns::Host,
        Some(Some(path)) if !path.as_os_str().is_empty() => Netns::Path(path.clone()),
        Some(_) => Netns::New,
    };
    Ok(Launch {
        id: request.id.clone(),
        bundle: folder.to_owned(),
        spec,
        rootfs,
        netns,
        user: None,
        group_add: Vec::new(),
        log: None,
        exit_record: folder.join("exit.json"),
        tty,
        stdin_open: false,
        stdin_once: false,
        files: Vec::new(),
        trees: Vec::new(),
        init: false,
        join: Join::default(),
        seccomp: Seccomp::FromSpec,
        privileged: false,
    })
}

/// The caller's own standard streams, or the socket that wants the terminal.
fn stdio(launch: &Launch, request: &Create) -> Result<Vec<(FdRole, OwnedFd)>, OciError> {
    match (&request.console_socket, launch.tty) {
        (Some(path), true) => {
            let socket = UnixStream::connect(path)
                .map_err(during(format!("connecting to {}", path.display())))?;
            Ok(vec![(FdRole::ConsoleSocket, socket.into())])
        }
        (None, true) => Err(OciError::Invalid(
            "a terminal needs a console socket".to_owned(),
        )),
        (Some(_), false) => Err(OciError::Invalid(
            "a console socket needs a terminal".to_owned(),
        )),
        (None, false) => {
            let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
            let streams = [
                (FdRole::Stdin, copy(rustix::stdio::stdin())),
                (FdRole::Stdout, copy(rustix::stdio::stdout())),
                (FdRole::Stderr, copy(rustix::stdio::stderr())),
            ];
            // A closed one is /dev/null for the container.
            Ok(streams
                .into_iter()
                .filter_map(|(role, fd)| Some((role, fd.ok()?)))
                .collect())
        }
    }
}
