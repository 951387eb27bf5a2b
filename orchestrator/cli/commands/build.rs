//! `hoist build`: the images of services.

use std::collections::BTreeMap;

use hoist_api::ApplyRequest;
use hoist_scheduler::{Build, Verb};

use crate::apply;
use crate::commands::caches::CacheArgs;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::failed_step;
use crate::options::ProgressMode;
use crate::project::{self, LoadOptions};

/// Build the images of services
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Build argument, over the file's (can be repeated; without a value: the environment's)
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,
    /// Run every step, whatever is there from before
    #[arg(long)]
    no_cache: bool,
    /// Pull base images even when they exist
    #[arg(long)]
    pull: bool,
    /// Agent for RUN --mount=type=ssh and git over ssh: default (the one that runs), or ID=SOCKET, or ID=KEY[,KEY] for one
    /// with these key files (can be repeated)
    #[arg(long, value_name = "ID[=SOCKET|KEY]")]
    ssh: Vec<String>,
    #[command(flatten)]
    caches: CacheArgs,
    /// Network of RUN steps, over the file's: default, none, host, or one of the stack's or the engine's by name
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Build images of services that these depend on too
    #[arg(long)]
    with_dependencies: bool,
    /// Check the Dockerfiles and build nothing; 1 is the exit code when there are findings
    #[arg(long)]
    check: bool,
    /// When a RUN step fails, open a shell in it, on a terminal
    #[arg(long)]
    debug: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let options = LoadOptions {
        services: &args.services,
        ..LoadOptions::default()
    };
    let loaded = project::load(&ctx.settings, ctx.ui, options)?;
    args.caches
        .fits(&loaded.stack, &args.services, args.with_dependencies)?;
    let build = Build {
        services: apply::services(&args.services),
        with_dependencies: args.with_dependencies,
        no_cache: args.no_cache,
        pull: args.pull,
        args: build_args(&args.build_args, &loaded.variables),
        ssh: args.ssh.iter().map(|text| agent(ctx, text)).collect(),
        cache_from: args.caches.from(ctx)?,
        cache_to: args.caches.to(ctx)?,
        network: args.network.clone(),
    };
    apply::request(&loaded, Verb::Build(build))
}

/// `ID[=SOCKET]` or `ID=KEY[,KEY]`, the paths absolute.
pub(crate) fn agent(ctx: &Ctx, text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((id, paths)) => {
            let absolute = |path: &str| ctx.settings.working_dir.join(path).display().to_string();
            (
                id.to_owned(),
                Some(paths.split(',').map(absolute).collect::<Vec<_>>().join(",")),
            )
        }
        None => (text.to_owned(), None),
    }
}

/// `NAME=VALUE`; a bare `NAME` takes the environment's value, and stays out when there is none.
pub(crate) fn build_args(
    texts: &[String],
    variables: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), Some(value.to_owned()))),
        None => Some((text.clone(), Some(variables.get(text)?.clone()))),
    };
    texts.iter().filter_map(pair).collect()
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    let ctx = if args.quiet { &quiet } else { ctx };
    if args.check {
        return check(ctx, &request(ctx, args)?).await;
    }
    let debug = failed_step::can_be_entered(ctx, args.debug);
    apply::apply(
        ctx,
        &ApplyRequest {
            debug,
            ..request(ctx, args)?
        },
    )
    .await?;
    Ok(Exit::OK)
}

/// Prints what the checks say about the builds of a request.
pub(crate) async fn check(ctx: &Ctx, request: &ApplyRequest) -> Result<Exit> {
    let checks = ctx.client().await?.check(request).await?;
    ctx.ui.data(crate::render::checks::text(&checks, ctx.ui))?;
    let clean = checks
        .iter()
        .all(|check| check.error.is_empty() && check.findings.is_empty());
    Ok(if clean { Exit::OK } else { Exit::PROBLEMS })
}
