//! `hoist image build`: one image, as a stack with one service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hoist_scheduler::{Build, Verb};
use hoist_spec::Loaded;
use hoist_spec::model::{Build as BuildSpec, Service, Stack};

use crate::apply;
use crate::args::ProgressMode;
use crate::commands::{Ctx, build};
use crate::error::{Exit, Failure, Result};

/// Build one image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder that COPY and ADD take from
    #[arg(value_name = "CONTEXT")]
    context: PathBuf,
    /// Name of the image (can be repeated)
    #[arg(short, long = "tag", value_name = "NAME", required = true)]
    tags: Vec<String>,
    /// Dockerfile (default: CONTEXT/Dockerfile)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Build argument (can be repeated; without a value: the environment's)
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,
    /// Label of the image (can be repeated)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Run every step, whatever is there from before
    #[arg(long)]
    no_cache: bool,
    /// Pull base images even when they exist
    #[arg(long)]
    pull: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// The one service of the stack that stands for the image.
const SERVICE: &str = "image";

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let loaded = stack(ctx, args)?;
    let verb = Verb::Build(Build { no_cache: args.no_cache, pull: args.pull, ..Build::default() });
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    let chosen = if args.quiet { &quiet } else { ctx };
    apply::apply(chosen, &apply::request(&loaded, verb)?).await?;
    if !ctx.settings.dry_run {
        ctx.ui.line(&args.tags[0])?;
    }
    Ok(Exit::OK)
}

/// One image is a stack with one service that is only built: there is one way to build, not two.
fn stack(ctx: &Ctx, args: &Args) -> Result<Loaded> {
    let context = absolute(ctx, &args.context)?;
    if !context.is_dir() {
        return Err(Failure::user(format!("build context {} is not a folder", context.display())));
    }
    let dockerfile = match &args.file {
        None => "Dockerfile".to_owned(),
        Some(file) => absolute(ctx, file)?.display().to_string(),
    };
    let Some((name, more)) = args.tags.split_first() else {
        return Err(Failure::user("a name for the image is needed: -t NAME"));
    };
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    let variables = ctx.settings.env.0.clone();
    let build = BuildSpec {
        context: context.display().to_string(),
        dockerfile,
        args: build::build_args(&args.build_args, &variables),
        target: args.target.clone(),
        labels: args.labels.iter().map(pair).collect(),
        tags: more.to_vec(),
        ..BuildSpec::default()
    };
    let service =
        Service { image: Some(name.clone()), build: Some(build), replicas: 1, attach: true, ..Service::default() };
    let stack = Stack {
        name: "hoist-image-build".to_owned(),
        services: BTreeMap::from([(SERVICE.to_owned(), service)]),
        ..Stack::default()
    };
    Ok(Loaded { stack, project_dir: context, files: Vec::new(), warnings: Vec::new(), variables, provenance: None })
}

fn absolute(ctx: &Ctx, path: &std::path::Path) -> Result<PathBuf> {
    let joined = ctx.settings.working_dir.join(path);
    std::fs::canonicalize(&joined)
        .map_err(|error| Failure::from(anyhow::Error::new(error).context(format!("cannot find {}", joined.display()))))
}
