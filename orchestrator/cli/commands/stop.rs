//! `hoist stop`: containers stay, their processes go.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Stop, Verb};

use crate::apply;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project;

/// Stop containers without removing them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Seconds that containers have to stop by themselves
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let stop = Stop {
        services: apply::services(&args.services),
        timeout: apply::seconds(args.timeout),
    };
    Ok(apply::request_on(&project, Verb::Stop(stop)))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    apply::apply(ctx, &request(ctx, args)?).await?;
    Ok(Exit::OK)
}
