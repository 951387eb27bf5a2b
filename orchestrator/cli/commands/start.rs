//! `hoist start`: containers that exist.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Start, Verb};

use crate::apply;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project;

/// Start containers that exist
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Wait until everything is running or healthy
    #[arg(long)]
    wait: bool,
    /// Longest wait in seconds
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    wait_timeout: Option<u32>,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let verb = Verb::Start(Start {
        services: apply::services(&args.services),
        wait: args.wait,
    });
    let mut request = apply::request_on(&project, verb);
    request.wait_timeout = apply::seconds(args.wait_timeout);
    Ok(request)
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    apply::apply(ctx, &request(ctx, args)?).await?;
    Ok(Exit::OK)
}
