//! `hoist rm`: stopped containers go.

use hoist_api::ApplyRequest;
use hoist_scheduler::{Remove, Verb};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::{apply, containers, project};

/// Remove stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Stop running containers first
    #[arg(short, long)]
    stop: bool,
    /// Remove anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let services = apply::services(&args.services);
    let remove = Remove {
        services,
        stop: args.stop,
        volumes: args.volumes,
    };
    Ok(apply::request_on(&project, Verb::Remove(remove)))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let request = request(ctx, args)?;
    if !args.force {
        let client = ctx.client().await?;
        let mut found =
            containers::of_services(&client, &request.project, &args.services, true).await?;
        found.retain(|container| {
            args.stop || matches!(container.state.as_str(), "created" | "exited" | "dead")
        });
        if found.is_empty() {
            ctx.ui.note("No stopped containers");
            return Ok(Exit::OK);
        }
        let names: Vec<_> = found.iter().map(|container| container.name()).collect();
        if !ctx.ui.confirm(&format!(
            "Going to remove {}. Are you sure?",
            names.join(", ")
        ))? {
            return Err(Failure::interrupted());
        }
    }
    let result = apply::apply(ctx, &request).await?;
    if result.done == 0 {
        ctx.ui.note("No stopped containers");
    }
    Ok(Exit::OK)
}
