//! `hoist restart`: containers as they are, once more.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Restart, Verb};

use crate::apply;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project;

/// Restart containers as they are; a changed file takes effect with `up`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Seconds that containers have to stop by themselves
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Leave services that depend on these alone
    #[arg(long)]
    no_deps: bool,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let restart = Restart {
        services: apply::services(&args.services),
        timeout: apply::seconds(args.timeout),
        no_deps: args.no_deps,
    };
    Ok(apply::request_on(&project, Verb::Restart(restart)))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    apply::apply(ctx, &request(ctx, args)?).await?;
    Ok(Exit::OK)
}
