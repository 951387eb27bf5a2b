//! Runs a graph: every step as soon as what it reads is there, none whose result is in the cache.
//!
//! A step's key is made from what really goes into it: the layers below, the expanded instruction, the contents of its
//! sources. So it does not matter in which order edits came, or which image the layers below belong to.
//!
//! A tree is first a list of layers' digests, which is all that the keys of later steps need. Its layers have to be in
//! the store when a step really runs on them; until then they may be elsewhere.

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
use std::sync::{Arc, OnceLock};

use hoist_image::{Digest, Hold, Scratch, StoreError};
use tokio::task::JoinSet;

use crate::cache::{Cache, CachedResult, Lost, Record};
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
    /// When the last layer was made.
    pub(crate) created: Option<String>,
    /// Keeps the layers in the store until an image refers to them.
    pub(crate) holds: Vec<Hold>,
    lowers: OnceLock<Vec<PathBuf>>,
}

impl TreeState {
    pub(crate) fn new(layers: Vec<Digest>, created: Option<String>, holds: Vec<Hold>) -> Self {
        Self {
            layers,
            created,
            holds,
            lowers: OnceLock::new(),
        }
    }

    /// The layers' folders, topmost first; never empty. Every layer must be in the store. Blocks.
    fn lowers(&self, work: &Work) -> Result<&[PathBuf], BuildError> {
        if let Some(lowers) = self.lowers.get() {
            return Ok(lowers);
        }
        let lowers = work
            .host
            .store
            .lowers_of(&self.layers)
            .map_err(BuildError::Store)?;
        Ok(self.lowers.get_or_init(|| lowers))
    }

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
    pub(crate) fetched: BTreeMap<Origin, Fetched>,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) graph: Graph,
    /// Scratch and the images.
    pub(crate) trees: BTreeMap<Tree, Arc<TreeState>>,
    pub(crate) reporter: Reporter,
    pub(crate) cache: Cache,
    /// Instead of the time of day, for results that can be made again.
    pub(crate) epoch: Option<Epoch>,
}

/// Files that were fetched for the steps.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) context: Context,
    /// The one file of it that was asked for.
    pub(crate) file: Option<String>,
}

impl Work {
    /// What the images consist of.
    pub(crate) fn results<'a>(
        &'a self,
        states: &'a [Arc<TreeState>],
    ) -> impl Iterator<Item = &'a Arc<TreeState>> {
        self.graph
            .results
            .iter()
            .map(|outcome| self.tree(&outcome.tree, states))
    }

    pub(crate) fn tree<'a>(
        &'a self,
        tree: &Tree,
        states: &'a [Arc<TreeState>],
    ) -> &'a Arc<TreeState> {
        match tree {
            Tree::Step(id) => &states[*id],
            other => &self.trees[other],
        }
    }

    /// Where a step finds files that no step makes.
    fn context_of(&self, origin: &Origin) -> &Context {
        match self.fetched.get(origin) {
            Some(fetched) => &fetched.context,
            None => &self.context,
        }
    }
}

/// Why steps are not done.
enum Stop {
    Failed(BuildError),
    /// Records led to layers that no cache has.
    Lost,
}

impl From<BuildError> for Stop {
    fn from(error: BuildError) -> Self {
        Self::Failed(error)
    }
}

impl From<Lost> for Stop {
    fn from(Lost: Lost) -> Self {
        Self::Lost
    }
}

/// Runs all steps; returns what each of them left. The layers of the result are in the store.
pub(crate) async fn execute(work: &Arc<Work>) -> Result<Vec<Arc<TreeState>>, BuildError> {
    loop {
        let done = async {
            let states = all(work).await?;
            fetch(work, work.results(&states)).await?;
            Ok(states)
        };
        match done.await {
            Ok(states) => return Ok(states),
            Err(Stop::Failed(error)) => return Err(error),
            // Each time some record less is believed, so this ends. What ran in the meantime is in the cache.
            Err(Stop::Lost) => work.cache.start_again(),
        }
    }
}

async fn all(work: &Arc<Work>) -> Result<Vec<Arc<TreeState>>, Stop> {
    let steps = &work.graph.steps;
    let mut waits: Vec<usize> = steps.iter().map(|step| step.after().len()).collect();
    let mut done: Vec<Option<Arc<TreeState>>> = vec![None; steps.len()];
    let mut running: JoinSet<Result<(StepId, Arc<TreeState>), Stop>> = JoinSet::new();
    let start = |id: StepId, done: &[Option<Arc<TreeState>>], running: &mut JoinSet<_>| {
        let work = Arc::clone(work);
        let inputs = inputs_of(&work, &work.graph.steps[id], done);
        running.spawn(async move { run_step(&work, id, inputs).await.map(|state| (id, state)) });
    };
    for (id, _) in waits.iter().enumerate().filter(|(_, waits)| **waits == 0) {
        start(id, &done, &mut running);
    }
    let mut lost = false;
    // Leaving early drops the set, which stops the other steps.
    while let Some(finished) = running.join_next().await {
        let (id, state) = match finished.map_err(|_| BuildError::Interrupted)? {
            // What runs now is wanted the next time too.
            Err(Stop::Lost) => {
                lost = true;
                continue;
            }
            other => other?,
        };
        done[id] = Some(state);
        for (next, step) in steps.iter().enumerate() {
            if step.after().contains(&id) {
                waits[next] -= 1;
                if waits[next] == 0 && !lost {
                    start(next, &done, &mut running);
                }
            }
        }
    }
    if lost {
        return Err(Stop::Lost);
    }
    Ok(done
        .into_iter()
        .map(|state| state.expect("steps only refer backwards, so all of them ran"))
        .collect())
}

/// The trees that a step starts from and reads.
#[derive(Debug, Clone)]
struct Inputs {
    parent: Arc<TreeState>,
    trees: BTreeMap<Tree, Arc<TreeState>>,
}

impl Inputs {
    fn tree(&self, tree: &Tree) -> &Arc<TreeState> {
        self.trees
            .get(tree)
            .expect("a step is given every tree that it names")
    }
}

fn inputs_of(work: &Work, step: &Step, done: &[Option<Arc<TreeState>>]) -> Inputs {
    let find = |tree: &Tree| match tree {
        Tree::Step(id) => done[*id]
            .clone()
            .expect("a step waits for the steps that it reads"),
        other => work
            .trees
            .get(other)
            .cloned()
            .expect("images are found before steps run"),
    };
    let trees = step
        .op
        .inputs()
        .into_iter()
        .map(|tree| (tree.clone(), find(&tree)))
        .collect();
    Inputs {
        parent: find(&step.parent),
        trees,
    }
}

async fn run_step(work: &Arc<Work>, id: StepId, inputs: Inputs) -> Result<Arc<TreeState>, Stop> {
    let step = &work.graph.steps[id];
    let picks = prepare::picks(step, &inputs);
    let content = match picks {
        Some(key) if !step.fresh => picked_content(work, key).await?,
        _ => None,
    };
    if picks.is_some() && content.is_none() {
        fetch(work, step.op.inputs().iter().map(|tree| inputs.tree(tree))).await?;
    }
    let (mut key, mut prepared, local) =
        prepare_and_look_up(work, id, &inputs, picks, content).await?;
    let found = match local {
        None if !step.fresh && work.cache.has_sources() => work.cache.elsewhere(&key).await,
        local => local,
    };
    if let Some(Record {
        result: CachedResult::Layer(layer),
        created,
        ..
    }) = found
    {
        work.reporter.cached(&step.name);
        let hold = work.host.store.hold(&[layer]);
        return Ok(Arc::new(with_layer(&inputs.parent, layer, hold, created)));
    }
    // A layer that does not look at what is below it is made without.
    let below = (!matches!(step.op, Op::Link(_))).then_some(&inputs.parent);
    fetch(
        work,
        step.op
            .inputs()
            .iter()
            .map(|tree| inputs.tree(tree))
            .chain(below),
    )
    .await?;
    if content.is_some() {
        let inputs = inputs.clone();
        let look = move |work: &Work| prepare::prepare(work, &work.graph.steps[id], &inputs, None);
        (key, prepared) = blocking(work, look).await?;
    }
    let running = work.reporter.started(&step.name);
    match make_layer(work, id, key, inputs, prepared, &running).await {
        Ok(state) => {
            work.reporter
                .ran
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            running.done();
            Ok(Arc::new(state))
        }
        Err(error) => {
            running.failed(&short(&error));
            Err(error.into())
        }
    }
}

/// The digest of what a step picks from its sources, when a record has it.
async fn picked_content(work: &Arc<Work>, picks: Digest) -> Result<Option<Digest>, BuildError> {
    match find(work, picks).await? {
        Some(Record {
            result: CachedResult::Picked(content),
            ..
        }) => Ok(Some(content)),
        _ => Ok(None),
    }
}

/// A step's key, what it needs to run, and its record in the local cache. One visit to the disk for all: a cached step
/// costs little else.
async fn prepare_and_look_up(
    work: &Arc<Work>,
    id: StepId,
    inputs: &Inputs,
    picks: Option<Digest>,
    content: Option<Digest>,
) -> Result<(Digest, prepare::Prepared, Option<Record>), BuildError> {
    let inputs = inputs.clone();
    blocking(work, move |work: &Work| {
        let step = &work.graph.steps[id];
        let (key, prepared) = prepare::prepare(work, step, &inputs, content)?;
        if let (Some(picks), None, Some(found)) = (picks, content, prepared.content) {
            work.cache
                .put(&picks, CachedResult::Picked(found), None)
                .map_err(BuildError::Store)?;
        }
        let local = if step.fresh {
            None
        } else {
            work.cache.local(&key)
        };
        Ok((key, prepared, local))
    })
    .await
}

/// What is known under a key, here or elsewhere.
async fn find(work: &Arc<Work>, key: Digest) -> Result<Option<Record>, BuildError> {
    let here = blocking(work, move |work| Ok(work.cache.local(&key))).await?;
    match here {
        None if work.cache.has_sources() => Ok(work.cache.elsewhere(&key).await),
        here => Ok(here),
    }
}

async fn fetch(work: &Work, trees: impl Iterator<Item = &Arc<TreeState>>) -> Result<(), Lost> {
    let layers: Vec<Digest> = trees.flat_map(|tree| tree.layers.iter().copied()).collect();
    work.cache.fetch(&layers).await
}

fn with_layer(parent: &TreeState, layer: Digest, hold: Hold, created: Option<String>) -> TreeState {
    let mut layers = parent.layers.clone();
    layers.push(layer);
    let mut holds = parent.holds.clone();
    holds.push(hold);
    TreeState::new(layers, created, holds)
}

async fn make_layer(
    work: &Arc<Work>,
    id: StepId,
    key: Digest,
    inputs: Inputs,
    prepared: prepare::Prepared,
    running: &Running,
) -> Result<TreeState, BuildError> {
    let scratch = blocking(work, |work| {
        work.host.store.begin_layer().map_err(BuildError::Store)
    })
    .await?;
    let parent = Arc::clone(&inputs.parent);
    let scratch = if let Op::Run(run) = &work.graph.steps[id].op {
        run::run(work, id, run, key, &inputs, prepared, &scratch, running).await?;
        scratch
    } else {
        blocking(work, move |work| {
            write(work, &work.graph.steps[id], &inputs, &prepared, &scratch).map(|()| scratch)
        })
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
        let layer = work
            .host
            .store
            .commit_layer(scratch)
            .map_err(|error| store_failed(work, id, error))?;
        let created = work.epoch.map_or_else(now, Epoch::text);
        let result = CachedResult::Layer(layer.diff_id);
        work.cache
            .put(&key, result, Some(created.clone()))
            .map_err(BuildError::Store)?;
        Ok(with_layer(
            &parent,
            layer.diff_id,
            layer.hold,
            Some(created),
        ))
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
        Op::Copy(copy) => (
            copy,
            Some(copy::LowerLayers {
                lowers: inputs.parent.lowers(work)?,
                work: scratch.work(),
            }),
        ),
        Op::Link(copy) => (copy, None),
        Op::Mkdir(mkdir) => {
            return make_folder(mkdir, inputs.parent.lowers(work)?, scratch.upper())
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
    copy::copy(&prepared.sources, &target, scratch.upper(), below)
        .map_err(|error| failed(work, step, error))
}

/// WORKDIR: a folder that is there stays as it is.
fn make_folder(mkdir: &Mkdir, lowers: &[PathBuf], upper: &Path) -> Result<(), copy::CopyError> {
    let mut writer = Writer::new(upper, lowers)?;
    let path = Path::new(&mkdir.path);
    if !writer
        .view()
        .walk(path, true)?
        .found
        .is_some_and(|node| node.is_folder())
    {
        let owner = mkdir
            .user
            .as_deref()
            .map(|user| find_owner(writer.view(), user))
            .transpose()?;
        let metadata = Metadata {
            mode: 0o755,
            owner: owner.unwrap_or_default(),
            ..Metadata::default()
        };
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
    BuildError::Step {
        file: Arc::clone(&work.file),
        diagnostic: Box::new(diagnostic),
        source: None,
    }
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
