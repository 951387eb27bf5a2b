//! One build from request to image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hoist_image::{History, Image, ImageConfig, Platform, Reference};

use crate::bring::Bringer;
use crate::context::{self, Context};
use crate::diagnostic::Severity;
use crate::dockerfile::{self, Dockerfile};
use crate::error::BuildError;
use crate::execute::{Brought, Reporter, TreeState, Work, execute, now};
use crate::graph::{BaseImage, Bases, Graph, Lowered, Origin, Selection, Tree, lower};
use crate::host::{BaseError, Built, Host};
use crate::request::BuildRequest;
use crate::{Diagnostic, SourceFile, Span};

/// Builds what the request asks for and stores the image under its tags. Dropping the future stops every running step.
pub async fn build(request: &BuildRequest, host: &Host) -> Result<Built, BuildError> {
    let tags = tags(request)?;
    let platform = platform(request)?;
    let reporter = Reporter::new(Arc::clone(&host.progress));
    let bringer = Bringer { request, host, reporter: &reporter };
    let folder = bringer.context().await?;
    let (context, file) = {
        let (request, state_dir) = (request.clone(), host.state_dir.clone());
        on_disk(move || context::open(&folder, &request, &state_dir)).await?
    };
    let wrong = |problems| BuildError::Dockerfile(Arc::clone(&file), problems);
    let dockerfile = dockerfile::parse(&file).map_err(wrong)?;
    for warning in dockerfile.warnings.iter().filter(|warning| warning.severity == Severity::Warning) {
        reporter.warning(warning.render(&file, false));
    }
    let selection = Selection::new(&dockerfile, request, &platform).map_err(wrong)?;
    let mut images = Images { host, request, file: &file, reporter: &reporter, found: BTreeMap::new() };
    let graph = images.lower(&dockerfile, &selection).await?;
    for name in &graph.unused_args {
        reporter.warning(format!("warning: build argument {name} is not used: no ARG declares it"));
    }
    let found = images.found;
    let brought = bringer.files(&graph, &file).await?;
    let work =
        Arc::new(work(request, host, context, brought, Arc::clone(&file), graph, &found, reporter.clone()).await?);
    let executed = execute(&work).await;
    // Also after a failure: what was hashed need not be hashed again.
    let saving = Arc::clone(&work);
    on_disk(move || {
        let contexts = std::iter::once(&saving.context).chain(saving.brought.values().map(|brought| &brought.context));
        for context in contexts {
            if let Err(error) = context.stamps.save() {
                tracing::warn!(%error, "the stamps of the build context cannot be kept");
            }
        }
        Ok(())
    })
    .await?;
    let states = executed?;
    let finishing = Arc::clone(&work);
    let image = on_disk(move || {
        let config = image_config(&finishing, &states, &found);
        finishing.host.store.add_image(&config, &tags).map_err(BuildError::Store)
    })
    .await?;
    Ok(Built {
        id: image.id,
        image,
        ran: work.reporter.ran.load(Ordering::Relaxed),
        cached: work.reporter.cached.load(Ordering::Relaxed),
    })
}

fn tags(request: &BuildRequest) -> Result<Vec<Reference>, BuildError> {
    let parse = |tag: &String| Reference::parse(tag).map_err(|error| BuildError::Tag(tag.clone(), error));
    request.tags.iter().map(parse).collect()
}

fn platform(request: &BuildRequest) -> Result<Platform, BuildError> {
    match &request.platform {
        None => Ok(Platform::host()),
        Some(text) => text.parse().map_err(|error| BuildError::Platform(text.clone(), error)),
    }
}

/// Finds the images that a Dockerfile names.
struct Images<'a> {
    host: &'a Host,
    request: &'a BuildRequest,
    file: &'a Arc<SourceFile>,
    reporter: &'a Reporter,
    found: BTreeMap<BaseImage, Arc<Image>>,
}

impl Images<'_> {
    /// Lowers again until no trigger of a base asks for another image.
    async fn lower(&mut self, dockerfile: &Dockerfile, selection: &Selection) -> Result<Graph, BuildError> {
        let mut needed = selection.images(dockerfile, self.request);
        loop {
            for (base, span) in needed {
                let image = self.find(&base, span).await?;
                self.found.insert(base, image);
            }
            let bases: Bases = self.found.iter().map(|(name, image)| (name.clone(), image.config.clone())).collect();
            match lower(dockerfile, self.request, selection, &bases) {
                Ok(Lowered::Graph(graph)) => return Ok(*graph),
                Ok(Lowered::Needs(images)) => needed = images,
                Err(problems) => return Err(BuildError::Dockerfile(Arc::clone(self.file), problems)),
            }
        }
    }

    async fn find(&self, base: &BaseImage, span: Span) -> Result<Arc<Image>, BuildError> {
        let name = &base.name;
        let platform: Platform =
            base.platform.parse().map_err(|error| BuildError::Platform(base.platform.clone(), error))?;
        let reference = Reference::parse(name).map_err(|error| {
            let diagnostic = Diagnostic::error(span, format!("{name:?} is not an image: {error}"));
            BuildError::Dockerfile(Arc::clone(self.file), vec![diagnostic])
        })?;
        let label = format!("FROM {reference}");
        let refused = |source: BaseError| {
            let diagnostic = Diagnostic::error(span, format!("no image {reference}")).label(source.to_string());
            BuildError::Base { file: Arc::clone(self.file), diagnostic: Box::new(diagnostic), source }
        };
        let made_here = self.host.bases.made_here(&reference).await.map_err(refused)?;
        if (made_here || !self.request.pull)
            && let Some(image) = self.host.store.find(&reference)
            && fits(&image, &platform)
        {
            self.reporter.found(&label);
            return Ok(image);
        }
        let running = self.reporter.started(&label);
        match self.host.bases.base(&reference, &platform, self.request.pull).await {
            Ok(image) => {
                running.done();
                Ok(image)
            }
            Err(source) => {
                running.failed(&source.to_string());
                Err(refused(source))
            }
        }
    }
}

fn fits(image: &Image, platform: &Platform) -> bool {
    image.config.os == platform.os && image.config.architecture == platform.architecture
}

#[expect(clippy::too_many_arguments, reason = "each is one part of the work, put together once")]
async fn work(
    request: &BuildRequest,
    host: &Host,
    context: Context,
    brought: BTreeMap<Origin, Brought>,
    file: Arc<SourceFile>,
    graph: Graph,
    images: &BTreeMap<BaseImage, Arc<Image>>,
    reporter: Reporter,
) -> Result<Work, BuildError> {
    let (store, images) = (Arc::clone(&host.store), images.clone());
    let trees = on_disk(move || {
        let mut trees = BTreeMap::new();
        let mut add = |tree, layers: &[_], created: Option<String>| {
            let lowers = store.lowers_of(layers).map_err(BuildError::Store)?;
            let holds = vec![store.hold(layers)];
            trees.insert(tree, Arc::new(TreeState { layers: layers.to_vec(), lowers, created, holds }));
            Ok(())
        };
        add(Tree::Scratch, &[], None)?;
        for (name, image) in &images {
            add(Tree::Image(name.clone()), &image.layers, image.config.created.clone())?;
        }
        Ok(trees)
    })
    .await?;
    Ok(Work {
        host: host.clone(),
        request: request.clone(),
        context,
        brought,
        file,
        graph,
        trees,
        reporter,
        epoch: epoch(request),
    })
}

/// SOURCE_DATE_EPOCH among the build arguments fixes every time that the build itself writes down.
fn epoch(request: &BuildRequest) -> Option<String> {
    let seconds = request.args.get("SOURCE_DATE_EPOCH")?.as_ref()?.parse().ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}

/// The configuration of the result: the base's history, then one line for each instruction.
fn image_config(work: &Work, states: &[Arc<TreeState>], images: &BTreeMap<BaseImage, Arc<Image>>) -> ImageConfig {
    let graph = &work.graph;
    let platform = &graph.platform;
    let base = graph.base.as_ref().and_then(|name| images.get(name)).map(|image| image.config.clone());
    let mut config = base.unwrap_or_else(|| {
        let mut config = ImageConfig::new(&platform.architecture, &platform.os);
        config.variant.clone_from(&platform.variant);
        config
    });
    // What docker wrote down about the machine that built the base.
    for stale in ["container", "container_config", "docker_version", "id", "parent"] {
        config.other.remove(stale);
    }
    let result = match &graph.result {
        Tree::Step(id) => &states[*id],
        other => &work.trees[other],
    };
    config.rootfs.diff_ids.clone_from(&result.layers);
    config.config = graph.execution.clone();
    config.author.clone_from(&graph.author);
    let mut created = config.created.clone();
    for line in &graph.history {
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
    config.created = created.or_else(|| Some(work.epoch.clone().unwrap_or_else(now)));
    config
}

async fn on_disk<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => Err(BuildError::Interrupted),
    }
}
