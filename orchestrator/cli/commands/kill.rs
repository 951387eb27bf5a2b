//! `hoist kill`: a signal to containers.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Kill, Verb};

use crate::apply;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project;

/// Send a signal to running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
    signal: String,
    /// Remove containers of services that the file does not have (any more)
    #[arg(long)]
    remove_orphans: bool,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let kill = Kill {
        services: apply::services(&args.services),
        signal: args.signal.clone(),
        remove_orphans: args.remove_orphans,
    };
    Ok(apply::request_on(&project, Verb::Kill(kill)))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let result = apply::apply(ctx, &request(ctx, args)?).await?;
    if result.done == 0 {
        ctx.ui.note("No container to kill");
    }
    Ok(Exit::OK)
}
