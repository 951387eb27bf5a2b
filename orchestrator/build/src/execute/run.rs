//! RUN: turns a step into a [`RunRequest`], runs it, and cleans the layer of what only the run needed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hoist_image::{Digest, Scratch};
use rustix::fs::FlockOperation;

use super::prepare::Prepared;
use super::report::Running;
use super::{Inputs, Work, agent, blocking, chain, copy, failed, stubs};
use crate::dockerfile::{FileOwner, Sharing};
use crate::error::BuildError;
use crate::fs::{Kind, View, Writer};
use crate::graph::{Origin, RunMountSource, RunStepOp, Step, StepId, Tree};
use crate::source::Picked;
use crate::step::{RunError, RunFile, RunMount, RunMountKind, RunRequest};
use crate::{Diagnostic, SecretBytes};

/// Numbers the runs of this process.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Mounts of a run, and what must live until it ends.
#[derive(Debug, Default)]
struct Mounts {
    mounts: Vec<RunMount>,
    scratches: Vec<Scratch>,
    locks: Vec<File>,
}

/// The step's mounts and the layers below it, with `upper` made to look like the root of those layers.
async fn mounts_and_lowers(
    work: &Arc<Work>,
    id: StepId,
    inputs: &Inputs,
    prepared: Prepared,
    upper: &Path,
) -> Result<(Mounts, Vec<PathBuf>), BuildError> {
    let (inputs, upper) = (inputs.clone(), upper.to_owned());
    blocking(work, move |work| {
        let step = &work.graph.steps[id];
        let lowers = inputs.parent.lowers(work)?.to_vec();
        Writer::new(&upper, &lowers)
            .and_then(|mut writer| writer.finish())
            .map_err(|error| failed(work, step, error))?;
        Ok((mounts(work, id, &inputs, prepared.mounts)?, lowers))
    })
    .await
}

fn not_run(work: &Work, id: StepId, error: RunError) -> BuildError {
    let message = format!("the step cannot be run: {}", chain(error.as_ref()));
    let diagnostic = Box::new(Diagnostic::error(work.graph.steps[id].span, message));
    BuildError::Step {
        file: Arc::clone(&work.file),
        diagnostic,
        source: Some(error),
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is one part of a step, used once"
)]
pub(super) async fn run(
    work: &Arc<Work>,
    id: StepId,
    run: &RunStepOp,
    key: Digest,
    inputs: &Inputs,
    prepared: Prepared,
    scratch: &Scratch,
    running: &Running,
) -> Result<(), BuildError> {
    let upper = scratch.upper().to_owned();
    let (mounts, lowers) = mounts_and_lowers(work, id, inputs, prepared, &upper).await?;
    let (files, secret_env) = secrets(work, id, run)?;
    let agents = agent::forward(work, id, run)?;
    let mut env = run.env.clone();
    env.extend(run.proxies.iter().cloned());
    env.extend(secret_env);
    let run_number = RUNS.fetch_add(1, Ordering::Relaxed);
    let request = RunRequest {
        id: Digest::of(format!("{key} {} {run_number}", std::process::id()).as_bytes()).hex(),
        lowers: lowers.clone(),
        upper: upper.clone(),
        work: scratch.work().to_owned(),
        argv: run.argv.clone(),
        env,
        cwd: run.cwd.clone(),
        user: run.user.clone(),
        mounts: mounts
            .mounts
            .iter()
            .cloned()
            .chain(agents.iter().map(agent::Forwarded::mount))
            .collect(),
        files,
        network: run.network.clone(),
        extra_hosts: work.request.extra_hosts.clone(),
        shm_size: work.request.shm_size,
        ulimits: work.request.ulimits.clone(),
        insecure: run.insecure,
        platform: run.platform.clone(),
        output: running.output(),
    };
    let targets = request.mounts.iter().map(|mount| mount.target.clone());
    let targets: Vec<String> = targets
        .chain(request.files.iter().map(|file| file.path.clone()))
        .collect();
    let ended = work.host.run.run(request).await;
    drop((mounts, agents));
    match ended {
        Ok(0) => {}
        Ok(exit_code) => return Err(exited(work, id, exit_code, running)),
        Err(error) => return Err(not_run(work, id, error)),
    }
    blocking(work, move |work| {
        stubs::clean(&upper, &lowers, &targets)
            .map_err(|error| failed(work, &work.graph.steps[id], error))
    })
    .await
}

fn exited(work: &Work, id: StepId, exit_code: i32, running: &Running) -> BuildError {
    let step = &work.graph.steps[id];
    let mut diagnostic =
        Diagnostic::error(step.span, format!("RUN failed with exit code {exit_code}"));
    diagnostic = match exit_code {
        126 => diagnostic.label("the program cannot be executed"),
        127 => diagnostic.label("a program was not found"),
        137 => diagnostic.label("it was killed (out of memory?)"),
        _ => diagnostic,
    };
    BuildError::RunFailed {
        file: Arc::clone(&work.file),
        diagnostic: Box::new(diagnostic),
        exit_code,
        tail: running.tail(),
    }
}

/// Files and variables of the step's secrets.
fn secrets(
    work: &Work,
    id: StepId,
    run: &RunStepOp,
) -> Result<(Vec<RunFile>, Vec<String>), BuildError> {
    let mut files = run.files.clone();
    let mut env = Vec::new();
    for secret in &run.secrets {
        let Some(content) = work.request.secrets.get(&secret.id) else {
            if secret.required {
                let step = &work.graph.steps[id];
                let message = format!("secret {} is required and was not given", secret.id);
                let diagnostic = Box::new(Diagnostic::error(step.span, message));
                return Err(BuildError::Step {
                    file: Arc::clone(&work.file),
                    diagnostic,
                    source: None,
                });
            }
            continue;
        };
        if let Some(name) = &secret.env {
            env.push(format!("{name}={}", String::from_utf8_lossy(&content.0)));
        }
        if let Some(path) = &secret.target {
            let FileOwner { uid, gid, mode } = secret.owner;
            files.push(RunFile {
                path: path.clone(),
                content: SecretBytes(content.0.clone()),
                uid,
                gid,
                mode,
            });
        }
    }
    Ok((files, env))
}

fn mounts(
    work: &Work,
    id: StepId,
    inputs: &Inputs,
    context: Vec<(Arc<View>, Vec<Picked>)>,
) -> Result<Mounts, BuildError> {
    let step = &work.graph.steps[id];
    let crate::graph::Op::Run(run) = &step.op else {
        return Ok(Mounts::default());
    };
    let mut context = context.into_iter();
    let mut found = Mounts::default();
    for mount in &run.mounts {
        let kind = match &mount.source {
            RunMountSource::Files {
                origin: Origin::Tree(tree),
                path,
                writable,
            } => tree_mount(work, id, inputs, tree, path, *writable, &mut found)?,
            RunMountSource::Files { writable, .. } => {
                let picked = context
                    .next()
                    .expect("every mount of a context was looked up");
                context_mount(work, id, picked, *writable, &mut found)?
            }
            RunMountSource::Cache {
                id: cache,
                base,
                sharing,
                read_only,
                owner,
            } => {
                let base = base
                    .as_ref()
                    .map(|(origin, path)| cache_base(work, step, inputs, origin, path));
                let base = base.transpose()?;
                let (folder, lock) = cache_folder(work, cache, base, *sharing, *owner)
                    .map_err(|error| failed(work, step, error))?;
                found.locks.push(lock);
                RunMountKind::Bind {
                    source: folder,
                    read_only: *read_only,
                }
            }
            RunMountSource::Tmpfs { size, read_only } => RunMountKind::Tmpfs {
                size: *size,
                read_only: *read_only,
            },
        };
        found.mounts.push(RunMount {
            target: mount.target.clone(),
            kind,
        });
    }
    Ok(found)
}

/// A copy of the picked part of the context: what the ignore file hides is not in it, and writes do not reach the user.
fn context_mount(
    work: &Work,
    id: StepId,
    (view, picked): (Arc<View>, Vec<Picked>),
    writable: bool,
    found: &mut Mounts,
) -> Result<RunMountKind, BuildError> {
    let step = &work.graph.steps[id];
    let scratch = work.host.store.begin_layer().map_err(BuildError::Store)?;
    let file_name = picked
        .iter()
        .find(|source| !source.is_folder())
        .map(|source| source.name.clone());
    copy_plain(&ready(&view, picked), false, scratch.upper())
        .map_err(|error| failed(work, step, error))?;
    let source = match file_name {
        Some(name) => scratch.upper().join(name),
        None => scratch.upper().to_owned(),
    };
    found.scratches.push(scratch);
    Ok(RunMountKind::Bind {
        source,
        read_only: !writable,
    })
}

fn ready(view: &Arc<View>, picked: Vec<Picked>) -> Vec<copy::Ready> {
    let one = |picked| copy::Ready::Picked {
        view: Arc::clone(view),
        picked,
        remote: false,
    };
    picked.into_iter().map(one).collect()
}

fn copy_plain(
    sources: &[copy::Ready],
    keep_owners: bool,
    upper: &Path,
) -> Result<(), copy::CopyError> {
    let target = copy::Target {
        destination: Path::new("/"),
        into_folder: true,
        chown: None,
        chmod: None,
        unpack: false,
        unpack_remote: false,
        keep_owners,
    };
    copy::copy(sources, &target, upper, None)
}

/// A part of another tree, resolved inside of it, so that no symlink of an image leads to the host.
fn tree_mount(
    work: &Work,
    id: StepId,
    inputs: &Inputs,
    tree: &Tree,
    path: &str,
    writable: bool,
    found: &mut Mounts,
) -> Result<RunMountKind, BuildError> {
    let step = &work.graph.steps[id];
    let view = View::of_layers(inputs.tree(tree).lowers(work)?)
        .map_err(|error| failed(work, step, error))?;
    let walk = view
        .walk(Path::new(path), true)
        .map_err(|error| failed(work, step, error))?;
    let node = match walk.found {
        Some(node) if matches!(node.kind(), Kind::Folder | Kind::File) => node,
        _ => {
            let message = format!("{path} is not in what the mount is from");
            let diagnostic = Box::new(Diagnostic::error(step.span, message));
            return Err(BuildError::Step {
                file: Arc::clone(&work.file),
                diagnostic,
                source: None,
            });
        }
    };
    let lowers = view.host_paths(&node);
    if !node.is_folder() {
        if writable {
            let message = format!("{path} is a file, and a writable mount needs a folder");
            let diagnostic = Box::new(Diagnostic::error(step.span, message));
            return Err(BuildError::Step {
                file: Arc::clone(&work.file),
                diagnostic,
                source: None,
            });
        }
        return Ok(RunMountKind::Bind {
            source: lowers[0].clone(),
            read_only: true,
        });
    }
    if !writable {
        return Ok(match <[PathBuf; 1]>::try_from(lowers) {
            Ok([source]) => RunMountKind::Bind {
                source,
                read_only: true,
            },
            Err(lowers) => RunMountKind::Overlay {
                lowers,
                scratch: None,
            },
        });
    }
    let scratch = work.host.store.begin_layer().map_err(BuildError::Store)?;
    let pair = (scratch.upper().to_owned(), scratch.work().to_owned());
    found.scratches.push(scratch);
    Ok(RunMountKind::Overlay {
        lowers,
        scratch: Some(pair),
    })
}

#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("preparing the cache {path}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("filling the cache")]
    Fill(#[from] copy::CopyError),
    #[error("filling the cache")]
    Pick(#[from] crate::source::PickError),
}

/// What a cache is filled with when it is made.
struct CacheBase<'a> {
    view: Arc<View>,
    path: &'a str,
    /// Stands for the content where that is known to stay.
    chain: String,
}

fn cache_base<'a>(
    work: &Work,
    step: &Step,
    inputs: &Inputs,
    origin: &Origin,
    path: &'a str,
) -> Result<CacheBase<'a>, BuildError> {
    let Origin::Tree(tree) = origin else {
        let view = Arc::clone(&work.context_of(origin).view);
        return Ok(CacheBase {
            view,
            path,
            chain: format!("{origin:?}"),
        });
    };
    let tree = inputs.tree(tree);
    let view = View::of_layers(tree.lowers(work)?).map_err(|error| failed(work, step, error))?;
    Ok(CacheBase {
        view: Arc::new(view),
        path,
        chain: tree.chain().to_string(),
    })
}

/// The folder of a cache mount and the lock that says how it is shared. Its name is a digest: an id cannot lead anywhere.
/// A cache of other looks, or filled with something else, is another one, though it has the same id.
fn cache_folder(
    work: &Work,
    id: &str,
    base: Option<CacheBase<'_>>,
    sharing: Sharing,
    owner: FileOwner,
) -> Result<(PathBuf, File), CacheError> {
    const PLAIN: FileOwner = FileOwner {
        uid: 0,
        gid: 0,
        mode: 0o755,
    };
    let caches = work.host.state_dir.join(crate::prune::CACHES);
    let error = |path: &Path, source| CacheError::Io {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(&caches).map_err(|source| error(&caches, source))?;
    let name = match &base {
        None if owner == PLAIN => Digest::of(id.as_bytes()),
        None => Digest::of(format!("{id} {owner:?}").as_bytes()),
        Some(base) => Digest::of(format!("{id} {owner:?} {} {}", base.chain, base.path).as_bytes()),
    };
    let name = name.hex();
    let mut number = 0;
    loop {
        let folder = caches.join(format!("{name}.{number}"));
        let lock_path = caches.join(format!("{name}.{number}.lock"));
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(|s| error(&lock_path, s))?;
        let operation = match sharing {
            Sharing::Shared => FlockOperation::LockShared,
            Sharing::Locked => FlockOperation::LockExclusive,
            Sharing::Private => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&lock, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                number += 1;
                continue;
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(error(&lock_path, errno.into())),
        }
        crate::prune::touch(&lock_path);
        if !folder.exists() {
            new_cache(work, &folder, base.as_ref(), owner)?;
        }
        return Ok((folder, lock));
    }
}

/// Filled beside its place and moved there whole. One that is filled with a folder looks like that folder.
fn new_cache(
    work: &Work,
    folder: &Path,
    base: Option<&CacheBase<'_>>,
    mut owner: FileOwner,
) -> Result<(), CacheError> {
    let error = |source| CacheError::Io {
        path: folder.to_owned(),
        source,
    };
    let fresh = folder.with_extension(format!(
        "new-{}-{}",
        std::process::id(),
        RUNS.fetch_add(1, Ordering::Relaxed)
    ));
    std::fs::create_dir(&fresh).map_err(error)?;
    if let Some(base) = base {
        let nothing = crate::ignore::Ignore::default();
        let picker = crate::source::Picker {
            view: &base.view,
            ignore: &nothing,
            exclude: &nothing,
        };
        let picked = picker.pick(base.path)?;
        if let Some(top) = picked
            .first()
            .filter(|top| top.is_folder() && base.path != ".")
        {
            let stat = &top.entries[0].node.stat;
            owner = FileOwner {
                uid: stat.st_uid,
                gid: stat.st_gid,
                mode: stat.st_mode & 0o7777,
            };
        }
        copy_plain(&ready(&base.view, picked), true, &fresh)?;
    }
    let fd = File::open(&fresh).map_err(error)?;
    rustix::fs::fchown(
        &fd,
        Some(rustix::fs::Uid::from_raw(owner.uid)),
        Some(rustix::fs::Gid::from_raw(owner.gid)),
    )
    .map_err(|errno| error(errno.into()))?;
    rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(owner.mode))
        .map_err(|errno| error(errno.into()))?;
    match std::fs::rename(&fresh, folder) {
        // A shared cache may have been made by another step in the meantime.
        Err(_) if folder.exists() => hoist_tree::remove(&fresh).map_err(error),
        done => done.map_err(error),
    }
    .inspect(|()| tracing::debug!(cache = %folder.display(), root = %work.host.state_dir.display(), "cache made"))
}
