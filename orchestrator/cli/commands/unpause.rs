//! `hoist unpause`: frozen containers go on.

use hoist_api::ApplyRequest;
use hoist_scheduler::Verb;

use crate::apply;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project;

/// Let frozen containers go on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let verb = Verb::Unpause(apply::services(&args.services));
    Ok(apply::request_on(&project, verb))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    apply::apply(ctx, &request(ctx, args)?).await?;
    Ok(Exit::OK)
}
