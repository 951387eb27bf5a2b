//! Runs a graph: every step as soon as what it reads is there, none whose result is in the cache.
//!
//! A step's key is made from what really goes into it: the layers below, the expanded instruction, the contents of its
//! sources. So it does not matter in which order edits came, or which image the layers below belong to.

mod agent;
mod copy;
mod epoch;
mod key;
mod prepare;
mod report;
mod run;
mod stubs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hoist_image::{CacheEntry, Digest, Hold, Scratch, StoreError};
use tokio::task::JoinSet;

use crate::context::Context;
use crate::error::BuildError;
use crate::fs::{Metadata, Writer, find_owner};
use crate::graph::{Graph, Mkdir, Op, Origin, Step, StepId, Tree};
use crate::host::Host;
use crate::request::BuildRequest;
use crate::{Diagnostic, SourceFile};

pub(crate) use epoch::Epoch;
pub(crate) use report::Reporter;
use report::Running;

/// What a tree is made of, once it is there.
#[derive(Debug, Clone)]
pub(crate) struct TreeState {
    /// First layer first.
    pub(crate) layers: Vec<Digest>,
    /// The same layers' folders, topmost first; never empty.
    pub(crate) lowers: Vec<PathBuf>,
    /// When the last layer was made.
    pub(crate) created: Option<String>,
    /// Keeps the layers in the store until an image refers to them.
    pub(crate) holds: Vec<Hold>,
}

impl TreeState {
    /// Stands for the whole content: equal chains are equal trees.
    fn chain(&self) -> Digest {
        let text: Vec<String> = self.layers.iter().map(Digest::to_string).collect();
        Digest::of(text.join(" ").as_bytes())
    }
}

/// Everything that the steps of one build share.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) host: Host,
    pub(crate) request: BuildRequest,
    pub(crate) context: Context,
    /// The other contexts and what was downloaded.
    pub(crate) brought: BTreeMap<Origin, Brought>,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) graph: Graph,
    /// Scratch and the images.
    pub(crate) trees: BTreeMap<Tree, Arc<TreeState>>,
    pub(crate) reporter: Reporter,
    /// Instead of the time of day, for results that can be made again.
    pub(crate) epoch: Option<Epoch>,
}

/// Files that were brought for the steps.
#[derive(Debug)]
pub(crate) struct Brought {
    pub(crate) context: Context,
    /// The one file of it that was asked for.
    pub(crate) file: Option<String>,
}

impl Work {
    /// Where a step finds files that no step makes.
    fn context_of(&self, origin: &Origin) -> &Context {
        match self.brought.get(origin) {
            Some(brought) => &brought.context,
            None => &self.context,
        }
    }
}

/// Runs all steps; returns what each of them left.
pub(crate) async fn execute(work: &Arc<Work>) -> Result<Vec<Arc<TreeState>>, BuildError> {
    let steps = &work.graph.steps;
    let mut waits: Vec<usize> = steps.iter().map(|step| step.after().len()).collect();
    let mut done: Vec<Option<Arc<TreeState>>> = vec![None; steps.len()];
    let mut running: JoinSet<Result<(StepId, Arc<TreeState>), BuildError>> = JoinSet::new();
    let start = |id: StepId, done: &[Option<Arc<TreeState>>], running: &mut JoinSet<_>| {
        let work = Arc::clone(work);
        let inputs = inputs_of(&work, &work.graph.steps[id], done);
        running.spawn(async move { run_step(&work, id, inputs).await.map(|state| (id, state)) });
    };
    for (id, _) in waits.iter().enumerate().filter(|(_, waits)| **waits == 0) {
        start(id, &done, &mut running);
    }
    // Leaving early drops the set, which stops the other steps.
    while let Some(finished) = running.join_next().await {
        let (id, state) = finished.map_err(|_| BuildError::Interrupted)??;
        done[id] = Some(state);
        for (next, step) in steps.iter().enumerate() {
            if step.after().contains(&id) {
                waits[next] -= 1;
                if waits[next] == 0 {
                    start(next, &done, &mut running);
                }
            }
        }
    }
    Ok(done.into_iter().map(|state| state.expect("steps only refer backwards, so all of them ran")).collect())
}

/// The trees that a step starts from and reads.
#[derive(Debug, Clone)]
struct Inputs {
    parent: Arc<TreeState>,
    trees: BTreeMap<Tree, Arc<TreeState>>,
}

impl Inputs {
    fn tree(&self, tree: &Tree) -> &Arc<TreeState> {
        self.trees.get(tree).expect("a step is given every tree that it names")
    }
}

fn inputs_of(work: &Work, step: &Step, done: &[Option<Arc<TreeState>>]) -> Inputs {
    let find = |tree: &Tree| match tree {
        Tree::Step(id) => done[*id].clone().expect("a step waits for the steps that it reads"),
        other => work.trees.get(other).cloned().expect("images are found before steps run"),
    };
    let trees = step.op.inputs().into_iter().map(|tree| (tree.clone(), find(&tree))).collect();
    Inputs { parent: find(&step.parent), trees }
}

async fn run_step(work: &Arc<Work>, id: StepId, inputs: Inputs) -> Result<Arc<TreeState>, BuildError> {
    let (key, prepared, found) = {
        let inputs = inputs.clone();
        // One visit to the disk for both: a cached step costs little else.
        let look = move |work: &Work| {
            let step = &work.graph.steps[id];
            let (key, prepared) = prepare::prepare(work, step, &inputs)?;
            let found = if step.fresh { None } else { cached(work, key, &inputs.parent)? };
            Ok((key, prepared, found))
        };
        blocking(work, look).await?
    };
    let step = &work.graph.steps[id];
    if let Some(found) = found {
        work.reporter.cached(&step.name);
        return Ok(Arc::new(found));
    }
    let running = work.reporter.started(&step.name);
    match make_layer(work, id, key, inputs, prepared, &running).await {
        Ok(state) => {
            work.reporter.ran.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            running.done();
            Ok(Arc::new(state))
        }
        Err(error) => {
            running.failed(&short(&error));
            Err(error)
        }
    }
}

/// The layer of an earlier run, when it is still in the store.
fn cached(work: &Work, key: Digest, parent: &TreeState) -> Result<Option<TreeState>, BuildError> {
    let Some(entry) = work.host.store.cache_get(&key) else { return Ok(None) };
    let Some(layer) = entry.layer else { return Ok(None) };
    let hold = work.host.store.hold(&[layer]);
    if !work.host.store.has_layer(&layer) {
        return Ok(None);
    }
    let created = entry.data.get("created").and_then(|created| created.as_str()).map(str::to_owned);
    with_layer(work, parent, layer, hold, created).map(Some)
}

fn with_layer(
    work: &Work,
    parent: &TreeState,
    layer: Digest,
    hold: Hold,
    created: Option<String>,
) -> Result<TreeState, BuildError> {
    let mut layers = parent.layers.clone();
    layers.push(layer);
    let lowers = work.host.store.lowers_of(&layers).map_err(BuildError::Store)?;
    let mut holds = parent.holds.clone();
    holds.push(hold);
    Ok(TreeState { layers, lowers, created, holds })
}

async fn make_layer(
    work: &Arc<Work>,
    id: StepId,
    key: Digest,
    inputs: Inputs,
    prepared: prepare::Prepared,
    running: &Running,
) -> Result<TreeState, BuildError> {
    let scratch = blocking(work, |work| work.host.store.begin_layer().map_err(BuildError::Store)).await?;
    let parent = Arc::clone(&inputs.parent);
    let scratch = if let Op::Run(run) = &work.graph.steps[id].op {
        run::run(work, id, run, key, &inputs, prepared, &scratch, running).await?;
        scratch
    } else {
        blocking(work, move |work| write(work, &work.graph.steps[id], &inputs, &prepared, &scratch).map(|()| scratch))
            .await?
    };
    blocking(work, move |work| {
        if let Some(epoch) = work.epoch {
            let upper = scratch.upper();
            epoch.clamp(upper).map_err(|source| BuildError::Io {
                attempt: "dating",
                path: upper.to_owned(),
                source,
            })?;
        }
        let layer = work.host.store.commit_layer(scratch).map_err(|error| store_failed(work, id, error))?;
        let created = work.epoch.map_or_else(now, Epoch::text);
        let entry = CacheEntry { layer: Some(layer.diff_id), data: serde_json::json!({ "created": created }) };
        work.host.store.cache_put(&key, &entry).map_err(BuildError::Store)?;
        with_layer(work, &parent, layer.diff_id, layer.hold, Some(created))
    })
    .await
}

/// Steps that need no process.
fn write(
    work: &Work,
    step: &Step,
    inputs: &Inputs,
    prepared: &prepare::Prepared,
    scratch: &Scratch,
) -> Result<(), BuildError> {
    let (copy, below) = match &step.op {
        Op::Copy(copy) => (copy, Some(copy::Below { lowers: &inputs.parent.lowers, work: scratch.work() })),
        Op::Link(copy) => (copy, None),
        Op::Mkdir(mkdir) => {
            return make_folder(mkdir, &inputs.parent.lowers, scratch.upper())
                .map_err(|error| failed(work, step, error));
        }
        Op::Run(_) => return Ok(()),
    };
    let target = copy::Target {
        destination: Path::new(&copy.destination),
        into_folder: copy.into_folder,
        chown: copy.chown.as_deref(),
        chmod: copy.chmod.as_ref(),
        unpack: copy.unpack,
        unpack_remote: copy.unpack_remote,
        keep_owners: matches!(copy.from, Origin::Tree(_)),
    };
    copy::copy(&prepared.sources, &target, scratch.upper(), below).map_err(|error| failed(work, step, error))
}

/// WORKDIR: a folder that is there stays as it is.
fn make_folder(mkdir: &Mkdir, lowers: &[PathBuf], upper: &Path) -> Result<(), copy::CopyError> {
    let mut writer = Writer::new(upper, lowers)?;
    let path = Path::new(&mkdir.path);
    if !writer.view().walk(path, true)?.found.is_some_and(|node| node.is_folder()) {
        let owner = mkdir.user.as_deref().map(|user| find_owner(writer.view(), user)).transpose()?;
        let metadata = Metadata { mode: 0o755, owner: owner.unwrap_or_default(), ..Metadata::default() };
        writer.make_folders(path, &metadata)?;
    }
    writer.finish()?;
    Ok(())
}

/// Work on the disk, off the async threads.
async fn blocking<T: Send + 'static>(
    work: &Arc<Work>,
    act: impl FnOnce(&Work) -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    let work = Arc::clone(work);
    match tokio::task::spawn_blocking(move || act(&work)).await {
        Ok(result) => result,
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => Err(BuildError::Interrupted),
    }
}

/// The error of a step, at its line in the Dockerfile.
fn failed(work: &Work, step: &Step, error: impl std::error::Error) -> BuildError {
    let diagnostic = Diagnostic::error(step.span, chain(&error));
    BuildError::Step { file: Arc::clone(&work.file), diagnostic: Box::new(diagnostic), source: None }
}

fn store_failed(work: &Work, id: StepId, error: StoreError) -> BuildError {
    failed(work, &work.graph.steps[id], error)
}

/// An error with its causes; a cause that the text already ends in is not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn short(error: &BuildError) -> String {
    match error.diagnostics() {
        Some((_, [first, ..])) => first.message.clone(),
        _ => error.to_string(),
    }
}

pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
