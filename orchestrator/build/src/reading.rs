//! From a request to the graph of its steps: the context, the Dockerfile, the images that it names, and what the checks
//! say about all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hoist_image::{Image, LayoutName, Platform, Reference};

use crate::context::{self, Context};
use crate::dockerfile::{self, Dockerfile};
use crate::error::BuildError;
use crate::execute::{Reporter, chain};
use crate::fetch::Fetcher;
use crate::graph::{
    BaseImage, CopyItem, Graph, Lowered, Op, Origin, Selection, layout_image, lower,
};
use crate::host::{BaseError, Host};
use crate::lint::{self, Rule, Settings};
use crate::request::{BuildRequest, NamedContext};
use crate::{Diagnostic, SourceFile, Span};

/// Where base images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bases {
    Pulled,
    /// Only what the store has is looked at.
    Stored,
}

#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) context: Context,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) graph: Graph,
    pub(crate) images: BTreeMap<BaseImage, Arc<Image>>,
    /// In the order of the file.
    pub(crate) findings: Vec<Diagnostic>,
    pub(crate) settings: Settings,
}

pub(crate) async fn read(
    request: &BuildRequest,
    host: &Host,
    reporter: &Reporter,
    bases: Bases,
) -> Result<Read, BuildError> {
    let platforms = platforms(request)?;
    let folder = Fetcher {
        request,
        host,
        reporter,
    }
    .context()
    .await?;
    let (context, file) = {
        let (request, state_dir) = (request.clone(), host.state_dir.clone());
        on_disk(move || context::open(&folder, &request, &state_dir)).await?
    };
    let wrong = |problems| BuildError::Dockerfile(Arc::clone(&file), problems);
    let dockerfile = dockerfile::parse(&file).map_err(wrong)?;
    let argument = request
        .args
        .get("BUILDKIT_DOCKERFILE_CHECK")
        .and_then(|value| value.as_deref());
    let (settings, unknown) =
        Settings::of(&file, &dockerfile, argument).map_err(|problem| wrong(vec![problem]))?;
    let select = |platform| Selection::new(&dockerfile, request, platform);
    let selections: Vec<Selection> = platforms
        .iter()
        .map(select)
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    if bases == Bases::Pulled {
        emulated(&selections, &dockerfile, host).map_err(wrong)?;
    }
    let found = BTreeMap::new();
    let mut images = Images {
        host,
        request,
        file: &file,
        reporter,
        bases,
        found,
        findings: Vec::new(),
    };
    let graph = images.lower(&dockerfile, &selections).await?;
    let mut findings = dockerfile.warnings.clone();
    findings.extend(lint::file(&file, &dockerfile));
    findings.extend(graph.findings.iter().cloned());
    findings.extend(images.findings);
    findings.extend(ignored(&graph, &context));
    findings.extend(unknown);
    findings.retain(|finding| settings.keeps(finding));
    findings.sort_by_key(|finding| (finding.span.start, finding.rule));
    findings.dedup();
    let images = images
        .found
        .into_iter()
        .filter_map(|(base, image)| Some((base, image?)))
        .collect();
    Ok(Read {
        context,
        file,
        graph,
        images,
        findings,
        settings,
    })
}

/// What is built for, each once.
fn platforms(request: &BuildRequest) -> Result<Vec<Platform>, BuildError> {
    let mut platforms = Vec::new();
    for text in &request.platforms {
        let platform = text
            .parse()
            .map_err(|error| BuildError::Platform(text.clone(), error))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(if platforms.is_empty() {
        vec![Platform::host()]
    } else {
        platforms
    })
}

/// Before anything is fetched or run: whether everything can be.
fn emulated(
    selections: &[Selection],
    dockerfile: &Dockerfile,
    host: &Host,
) -> Result<(), Vec<Diagnostic>> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (platform, span) in selections
        .iter()
        .flat_map(|selection| selection.foreign_runs(dockerfile))
    {
        if let Err(error) = host.run.can_run(platform) {
            let problem = Diagnostic::error(span, crate::execute::chain(error.as_ref()));
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Finds the images that a Dockerfile names.
struct Images<'a> {
    host: &'a Host,
    request: &'a BuildRequest,
    file: &'a Arc<SourceFile>,
    reporter: &'a Reporter,
    bases: Bases,
    found: BTreeMap<BaseImage, Option<Arc<Image>>>,
    findings: Vec<Diagnostic>,
}

impl Images<'_> {
    /// Lowers again until no trigger of a base asks for another image.
    async fn lower(
        &mut self,
        dockerfile: &Dockerfile,
        selections: &[Selection],
    ) -> Result<Graph, BuildError> {
        let images = selections
            .iter()
            .flat_map(|selection| selection.images(dockerfile, self.request));
        let mut needed: Vec<(BaseImage, Span)> = images.collect();
        loop {
            for (base, span) in needed {
                if self.found.contains_key(&base) {
                    continue;
                }
                let image = self.find(&base, span).await?;
                self.judge(&base, image.as_deref(), span);
                self.found.insert(base, image);
            }
            let config = |image: &Arc<Image>| image.config.clone();
            let bases = self
                .found
                .iter()
                .map(|(name, image)| (name.clone(), image.as_ref().map(config)))
                .collect();
            match lower(dockerfile, self.request, selections, &bases) {
                Ok(Lowered::Graph(graph)) => return Ok(*graph),
                Ok(Lowered::Needs(images)) => needed = images,
                Err(problems) => {
                    return Err(BuildError::Dockerfile(Arc::clone(self.file), problems));
                }
            }
        }
    }

    /// Where a name has one image only, it may be that of another platform.
    fn judge(&mut self, base: &BaseImage, image: Option<&Image>, span: Span) {
        let (Some(image), Ok(wanted)) = (image, base.platform.parse::<Platform>()) else {
            return;
        };
        if !fits(image, &wanted) {
            let (os, architecture) = (&image.config.os, &image.config.architecture);
            let message = format!(
                "{} is an image for {os}/{architecture}, not for {wanted}",
                base.name
            );
            self.findings.push(Diagnostic::lint(
                Rule::InvalidBaseImagePlatform,
                span,
                message,
            ));
        }
    }

    async fn find(
        &mut self,
        base: &BaseImage,
        span: Span,
    ) -> Result<Option<Arc<Image>>, BuildError> {
        let name = &base.name;
        let platform: Platform = base
            .platform
            .parse()
            .map_err(|error| BuildError::Platform(base.platform.clone(), error))?;
        if let Some(layout) = self.layout(name) {
            return self.of_layout(&layout, &platform, span).await.map(Some);
        }
        let reference = Reference::parse(name).map_err(|error| {
            let diagnostic = Diagnostic::error(span, format!("{name:?} is not an image: {error}"));
            BuildError::Dockerfile(Arc::clone(self.file), vec![diagnostic])
        })?;
        let label = format!("FROM {reference}");
        let refused = |source: BaseError| {
            let diagnostic =
                Diagnostic::error(span, format!("no image {reference}")).label(source.to_string());
            BuildError::Base {
                file: Arc::clone(self.file),
                diagnostic: Box::new(diagnostic),
                source,
            }
        };
        if self.bases == Bases::Stored {
            let store = &self.host.store;
            return Ok(store
                .find_for(&reference, &platform)
                .or_else(|| store.find(&reference)));
        }
        let made_here = self
            .host
            .bases
            .made_here(&reference)
            .await
            .map_err(refused)?;
        if (made_here || !self.request.pull)
            && let Some(image) = self.host.store.find_for(&reference, &platform)
        {
            self.reporter.found(&label);
            return Ok(Some(image));
        }
        let running = self.reporter.started(&label);
        match self
            .host
            .bases
            .base(
                &reference,
                &platform,
                self.request.pull,
                running.transfers(),
            )
            .await
        {
            Ok(image) => {
                running.done();
                Ok(Some(image))
            }
            Err(source) => {
                running.failed(&source.to_string());
                Err(refused(source))
            }
        }
    }
}

impl Images<'_> {
    /// The layout that a context of the request means by a name.
    fn layout(&self, name: &str) -> Option<LayoutName> {
        self.request
            .contexts
            .values()
            .find_map(|context| match context {
                NamedContext::Layout(layout) if layout_image(layout) == name => {
                    Some(layout.clone())
                }
                _ => None,
            })
    }

    async fn of_layout(
        &self,
        layout: &LayoutName,
        platform: &Platform,
        span: Span,
    ) -> Result<Arc<Image>, BuildError> {
        let running = self
            .reporter
            .started(&format!("[internal] load oci-layout://{layout}"));
        match hoist_image::load_layout(&self.host.store, layout, platform).await {
            Ok(image) => {
                running.done();
                Ok(image)
            }
            Err(error) => {
                running.failed(&chain(&error));
                let diagnostic =
                    Diagnostic::error(span, format!("no image in {layout}")).label(chain(&error));
                let diagnostic = Box::new(diagnostic);
                Err(BuildError::Base {
                    file: Arc::clone(self.file),
                    diagnostic,
                    source: Box::new(error),
                })
            }
        }
    }
}

fn ignored(graph: &Graph, context: &Context) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for step in &graph.steps {
        let (Op::Copy(copy) | Op::Link(copy)) = &step.op else {
            continue;
        };
        for source in &copy.sources {
            if let CopyItem::Path(path) = source
                && copy.from == Origin::Context
                && context.ignore.excludes(path)
            {
                let message = format!("{path} is excluded by the ignore file");
                findings.push(Diagnostic::lint(Rule::CopyIgnoredFile, step.span, message));
            }
        }
    }
    findings
}

fn fits(image: &Image, platform: &Platform) -> bool {
    image.config.os == platform.os && image.config.architecture == platform.architecture
}

pub(crate) async fn on_disk<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => Err(BuildError::Interrupted),
    }
}
