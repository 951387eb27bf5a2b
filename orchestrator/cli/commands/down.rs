//! `hoist down`: towards the empty stack.

use clap::ValueEnum;
use hoist_api::ApplyRequest;
use hoist_scheduler::{Down, ImageRemoval, Verb};

use crate::apply;
use crate::ctx::Ctx;
use crate::error::{Exit, Result};
use crate::project;

/// Stop and remove the containers and networks of the stack
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Remove the stack's named volumes and the anonymous ones too
    #[arg(short, long)]
    volumes: bool,
    /// Remove images too: `local` those without a name of their own, `all` every one
    #[arg(long, value_enum, value_name = "WHICH")]
    rmi: Option<Rmi>,
    /// Remove containers of services that the file does not have (any more)
    #[arg(long)]
    remove_orphans: bool,
    /// Seconds that containers have to stop by themselves
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rmi {
    Local,
    All,
}

pub(crate) fn request(ctx: &Ctx, args: &Args) -> Result<ApplyRequest> {
    let project = project::find(&ctx.settings, ctx.ui, &args.services)?;
    let down = Down {
        services: apply::services(&args.services),
        volumes: args.volumes,
        images: match args.rmi {
            None => ImageRemoval::None,
            Some(Rmi::Local) => ImageRemoval::Local,
            Some(Rmi::All) => ImageRemoval::All,
        },
        remove_orphans: args.remove_orphans || ctx.settings.remove_orphans,
        timeout: apply::seconds(args.timeout),
    };
    Ok(apply::request_on(&project, Verb::Down(down)))
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let request = request(ctx, args)?;
    let result = apply::apply(ctx, &request).await?;
    if result.done == 0 {
        ctx.ui.warn(&format!(
            "No resource found to remove for project \"{}\"",
            request.project
        ));
    }
    Ok(Exit::OK)
}
