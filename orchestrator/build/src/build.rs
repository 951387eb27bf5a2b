//! One build from request to image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hoist_image::{Digest, History, Image, ImageConfig, Reference, StoreError};

use crate::SourceFile;
use crate::cache::{Cache, INLINE};
use crate::context::Context;
use crate::diagnostic::Severity;
use crate::error::BuildError;
use crate::execute::{Epoch, Fetched, Reporter, TreeState, Work, execute, now};
use crate::fetch::Fetcher;
use crate::graph::{BaseImage, Graph, Origin, Outcome, Tree};
use crate::host::{Built, Host};
use crate::prune;
use crate::reading::{Bases, Read, on_disk, read};
use crate::request::BuildRequest;

/// Builds what the request asks for and stores the image, or the index of the images for several platforms, under its
/// tags. Dropping the future stops every running step.
pub async fn build(request: &BuildRequest, host: &Host) -> Result<Built, BuildError> {
    let tags = tags(request)?;
    let _downloads = lock_downloads(host).await?;
    let reporter = Reporter::new(Arc::clone(&host.progress));
    let mut read = read(request, host, &reporter, Bases::Pulled).await?;
    report_findings(&mut read, &reporter)?;
    let Read {
        context,
        file,
        graph,
        images: found,
        findings,
        ..
    } = read;
    let fetched = Fetcher {
        request,
        host,
        reporter: &reporter,
    }
    .files(&graph, &file)
    .await?;
    let work = Arc::new(work(
        request,
        host,
        context,
        fetched,
        file,
        graph,
        &found,
        reporter.clone(),
    )?);
    let executed = execute(&work).await;
    // Also after a failure: what was hashed need not be hashed again.
    save_stamps(Arc::clone(&work)).await?;
    let states = executed?;
    let finishing = Arc::clone(&work);
    let (images, id) = {
        let states = states.clone();
        on_disk(move || store(&finishing, &states, &found, &tags).map_err(BuildError::Store))
            .await?
    };
    let layers: Vec<Digest> = work
        .results(&states)
        .flat_map(|result| result.layers.iter().copied())
        .collect();
    work.cache.export(&layers).await?;
    if !findings.is_empty() {
        let (count, plural) = (findings.len(), if findings.len() == 1 { "" } else { "s" });
        reporter.warning(format!(
            "{count} warning{plural} about the Dockerfile; `build --check` shows them alone"
        ));
    }
    Ok(Built {
        id,
        images,
        ran: work.reporter.ran.load(Ordering::Relaxed),
        cached: work.reporter.cached.load(Ordering::Relaxed),
    })
}

/// Downloads that the build uses are not pruned while this lock is held.
async fn lock_downloads(host: &Host) -> Result<prune::InUse, BuildError> {
    let state_dir = host.state_dir.clone();
    on_disk(move || {
        let failed = |source| BuildError::Io {
            attempt: "locking",
            path: state_dir.clone(),
            source,
        };
        prune::in_use(&state_dir).map_err(failed)
    })
    .await
}

/// Warns of what the checks found; refuses the build where the Dockerfile asks for that.
fn report_findings(read: &mut Read, reporter: &Reporter) -> Result<(), BuildError> {
    for finding in &read.findings {
        reporter.warning(finding.render(&read.file, false));
    }
    if read.settings.error && read.findings.iter().any(|finding| finding.rule.is_some()) {
        read.findings
            .iter_mut()
            .for_each(|finding| finding.severity = Severity::Error);
        return Err(BuildError::Dockerfile(
            Arc::clone(&read.file),
            std::mem::take(&mut read.findings),
        ));
    }
    for name in &read.graph.unused_args {
        reporter.warning(format!(
            "warning: build argument {name} is not used: no ARG declares it"
        ));
    }
    Ok(())
}

async fn save_stamps(work: Arc<Work>) -> Result<(), BuildError> {
    on_disk(move || {
        let contexts = std::iter::once(&work.context)
            .chain(work.fetched.values().map(|fetched| &fetched.context));
        for context in contexts {
            if let Err(error) = context.stamps.save() {
                tracing::warn!(%error, "the stamps of the build context cannot be kept");
            }
        }
        Ok(())
    })
    .await
}

/// Stores the image, or all of them and the index that lists them; also returns what the tags name.
fn store(
    work: &Work,
    states: &[Arc<TreeState>],
    bases: &BTreeMap<BaseImage, Arc<Image>>,
    tags: &[Reference],
) -> Result<(Vec<Arc<Image>>, Digest), StoreError> {
    let (store, results) = (&work.host.store, &work.graph.results);
    work.cache.keep()?;
    // An image among several gets its names with the others.
    let own = if results.len() == 1 { tags } else { &[] };
    let add = |result| store.add_image(&image_config(work, result, states, bases), own);
    let images: Vec<Arc<Image>> = results.iter().map(add).collect::<Result<_, _>>()?;
    let ids: Vec<Digest> = images.iter().map(|image| image.id).collect();
    let id = match ids[..] {
        [only] => only,
        _ => store.add_index(&ids, tags)?,
    };
    Ok((images, id))
}

fn tags(request: &BuildRequest) -> Result<Vec<Reference>, BuildError> {
    let parse =
        |tag: &String| Reference::parse(tag).map_err(|error| BuildError::Tag(tag.clone(), error));
    request.tags.iter().map(parse).collect()
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is one part of the work, put together once"
)]
fn work(
    request: &BuildRequest,
    host: &Host,
    context: Context,
    fetched: BTreeMap<Origin, Fetched>,
    file: Arc<SourceFile>,
    graph: Graph,
    images: &BTreeMap<BaseImage, Arc<Image>>,
    reporter: Reporter,
) -> Result<Work, BuildError> {
    let store = &host.store;
    let mut trees = BTreeMap::new();
    let mut add = |tree, layers: &[_], created: Option<String>| {
        let holds = vec![store.hold(layers)];
        trees.insert(
            tree,
            Arc::new(TreeState::new(layers.to_vec(), created, holds)),
        );
    };
    add(Tree::Scratch, &[], None);
    for (name, image) in images {
        add(
            Tree::Image(name.clone()),
            &image.layers,
            image.config.created.clone(),
        );
    }
    Ok(Work {
        host: host.clone(),
        request: request.clone(),
        context,
        fetched,
        file,
        graph,
        trees,
        cache: Cache::new(host, request, &reporter),
        reporter,
        epoch: Epoch::of(request)?,
    })
}

/// The configuration of the result: the base's history, then one line for each instruction.
fn image_config(
    work: &Work,
    outcome: &Outcome,
    states: &[Arc<TreeState>],
    images: &BTreeMap<BaseImage, Arc<Image>>,
) -> ImageConfig {
    let platform = &outcome.platform;
    let base = outcome
        .base
        .as_ref()
        .and_then(|name| images.get(name))
        .map(|image| image.config.clone());
    let mut config = base.unwrap_or_else(|| {
        let mut config = ImageConfig::new(&platform.architecture, &platform.os);
        config.variant.clone_from(&platform.variant);
        config
    });
    // What docker wrote down about the machine that built the base, and how its own steps may be skipped.
    for stale in [
        "container",
        "container_config",
        "docker_version",
        "id",
        "parent",
        INLINE,
    ] {
        config.other.remove(stale);
    }
    config
        .rootfs
        .diff_ids
        .clone_from(&work.tree(&outcome.tree, states).layers);
    config.config = outcome.execution.clone();
    config.author.clone_from(&outcome.author);
    let mut created = work
        .epoch
        .map(Epoch::text)
        .or_else(|| config.created.clone());
    for line in &outcome.history {
        if let Some(step) = line.step {
            created.clone_from(&states[step].created);
        }
        config.history.push(History {
            created: created.clone(),
            author: None,
            created_by: Some(line.created_by.clone()),
            comment: Some("hoist".to_owned()),
            empty_layer: line.step.is_none(),
        });
    }
    config.created = created.or_else(|| Some(now()));
    work.cache.inline(&mut config);
    config
}
