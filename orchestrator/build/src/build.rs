//! One build from request to image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hoist_image::{History, Image, ImageConfig, Platform, Reference};

use crate::context::{self, Context};
use crate::diagnostic::Severity;
use crate::dockerfile::{self, Dockerfile};
use crate::error::BuildError;
use crate::execute::{Reporter, TreeState, Work, execute, now};
use crate::graph::{Bases, Graph, Lowered, Selection, Tree, lower};
use crate::host::{BaseError, Built, Host};
use crate::request::BuildRequest;
use crate::{Diagnostic, SourceFile, Span};

/// Builds what the request asks for and stores the image under its tags. Dropping the future stops every running step.
pub async fn build(request: &BuildRequest, host: &Host) -> Result<Built, BuildError> {
    let tags = tags(request)?;
    let platform = platform(request)?;
    let (context, file) = {
        let (request, state_dir) = (request.clone(), host.state_dir.clone());
        on_disk(move || context::open(&request, &state_dir)).await?
    };
    let reporter = Reporter::new(Arc::clone(&host.progress));
    let wrong = |problems| BuildError::Dockerfile(Arc::clone(&file), problems);
    let dockerfile = dockerfile::parse(&file).map_err(wrong)?;
    for warning in dockerfile.warnings.iter().filter(|warning| warning.severity == Severity::Warning) {
        reporter.warning(warning.render(&file, false));
    }
    let selection = Selection::new(&dockerfile, request, &platform).map_err(wrong)?;
    let mut images =
        Images { host, request, platform: &platform, file: &file, reporter: &reporter, found: BTreeMap::new() };
    let graph = images.lower(&dockerfile, &selection).await?;
    for name in &graph.unused_args {
        reporter.warning(format!("warning: build argument {name} is not used: no ARG declares it"));
    }
    let found = images.found;
    let work = Arc::new(work(request, host, context, Arc::clone(&file), graph, &found, reporter).await?);
    let executed = execute(&work).await;
    // Also after a failure: what was hashed need not be hashed again.
    let saving = Arc::clone(&work);
    on_disk(move || {
        if let Err(error) = saving.context.stamps.save() {
            tracing::warn!(%error, "the stamps of the build context cannot be kept");
        }
        Ok(())
    })
    .await?;
    let states = executed?;
    let finishing = Arc::clone(&work);
    let image = on_disk(move || {
        let config = image_config(&finishing, &states, &found, &platform);
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
    platform: &'a Platform,
    file: &'a Arc<SourceFile>,
    reporter: &'a Reporter,
    found: BTreeMap<String, Arc<Image>>,
}

impl Images<'_> {
    /// Lowers again until no trigger of a base asks for another image.
    async fn lower(&mut self, dockerfile: &Dockerfile, selection: &Selection) -> Result<Graph, BuildError> {
        let mut needed = selection.images(dockerfile);
        loop {
            for (name, span) in needed {
                let image = self.find(&name, span).await?;
                self.found.insert(name, image);
            }
            let bases: Bases = self.found.iter().map(|(name, image)| (name.clone(), image.config.clone())).collect();
            match lower(dockerfile, self.request, selection, &bases) {
                Ok(Lowered::Graph(graph)) => return Ok(*graph),
                Ok(Lowered::Needs(images)) => needed = images,
                Err(problems) => return Err(BuildError::Dockerfile(Arc::clone(self.file), problems)),
            }
        }
    }

    async fn find(&self, name: &str, span: Span) -> Result<Arc<Image>, BuildError> {
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
            && self.fits(&image)
        {
            self.reporter.found(&label);
            return Ok(image);
        }
        let running = self.reporter.started(&label);
        match self.host.bases.base(&reference, self.platform, self.request.pull).await {
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

    fn fits(&self, image: &Image) -> bool {
        image.config.os == self.platform.os && image.config.architecture == self.platform.architecture
    }
}

async fn work(
    request: &BuildRequest,
    host: &Host,
    context: Context,
    file: Arc<SourceFile>,
    graph: Graph,
    images: &BTreeMap<String, Arc<Image>>,
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
fn image_config(
    work: &Work,
    states: &[Arc<TreeState>],
    images: &BTreeMap<String, Arc<Image>>,
    platform: &Platform,
) -> ImageConfig {
    let graph = &work.graph;
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
