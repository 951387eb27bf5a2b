//! `hoist create`: `up` without starting.

use std::collections::BTreeMap;

use hoist_api::ApplyRequest;
use hoist_scheduler::{Create, Verb};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::options::PullWhen;
use crate::project::{self, LoadOptions};
use crate::{apply, bind_sources, options};

/// Create containers without starting them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Build images first, even when they exist
    #[arg(long, conflicts_with = "no_build")]
    build: bool,
    /// Do not build an image that is missing
    #[arg(long)]
    no_build: bool,
    /// When to pull images
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<PullWhen>,
    /// Do not show the progress of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Replace containers even when nothing of them has changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Keep containers that exist, whatever has changed
    #[arg(long)]
    no_recreate: bool,
    /// Remove containers of services that the file does not have (any more)
    #[arg(long)]
    remove_orphans: bool,
    /// Number of containers of a service (can be repeated)
    #[arg(long, value_name = "SERVICE=NUM", value_parser = options::scale)]
    scale: Vec<(String, u32)>,
    /// Answer yes to every question
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let options = LoadOptions {
        services: &args.services,
        ..LoadOptions::default()
    };
    let loaded = project::load(&ctx.settings, ctx.ui, options)?;
    let scale: BTreeMap<String, u32> = args.scale.iter().cloned().collect();
    if let Some(service) = scale
        .keys()
        .find(|service| !loaded.stack.services.contains_key(*service))
    {
        return Err(Failure::user(format!("no such service: {service}")));
    }
    bind_sources::warn_of_folders(
        ctx.ui,
        &loaded,
        &project::with_dependencies(&loaded.stack, &args.services),
    );
    let create = Create {
        services: apply::services(&args.services),
        build: args.build,
        no_build: args.no_build,
        pull: args.pull.map(PullWhen::policy),
        force_recreate: args.force_recreate,
        no_recreate: args.no_recreate,
        remove_orphans: args.remove_orphans || ctx.settings.remove_orphans,
        scale,
    };
    apply::request(&loaded, Verb::Create(create))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let quiet = ctx.with_ui(ctx.ui.hiding(args.quiet_pull, false));
    apply::apply(&quiet, &request(ctx, args)?).await?;
    Ok(Exit::OK)
}
