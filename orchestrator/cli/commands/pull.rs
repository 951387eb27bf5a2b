//! `hoist pull`: the images of the stack.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Pull, Verb};

use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::options::{ProgressMode, PullWhen};
use crate::project::{self, LoadOptions};
use crate::{apply, lock};

/// Pull the images of the stack
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Go on when an image cannot be pulled
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Leave out images that can be built
    #[arg(long)]
    ignore_buildable: bool,
    /// Pull images of services that these depend on too
    #[arg(long)]
    include_deps: bool,
    /// Pull exactly the images that stack.lock names
    #[arg(long)]
    locked: bool,
    /// When to pull
    #[arg(long, value_enum, value_name = "WHEN")]
    policy: Option<PullWhen>,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let options = LoadOptions {
        services: &args.services,
        ..LoadOptions::default()
    };
    let mut loaded = project::load(&ctx.settings, ctx.ui, options)?;
    if args.locked {
        lock::pin(&mut loaded)?;
    }
    let pull = Pull {
        services: apply::services(&args.services),
        include_deps: args.include_deps,
        ignore_buildable: args.ignore_buildable,
        policy: args.policy.map(PullWhen::policy),
    };
    apply::request(&loaded, Verb::Pull(pull))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let quiet = ctx.with_ui(ctx.ui.with_progress(ProgressMode::Quiet));
    let ctx = if args.quiet { &quiet } else { ctx };
    match apply::apply(ctx, &request(ctx, args)?).await {
        Err(failure) if args.ignore_pull_failures && failure.is_partial() => {
            failure.report_as_warning(ctx.ui);
            Ok(Exit::OK)
        }
        result => result.map(|_| Exit::OK),
    }
}
