//! `hoist image build`: one image, as a stack with one service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoist_api::ApplyRequest;
use hoist_scheduler::{Build, Verb};
use hoist_spec::Loaded;
use hoist_spec::model::{Build as BuildSpec, Service, Stack};

use super::options;
use super::stdin::{self, Kept};
use crate::commands::build;
use crate::commands::caches::CacheArgs;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::ProgressMode;
use crate::{apply, failed_step, render};

/// Build one image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder that COPY and ADD take from, or the URL of a git repository or a tar archive; - reads an archive, or a
    /// Dockerfile that needs no files, from standard input
    #[arg(value_name = "CONTEXT")]
    context: String,
    /// Name of the image (can be repeated)
    #[arg(
        short,
        long = "tag",
        value_name = "NAME",
        required_unless_present = "check"
    )]
    tags: Vec<String>,
    /// Dockerfile (default: CONTEXT/Dockerfile); a path inside a context that is not a folder; - reads it from standard
    /// input
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
    /// Run every step of this stage (can be repeated)
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    #[command(flatten)]
    caches: CacheArgs,
    /// Context of its own name: a folder, a URL, docker-image://IMAGE, oci-layout://FOLDER[:TAG] (can be repeated)
    #[arg(long = "build-context", value_name = "NAME=CONTEXT")]
    contexts: Vec<String>,
    /// Secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE (can be repeated)
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Agent for RUN --mount=type=ssh and git over ssh: default (the one that runs), or ID=SOCKET, or ID=KEY[,KEY] for one
    /// with these key files (can be repeated)
    #[arg(long, value_name = "ID[=SOCKET|KEY]")]
    ssh: Vec<String>,
    /// Allow steps more than the sandbox: network.host, security.insecure (can be repeated)
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    allow: Vec<String>,
    /// Network of RUN steps: default, none, host, or one of the engine's by name
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Line for /etc/hosts in RUN steps (can be repeated)
    #[arg(long = "add-host", value_name = "HOST=ADDRESS")]
    hosts: Vec<String>,
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Limit of RUN steps (can be repeated)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// What to build for: os/architecture[/variant]; several, separated by commas, make an index of images
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Check the Dockerfile and build nothing; 1 is the exit code when there are findings
    #[arg(long)]
    check: bool,
    /// When a RUN step fails, open a shell in it, on a terminal
    #[arg(long)]
    debug: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// The one service of the stack that stands for the image.
const SERVICE: &str = "image";

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    // Lives until the build is over.
    let given = if stdin::is_stdin(Path::new(&args.context)) {
        Some(stdin::context()?)
    } else {
        None
    };
    let loaded = stack(ctx, args, given.as_ref())?;
    let verb = Verb::Build(Build {
        no_cache: args.no_cache,
        pull: args.pull,
        ..Build::default()
    });
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    if args.check {
        return build::check(ctx, &apply::request(&loaded, verb)?).await;
    }
    if let Some(form) = ctx.settings.dry_run {
        let plan = apply::plan(ctx, &apply::request(&loaded, verb)?).await?;
        ctx.ui.data(render::plan::printed(&plan, form, ctx.ui))?;
        return Ok(if apply::has_problems(&plan) {
            Exit::PROBLEMS
        } else {
            Exit::OK
        });
    }
    let chosen = if args.quiet { &quiet } else { ctx };
    let debug = failed_step::can_be_entered(ctx, args.debug);
    apply::apply(
        chosen,
        &ApplyRequest {
            debug,
            ..apply::request(&loaded, verb)?
        },
    )
    .await?;
    ctx.ui.line(&args.tags[0])?;
    Ok(Exit::OK)
}

/// The path of the Dockerfile, or its text from standard input.
fn dockerfile(
    ctx: &Ctx,
    args: &Args,
    given: Option<&Kept>,
    context: &str,
) -> Result<(String, Option<String>)> {
    let context_is_folder = given.is_none() && Path::new(context).is_absolute();
    match &args.file {
        None => Ok(("Dockerfile".to_owned(), None)),
        Some(file) if stdin::is_stdin(file) && given.is_some() => Err(Failure::user(
            "the context and the Dockerfile cannot both be read from standard input",
        )),
        Some(file) if stdin::is_stdin(file) => Ok((String::new(), Some(stdin::dockerfile()?))),
        Some(file) if context_is_folder => {
            Ok((options::absolute(ctx, file)?.display().to_string(), None))
        }
        Some(file) => Ok((file.display().to_string(), None)),
    }
}

/// One image is a stack with one service that is only built: there is one way to build, not two.
fn stack(ctx: &Ctx, args: &Args, given: Option<&Kept>) -> Result<Loaded> {
    let context = match given {
        Some(kept) => kept.path().display().to_string(),
        None => options::context(ctx, &args.context)?,
    };
    let (dockerfile, dockerfile_inline) = dockerfile(ctx, args, given, &context)?;
    let unnamed = [SERVICE.to_owned()];
    let names = if args.tags.is_empty() {
        &unnamed
    } else {
        args.tags.as_slice()
    };
    let Some((name, more)) = names.split_first() else {
        return Err(Failure::user("a name for the image is needed: -t NAME"));
    };
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    let variables = ctx.settings.env.0.clone();
    let secrets = options::secrets(ctx, &args.secrets)?;
    let build = BuildSpec {
        context,
        dockerfile,
        dockerfile_inline,
        args: build::build_args(&args.build_args, &variables),
        target: args.target.clone(),
        labels: args.labels.iter().map(pair).collect(),
        tags: more.to_vec(),
        no_cache_filter: args.no_cache_filter.clone(),
        additional_contexts: options::contexts(ctx, &args.contexts)?,
        cache_from: args.caches.from(ctx)?,
        cache_to: args.caches.to(ctx)?,
        secrets: secrets.grants,
        ssh: options::agents(ctx, &args.ssh),
        entitlements: args.allow.clone(),
        network: args.network.clone(),
        extra_hosts: options::hosts(&args.hosts)?,
        shm_size: args.shm_size.as_deref().map(options::bytes).transpose()?,
        ulimits: options::ulimits(&args.ulimits)?,
        platforms: args.platforms.clone(),
        ..BuildSpec::default()
    };
    let service = Service {
        image: Some(name.clone()),
        build: Some(build),
        replicas: 1,
        attach: true,
        ..Service::default()
    };
    let stack = Stack {
        name: "hoist-image-build".to_owned(),
        services: BTreeMap::from([(SERVICE.to_owned(), service)]),
        secrets: secrets.objects,
        ..Stack::default()
    };
    Ok(Loaded {
        stack,
        project_dir: ctx.settings.working_dir.clone(),
        files: Vec::new(),
        warnings: Vec::new(),
        variables,
        provenance: None,
    })
}
