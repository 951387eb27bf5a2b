//! Lends the builder what it needs: base images from registries, and RUN steps in containers of their own.

mod check;
mod request;
mod shell;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use hoist_api::ErrorKind;
use hoist_api::frames::{Decoder, StreamKind};
use hoist_build::{
    BaseError, BaseImages, BoxFuture, BuildError, BuildEvent, Host, NetworkMode, OutputStream,
    RunError, RunMount, RunMountKind, RunRequest, RunStep, Transfer, TransferSink,
};
use hoist_image::{Image, Platform, PlatformError, Reference, RegistryAuth};
use hoist_runtime::{Attach, InjectedFile, Join, Launch, Netns, Rootfs, Seccomp, spec_defaults};
use hoist_spec::model;
use oci_spec::runtime::{Mount, MountBuilder, RootBuilder, Spec};
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub(crate) use check::check;
pub(crate) use request::Beside;
pub(crate) use shell::ShellOffer;

use crate::actions::{self, StepError, blocking};
use crate::activity::Busy;
use crate::building::Building;
use crate::buildnet::{BuildNetwork, Lease};
use crate::emulator;
use crate::engine::Engine;
use crate::error::chain;
use crate::execute::{Output, phase};
use crate::feed::{self, OfImage};
use crate::lower;

/// A build of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) reference: &'a str,
    pub(crate) build: &'a model::Build,
    pub(crate) platform: &'a str,
    pub(crate) building: &'a Arc<Building>,
    /// Where a failed RUN step can be looked at.
    pub(crate) shell: Option<&'a Arc<ShellOffer>>,
    /// The reader of step output.
    pub(crate) out: &'a Output,
}

/// Until it is built, or `given_up` resolves: then its steps end. Either way nothing of them is left.
pub(crate) async fn build(
    engine: &Arc<Engine>,
    wanted: &Wanted<'_>,
    beside: Beside<'_>,
    auth: &Arc<BTreeMap<String, RegistryAuth>>,
    output: impl Fn(BuildEvent) + Send + Sync + 'static,
    given_up: impl Future<Output = ()>,
) -> Result<(), StepError> {
    let request = request::request(wanted, platforms(wanted)?, beside)?;
    let steps = TaskTracker::new();
    let host = host(engine, wanted, auth, output, &steps)?;
    let stay = BuildNetwork::stay(engine).await;
    let built = tokio::select! {
        built = hoist_build::build(&request, &host) => built,
        () = given_up => Err(BuildError::Interrupted),
    };
    // What was dropped above, or stopped beside a step that failed, ends elsewhere.
    steps.close();
    steps.wait().await;
    stay.end().await;
    let built = built.map_err(|error| failed(error, wanted.shell.is_some()))?;
    let id = built.id.to_string();
    feed::image(engine, OfImage::Create, &id, &id);
    feed::image(engine, OfImage::Tag, &id, wanted.reference);
    Ok(())
}

/// The error; one that a look inside may explain says how to have it.
fn failed(mut error: BuildError, looked_inside: bool) -> StepError {
    if let BuildError::RunFailed { diagnostic, .. } = &mut error
        && !looked_inside
    {
        diagnostic.hints.push(
            "`hoist build --debug` on a terminal opens a shell in the failed step".to_owned(),
        );
    }
    StepError::new(chain(&error))
}

/// What the engine lends a build.
fn host(
    engine: &Arc<Engine>,
    wanted: &Wanted<'_>,
    auth: &Arc<BTreeMap<String, RegistryAuth>>,
    output: impl Fn(BuildEvent) + Send + Sync + 'static,
    steps: &TaskTracker,
) -> Result<Host, StepError> {
    let lender = Arc::new(Lender {
        engine: Arc::clone(engine),
        auth: Arc::clone(auth),
        own: wanted.reference.to_owned(),
        building: Arc::clone(wanted.building),
        shell: wanted.shell.cloned(),
        out: wanted.out.clone(),
        steps: steps.clone(),
    });
    Ok(Host {
        store: Arc::clone(&engine.images),
        state_dir: engine.store.layout.root.join("build"),
        run: lender.clone(),
        bases: lender,
        registries: actions::registries(auth)?,
        progress: Arc::new(output),
    })
}

/// What is built for: the build's platforms, among which the service's must be, else the service's.
fn platforms(wanted: &Wanted<'_>) -> Result<Vec<String>, StepError> {
    let listed = &wanted.build.platforms;
    let own = Some(wanted.platform.to_owned()).filter(|platform| !platform.is_empty());
    if let Some(platform) = own
        .iter()
        .find(|platform| !listed.is_empty() && !listed.contains(platform))
    {
        let list = listed.join(", ");
        return Err(StepError::new(format!(
            "platform {platform} is not one of the build's platforms {list}"
        )));
    }
    Ok(if listed.is_empty() {
        own.into_iter().collect()
    } else {
        listed.clone()
    })
}

struct Lender {
    engine: Arc<Engine>,
    auth: Arc<BTreeMap<String, RegistryAuth>>,
    /// The image that is built.
    own: String,
    building: Arc<Building>,
    shell: Option<Arc<ShellOffer>>,
    out: Output,
    /// Containers of this build that are not gone yet.
    steps: TaskTracker,
}

impl BaseImages for Lender {
    fn made_here<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<bool, BaseError>> {
        Box::pin(async move { Ok(self.building.wait(&self.own, reference).await?) })
    }

    fn base<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        refresh: bool,
        transfers: TransferSink,
    ) -> BoxFuture<'a, Result<Arc<Image>, BaseError>> {
        Box::pin(async move {
            let images = &self.engine.images;
            // One that is the only one of its name is taken for what it is; the build says so when that is wrong.
            let alone = || {
                images
                    .find(reference)
                    .filter(|image| !image.is_listed(reference))
            };
            if !refresh && let Some(image) = images.find_for(reference, platform).or_else(alone) {
                return Ok(image);
            }
            let (name, platform) = (reference.to_string(), platform.to_string());
            let tell = move |progress: hoist_image::Progress| {
                let (current, total) = (progress.done, progress.total.unwrap_or(0));
                transfers(Transfer {
                    item: progress.item,
                    status: phase(progress.phase, &progress.text),
                    current,
                    total,
                });
            };
            let pulled =
                actions::pull_image(&self.engine, &name, &platform, &self.auth, tell).await?;
            Ok(pulled.image)
        })
    }
}

impl RunStep for Lender {
    fn can_run(&self, platform: &Platform) -> Result<(), RunError> {
        Ok(emulator::check(platform)?)
    }

    fn run(&self, step: RunRequest) -> BoxFuture<'_, Result<i32, RunError>> {
        Box::pin(async move {
            let container = |id: &str| StepContainer::new(&self.engine, id, self.steps.token());
            let Some(shell) = &self.shell else {
                return Ok(run(container(&step.id), step, &self.out).await?);
            };
            let code = run(container(&step.id), step.clone(), &self.out).await?;
            if code != 0 {
                shell
                    .open(
                        container(&format!("{} shell", step.id)),
                        &self.own,
                        step,
                        code,
                    )
                    .await;
            }
            Ok(code)
        })
    }
}

/// The container of a step, before, while and after it runs. Dropping it kills what still runs, and waits for that: so
/// whoever starts it must hold it until the start has come back.
struct StepContainer {
    engine: Arc<Engine>,
    id: String,
    ended: bool,
    _busy: Busy,
    _of_build: TaskTrackerToken,
}

impl StepContainer {
    fn new(engine: &Arc<Engine>, name: &str, of_build: TaskTrackerToken) -> Self {
        // Kernel objects are named from the first digits of an id.
        let id = hoist_image::Digest::of(name.as_bytes()).hex();
        Self {
            engine: Arc::clone(engine),
            id,
            ended: false,
            _busy: engine.steps.begin(),
            _of_build: of_build,
        }
    }
}

impl Drop for StepContainer {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.engine.runtime.kill_all(&self.id)
        {
            tracing::warn!(step = self.id, %error, "cannot kill an interrupted build step");
        }
        // Of a shell that nobody came to.
        drop(self.engine.attachments.take(&self.id));
        let _ = hoist_tree::remove(&self.engine.bundle(&self.id));
        let _ = std::fs::remove_file(exit_record(&self.engine, &self.id));
        let _ = std::fs::remove_file(marker(&self.engine, &self.id));
    }
}

/// Marks a container as a build step's: it is useless once its engine is gone.
fn marker(engine: &Engine, id: &str) -> PathBuf {
    steps_folder(engine).join(format!("{id}.step"))
}

fn steps_folder(engine: &Engine) -> PathBuf {
    engine.config.run_dir.join("build")
}

/// Steps that were running when a previous engine died.
pub(crate) fn leftover_steps(engine: &Engine) -> BTreeSet<String> {
    let files = std::fs::read_dir(steps_folder(engine))
        .into_iter()
        .flatten()
        .flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_suffix(".step").map(str::to_owned))
        .collect()
}

pub(crate) fn forget_steps(engine: &Engine, ids: BTreeSet<String>) {
    for id in ids {
        let _ = std::fs::remove_file(marker(engine, &id));
    }
}

fn exit_record(engine: &Engine, id: &str) -> PathBuf {
    steps_folder(engine).join(format!("{id}.exit"))
}

async fn run(
    container: StepContainer,
    step: RunRequest,
    reader: &Output,
) -> Result<i32, StepError> {
    let engine = Arc::clone(&container.engine);
    let lease = BuildNetwork::lease(&engine, &step.network, &container.id).await?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()
        .map_err(|error| StepError::engine(error.to_string()))?;
    let output = step.output.clone();
    let lane = engine
        .lanes
        .acquire()
        .await
        .map_err(|_| StepError::engine("the engine is shutting down"))?;
    let shim = blocking(move || {
        let launch = launch(&container.engine, &container.id, step, &lease)?;
        let want = Attach {
            stdin: false,
            stdout: true,
            stderr: true,
            lossless: true,
        };
        let shim = container
            .engine
            .runtime
            .start_attached(&launch, &[(theirs.into(), want)])
            .map_err(|error| {
                StepError::of(
                    ErrorKind::of_exit_code(error.exit_code().into()),
                    chain(&error),
                )
            })?;
        Ok((shim, lease, container))
    });
    let (shim, lease, mut container) = match shim.await {
        Ok(started) => started,
        // A command that is not there is the step's own failure, as in a shell.
        Err(error) if error.kind.is_command() => {
            output.write(
                OutputStream::Stderr,
                format!("{}\n", error.message).as_bytes(),
            );
            return Ok(error.code());
        }
        Err(error) => return Err(error),
    };
    drop(lane);
    let code = follow(shim, ours, output, reader).await?;
    container.ended = true;
    drop(container);
    lease.release().await;
    Ok(code)
}

async fn follow(
    shim: hoist_runtime::Shim,
    ours: std::os::unix::net::UnixStream,
    output: hoist_build::OutputSink,
    reader: &Output,
) -> Result<i32, StepError> {
    let io =
        |error: std::io::Error| StepError::engine(format!("reading the step's output: {error}"));
    ours.set_nonblocking(true).map_err(io)?;
    let mut stream = tokio::net::UnixStream::from_std(ours).map_err(io)?;
    let ended = blocking(move || Ok(shim.wait()?.code));
    let read = async {
        let (mut frames, mut buffer) = (Decoder::default(), vec![0; 32 * 1024]);
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            frames.push(&buffer[..count]);
            while let Some(frame) = frames.next_frame() {
                let stream = match frame.stream {
                    StreamKind::Stderr => OutputStream::Stderr,
                    StreamKind::Stdin | StreamKind::Stdout => OutputStream::Stdout,
                };
                // A step writes no faster than its output is read, as into a pipe; for a while.
                reader.room().await;
                output.write(stream, &frame.data);
            }
        }
    };
    let (code, ()) = tokio::join!(ended, read);
    code
}

fn launch(engine: &Engine, id: &str, step: RunRequest, lease: &Lease) -> Result<Launch, StepError> {
    let insecure = step.insecure;
    if let Some(platform) = &step.platform {
        let platform = platform
            .parse()
            .map_err(|error: PlatformError| StepError::new(chain(&error)))?;
        emulator::check(&platform).map_err(|error| StepError::new(error.to_string()))?;
    }
    let bundle = engine.bundle(id);
    let record = exit_record(engine, id);
    for folder in [bundle.clone(), record.with_file_name("")] {
        crate::store::make_folder(&folder).map_err(|error| {
            StepError::engine(format!("preparing {}: {error}", folder.display()))
        })?;
    }
    let marker = marker(engine, id);
    std::fs::write(&marker, b"")
        .map_err(|error| StepError::engine(format!("preparing {}: {error}", marker.display())))?;
    let netns = match &step.network {
        NetworkMode::Host => Netns::Host,
        NetworkMode::None => Netns::New,
        NetworkMode::Default | NetworkMode::Named(_) => Netns::Fd(lease.namespace(id)?),
    };
    let mut files: Vec<InjectedFile> = step
        .files
        .iter()
        .map(|file| InjectedFile {
            path: file.path.clone(),
            content: file.content.0.clone(),
            uid: file.uid,
            gid: file.gid,
            mode: file.mode,
            writable: false,
        })
        .collect();
    files.extend(lease.etc_files(&step.extra_hosts));
    Ok(Launch {
        id: id.to_owned(),
        bundle,
        spec: spec(&step)?,
        rootfs: Rootfs::Overlay {
            lowers: step.lowers,
            upper: step.upper,
            work: step.work,
        },
        netns,
        user: step.user,
        group_add: Vec::new(),
        log: None,
        exit_record: record,
        tty: false,
        stdin_open: false,
        stdin_once: false,
        files,
        trees: Vec::new(),
        init: false,
        join: Join::default(),
        seccomp: if insecure {
            Seccomp::Unconfined
        } else {
            Seccomp::Default
        },
        privileged: insecure,
    })
}

fn spec(step: &RunRequest) -> Result<Spec, StepError> {
    let mut spec = spec_defaults::spec();
    if step.insecure {
        spec_defaults::privileged(&mut spec);
    }
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(step.argv.clone()));
    process.set_env(Some(step.env.clone()));
    process.set_cwd(PathBuf::from(&step.cwd));
    process.set_terminal(Some(false));
    if step.user.is_none() {
        let mut root = process.user().clone();
        root.set_additional_gids(Some(vec![0]));
        process.set_user(root);
    }
    let limits = step
        .ulimits
        .iter()
        .map(|(name, soft, hard)| (name.as_str(), *soft, *hard));
    let limits = lower::rlimits(limits).map_err(|error| StepError::new(error.to_string()))?;
    if !limits.is_empty() {
        process.set_rlimits(Some(limits));
    }
    spec.set_process(Some(process));
    spec.set_hostname(Some("buildkitsandbox".to_owned()));
    spec.set_root(
        RootBuilder::default()
            .path("rootfs")
            .readonly(false)
            .build()
            .ok(),
    );
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    if let Some(size) = step.shm_size
        && let Some(shm) = mounts
            .iter_mut()
            .find(|mount| mount.destination().as_path() == "/dev/shm")
    {
        let mut options = shm.options().clone().unwrap_or_default();
        options.retain(|option| !option.starts_with("size="));
        options.push(format!("size={size}"));
        shm.set_options(Some(options));
    }
    mounts.extend(step.mounts.iter().filter_map(mount));
    spec.set_mounts(Some(mounts));
    Ok(spec)
}

fn mount(mount: &RunMount) -> Option<Mount> {
    let built = MountBuilder::default().destination(mount.target.clone());
    let words = |list: &[&str]| {
        list.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let built = match &mount.kind {
        RunMountKind::Bind { source, read_only } => {
            let access = if *read_only { "ro" } else { "rw" };
            built
                .typ("bind")
                .source(source.clone())
                .options(words(&["rbind", access, "rprivate"]))
        }
        RunMountKind::Tmpfs { size, read_only } => {
            let mut options = words(&["nosuid", "nodev", if *read_only { "ro" } else { "rw" }]);
            options.extend(size.map(|size| format!("size={size}")));
            built.typ("tmpfs").source("tmpfs").options(options)
        }
        RunMountKind::Overlay { lowers, scratch } => {
            let joined = lowers
                .iter()
                .map(|lower| lower.display().to_string())
                .collect::<Vec<_>>()
                .join(":");
            let mut options = vec![format!("lowerdir={joined}")];
            match scratch {
                Some((upper, work)) => {
                    options.push(format!("upperdir={}", upper.display()));
                    options.push(format!("workdir={}", work.display()));
                }
                None => options.push("ro".to_owned()),
            }
            built.typ("overlay").source("overlay").options(options)
        }
    };
    built.build().ok()
}
